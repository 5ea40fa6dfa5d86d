"""Results whose unknown is an image: the images that maps are laid over, one of them at a time or several."""

from __future__ import annotations

import slicer

from ..results.run import Run
from ..results.sequences import show_sample
from ..scene.marks import display_of, span

__all__ = ["picture", "pictures"]

_OWN = ("mean", "median", "sample")
_GREY = "vtkMRMLColorTableNodeGrey"


def pictures(run: Run) -> tuple[str, ...]:
    """Return the names of a run's images: those of its posterior, then those to compare them with.

    There are none where the unknown is not an image; maps then lie over what was measured.
    """
    if run.find("mean") is None:
        return ()
    own = [kind for kind in _OWN if run.find(kind) is not None]
    return (*own, *(file.parameter for file in run.result.files if file.kind == "reference"))


def picture(run: Run, name: str, sample: int = 0) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the volume of an image, in shades of gray over the scale of the parameter.

    Args:
        run: whose image it is.
        name: one of ``pictures``.
        sample: which posterior sample, counted from 0, if a sample is asked for.
    """
    shown = run.parameters[0]
    if name == "sample":
        volume = show_sample(run, shown.name, sample)
    else:
        volume = run.find(name, shown.name) if name in _OWN else run.find("reference", name)
    if volume is not None:
        display = display_of(volume)
        display.SetAndObserveColorNodeID(_GREY)
        display.ApplyThresholdOff()
        span(display, shown.low, shown.high)
    return volume
