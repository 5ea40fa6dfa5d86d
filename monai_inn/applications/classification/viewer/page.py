"""The page of a classification: what is where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from monai_inn.viewer.page import TIGHT, dress, slider

__all__ = ["build_classes"]

_STYLE = Path(__file__).with_name("classes.css")


def build_classes(server: Any) -> None:
    """Build the page; everything it says is in the server's state."""
    with VAppLayout(server, theme="dark"):
        dress(_STYLE.read_text(encoding="utf-8"))
        with html.Div(classes="page"):
            with html.Div(classes="head"):
                with html.Header(classes="top"):
                    html.H1("Classes: {{ name }}")
                    html.Div("{{ intended_use }}", classes="use", id="use", raw_attrs=['role="note"'])
                html.Div(
                    "{{ alarm }}",
                    v_show=("alarm",),
                    classes="banner untrusted",
                    id="alarm",
                    raw_attrs=['role="alert"'],
                )
            with html.Main(classes="body"):
                with html.Div(classes="controls"):
                    _controls()
                with html.Div(classes="picture"):
                    _pictures()
                with html.Div(classes="reading", id="reading", raw_attrs=['aria-live="polite"']):
                    _reading()


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


def _pictures() -> None:
    with html.Div(classes="pair", id="pair"):
        for source, caption in (("seen", "What the network saw"), ("map", "{{ map_caption }}")):
            with html.Figure():
                html.Img(src=(source,), id=source, raw_attrs=[f':alt="{source}_text"'])
                html.Figcaption(caption)
    with html.Div(classes="legend", id="legend"):
        html.Div("Evidence of each pixel, nat", classes="scale-title")
        html.Div(classes="bar", style=("scale",))
        with html.Div(classes="marks"):
            html.Span(
                "{{ mark.text }}", v_for="mark in marks", key=("mark.at",), style=("{ left: mark.at }",)
            )


def _reading() -> None:
    html.H2("Probability of each class")
    with html.Table(id="probabilities"), html.Tbody(), html.Tr(v_for="row in rows", key=("row.name",)):
        html.Td("{{ row.name }}")
        html.Td("{{ row.text }}")
        with html.Td(style="width: 40%"):
            html.Div(classes="share", style=("{ width: row.text }",))
    html.P("{{ about_shares }}", classes="about")
    html.H2("Classes that cannot be excluded")
    html.P("{{ sets }}", classes="line", id="sets")
    html.H2("Is it of any class?")
    html.P("{{ strange }}", classes="line", id="strange")
    html.P("{{ note }}", v_for="note in notes", key=("note",), classes="line")
    html.H2("Evidence in all")
    html.P("{{ odds }}", classes="line", id="odds")
