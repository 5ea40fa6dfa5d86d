"""What is laid over an image, and how."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Appearance"]

KINDS = (
    "off", "interval_width", "probability_below", "probability_above", "median", "sample", "mode_count",
    "waic", "adequacy", "difference",
)  # fmt: skip
OF_A_PIXEL = ("waic", "adequacy")
"""Kinds of maps that are the same whatever the parameter."""


@dataclass(frozen=True)
class Appearance:
    """What is laid over the image, and how.

    Args:
        kind: one of ``KINDS``; ``"off"`` shows the image alone.
        parameter: name of the parameter.
        opacity: of the map, 0 to 1.
        hide_below: share of the color scale below which the map is not drawn.
        graded: whether what is uncertain weighs more: widths fade in as they grow, medians fade out.
        threshold: of the probability, in the unit of the parameter.
        sample: which posterior sample, counted from 0.
        other: key of the run that a difference is taken to.
        pictures: names of the images below the map, see ``pictures``: one for all views, or one for each in
            the order red, green, yellow. The first of a run's images by default.
        map_beside: whether the first view shows the image without the map and all others the map by itself,
            opaque, so that each of its colors is that of a value; ``opacity`` then has no effect.
    """

    kind: str = "interval_width"
    parameter: str = ""
    opacity: float = 0.6
    hide_below: float = 0.0
    graded: bool = False
    threshold: float = 0.0
    sample: int = 0
    other: str = ""
    pictures: tuple[str, ...] = ()
    map_beside: bool = False

    @property
    def fades(self) -> bool:
        """Whether each voxel has its own transparency; the map by itself is opaque."""
        return self.graded and not self.map_beside

    @property
    def fades_with_width(self) -> bool:
        """Whether that follows the width of the interval, not the value that is drawn."""
        return self.fades and self.kind in ("median", "sample")
