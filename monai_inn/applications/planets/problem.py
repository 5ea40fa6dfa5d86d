"""What a planet is made of, from its mass and radius."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monai_inn.applications.planets.application import PlanetApplication
from monai_inn.applications.planets.grid import Compositions
from monai_inn.applications.planets.table import LEAST_MASS, MOST_MASS, radius_from_table
from monai_inn.problems.drawing import FlatPrior, SampleShape
from monai_inn.problems.known import KnownPosterior, split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["LAYERS", "Planets"]

LAYERS = ("core", "mantle", "water")
"""What ``Planets.fractions`` are of."""

# RMS difference to the radii of Zeng et al. 2019, five compositions of .5 to 10 Earth masses, rounded up.
_MODEL_SD = 0.03
_MASS_ERRORS, _RADIUS_ERRORS = (0.01, 3.0), (0.005, 0.3)
# Less tells next to nothing about a composition.
_LEAST_MASS_SNR, _LEAST_RADIUS_SNR = 2.0, 5.0
_TINY = 1e-6


class SimplexPrior(FlatPrior):
    """Flat over all fractions of iron, silicate and water: Dirichlet(1, 1, 1).

    The water then has the density ``2 (1 − w)``, and the iron's share of the rest is uniform.
    """

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw parameters in physical units, shape ``(*sample_shape, D)``."""
        water, rest = super().sample(sample_shape, generator).tensor_split([1], -1)
        return torch.cat([1 - (1 - water).sqrt(), rest], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats in physical units, ``-inf`` outside the bounds, shape ``(…)``."""
        return super().log_prob(value) + (2 * (1 - value[..., 0])).clamp_min(_TINY).log()


class Planets(KnownPosterior):
    """Water, iron and silicate of a planet without an atmosphere, from its mass and radius.

    A core of iron, a mantle of silicate and a layer of water, of any shares. The model's radius is off by an
    unknown amount, which is a parameter. Mass and radius have Gaussian errors whose standard deviations are
    known and differ from planet to planet: they are context of the observation.

    The exact posterior comes from a grid over water, core share and mass; the error of the model is Gaussian
    given these.

    Example:
        >>> theta, y = Planets().simulate(4)
        >>> theta.shape, y.shape
        (torch.Size([4, 4]), torch.Size([4, 4]))

    Source: Haldemann et al., Exoplanet characterization using conditional invertible neural networks, 2022,
    for the task; the interior is simpler than theirs.
    """

    name: ClassVar[str] = "planets"
    parameters = (
        Parameter("water", "1", 0.0, 1.0, "water fraction of the mass"),
        Parameter("core_share", "1", 0.0, 1.0, "iron's share of the mass that is not water"),
        Parameter("mass", "M⊕", LEAST_MASS, MOST_MASS, "true mass, in Earth masses", "log"),
        Parameter(
            "model_error", "1", -math.inf, math.inf, "relative error of the model's radius", sd=_MODEL_SD
        ),
    )
    targets = ("water", "core_share")
    observation = Observation.pixel("mass", "radius", context=("mass_error", "radius_error"))

    @property
    def prior(self) -> SimplexPrior:
        """Flat over compositions, log-uniform in mass."""
        return SimplexPrior(self.space)

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw standard errors of mass and radius, log-uniform, shape ``(n, 2)``."""
        low, high = torch.tensor([_MASS_ERRORS, _RADIUS_ERRORS]).T
        return low * (high / low) ** torch.rand(n, 2, generator=generator)

    def forward(self, theta: Tensor) -> Tensor:
        """Return true mass and radius in Earth units, ``(…, 2)``, of parameters ``(…, 4)``.

        Raises:
            ValueError: if the last axis is not one entry a parameter, or one is outside its bounds.
        """
        water, share, mass, error = split_parameters(theta.cpu(), self.space)
        return torch.stack([mass, radius_from_table(mass, share, water) * (1 + error)], -1).to(theta)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add to masses and radii ``(…, 4)`` errors of the standard deviations that stand behind them."""
        values, errors = y.chunk(2, -1)
        white = torch.randn(values.shape, generator=generator, dtype=y.dtype, device=y.device)
        return torch.cat([values + errors * white, errors], -1)

    def features(self, y: Tensor) -> Tensor:
        """Return logs of mass, radius and relative errors, and the mass in the flow's space: ``(…, 5)``.

        With the last the centre of a precisely known mass need not be learned.
        """
        values, errors = y.clamp_min(_TINY).log().chunk(2, -1)
        return torch.cat([values, errors - values, self.space.subset(("mass",)).to_latent(y[..., :1])], -1)

    def explained_features(self, y: Tensor) -> Tensor:
        """Return logarithms of mass and radius, ``(…, 2)``."""
        return y[..., :2].clamp_min(_TINY).log()

    def noise_level(self, y: Tensor) -> Tensor:
        """Return the relative variance of the radius, and of the mass through ``R ∝ M^.27``, ``(…)``."""
        values, errors = y.chunk(2, -1)
        relative = errors / values.clamp_min(_TINY)
        return (relative * relative.new_tensor([0.27, 1.0])).square().sum(-1)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether planets ``(…, 4)`` tell anything, boolean, ``(…)``.

        The mass must be one of the model and twice its error or more, the radius five times its error, and
        errors are positive.
        """
        mass, radius, mass_error, radius_error = y.unbind(-1)
        known = (mass >= _LEAST_MASS_SNR * mass_error) & (radius >= _LEAST_RADIUS_SNR * radius_error)
        inside = (mass >= LEAST_MASS) & (mass <= MOST_MASS)
        return super().is_valid(y) & known & inside & (mass_error > 0) & (radius_error > 0)

    def fractions(self, theta: Tensor) -> Tensor:
        """Return the shares of iron core, silicate mantle and water, ``(…, 3)``, of targets or parameters."""
        water, share = theta[..., 0], theta[..., 1]
        return torch.stack([share * (1 - water), (1 - share) * (1 - water), water], -1)

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(4,)`` given parameters ``(n, 4)``, nats, ``(n,)``."""
        values, errors = y.double().chunk(2, -1)
        white = (values - self.forward(theta.double())) / errors
        return -0.5 * white.square().sum(-1) - errors.log().sum() - math.log(2 * math.pi)

    def log_evidence(self, y: Tensor) -> float:
        """Return the log density of mass and radius ``(4,)`` under the prior predictive law, nats.

        Raises:
            ValueError: if no composition comes near the observation.
        """
        return Compositions.of(y, _MODEL_SD).log_evidence

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 4)`` given one observation ``(4,)``.

        Raises:
            ValueError: if no composition comes near the observation.
        """
        return Compositions.of(y, _MODEL_SD).sample(n)

    @property
    def application(self) -> PlanetApplication:
        """Words for planets."""
        return PlanetApplication(self)
