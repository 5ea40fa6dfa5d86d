"""The page of a registration: what is where."""

from __future__ import annotations

from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame_slicer import module as slicer_module

from monai_inn.viewer.page import dress, picture
from monai_inn.viewer.widgets import choice, slider, switch

__all__ = ["build_poses", "view_label"]

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
            with html.Div(classes="head"):  # neither scrolls away
                with html.Header(classes="top"):
                    html.H1("Plausible poses: {{ name }}")
                    html.Div("{{ intended_use }}", classes="use", id="use", raw_attrs=['role="note"'])
                html.Div(
                    "{{ banner }}",
                    classes=("`banner ${banner_state}`",),
                    id="banner",
                    raw_attrs=['role="alert"'],
                )
            with html.Main(classes="body"):
                with html.Div(classes="controls"):
                    _controls()
                with html.Div(classes="picture"), picture("X-rays and C-arm"):
                    layout.initialize_layout_grid(page)
                with html.Div(classes="reading", id="reading", raw_attrs=['aria-live="polite"']):
                    _reading()


def view_label(server: Any, name: str, view: Any) -> None:
    """What lies over each view: what it shows."""
    html.Span(_LABELS[view.name], classes="caption")


def _controls() -> None:
    with html.Div(v_show=("!is_trusted",)):
        switch("confirmed", "Show untrusted poses: I will not use them for the patient")
    html.H2("Poses")
    with html.Table(id="poses", classes="poses"):
        with html.Thead(), html.Tr():
            html.Th("{{ head }}", v_for="head in heads", key=("head",))
        with (
            html.Tbody(),
            html.Tr(
                v_for="row in rows",
                key=("row.number",),
                click="allowed && (pose = row.number)",
                classes=("row.number === pose && allowed ? 'chosen' : ''",),
            ),
        ):
            with html.Td():
                html.Button(
                    "{{ row.number }}",
                    disabled=("!allowed",),
                    raw_attrs=[":aria-label=\"'Show pose ' + row.number\""],
                )
            html.Td("{{ cell }}", v_for="cell in row.cells", key=("cell",))
    html.P("A click moves the C-arm into the pose.", classes="about")
    html.H2("X-ray against DRR")
    choice("comparison", "Show", "comparisons")
    with html.Div(v_show=("comparison === 'blend'",), classes="below"):
        slider("share", "Share of the DRR", "share_text", low=0, high=1, step=0.05)
    with html.Div(v_show=("comparison === 'checkerboard'",), classes="below"):
        slider("fields", "Fields", "fields_text", low=2, high=32, step=1)


def _reading() -> None:
    html.H2("Shown pose")
    with html.Table(v_show=("values.length",), id="values"), html.Tbody():  # noqa: SIM117
        with html.Tr(v_for="value in values", key=("value.name",)):
            html.Td("{{ value.name }}", raw_attrs=[':title="value.about"'])
            html.Td("{{ value.text }}")
    html.P("{{ landmarks }}", classes="line", id="landmarks")
    html.H2("Target")
    html.P("{{ target }}", classes="line", id="target")
    with html.Div(v_show=("aim.length",), id="aim"):
        html.H2("Plan under all poses")
        html.P("{{ said }}", v_for="said in aim", key=("said",), classes="line")
    html.P("{{ differences }}", classes="about", id="differences")
    html.P("{{ fact }}", v_for="fact in facts", key=("fact",), classes="about fact")
