"""What is said of a classified image, in plain words, in Slicer and in the browser."""

from __future__ import annotations

import math
from pathlib import PureWindowsPath
from typing import Any

from ..translating import tr as _

__all__ = [
    "class_alarm",
    "class_odds",
    "class_p_value",
    "class_sets",
    "class_shares",
    "classes_found",
    "image_title",
]

_MOST_TIMES, _MOST_NATS = 1e4, 99.0


def class_alarm(entry: dict[str, Any], false_alarm: float) -> str:
    """Return the warning of an image of no class that the network knows; empty if it may be of one.

    Args:
        entry: what was said of the image.
        false_alarm: share of usual images that are warned of.
    """
    if not entry["is_of_no_class"]:
        return ""
    return _(
        "Of no class it knows: of 1,000 usual images {strange:.0f} or fewer are as strange. "
        "Do not rely on its class. (Alarm below {limit:.0f} of 1,000.)"
    ).format(strange=1000 * entry["p_value"], limit=1000 * false_alarm)


def class_p_value(entry: dict[str, Any]) -> str:
    """Return how strange an image is."""
    text = _("p = {p:.2g}: the share of usual images that are as strange.")
    return text.format(p=entry["p_value"])


def class_sets(entry: dict[str, Any], coverage: float) -> str:
    """Return which classes cannot be excluded."""
    if not entry["set"]:
        text = _("No class fits: of each class, at most {rest:.0%} of the images are as unlike it.")
        return text.format(rest=1 - coverage)
    also = _("other classes are excluded") if len(entry["set"]) == 1 else _("these cannot be told apart")
    text = _("{names}: {also}. Of the images of each class, {coverage:.0%} keep it among the possible ones.")
    return text.format(names=_(" or ").join(entry["set"]), also=also, coverage=coverage)


def class_odds(nats: float, first: str, second: str) -> str:
    """Return what all evidence together says, in nats and as a ratio."""
    better, worse = (first, second) if nats >= 0 else (second, first)
    ratio = math.exp(min(abs(nats), _MOST_NATS))
    times = _("{ratio:.2g} times").format(ratio=ratio) if ratio < _MOST_TIMES else _("more than 10,000 times")
    return _(
        "All places together: {nats:+.2f} nat for {first} against {second}. At equal shares of both, "
        "{better} is {times} as probable as {worse}."
    ).format(nats=nats, first=first, second=second, better=better, times=times, worse=worse)


def class_shares(record: dict[str, Any]) -> str:
    """Return under which shares of the classes the probabilities hold."""
    shares = ", ".join(
        _("{share:.0%} of the images are {name}").format(share=share, name=name)
        for name, share in record["shares"].items()
    )
    return _("If the image is of one of them, where {shares}.").format(shares=shares)


def classes_found(record: dict[str, Any]) -> str:
    """Return how many images are of no class."""
    strange = sum(entry["is_of_no_class"] for entry in record["images"])
    text = _("{strange} of {all} images are of no class it knows")
    return text.format(strange=strange, all=len(record["images"]))


def image_title(record: dict[str, Any], number: int) -> str:
    """Return the name of an image, and what is said of it. A record from Windows has other slashes."""
    entry = record["images"][number]
    found = _("of no class") if entry["is_of_no_class"] else entry["class"]
    return f"{number + 1}. {PureWindowsPath(entry['image']).name} – {found}"
