"""The verb of accelerated MR: undersampled k-space in, the posterior of its images out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai_inn.arguments import add_image_posterior, given, progress_of

__all__ = ["add"]


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``reconstruct``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    sub = verb("reconstruct", reconstruct, "posterior of the images of undersampled k-space", _in_words)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle of the problem accelerated_mr")
    sub.add_argument("kspace", metavar="KSPACE", help="ISMRMRD file, or .npz with samples and mask; or NIfTI "
                     "file of images of half the resolution")  # fmt: skip
    add_image_posterior(sub, interval=0.95)
    sub.add_argument(
        "--noise-sd", type=float, metavar="SD", help="noise of such images, in their unit (2 %% of white)"
    )


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
        *_resolution(made["pixels"], made["pixels_measured"]),
        *(f"{result['out']}/{entry['file']}" for entry in result["files"]),
    ]
    return "\n".join([*lines, result["intended_use"]])


def _resolution(own: Sequence[int], whole: Sequence[int]) -> list[str]:
    """What is said if images have more or fewer pixels than were measured."""
    shown, measured = (" × ".join(map(str, size)) for size in (own, whole))
    if own == whole:
        return []
    if own[0] > whole[0]:
        return [f"{shown} pixels of scans of {measured}: what those leave open is Gaussian, in closed form"]
    return [f"{shown} of {measured} pixels: only the centre of k-space counts here"]
