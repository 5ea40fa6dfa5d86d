"""The page of a registration: what is where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame_slicer import module as slicer_module

from monai_inn.viewer.page import dress, picture, reading, text_of
from monai_inn.viewer.widgets import choice, slider, switch

__all__ = ["build_poses", "view_label"]

_HERE = Path(__file__).parent
_LABELS = {
    "INNXray": "X-ray; cross: target, outline: 95 %",
    "INNDRR": "DRR: X-ray simulated for the pose",
    "INNCompare": "{{ compared }}",
    "Room": "C-arm, bone, target (amber: 95 %), plan (green)",
}


def build_poses(server: Any, layout: Any) -> None:
    """Build the page; everything it says is in the server's state."""
    server.enable_module(slicer_module)
    with VAppLayout(server, theme="dark") as page:
        dress()
        with html.Div(classes="page"):
            html.Div(text_of(_HERE / "head.html"), classes="head")  # none of it scrolls away
            with html.Main(classes="body"):
                with html.Div(classes="controls"):
                    _controls()
                with html.Div(classes="picture"), picture("X-rays and C-arm"):
                    layout.initialize_layout_grid(page)
                reading(_HERE / "reading.html")


def view_label(server: Any, name: str, view: Any) -> None:
    """What lies over each view: what it shows."""
    html.Span(_LABELS[view.name], classes="caption")


def _controls() -> None:
    with html.Div(v_show=("!is_trusted",)):
        switch("confirmed", "Show untrusted poses: I will not use them for the patient")
    html.H2("Poses")
    html.Table(text_of(_HERE / "poses.html"), id="poses", classes="poses")
    html.P("A click moves the C-arm into the pose.", classes="about")
    html.H2("X-ray against DRR")
    choice("comparison", "Show", "comparisons")
    with html.Div(v_show=("comparison === 'blend'",), classes="below"):
        slider("share", "Share of the DRR", "share_text", low=0, high=1, step=0.05)
    with html.Div(v_show=("comparison === 'checkerboard'",), classes="below"):
        slider("fields", "Fields", "fields_text", low=2, high=32, step=1)
