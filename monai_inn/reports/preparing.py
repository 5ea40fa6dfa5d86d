"""From a user's file to an image that a posterior can be asked about: calibrated, checked, masked."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.problems import InverseProblem

__all__ = ["image_files", "read_image"]

_ENVI = (".hdr", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip")


def read_image(
    path: str | PathLike[str],
    problem: InverseProblem,
    *,
    mask: str | PathLike[str] | None = None,
    white: str | None = None,
    dark: str | None = None,
    shrink: int = 1,
) -> MetaTensor:
    """Read an image for a problem; pixels that must not be inferred are NaN.

    Args:
        path: image of any format that ``read_multispectral`` takes.
        problem: what the image is for; its application checks the channels.
        mask: image that is not zero where results are wanted.
        white: white reference: an image file, or one number in units of the image.
        dark: dark reference, likewise; zero if only ``white`` is given.
        shrink: average blocks of so many pixels along each axis; a block with an invalid pixel is invalid.

    Returns:
        Image ``(C, *spatial)``, float32, NaN in every band of the invalid pixels.

    Raises:
        ValueError: if a file is damaged, or image, references and mask do not fit each other or the problem.
    """
    from monai_inn.transforms import CalibrateReflectance, read_multispectral

    problem.require_maps()
    image: MetaTensor = read_multispectral(path)
    as_read = image
    wanted = None if mask is None else read_multispectral(mask).as_tensor().nan_to_num().ne(0).any(0)
    if dark is not None and white is None:
        raise ValueError("a dark reference was given without a white one; give --white too.")
    application = problem.application
    image, usable = application.match(image, str(path)), application.usable()
    values = image.as_tensor().movedim(0, -1)
    of_a_pixel = problem.observation.kind != "neighbourhood"
    valid = problem.observation.is_usable(values) if of_a_pixel else torch.isfinite(values).all(-1)
    if white is not None:
        references = {
            "white": _reference(white, as_read),
            "dark": 0.0 if dark is None else _reference(dark, as_read),
        }
        # References have the bands in the order of the file, which matching may change.
        calibrated = cast("MetaTensor", CalibrateReflectance(**references)(as_read))
        image = application.match(calibrated, str(path))
    if usable is not None:
        valid = valid & usable(image)
    if wanted is not None:
        if wanted.shape != image.shape[1:]:
            raise ValueError(
                f"{mask}: mask of shape {tuple(wanted.shape)}, expected {tuple(image.shape[1:])}, "
                "as the image."
            )
        valid = valid & wanted
    image[:, ~valid] = torch.nan
    return _shrunk(image, shrink)


def _shrunk(image: MetaTensor, factor: int) -> MetaTensor:
    """Block means, with the affine of the larger pixels."""
    sizes = image.shape[1:]
    if factor < 1 or factor > min(sizes):
        raise ValueError(
            f"shrink = {factor}; give a number from 1 to {min(sizes)}, the shortest side of the image."
        )
    if factor == 1:
        return image
    values = image.as_tensor()
    for axis, size in enumerate(sizes, start=1):
        kept = size // factor * factor
        values = values.narrow(axis, 0, kept).unflatten(axis, (kept // factor, factor)).mean(axis + 1)
    scaling = torch.eye(len(image.affine), dtype=image.affine.dtype)
    for axis in range(len(sizes)):
        scaling[axis, axis], scaling[axis, -1] = factor, (factor - 1) / 2
    meta = {k: v for k, v in image.meta.items() if k not in ("affine", "saturated", "valid")}
    return type(image)(values, affine=image.affine @ scaling, meta=meta)


def _reference(given: str, image: Tensor) -> float | Tensor:
    """A reference as a number, an image of the same size, or one value a band."""
    from monai_inn.transforms import read_multispectral

    try:
        return float(given)
    except ValueError:
        reference = read_multispectral(given).as_tensor()
    if len(reference) != len(image):
        raise ValueError(f"{given}: reference of {len(reference)} bands, but the image has {len(image)}.")
    return reference if reference.shape == image.shape else reference.flatten(1).nanmean(1)


def image_files(path: str | PathLike[str]) -> list[Path]:
    """Return the files that an image consists of: an ENVI image has a header and its data."""
    source = Path(path)
    if source.suffix.lower() not in _ENVI:
        return [source]
    return sorted(f for f in source.parent.glob(f"{source.stem}.*") if f.suffix.lower() in _ENVI)
