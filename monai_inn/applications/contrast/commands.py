"""The verb of contrast translation: observed contrasts in, maps of another one out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from monai_inn.arguments import add_image_posterior, given, progress_of

__all__ = ["add"]


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``translate``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    sub = verb("translate", translate, "maps of an MR contrast that was not acquired, from others", _in_words)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle that `fit contrast_translation` wrote")
    sub.add_argument("contrasts", metavar="NAME=FILE", nargs="+", type=_file,
                     help="NIfTI file of each observed contrast, brain only: t1=T1.nii.gz")  # fmt: skip
    add_image_posterior(sub, interval=0.9)
    sub.add_argument("--temperature", type=float, default=1.0, metavar="T",
                     help="what latents are multiplied by; below 1 samples are too alike (1)")  # fmt: skip
    sub.add_argument("--truth", metavar="FILE", help="the contrast itself, to measure the translation with")
    sub.add_argument("--lesions", metavar="FILE", help="mask of lesions, whose figures stand by themselves")


def translate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Translate the contrasts of a patient."""
    from monai_inn.applications.contrast.translation import translate as translated

    options = given(arguments)
    files = options.pop("contrasts")
    with progress_of(arguments) as show:
        found = translated(files=dict(files), **options, progress=lambda share: show(share, "translating"))
    return {"out": arguments.out} | found


def _file(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, e.g. t1=T1.nii.gz")
    return name, file


def _in_words(result: Mapping[str, Any]) -> str:
    trust = result["translation"]
    lines = [
        result["synthetic"],
        f"{trust['share_of_brain_translated']:.0%} of the brain in {trust['slices']} slices, "
        f"{trust['strange_slices']} of them unlike those of the training",
        result["measured_in_words"],
        *(f"{result['out']}/{entry['file']}" for entry in result["files"]),
    ]
    return "\n".join([*lines, result["intended_use"]])
