"""How far apart two poses are where it matters: at points of the patient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PointSpread", "point_spread", "registration_error"]


class PointSpread(NamedTuple):
    """Where a point of the patient would lie if other poses were true.

    Attributes:
        mean: shape ``(3,)``, mm.
        covariance: shape ``(3, 3)``, mm².
    """

    mean: Tensor
    covariance: Tensor


def registration_error(estimate: Tensor, truth: Tensor, points: Tensor, *, in_plane: bool = False) -> Tensor:
    """Return the mean target registration error, mTRE: how far points end up from where they belong.

    Points are mapped into the camera's frame by both poses. Most of the error is along the beam, about which
    a single X-ray says little; what is left in the image plane is seen at its true size.

    Args:
        estimate: poses from camera to world, shape ``(…, 4, 4)``, mm.
        truth: poses that broadcast with them.
        points: landmarks in world coordinates, mm, shape ``(K, 3)``.
        in_plane: leave out what is along the beam.

    Returns:
        Mean distance in mm, shape ``(…)``, float64.
    """
    difference = _in_camera(estimate, points) - _in_camera(truth, points)
    return difference[..., : 2 if in_plane else 3].norm(dim=-1).mean(-1)


def _in_camera(camera: Tensor, points: Tensor) -> Tensor:
    rotation, source = camera[..., :3, :3].double(), camera[..., :3, 3].double()
    return (points.to(source) - source.unsqueeze(-2)) @ rotation


def point_spread(cameras: Tensor, shown: Tensor, point: Tensor) -> PointSpread:
    """Return the spread of a point that is seen in the image, over poses that the image allows.

    The point is taken where the shown pose sees it, and put into the patient by every other pose: what a
    surgeon who trusts the shown pose may be off by.

    Args:
        cameras: poses from camera to world, shape ``(S, 4, 4)``, mm.
        shown: one such pose, shape ``(4, 4)``.
        point: world coordinates, mm, shape ``(3,)``.
    """
    moved = cameras.double() @ torch.linalg.inv(shown.double())
    places = moved[:, :3, :3] @ point.double() + moved[:, :3, 3]
    centred = places - places.mean(0)
    return PointSpread(places.mean(0), centred.T @ centred / max(1, len(places) - 1))
