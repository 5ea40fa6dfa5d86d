"""Images of half the resolution in NIfTI files, whose slices are the centre of the k-space of finer ones."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from monai_inn.applications.accelerated_mr.kspace_files import Measured
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.files import BadFileError
from monai_inn.reading.volumes import load_nifti, scaled, synthetic_mark

__all__ = ["is_image", "read_half"]

_RINGING = 0.1  # of the brightest voxel: what resampling may leave below 0


def is_image(path: str | PathLike[str]) -> bool:
    """Whether a file is an image by its name, and not k-space."""
    return Path(path).name.lower().endswith((".nii", ".nii.gz"))


def read_half(path: str | PathLike[str], problem: AcceleratedMR) -> tuple[Measured, Tensor]:
    """Read slices of half a problem's resolution; smaller ones get zeros at their ends.

    Args:
        path: NIfTI file, slices along its third axis.
        problem: the problem.

    Returns:
        The k-space of the slices and where they lie, and their brightness as read, ``(slices, rows,
        columns)``. A pixel of the finer grid has half the size; the first pixels of both have one middle.

    Raises:
        BadFileError: if the file is damaged, is synthetic, holds NaN or much below 0, or its slices are
            larger.
        ImportError: if nibabel is missing.
    """
    source = Path(path)
    image, stored = load_nifti(source)
    if synthetic_mark(image.header):
        raise BadFileError(f"{source}: the image is synthetic, nobody acquired it; give an acquired one.")
    values = torch.from_numpy(np.asarray(scaled(image, stored), np.float32))
    rows, columns = (n // 2 for n in problem.size)
    if values.ndim != 3 or values.shape[0] > columns or values.shape[1] > rows:
        raise BadFileError(
            f"{source}: shape {tuple(values.shape)}, expected slices of at most {columns} × {rows} pixels, "
            "half of those of this bundle's images; crop or resample them."
        )
    if not bool(values.isfinite().all()) or not bool((values > 0).any()):
        raise BadFileError(f"{source}: holds NaN, infinity or no brightness; repair it, or set NaN to 0.")
    low, high = float(values.min()), float(values.max())
    if low < -_RINGING * high:
        raise BadFileError(
            f"{source}: values from {low:g} to {high:g}; magnitude images of MR are not below 0. CT is "
            "not read here."
        )
    slices = values.permute(2, 1, 0)
    slices = functional.pad(slices, (0, columns - slices.shape[2], 0, rows - slices.shape[1]))
    kspace = torch.fft.fftshift(torch.fft.fft2(slices, norm="ortho"), (1, 2))
    affine = np.asarray(image.affine, np.float64)
    mm = np.linalg.norm(affine[:3, :3], axis=0)
    middles = np.array([[columns / 2, rows / 2, k, 1] for k in range(len(slices))])
    measured = Measured(
        kspace.unsqueeze(1),
        torch.ones(slices.shape, dtype=torch.bool),
        (float(rows * mm[1]), float(columns * mm[0]), float(mm[2])),
        (middles @ affine.T)[:, :3],
        (affine[:3, :3] / mm)[:, [1, 0, 2]],
    )
    return measured, slices
