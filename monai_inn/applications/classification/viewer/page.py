"""The page of a classification: what is where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from monai_inn.viewer.page import TIGHT, dress, reading, slider, text_of

__all__ = ["build_classes"]

_HERE = Path(__file__).parent


def build_classes(server: Any) -> None:
    """Build the page; everything it says is in the server's state."""
    with VAppLayout(server, theme="dark"):
        dress(text_of(_HERE / "classes.css"))
        with html.Div(classes="page"):
            html.Div(text_of(_HERE / "head.html"), classes="head")
            with html.Main(classes="body"):
                with html.Div(classes="controls"):
                    _controls()
                html.Div(text_of(_HERE / "pictures.html"), classes="picture")
                reading(_HERE / "reading.html")


def _controls() -> None:
    v3.VSelect(label="Image", v_model=("image",), items=("images",), id="image", **TIGHT)
    html.H2("Evidence")
    v3.VSelect(label="For", v_model=("first",), items=("classes",), id="first", **TIGHT)
    v3.VSelect(label="Against", v_model=("second",), items=("others",), id="second", **TIGHT)
    html.Br()
    slider("opacity", "Opacity", "opacity_text", low=0, high=1, step=0.05)
    with html.Div(v_show=("slices > 1",)):
        slider("slice", "Slice", "slice_text", low=1, high=("slices",), step=1)
    html.P(
        "To this network red places speak for the first class, blue ones for the second. That does not prove "
        "that a place shows disease.",
        classes="about",
    )
    html.P("{{ fact }}", v_for="fact in facts", key=("fact",), classes="about fact")
