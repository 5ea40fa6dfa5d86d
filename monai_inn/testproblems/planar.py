"""Two problems whose observation is a point of the plane: the hand of a robot, and a place on two moons."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from monai_inn.problems import Observation, Parameter
from monai_inn.problems.exact.references import rejection_sample
from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive, split_parameters

__all__ = ["InverseKinematics", "TwoMoons"]

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

    name = "inverse_kinematics"
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


_OFFSET, _RADIUS, _RADIUS_SD = 0.25, 0.1, 0.01


class TwoMoons(KnownPosterior):
    """Point in a square of which one coordinate is seen without its sign, blurred to a crescent.

    The posterior is a pair of mirrored crescents. The noise-free observation is ``(−|a|, b)`` of the turned
    coordinates ``a = (x1 + x2) / √2`` and ``b = (x2 − x1) / √2``; the noise is not white, it adds a point of
    a half circle of radius ``N(0.1, 0.01²)`` around ``(0.25, 0)``.

    The exact posterior: samples are independent, a crescent, a sign, and rejection of points outside the
    square. The density's evidence is ½ unless the square cuts a crescent, and else good to 1 %.

    Source: Greenberg et al., Automatic posterior transformation, 2019, with the constants of Lueckmann et
    al., Benchmarking simulation-based inference, 2021.
    """

    name = "two_moons"
    observation = Observation.pixel("y1", "y2")
    parameters = (
        Parameter("x1", "1", -1.0, 1.0, "first coordinate of the point"),
        Parameter("x2", "1", -1.0, 1.0, "second coordinate of the point"),
    )
    targets = ("x1", "x2")

    def forward(self, theta: Tensor) -> Tensor:
        """Return the observation without the crescent, ``(…, 2)``, of points ``(…, 2)``."""
        x1, x2 = split_parameters(theta, self.space)
        return (torch.stack([-(x1 + x2).abs(), x2 - x1], -1) / math.sqrt(2)).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add a random point of the crescent."""
        uniform = torch.rand(y.shape[:-1], generator=generator, dtype=y.dtype, device=y.device)
        white = torch.randn(y.shape[:-1], generator=generator, dtype=y.dtype, device=y.device)
        angle, radius = math.pi * (uniform - 0.5), _RADIUS + _RADIUS_SD * white
        return y + torch.stack([_OFFSET + radius * angle.cos(), radius * angle.sin()], -1)

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 2)`` given one observation ``(2,)``."""
        zero = torch.zeros(1, 2, dtype=torch.float64)

        def propose(m: int) -> Tensor:
            sign = torch.randint(2, (m,)).double() * 2 - 1
            return _explanation(y, self.noise(zero.expand(m, 2)), sign)

        return rejection_sample(propose, lambda rows: torch.where(_in_square(rows), 0.0, -torch.inf), n)

    def log_evidence(self, y: Tensor) -> float:
        """Log of the prior predictive density of one observation ``(2,)``, nats, good to 0.01."""
        crescent = _crescent_nodes()
        row = y.cpu().double()
        signs = [crescent.new_full((len(crescent),), value) for value in (-1.0, 1.0)]
        shares = [_in_square(_explanation(row, crescent, sign)).double().mean() for sign in signs]
        # The prior density is ¼, and neither the turn nor the crescent's shift changes an area.
        return math.log(max(float(sum(shares)) / 4, 1e-300))

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(2,)`` given points ``(n, 2)``, nats, ``(n,)``."""
        across, along = (y - self.forward(theta)).unbind(-1)
        radius = torch.hypot(across - _OFFSET, along)
        z = (radius - _RADIUS) / _RADIUS_SD
        # Uniform over the half circle's length, which grows with the radius.
        crescent = (
            -0.5 * z.square() - math.log(_RADIUS_SD * math.sqrt(2 * math.pi)) - (math.pi * radius).log()
        )
        return torch.where(across > _OFFSET, crescent, -torch.inf)


def _explanation(y: Tensor, crescent: Tensor, sign: Tensor) -> Tensor:
    """Points ``(m, 2)`` that make ``y (2,)`` with these crescents ``(m, 2)``, NaN where none does."""
    size = crescent[:, 0] - y[0]
    a = torch.where(size >= 0, sign * size, torch.nan)
    b = y[1] - crescent[:, 1]
    return torch.stack([a - b, a + b], 1) / math.sqrt(2)


def _in_square(points: Tensor) -> Tensor:
    """Whether points ``(m, 2)`` are allowed by the prior, shape ``(m,)``; false for NaN."""
    return (points.abs() <= 1).all(-1)


@lru_cache(maxsize=1)
def _crescent_nodes() -> Tensor:
    """Points ``(K, 2)`` of equal probability under the crescent's law."""
    angle = math.pi * ((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000 - 0.5)
    radius = _RADIUS + _RADIUS_SD * torch.special.ndtri((torch.arange(50, dtype=torch.float64) + 0.5) / 50)
    angle, radius = angle[:, None], radius[None]
    return torch.stack([_OFFSET + radius * angle.cos(), radius * angle.sin()], -1).reshape(-1, 2)
