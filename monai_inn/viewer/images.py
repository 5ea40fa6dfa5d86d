"""What the page adds for an unknown image: the image below the map, several side by side, samples in turn."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from monai_inn.viewer.display import Run
from monai_inn.viewer.widgets import choice, switch

__all__ = ["caption", "compared", "controls"]

_OWN = ("mean", "median", "sample")


def compared(names: tuple[str, ...], chosen: str) -> tuple[str, ...]:
    """Return which images stand side by side: a summary, a sample, and what there is to compare with.

    Args:
        names: of all images, those to compare with last.
        chosen: the one that is shown alone; a summary keeps its place, and so does one to compare with.
    """
    summary = chosen if chosen in ("mean", "median") else "mean"
    others = [name for name in names if name not in _OWN]
    other = chosen if chosen in others else others[0] if others else "median"
    return summary, "sample", other


def caption(run: Run, name: str, sample: int, samples: int) -> str:
    """Return what stands in the corner of a view.

    Args:
        run: whose image it shows.
        name: of the image.
        sample: which posterior sample, counted from 1.
        samples: how many there are.
    """
    text = f"sample {sample} of {samples}" if name == "sample" else name
    return f"SYNTHETIC {text}" if run.synthetic and name in _OWN else text


def controls() -> None:
    """Build the choice of the image, and the button that plays samples."""
    with html.Div(v_show=("pictures.length",)):
        choice("picture", "Image below the map", "pictures")
        switch("side_by_side", "Side by side")
        with html.Div(v_show=("samples > 1",), classes="playing"):
            v3.VBtn(
                "{{ playing ? 'Stop' : 'Play samples' }}",
                id="play",
                size="small",
                variant="tonal",
                raw_attrs=[':aria-pressed="playing"'],
            )
            html.Span("Your system asks for less motion: use the slider.", classes="about")
