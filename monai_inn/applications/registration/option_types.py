"""Options of the command line that name pose parameters."""

from __future__ import annotations

import argparse

__all__ = ["range_of", "value_of"]


def range_of(text: str) -> tuple[str, tuple[float, float]]:
    """Return name and bounds of ``NAME=LOW:HIGH``."""
    name, _, edges = text.partition("=")
    try:
        low, high = (float(edge) for edge in edges.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=LOW:HIGH, e.g. lao=-60:60") from None
    return name, (low, high)


def value_of(text: str) -> tuple[str, float]:
    """Return name and value of ``NAME=VALUE``."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, e.g. roll=5") from None
