"""What the page says: names of the maps, and what a result is worth, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_inn.viewer.display import Shown

__all__ = [
    "INTENDED_USE",
    "KINDS",
    "calibration",
    "describe",
    "facts",
    "hint",
    "title",
]

INTENDED_USE = "Research only. Not a medical device"

KINDS: dict[str, tuple[str, str]] = {
    "off": ("Off", "The image alone, with patterns where its maps must not be read."),
    "interval_width": (
        "Interval width",
        "How far apart the ends of the {interval:.0%} interval are: wide means uncertain.",
    ),
    "probability_below": (
        "Probability below",
        "How probable it is that the value lies below the threshold.",
    ),
    "probability_above": (
        "Probability above",
        "How probable it is that the value lies above the threshold: the share of the stored samples.",
    ),
    "median": ("Median", "Half of the probability lies below this value, half above."),
    "sample": (
        "One sample",
        "One possible image among many that fit the measurement. Step through them to see what is certain.",
    ),
    "mode_count": ("Number of modes", "How many separate answers fit the measurement."),
    "waic": (
        "WAIC",
        "How unlike the training data a pixel is, in nats. High means: do not trust the numbers there.",
    ),
    "adequacy": (
        "Adequacy",
        "How often a simulation of the model fits no better. Low means: the model does not fit the pixel.",
    ),
}
"""Name and explanation of each kind of map."""


def title(kind: str) -> str:
    """Name of a kind of map."""
    return KINDS[kind][0]


def describe(kind: str, record: dict[str, Any]) -> str:
    """Explain a kind of map in one sentence.

    Args:
        kind: kind of map.
        record: content of ``result.json``.
    """
    return KINDS[kind][1].format(interval=record["settings"].get("interval", 0.95))


def facts(record: dict[str, Any]) -> list[str]:
    """Where a result comes from, and how much of it may be trusted."""
    bundle = record["bundle"]
    said = [f"Bundle {bundle.get('name', 'unknown')} {bundle.get('version', '')}".strip()]
    if bundle.get("camera"):
        said.append(f"device {bundle['camera']}")
    if change := record.get("change"):
        said.append(f"{change['second']} minus {change['first']}, whose errors are taken as independent")
    share = record["summary"].get("share_untrusted")
    said.append(
        "trust not assessed"
        if share is None
        else f"{100 * share:.1f} % of usable pixels not explained (out of distribution)"
    )
    return said + list(map(str, record.get("warnings", [])))


def calibration(record: dict[str, Any], shown: Shown) -> str:
    """How well the intervals of a parameter keep what they promise.

    Args:
        record: content of ``result.json``.
        shown: the parameter.
    """
    found = record["bundle"].get("calibration") or {}
    error = (found.get("errors") or {}).get(shown.name)
    if error is None:
        return f"calibration of {shown.label} not measured"
    return f"calibration error of {shown.label}: {100 * error:.2f} % on {found['simulations']:,} simulations"


def hint(flat: bool, is_stored: bool) -> str:
    """How to look around, and how to read a posterior.

    Args:
        flat: whether the image has a single slice.
        is_stored: whether the result holds quantiles, or samples of an image.
    """
    read = "Click in the image, or focus it and press the arrow keys."
    if not is_stored:
        read = "No quantiles are stored; infer with --save-quantiles 16 to read posteriors here."
    wheel = "The wheel or right drag zooms" if flat else "The wheel turns slices, right drag zooms"
    return f"{read} {wheel}, Shift and drag moves the image."
