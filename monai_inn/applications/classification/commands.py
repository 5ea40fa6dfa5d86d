"""The verb of classification: image files in, classes with their probabilities out."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from monai_inn.arguments import add_device, given, progress_of

__all__ = ["add"]


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``classify``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    text = "classes of images, what speaks for them, and whether to trust"
    sub = verb("classify", classify, text, _in_words, is_random=False)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle that `fit labelled_images` wrote, or its name")
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="PNG, JPEG, TIFF, DICOM, NIfTI or NRRD")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--coverage", type=float, default=0.9,
                     help="probability that the set of classes holds the true one (0.9)")  # fmt: skip
    sub.add_argument("--false-alarm", type=float, default=0.05, help="share of usual images that may be "
                     "called of no class (0.05)")  # fmt: skip
    sub.add_argument("--shares", metavar="NAME=SHARE,…|estimated", type=_shares,
                     help="how frequent the classes are there (as in the training); estimated: found, with "
                     "how the classes lie, in the images themselves, some dozens at least")  # fmt: skip
    sub.add_argument("--levels", nargs=2, type=float, metavar=("BLACK", "WHITE"),
                     help="values that are black and white (0 255, 0 65535; DICOM: its window)")  # fmt: skip
    sub.add_argument("--truth", metavar="CSV", help="columns file, class and maybe group, to measure with")
    sub.add_argument(
        "--pictures",
        action="store_true",
        help="draw each image with its evidence, and the middle of each class",
    )
    add_device(sub)


def classify(arguments: argparse.Namespace) -> dict[str, Any]:
    """Classify images."""
    from monai_inn.applications.classification.classifying import classify as classified

    options = given(arguments)
    if options["levels"] is not None:
        options["levels"] = tuple(options["levels"])
    with progress_of(arguments) as show:
        found = classified(**options, progress=lambda share: show(share, "classifying"))
    return {"out": arguments.out} | found


def _shares(text: str) -> dict[str, float] | str:
    if text == "estimated":
        return text
    shares = {}
    for entry in text.split(","):
        name, equals, number = entry.partition("=")
        try:
            shares[name] = float(number)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise argparse.ArgumentTypeError(f"{entry!r} is not NAME=SHARE, e.g. normal=0.5")
    return shares


def _in_words(result: Mapping[str, Any]) -> str:
    lines = []
    for entry in result["images"]:
        best = entry["class"]
        sets = " or ".join(entry["set"]) or "none of them"
        share, p = entry["probability"][best], entry["p_value"]
        line = f"{entry['image']}: {best} ({share:.3f}); set: {sets}; p = {p:.3g}"
        lines += [line, *(f"  {note}" for note in entry["notes"])]
    assumed = ", ".join(f"{name} {share:.1%}" for name, share in result["shares"].items())
    lines.append(f"shares of the classes that the probabilities rest on: {assumed}")
    measured = result["measured"]
    if measured is not None:
        lines.append(
            f"{measured['accuracy']['value']:.1%} right, {measured['in_set']:.1%} in their set, calibration "
            f"error {measured['calibration_error']['value']:.3f}"
        )
        for name, row in measured["groups"].items():
            shares = [f"{row[figure]['value']:.1%}" for figure in ("accuracy", "in_set", "of_no_class")]
            lines.append(f"  {name}: {shares[0]} right, {shares[1]} in their set, {shares[2]} of no class "
                         f"({row['cases']} images)")  # fmt: skip
    out = result["out"]
    pictures = [entry["file"] for entry in result["files"] if entry["file"].endswith(".png")]
    lines += [*result["warnings"], f"table: {out}/classes.csv"]
    if pictures:
        lines.append(f"pictures: {out}/*.png ({len(pictures)} files)")
    lines.append(f"Next, in the browser: monai-inn view {shlex.quote(out)}")
    return "\n".join([*lines, result["intended_use"]])
