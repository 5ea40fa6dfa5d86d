"""Moving images of deformable registration: the default one, and what is asked of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_inn.problems.known import check_positive

__all__ = [
    "PHANTOM_SPACING_MM",
    "check_control_points",
    "check_image",
    "check_projection_axis",
    "check_spacing",
    "vertebra_and_rod",
]

PHANTOM_SPACING_MM = 2.0
_PIXELS = 20


def vertebra_and_rod() -> Tensor:
    """A vertebral body with its canal above a straight rod that runs along axis 1; brightness 0 to 1."""
    mm = torch.arange(_PIXELS, dtype=torch.float64) * PHANTOM_SPACING_MM
    down, right = torch.meshgrid(mm, mm, indexing="ij")
    # Edges are a pixel wide, so that linear interpolation between pixels does them no harm.
    body = 1 - (((down - 12) / 7) ** 4 + ((right - 19) / 9) ** 4) ** 0.25
    canal = torch.exp(-0.5 * ((down - 14).square() + (right - 19).square()) / 3.0**2)
    rod = torch.exp(-0.5 * ((down - 30) / 2.0) ** 2)
    return torch.sigmoid(body * 7) * (1 - 0.7 * canal) + 0.8 * rod


def check_image(moving: Tensor | Sequence[Any]) -> Tensor:
    """Return a moving image or volume, float32.

    Raises:
        ValueError: if it is not a finite array of two or three axes with something brighter than 0.
    """
    image = torch.as_tensor(moving, dtype=torch.float32)
    if image.ndim not in (2, 3) or min(image.shape) < 2 or not bool(image.isfinite().all()):
        raise ValueError(
            f"moving has shape {tuple(image.shape)}; give a finite image or volume, 2 voxels an axis or more."
        )
    if not float(image.max()) > 0:
        raise ValueError("moving has no voxel brighter than 0, and nothing to register.")
    return image


def check_spacing(spacing_mm: Sequence[float] | None, dims: int) -> tuple[float, ...]:
    """Return the distance of voxels along each axis.

    Raises:
        ValueError: if there is not one positive number for each axis.
    """
    if spacing_mm is None or len(spacing_mm) != dims:
        raise ValueError(f"spacing_mm = {spacing_mm}; give the distance of voxels along each of {dims} axes.")
    return tuple(check_positive("spacing_mm", step) for step in spacing_mm)


def check_control_points(control_points: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """Return the number of control points along each axis.

    Raises:
        ValueError: if there are not at least two for each.
    """
    points = (control_points,) * dims if isinstance(control_points, int) else tuple(control_points)
    if len(points) != dims or min(points) < 2:
        raise ValueError(f"control_points = {control_points}; give at least 2 for each of {dims} axes.")
    return points


def check_projection_axis(projection_axis: int | None, dims: int) -> int | None:
    """Return the axis of the line integral, or ``None``.

    Raises:
        ValueError: if the image has no such axis.
    """
    if projection_axis is not None and not 0 <= projection_axis < dims:
        raise ValueError(f"projection_axis = {projection_axis}; give one of 0 to {dims - 1}, or None.")
    return projection_axis
