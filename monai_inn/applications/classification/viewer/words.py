"""What the page says of a classified image, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["alarm", "odds", "sets"]


def alarm(entry: Mapping[str, Any], false_alarm: float) -> str:
    """Return the warning of an image of no class that the network knows; empty if it may be of one.

    Args:
        entry: what was said of the image.
        false_alarm: share of usual images that are warned of.
    """
    if not entry["is_of_no_class"]:
        return ""
    return (
        f"Of no class it knows: of 1,000 usual images {1000 * entry['p_value']:.0f} or fewer are as strange. "
        f"Do not rely on its class. (Alarm below {1000 * false_alarm:.0f} of 1,000.)"
    )


def sets(entry: Mapping[str, Any], coverage: float) -> str:
    """Return which classes cannot be excluded."""
    if not entry["set"]:
        return f"No class fits: of each class, at most {1 - coverage:.0%} of the images are as unlike it."
    names = " or ".join(entry["set"])
    also = "other classes are excluded" if len(entry["set"]) == 1 else "these cannot be told apart"
    return f"{names}: {also}. Of the images of each class, {coverage:.0%} keep it among the possible ones."


def odds(nats: float, first: str, second: str) -> str:
    """Return what all evidence together says, in nats and as a ratio."""
    better, worse = (first, second) if nats >= 0 else (second, first)
    ratio = math.exp(min(abs(nats), 99.0))
    times = f"{ratio:.2g} times" if ratio < 1e4 else "more than 10,000 times"
    return (
        f"All places together: {nats:+.2f} nat for {first} against {second}. At equal shares of both, "
        f"{better} is {times} as probable as {worse}."
    )
