"""The page: what is where, and how it looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v3
from trame_slicer import module as slicer_module
from trame_slicer.app.logic.slice_view_logic import connect_slice_view_slider_to_state
from trame_slicer.app.ui import Slider

from monai_inn.viewer import images
from monai_inn.viewer.widgets import TIGHT, choice, slider, switch

__all__ = ["TIGHT", "build", "dress", "picture", "reading", "slider", "text_of", "view_buttons"]

_HERE = Path(__file__).parent


def build(server: Any, layout: Any) -> None:
    """Build the page; everything it says is in the server's state."""
    server.enable_module(slicer_module)
    with VAppLayout(server, theme="dark") as page:
        dress()
        client.Script(text_of(_HERE / "page.js"))
        with html.Div(classes="page"):
            _top()
            with html.Main(classes="body"):
                with html.Div(classes="controls"):
                    _controls()
                with html.Div(classes="picture"):
                    with picture("Image with map"):
                        layout.initialize_layout_grid(page)
                    html.Div(v_html=("legend",), classes="legend", id="legend")
                reading(_HERE / "reading.html")


def dress(css: str = "") -> None:
    """What every page of the viewer has: its style, and the notice that its program has ended.

    Args:
        css: rules of this page alone.
    """
    client.Style(text_of(_HERE / "style.css") + css)
    client.Script(text_of(_HERE / "gone.js"))


def text_of(path: Path) -> str:
    """The content of a file of a page: style, script, or HTML with variables of the server's state."""
    return path.read_text(encoding="utf-8")


def reading(path: Path) -> Any:
    """The column of what is read where somebody points, of a file of HTML."""
    return html.Div(text_of(path), classes="reading", id="reading", raw_attrs=['aria-live="polite"'])


def picture(label: str) -> Any:
    """The place of the views; it says whether what it shows is what the controls say, or still the old."""
    busy = [':aria-busy="pictures_drawn < pictures_asked"', ':data-drawn="pictures_drawn"']
    return html.Div(classes="views", id="views", raw_attrs=[f'aria-label="{label}"', *busy])


def view_buttons(stage: Any) -> Callable[[Any, str, Any], None]:
    """What lies over each slice view: a button that shows all of it and, in a stack, a slider."""

    def fill(server: Any, _: str, view: Any) -> None:
        v3.VBtn(
            icon="mdi-fit-to-page-outline",
            size="small",
            variant="tonal",
            classes="fit",
            click=lambda: stage.fit(view),
            raw_attrs=['aria-label="Show all of the image"', 'title="Show all of the image"'],
        )
        if not stage.flat:
            plane = view.get_orientation()
            shown_plane = f"(side_by_side ? 'Axial' : '{plane}')"
            html.Span(f"{{{{ {shown_plane} }}}}", classes="plane")
            with html.Div(classes="slices"):
                slice_state = connect_slice_view_slider_to_state(server, view)
                Slider(typed_state=slice_state, density="compact", name=(f"{shown_plane} + ' slice'",))
        tag = view.get_singleton_tag()
        html.Span(f"{{{{ captions.{tag} }}}}", classes="caption which")
        for place, side in enumerate(("left", "right", "top", "bottom")):
            html.Span(f"{{{{ edges.{tag} && edges.{tag}[{place}] }}}}", classes=f"edge at-{side}")

    return fill


def _top() -> None:
    with html.Header(classes="top"):
        html.H1("Posterior maps: {{ name }}")
        html.Div(
            "{{ synthetic }}",
            v_show=("synthetic",),
            classes="synthetic",
            id="synthetic",
            raw_attrs=['role="note"'],
        )
        html.Div("{{ intended_use }}", classes="use", id="use", raw_attrs=['role="note"'])
    with html.Div(classes="facts", id="facts"):
        html.Span("{{ fact }}", v_for="fact in facts", key=("fact",))
        html.Span("{{ calibration }}")


def _controls() -> None:
    kind = "kind === '{}'"
    off = "kind === 'off'"
    images.controls()
    choice("kind", "Map (U: off and on)", "kinds")
    html.P("{{ about_kind }}", classes="about")
    choice("parameter", "Parameter", "parameters")
    html.P("{{ about_parameter }}", classes="about")
    with html.Div(v_show=("regions || kind.startsWith('probability')",)):
        ends: dict[str, Any] = {"low": ("threshold_low",), "high": ("threshold_high",)}
        slider("threshold", "Threshold", "threshold_text", **ends, step=("threshold_step",))
    with html.Div(v_show=(f"samples && (pictures.length || {kind.format('sample')})",)):
        slider("sample", "Sample", "sample_text", low=1, high=("samples",), step=1)
    slider("opacity", "Opacity", "opacity_text", low=0, high=1, step=0.05, disabled=off)
    slider("hide_below", "Hide below", "hide_text", low=0, high=1, step=0.01, disabled=off)
    switch("graded", "Graded transparency", disabled=off)
    with html.Div(v_show=("has_regions",)):
        _regions()
    html.P(
        "Stripes: not explained, out of distribution. Dots: not informative about this parameter. "
        "Grid: not usable, or masked. No setting hides them.",
        classes="about",
    )


def _regions() -> None:
    switch("regions", "Regions of decision")
    with html.Div(v_show=("regions",)):
        with html.Ul(id="segments"), html.Li(v_for="part in segments", key=("part.name",)):
            html.Span(style=("{ background: part.color }",))
            html.Span("{{ part.name }}")
        html.P("{{ regions_text }}", id="regions_text", raw_attrs=['aria-live="polite"'])
        switch("is_above", "Look for values above the threshold")
        for name in ("certain", "possible"):
            slider(name, f"{name.capitalize()} from", f"{name} + ' %'", low=1, high=100, step=1)
        v3.VTextField(
            label=("`Smallest island [${size_unit}]`",),
            v_model_number=("smallest",),
            id="smallest",
            type="number",
            min=0,
            **TIGHT,
        )
