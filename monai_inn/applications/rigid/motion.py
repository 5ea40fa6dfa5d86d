"""Rigid motions that lay one volume into another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MOTION", "Motions"]

MOTION: Mapping[str, tuple[str, str]] = {
    "about_right": ("deg", "moving image turned about the axis to the patient's right (nods)"),
    "about_anterior": ("deg", "moving image turned about the axis to the patient's front (bends sideways)"),
    "about_superior": ("deg", "moving image turned about the axis to the patient's head"),
    "right": ("mm", "moving image's centre moved to the patient's right"),
    "anterior": ("mm", "moving image's centre moved to the patient's front"),
    "superior": ("mm", "moving image's centre moved to the patient's head"),
}
"""Names, units and meanings of the six parameters, in the order of their last axis.

The first three are one rotation vector: its direction is the axis, its length the angle.
"""

_STEP = 1e-3  # degrees, of differences in double precision


class Motions(NamedTuple):
    """Rotations about the centre of the moving image, then shifts.

    Attributes:
        rotation: shape ``(B, 3, 3)``.
        slopes: of the rotation, per degree of each of its parameters, shape ``(B, 3, 3, 3)``.
        shift: mm, shape ``(B, 3)``.
    """

    rotation: Tensor
    slopes: Tensor
    shift: Tensor

    @classmethod
    def of(cls, theta: Tensor) -> Motions:
        """Return the motions of parameters ``(B, 6)``, degrees and mm."""
        steps = _STEP * torch.eye(3, dtype=theta.dtype, device=theta.device)
        around = theta[:, None, :3] + torch.stack([steps, -steps])[:, None]  # (2, B, 3, 3)
        ahead, behind = _rotation(around).unbind()
        return cls(_rotation(theta[:, :3]), (ahead - behind) / (2 * _STEP), theta[:, 3:])

    def matrix(self, centre: Tensor) -> Tensor:
        """Return the matrices ``(B, 4, 4)`` from the moving to the fixed image's RAS coordinates.

        Args:
            centre: of the moving image, RAS in mm, shape ``(3,)``.
        """
        matrix = torch.eye(4, dtype=self.shift.dtype).repeat(len(self.shift), 1, 1)
        matrix[:, :3, :3] = self.rotation
        matrix[:, :3, 3] = centre + self.shift - self.rotation @ centre
        return matrix


def _rotation(degrees: Tensor) -> Tensor:
    """Matrices ``(…, 3, 3)`` of rotation vectors ``(…, 3)``."""
    x, y, z = (degrees * math.pi / 180).unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return torch.linalg.matrix_exp(rows.unflatten(-1, (3, 3)))
