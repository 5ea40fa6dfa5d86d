"""Smooth displacement fields: B-spline velocities, their exponential, warped images, Jacobian determinants.

Conventions. A displacement ``u`` maps a point ``x`` of the fixed image to the point ``x + u(x)`` of the
moving image that shows the same tissue: a warped image is ``moving(x + u(x))``. Fields have the shape
``(…, dims, *spatial)`` with two or three spatial axes; component ``i`` points along array axis ``i``.
Vectors, spacings and positions are in mm; voxel ``k`` of an axis lies at ``k · spacing``. Everything is
batched over the leading axes and differentiable.

Source: Rueckert et al., Nonrigid registration using free-form deformations, 1999 (B-splines); Arsigny et al.,
A log-Euclidean framework for statistics on diffeomorphisms, 2006 (scaling and squaring).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["displacement_of_velocity", "jacobian_determinant", "spline_basis", "spline_velocity", "warp"]

_SQUARINGS = 6


def spline_basis(size: int, num_control: int) -> Tensor:
    """Weights of equidistant control points on the voxels of an axis, shape ``(size, num_control)``, float64.

    The first control point lies on the first voxel, the last on the last one. Beyond them the coefficients
    go on unchanged, so that the weights of every voxel sum to one, those at the borders included.

    Args:
        size: number of voxels, at least 2.
        num_control: number of control points, at least 2.

    Raises:
        ValueError: if either is smaller.
    """
    if min(size, num_control) < 2:
        raise ValueError(f"{num_control} control points on {size} voxels; give at least 2 of each.")
    position = torch.linspace(0, num_control - 1, size, dtype=torch.float64)
    # One more control point on each side reaches into the image; its coefficient is that of the border.
    weights = _cubic(position[:, None] - torch.arange(-1, num_control + 1, dtype=torch.float64))
    basis = weights[:, 1:-1].clone()
    basis[:, 0] += weights[:, 0]
    basis[:, -1] += weights[:, -1]
    return basis


def _cubic(t: Tensor) -> Tensor:
    """The uniform cubic B-spline at distances ``t``, in control points, from its centre."""
    t = t.abs()
    near = 2 / 3 - t.square() + t**3 / 2
    return torch.where(t < 1, near, (2 - t).clamp_min(0) ** 3 / 6)


def spline_velocity(coefficients: Tensor, spatial: Sequence[int]) -> Tensor:
    """Return the velocity field of B-spline coefficients.

    Args:
        coefficients: velocities of the control points in mm per unit time, ``(…, dims, *control)``.
        spatial: number of voxels along each of the ``dims`` axes.

    Returns:
        The velocity in mm per unit time, shape ``(…, dims, *spatial)``.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    dims = _num_axes(coefficients, len(spatial))
    field = coefficients
    for axis, size in enumerate(spatial):
        basis = spline_basis(size, coefficients.shape[axis - dims]).to(coefficients)
        field = (field.movedim(axis - dims, -1) @ basis.T).movedim(-1, axis - dims)
    return field


def displacement_of_velocity(velocity: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Return the displacement after unit time in a stationary velocity field, by scaling and squaring.

    The flow of a smooth velocity is invertible, and that of ``-velocity`` is its inverse, both up to the
    error of linear interpolation. Outside of the image the velocity is that of the nearest border point.

    Args:
        velocity: velocity in mm per unit time, ``(…, dims, *spatial)``.
        spacing_mm: distance of the voxels along each axis.

    Returns:
        The displacement in mm, same shape.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    dims = _num_axes(velocity, len(spacing_mm))
    fields = velocity.reshape(-1, *velocity.shape[-dims - 1 :]) / 2**_SQUARINGS
    for _ in range(_SQUARINGS):
        fields = fields + _interpolated(fields, fields, spacing_mm)
    return fields.reshape(velocity.shape)


def warp(image: Tensor, displacement: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Return ``image`` at the displaced voxel positions, linear between voxels, border values beyond them.

    Args:
        image: image in any unit, ``(…, *spatial)``; its leading axes broadcast with the displacement's.
        displacement: displacement in mm, ``(…, dims, *spatial)``.
        spacing_mm: distance of the voxels along each axis.

    Returns:
        The warped image, ``(…, *spatial)``.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    dims = _num_axes(displacement, len(spacing_mm))
    spatial = displacement.shape[-dims:]
    if image.shape[-dims:] != spatial:
        raise ValueError(
            f"the image's shape {tuple(image.shape)} does not end in the displacement's, {tuple(spatial)}."
        )
    batch = torch.broadcast_shapes(image.shape[:-dims], displacement.shape[: -dims - 1])
    images = image.to(displacement).expand(*batch, *spatial).reshape(-1, 1, *spatial)
    fields = displacement.expand(*batch, dims, *spatial).reshape(-1, dims, *spatial)
    return _interpolated(images, fields, spacing_mm).reshape(*batch, *spatial)


def jacobian_determinant(displacement: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Return the determinant of the Jacobian of ``x → x + u(x)``, by central differences.

    It is the local change of volume: 1 without a deformation, not positive where tissue is folded. At the
    borders differences are one-sided.

    Args:
        displacement: displacement in mm, ``(…, dims, *spatial)``.
        spacing_mm: distance of the voxels along each axis.

    Returns:
        The determinant, a pure number, ``(…, *spatial)``.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    dims = _num_axes(displacement, len(spacing_mm))
    axes = tuple(range(displacement.ndim - dims, displacement.ndim))
    slopes = torch.gradient(displacement, spacing=tuple(map(float, spacing_mm)), dim=axes)
    matrix = torch.stack(slopes, -1).movedim(-dims - 2, -2)
    return torch.linalg.det(matrix + torch.eye(dims).to(matrix))


# MONAI's Warp and DVF2DDF do the same in voxels (the tests compare them). They keep the grid of their last
# call, which neither threads nor devices can share, warn whenever they are made without MONAI's compiled
# extension, and importing them takes longer than all of monai_inn.problems.
def _interpolated(images: Tensor, displacement: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Images ``(n, C, *spatial)`` at the points that fields ``(n, dims, *spatial)`` in mm lead to."""
    grid = images.new_empty(len(displacement), *images.shape[2:], len(spacing_mm))
    for axis, step in enumerate(spacing_mm):
        size = images.shape[2 + axis]
        shape = [-1 if other == axis else 1 for other in range(len(spacing_mm))]
        voxels = torch.linspace(-1, 1, size, dtype=images.dtype, device=images.device).reshape(shape)
        # The last array axis comes first in grid_sample.
        grid[..., -1 - axis] = voxels + displacement[:, axis] * (2 / (step * (size - 1)))
    return functional.grid_sample(images, grid, "bilinear", "border", align_corners=True)


def _num_axes(field: Tensor, dims: int) -> int:
    """Return the number of spatial axes of a field ``(…, dims, *spatial)``, which is checked."""
    if dims not in (2, 3):
        raise ValueError(f"{dims} spatial axes; fields have 2 or 3.")
    if field.ndim < dims + 1 or field.shape[-dims - 1] != dims or min(field.shape[-dims:]) < 2:
        raise ValueError(
            f"a field of shape {tuple(field.shape)} is not (…, {dims}, *spatial) with {dims} spatial axes of "
            "at least 2 points."
        )
    return dims
