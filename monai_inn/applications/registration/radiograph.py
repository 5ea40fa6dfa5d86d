"""What an X-ray unit makes of line integrals: scatter, beam hardening, an unknown exposure and contrast.

Seven numbers that no file tells are fitted with the pose; each has a prior. An image here is minus the
logarithm of the intensity, so that bone is bright, and an unknown exposure is an offset.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.raycasting import RayCaster, Rays

__all__ = ["NUISANCES", "Nuisance", "Radiograph"]


class Nuisance(NamedTuple):
    """A number that belongs to the X-ray unit: prior and bounds."""

    name: str
    mean: float
    sd: float
    low: float
    high: float
    meaning: str


NUISANCES = (
    Nuisance("offset", 0.0, 3.0, -15.0, 15.0, "logarithm of the unattenuated beam"),
    Nuisance("gain", 1.0, 0.25, 0.3, 3.0, "attenuation over that at 70 keV, or the exponent of the detector"),
    Nuisance(
        "hardening", 0.15, 0.1, 0.01, 0.6, "half the difference of two energies' attenuation over the mean"
    ),
    Nuisance("scatter", math.log(0.4), 0.7, -6.0, 1.5, "logarithm of scattered over primary intensity"),
    Nuisance(
        "scatter_mm", math.log(40.0), 0.35, 2.5, 5.0, "logarithm of the scatter's width on the detector"
    ),
    Nuisance("soft", 1.0, 0.4, 0.0, 3.0, "contrast of soft tissue over that in the CT"),
    Nuisance("bone", 1.2, 0.35, 0.2, 3.0, "contrast of bone over that in the CT"),
)
"""In the order of their last axis, behind the six of ``carm.POSE``."""

_WIDTH_STEP = 0.05  # of the logarithm, for the one slope that has no closed form


class Radiograph:
    """Images of a patient, minus log intensity, as functions of the pose and of what the unit does.

    Args:
        caster: line integrals of the patient.
        field: what the collimator leaves open, which is all that scatters, shape ``(rows, columns)``; all of
            the image by default.
        source: how far the source of each image is off its place, see ``RayCaster``; nowhere by default.
    """

    def __init__(self, caster: RayCaster, field: Tensor | None = None, source: Tensor | None = None) -> None:
        self.caster, self.field, self.source = caster, field, source

    @property
    def detector(self) -> Detector:
        """That of the images."""
        return self.caster.detector

    def __call__(self, pose: Tensor, nuisance: Tensor) -> Tensor:
        """Return images ``(B, rows, columns)`` of poses ``(B, 6)`` and nuisances ``(B, 7)``."""
        return self._intensity(self._rays(pose, nuisance, slopes=False).mixture, nuisance)[0]

    def linearised(self, pose: Tensor, nuisance: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and their slopes in poses and nuisances, ``(B, 13, rows, columns)``."""
        rays = self._rays(pose, nuisance, slopes=True)
        assert rays.slopes is not None
        path = rays.mixture
        image, primary, total, kernels = self._intensity(path, nuisance)
        _, gain, hardening, scatter, *_ = _columns(nuisance)
        bent = torch.tanh(gain * hardening * path)
        through = gain * (1 - hardening * bent) * primary
        # What changes the primary beam changes its scatter as well.
        direct = torch.stack(
            [
                path * (1 - hardening * bent) * primary,
                -gain * path * bent * primary,
                through * rays.second,
                through * rays.third,
            ],
            1,
        )
        direct = torch.cat([through.unsqueeze(1) * rays.slopes, direct], 1)
        scattered = scatter.exp().unsqueeze(1) * self._blurred(direct, [k.unsqueeze(1) for k in kernels])
        inner = (direct + scattered) / total.unsqueeze(1)
        wider = self._intensity(path, nuisance + _WIDTH_STEP * _one_hot("scatter_mm", nuisance))[0]
        more = primary / total - 1
        offset = torch.ones_like(image)
        pose_slopes, others = inner[:, :6], inner[:, 6:]
        slopes = [offset, others[:, 0], others[:, 1], more, (wider - image) / _WIDTH_STEP]
        return image, torch.cat([pose_slopes, torch.stack([*slopes, others[:, 2], others[:, 3]], 1)], 1)

    def _rays(self, pose: Tensor, nuisance: Tensor, *, slopes: bool) -> Rays:
        soft, bone = nuisance[:, -2], nuisance[:, -1]
        weights = torch.stack([torch.ones_like(soft), soft, bone], 1)
        return self.caster(pose, weights, self.source, slopes=slopes)

    def _intensity(self, path: Tensor, nuisance: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Minus log intensity; primary and total intensity, and what blurs the one into scatter."""
        offset, gain, hardening, scatter, width, *_ = _columns(nuisance)
        primary = torch.exp(-gain * path) * torch.cosh(gain * hardening * path)
        pitch = self.detector.spacing_mm
        kernels = [_blur(n, width.flatten().exp() / pitch) for n in path.shape[-2:]]
        blurred = self._blurred(primary, kernels)
        total = primary + scatter.exp() * blurred
        return offset - total.log(), primary, total, kernels

    def _blurred(self, image: Tensor, kernels: list[Tensor]) -> Tensor:
        rows, columns = kernels
        return rows @ (image if self.field is None else image * self.field) @ columns.transpose(-1, -2)


def _columns(nuisance: Tensor) -> tuple[Tensor, ...]:
    return nuisance.float()[:, :, None, None].unbind(1)


def _one_hot(name: str, like: Tensor) -> Tensor:
    chosen = [float(n.name == name) for n in NUISANCES]
    return torch.tensor(chosen, dtype=like.dtype, device=like.device)


def _blur(size: int, width: Tensor) -> Tensor:
    """Matrices ``(B, size, size)`` that blur along an axis; beyond the image its edge goes on."""
    at = torch.arange(size, dtype=width.dtype, device=width.device)
    beyond = torch.arange(1, 2 * size, dtype=width.dtype, device=width.device)
    scale = -0.5 / width.square()[:, None, None]
    kernel = torch.exp(scale * (at[:, None] - at).square())
    tail = torch.exp(scale * (at[:, None] + beyond).square()).sum(-1)
    kernel[:, :, 0] += tail
    kernel[:, :, -1] += tail.flip(1)
    return (kernel / kernel.sum(-1, keepdim=True)).float()
