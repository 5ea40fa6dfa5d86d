"""Limited-angle CT of a small image, whose posterior is known."""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from monai_inn.problems import Observation
from monai_inn.problems.known import WhiteNoise, check_positive
from monai_inn.problems.parameters import pixel_parameters
from monai_inn.problems.stationary import StationaryNormal
from monai_inn.testproblems.fields import falling_power, filtered

__all__ = ["DiscCT"]

_BODY = 2.0  # attenuation of the disc, standard deviations of the field
_RADIUS = 0.4  # of the disc, sides of the image


class DiscCT(WhiteNoise):
    """Parallel projections of a disc with a random texture, over less than half a turn.

    The image is a disc plus a Gaussian field of unit variance. A projection sums pixels along lines of one
    direction, with linear interpolation, and has white noise. Directions are evenly spread around that along
    the columns. What waves vary along directions that no projection has, the missing wedge, stays as the
    prior tells it. The posterior is Gaussian; dense matrices give it.

    Args:
        side: pixels along each axis, and of the detector.
        angles: number of projections.
        range_deg: range of their directions, degrees.
        noise_sd: standard deviation of the noise of each line integral, pixels times the field's standard
            deviation.

    Raises:
        ValueError: if a number is not positive, or the range is more than half a turn.
    """

    name: ClassVar[str] = "disc_ct"

    def __init__(
        self, side: int = 32, angles: int = 24, range_deg: float = 120.0, noise_sd: float = 1.0
    ) -> None:
        self.side, self.angles = int(check_positive("side", side)), int(check_positive("angles", angles))
        self.range_deg, self.noise_sd = float(range_deg), check_positive("noise_sd", noise_sd)
        if not 0 < self.range_deg <= 180:
            raise ValueError(f"range_deg = {range_deg}; give a range above 0 and up to 180 degrees.")
        self.spectrum = falling_power(self.side)
        place = torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2
        y, x = torch.meshgrid(place, place, indexing="ij")
        turn = math.radians(self.range_deg) * ((torch.arange(self.angles) + 0.5) / self.angles - 0.5)
        across = turn.cos().view(-1, 1, 1) * x + turn.sin().view(-1, 1, 1) * y
        weight = (1 - (across.flatten(1).unsqueeze(1) - place.view(-1, 1)).abs()).clamp_min(0)
        self.matrix = weight.flatten(0, 1)  # from pixels to line integrals
        reach = (y.square() + x.square()).sqrt()
        self.disc = _BODY * (_RADIUS * self.side + 0.5 - reach).clamp(0, 1).flatten()
        self.observation = Observation.image((self.angles, self.side), "line integral")
        about = {"attenuation": "attenuation, standard deviations of the field"}
        self.parameters = pixel_parameters("attenuation", "1", (self.side, self.side), about)
        self.targets = self.space.names
        self.flow = {"size": [self.side, self.side], "start": "dense"}

    @property
    def prior(self) -> Distribution:
        """Density of the image, ``(D,)``."""
        return StationaryNormal(self.disc.float(), self.spectrum[None])

    def forward(self, theta: Tensor) -> Tensor:
        """Return the projections ``(…, angles · side)`` of images ``(…, D)``."""
        return theta @ self.matrix.to(theta).T

    def features(self, y: Tensor) -> Tensor:
        """Return the posterior mean ``(…, D)`` of observations, which holds all that they tell."""
        return self.disc.to(y) + (y - (self.matrix @ self.disc).to(y)) @ self._gain.to(y).T

    def density_features(self, y: Tensor) -> Tensor:
        """Return the observations ``(…, C)``."""
        return y

    def reference_posterior(self, y: Tensor) -> MultivariateNormal:
        """Return the exact posterior of observations ``(…, C)``."""
        # Validation would make a copy of the root for each observation.
        return MultivariateNormal(self.features(y), scale_tril=self._root.to(y), validate_args=False)

    @property
    def prior_covariance(self) -> Tensor:
        """Covariance of the pixels before any measurement, ``(D, D)``, float64."""
        return filtered(torch.eye(self.side**2, dtype=torch.float64), self.spectrum)

    @cached_property
    def posterior_covariance(self) -> Tensor:  # type: ignore[override]
        """Covariance of the pixels given projections, ``(D, D)``, float64."""
        covariance = self.prior_covariance
        left = covariance - self._gain @ self.matrix @ covariance
        return (left + left.T) / 2

    @cached_property
    def _gain(self) -> Tensor:
        """From line integrals to the posterior mean."""
        across = self.prior_covariance @ self.matrix.T
        seen = self.matrix @ across + self.noise_sd**2 * torch.eye(len(self.matrix), dtype=torch.float64)
        return torch.linalg.solve(seen, across, left=False)

    @cached_property
    def _root(self) -> Tensor:
        return torch.linalg.cholesky(self.posterior_covariance)
