"""Eight Gaussians in the plane, of which only a label is seen."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from monai_inn.problems.known import WhiteNoise, check_positive, split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["EightModes"]

_FAR, _NEAR, _SD = 2.4142, 1.0, 0.2
# Clockwise from the one on the upper left.
_CENTRES = (
    (-_FAR, _NEAR),
    (-_NEAR, _FAR),
    (_NEAR, _FAR),
    (_FAR, _NEAR),
    (_FAR, -_NEAR),
    (_NEAR, -_FAR),
    (-_NEAR, -_FAR),
    (-_FAR, -_NEAR),
)
_LABELS = {
    "all": (0, 1, 2, 3, 4, 5, 6, 7),
    "some": (0, 0, 0, 0, 1, 1, 2, 3),
    "none": (0, 0, 0, 0, 0, 0, 0, 0),
}


class EightModes(WhiteNoise):
    """Point drawn from one of eight Gaussians, of which a label is seen that several of them may share.

    The centres lie on a circle, ten standard deviations apart; the posterior is the mixture of those with
    the label that was seen. The label comes in eight channels, 1 in its own and 0 elsewhere, with white
    noise on each, so that it has a density.

    Args:
        labels: ``"all"`` (each Gaussian has its own), ``"some"`` (shared by 4, 2, 1 and 1) or ``"none"``
            (one for all: the observation says nothing).
        noise_sd: standard deviation of the noise on each channel.

    Raises:
        ValueError: if there are no such labels, or the noise is not positive.

    Source: Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019, section 4.1.
    """

    name: ClassVar[str] = "eight_modes"
    observation = Observation.pixel(*(f"label_{i}" for i in range(len(_CENTRES))))

    def __init__(self, labels: str = "some", noise_sd: float = 0.1) -> None:
        if labels not in _LABELS:
            raise ValueError(f"unknown labels {labels!r}; choose one of {', '.join(_LABELS)}.")
        self.labels, self.noise_sd = labels, check_positive("noise_sd", noise_sd)
        spread = math.sqrt((_FAR**2 + _NEAR**2) / 2 + _SD**2)
        self.parameters = tuple(
            Parameter(name, "1", -math.inf, math.inf, f"{direction} coordinate of the point", sd=spread)
            for name, direction in (("x1", "horizontal"), ("x2", "vertical"))
        )
        self.targets = self.space.names

    @property
    def prior(self) -> MixtureSameFamily:
        """Equal mixture of the eight Gaussians, event shape ``(2,)``."""
        return _mixture(torch.zeros(len(_CENTRES)))

    def forward(self, theta: Tensor) -> Tensor:
        """Return the label of the nearest centre, 1 in its channel, ``(…, 8)``, of points ``(…, 2)``."""
        point = torch.stack(split_parameters(theta, self.space), -1)
        centres = torch.tensor(_CENTRES, dtype=point.dtype, device=point.device)
        nearest = (point.unsqueeze(-2) - centres).square().sum(-1).argmin(-1)
        return self._channels(theta)[nearest]

    def _channels(self, like: Tensor) -> Tensor:
        """Noise-free observation of each Gaussian, shape ``(8, 8)``."""
        eye = torch.eye(len(_CENTRES), dtype=like.dtype, device=like.device)
        return eye[list(_LABELS[self.labels])]

    def reference_posterior(self, y: Tensor) -> MixtureSameFamily:
        """Return the posterior of labels ``(…, 8)`` in closed form.

        Exact but for the mass of a Gaussian that is nearer to another centre, 6e-7.
        """
        distance = (y.unsqueeze(-2) - self._channels(y)).square().sum(-1)
        return _mixture(-0.5 * distance / self.noise_sd**2)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"labels": self.labels, "noise_sd": self.noise_sd}


def _mixture(logits: Tensor) -> MixtureSameFamily:
    """Mixture of the eight Gaussians with weights ``softmax(logits)``, logits of shape ``(…, 8)``."""
    centres = logits.new_tensor(_CENTRES).expand(*logits.shape, 2)
    covariance = _SD**2 * torch.eye(2, dtype=logits.dtype, device=logits.device)
    return MixtureSameFamily(Categorical(logits=logits), MultivariateNormal(centres, covariance))
