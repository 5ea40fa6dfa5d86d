"""The verb of planets: a table of them in, a table of what they are made of out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from monai_inn.arguments import given

__all__ = ["add"]


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``interiors``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    sub = verb("interiors", interiors, "fractions of core, mantle and water of a table of planets", _in_words)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle folder that `fit planets` wrote")
    sub.add_argument("table", metavar="CSV", help="columns name, mass_earth, radius_earth, mass_error, "
                     "radius_error; mass_up and mass_down in the place of an error")  # fmt: skip
    sub.add_argument("-o", "--out", required=True, metavar="CSV", help="table to write")


def interiors(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write what planets are made of."""
    from monai_inn.applications.planets.catalogue import infer_planets

    return infer_planets(**given(arguments))


def _in_words(result: Mapping[str, Any]) -> str:
    from monai_inn.applications.planets.problem import LAYERS

    lines = ["medians and 95 % intervals of the fractions of the mass"]
    for row in result["planets"]:
        layers = [f"{n} {row[n]:.2f} ({row[f'{n}_low']:.2f}–{row[f'{n}_high']:.2f})"
                  for n in LAYERS if row[n] is not None]  # fmt: skip
        lines.append(f"  {row['name']}: {', '.join([*layers, row['verdict']])}")
    return "\n".join([*lines, f"table: {result['out']}"])
