"""The verb of rigid alignment: options, the call, and its result in words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from monai_inn.arguments import add_device, given, progress_of, range_of

__all__ = ["add"]


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``align``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    sub = verb("align", align, "find where a small CT or MR lies in a larger one", _in_words)
    sub.add_argument("fixed", metavar="FIXED", help="larger volume: NIfTI, NRRD or MetaImage")
    sub.add_argument("moving", metavar="MOVING", help="smaller volume, of the same or another modality")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--range", dest="ranges", action="append", default=[], type=range_of,
                     metavar="NAME=LOW:HIGH",
                     help="range of about_right, about_anterior, about_superior (degrees, ±15), right, "
                     "anterior, superior (mm from where the headers put it); may be repeated")  # fmt: skip
    sub.add_argument("--samples", type=int, default=1000, help="posterior samples of the pose (1000)")
    add_device(sub)


def align(arguments: argparse.Namespace) -> dict[str, Any]:
    """Find where one volume lies in another."""
    from monai_inn.applications.rigid.results import align as found_in

    options = given(arguments)
    with progress_of(arguments) as show:
        found = found_in(**options | {"ranges": dict(options["ranges"])}, progress=show)
    return {"out": arguments.out} | found


def _in_words(result: Mapping[str, Any]) -> str:
    from monai_inn.applications.rigid.results import motion_in_words

    trust = result["trust"]
    lines = [] if trust["is_trusted"] else [trust["statement"]]
    lines.append(result["ambiguity"]["statement"])
    for mode in result["modes"]:
        place = ", ".join(f"{value:.1f}" for value in mode["centre_ras_mm"])
        motion = motion_in_words(mode["motion"], mode["spread"])
        lines.append(f"  {mode['number']}: {mode['mass']:.1%}  {motion}")
        lines.append(f"     centre at R, A, S = {place} mm of the fixed image")
    lines += [trust["statement"]] if trust["is_trusted"] else []
    lines += [f"picture: {result['out']}/{name}" for name in result["pictures"]]
    return "\n".join([*lines, result["intended_use"]])
