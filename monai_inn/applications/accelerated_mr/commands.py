"""The verb of accelerated MR: undersampled k-space in, the posterior of its images out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from monai_inn.arguments import given, progress_of

__all__ = ["add"]


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``reconstruct``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    sub = verb("reconstruct", reconstruct, "posterior of the images of undersampled k-space", _in_words)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle of the problem accelerated_mr")
    sub.add_argument("kspace", metavar="KSPACE", help="ISMRMRD file, or .npz with samples and mask")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--samples", type=int, default=64, help="posterior samples of each slice (64)")
    sub.add_argument("--interval", type=float, default=0.95, help="probability inside the interval (0.95)")
    sub.add_argument("--keep", type=int, default=16, metavar="N", help="samples to write (16)")
    sub.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")


def reconstruct(arguments: argparse.Namespace) -> dict[str, Any]:
    """Reconstruct the images of a file."""
    from monai_inn.applications.accelerated_mr.reconstruction import reconstruct as reconstructed

    with progress_of(arguments) as show:
        found = reconstructed(**given(arguments), progress=lambda share: show(share, "reconstructing"))
    return {"out": arguments.out} | found


def _in_words(result: Mapping[str, Any]) -> str:
    made = result["reconstruction"]
    factors = made["acceleration"]
    lines = [
        f"{made['slices']} slice{'s' * (made['slices'] > 1)}, acceleration {max(factors):.3g}, "
        f"{made['coils']} coils, noise {max(made['noise_sd']):.2g} of white; {made['strange_slices']} unlike "
        "those of the training",
        *(f"{result['out']}/{entry['file']}" for entry in result["files"]),
    ]
    return "\n".join([*lines, result["intended_use"]])
