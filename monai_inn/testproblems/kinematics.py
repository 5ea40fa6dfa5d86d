"""Pose of a robot arm from where its hand is: few observations, many poses."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive, split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter
from monai_inn.problems.references import rejection_sample

__all__ = ["InverseKinematics"]

_ARMS_M = (0.5, 0.5, 1.0)
_RAIL_SD_M, _ANGLE_SD_RAD = 0.25, 0.5
_REACH_SD = 5.5
_LEAST_NOISE_OF_DENSITY_M = 0.03
_STEP_PER_WIDTH = 1.4


class InverseKinematics(WhiteNoise, KnownPosterior):
    """Height and joint angles of a three-armed robot on a rail, from the position of its hand.

    The angles are relative, each to the arm before. Two observations of four parameters leave a ridge of
    poses with two branches, elbow up and elbow down. The sheet of Kruse et al. has no observation noise,
    so that its posterior has no density; here each coordinate has some, for which the posterior is sampled
    exactly: rejection on the angles, and the rail given the angles in closed form.

    Channel order: ``hand_x`` (along the arms, sum of cosines) first, then ``hand_y`` (along the rail, sum
    of sines plus the rail). Other packages swap them.

    The exact posterior: samples are independent. The density's evidence is a sum over a grid of angles that
    resolves the noise, good to 0.1 %; it needs ``noise_sd_m`` of at least 0.03 m.

    Args:
        noise_sd_m: standard deviation of the noise on each coordinate, in m.

    Raises:
        ValueError: if the noise is not positive.

    Source: Kruse et al., Benchmarking invertible architectures on inverse problems, 2021.
    """

    name: ClassVar[str] = "inverse_kinematics"
    observation = Observation.pixel("hand_x", "hand_y")

    def __init__(self, noise_sd_m: float = 0.05) -> None:
        self.noise_sd = self.noise_sd_m = check_positive("noise_sd_m", noise_sd_m)
        unbounded = (-math.inf, math.inf)
        self.parameters = (
            Parameter("rail", "m", *unbounded, "height of the base on its rail", sd=_RAIL_SD_M),
            Parameter("angle_1", "rad", *unbounded, "joint 1, to the horizontal", sd=_ANGLE_SD_RAD),
            Parameter("angle_2", "rad", *unbounded, "joint 2, to the first arm", sd=_ANGLE_SD_RAD),
            Parameter("angle_3", "rad", *unbounded, "joint 3, to the second arm", sd=_ANGLE_SD_RAD),
        )
        self.targets = self.space.names

    def forward(self, theta: Tensor) -> Tensor:
        """Return the position of the hand in m, ``(…, 2)``, of heights and angles ``(…, 4)``."""
        rail, *angles = split_parameters(theta, self.space)
        across, along = _hand(torch.stack(angles, -1))
        return torch.stack([across, rail + along], -1).to(theta.dtype)

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 4)`` given one observation ``(2,)``."""
        angles = rejection_sample(
            lambda m: _ANGLE_SD_RAD * torch.randn(m, 3, dtype=torch.float64),
            lambda rows: self._misfit(y, *_hand(rows)),
            n,
        )
        variance = 1 / (1 / _RAIL_SD_M**2 + 1 / self.noise_sd_m**2)
        mean = variance * (y[1] - _hand(angles)[1]) / self.noise_sd_m**2
        rail = mean + math.sqrt(variance) * torch.randn(n, dtype=torch.float64)
        return torch.cat([rail[:, None], angles], 1)

    def _misfit(self, y: Tensor, across: Tensor, along: Tensor) -> Tensor:
        """Log likelihood of the angles, the rail integrated out, less its bound."""
        variance = _RAIL_SD_M**2 + self.noise_sd_m**2
        return -0.5 * ((y[0] - across) / self.noise_sd_m).square() - 0.5 * (y[1] - along).square() / variance

    def log_evidence(self, y: Tensor) -> float:
        """Log of the prior predictive density of one observation ``(2,)``, nats, good to 0.001.

        Raises:
            ValueError: if the noise is below 0.03 m, which the grid would need too many nodes to resolve.
        """
        if self.noise_sd_m < _LEAST_NOISE_OF_DENSITY_M:
            raise ValueError(
                f"the density needs noise_sd_m of at least {_LEAST_NOISE_OF_DENSITY_M} m, it is "
                f"{self.noise_sd_m}; samples do not."
            )
        across, along, log_weight = _angle_grid(self.noise_sd_m)
        total = (log_weight + self._misfit(y.cpu().double(), across, along)).logsumexp(0)
        variance = _RAIL_SD_M**2 + self.noise_sd_m**2
        return float(total) - math.log(2 * math.pi * self.noise_sd_m * math.sqrt(variance))

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"noise_sd_m": self.noise_sd_m}


def _hand(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Position of the hand relative to the base, two of shape ``(…)``, for joint angles ``(…, 3)``."""
    absolute = angles.cumsum(-1)
    arms = torch.tensor(_ARMS_M, dtype=angles.dtype, device=angles.device)
    return absolute.cos() @ arms, absolute.sin() @ arms


@lru_cache(maxsize=2)
def _angle_grid(noise_sd_m: float) -> tuple[Tensor, Tensor, Tensor]:
    """Hand positions and log prior weights of a grid of angles that resolves the noise, each ``(K,)``.

    The trapezoidal rule converges exponentially for such integrands once its step is near their width,
    which is the noise over the hand's speed: at most 2, 1.5 and 1 m per rad at the three joints.
    """
    axes = []
    for speed in (2.0, 1.5, 1.0):
        step = _STEP_PER_WIDTH * noise_sd_m / speed
        half = math.ceil(_REACH_SD * _ANGLE_SD_RAD / step)
        axes.append(step * torch.arange(-half, half + 1, dtype=torch.float64))
    parts = []
    for first in axes[0]:
        angles = torch.cartesian_prod(first[None], axes[1], axes[2])
        z = (angles / _ANGLE_SD_RAD).square().sum(-1)
        angles, z = angles[z < _REACH_SD**2], z[z < _REACH_SD**2]
        parts.append(torch.stack([*_hand(angles), -0.5 * z]))
    across, along, log_weight = torch.cat(parts, 1)
    return across, along, log_weight - log_weight.logsumexp(0)
