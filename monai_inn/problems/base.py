"""The one idea of the package: an inverse problem is a prior, a forward model and noise."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from monai_inn.problems.application import Application
from monai_inn.problems.configured import Configured
from monai_inn.problems.derived import Derived, DerivedSpace
from monai_inn.problems.drawing import BLOCK, FlatPrior, drawn
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter, ParameterSpace, one_of_each_field
from monai_inn.seeding import seeded, stream

__all__ = ["InverseProblem"]

_MOST_BYTES = 2**36  # of simulations in memory
_LEAST = 1e-30  # of a sum of squares that is divided by


class InverseProblem(Configured):
    """Prior, forward model and noise of one measurement; everything else in the package works from these.

    A subclass sets ``name``, ``parameters`` and ``observation`` and writes ``forward`` and ``noise``.
    ``targets`` names the parameters that maps show (they come first in ``parameters``); the others are
    nuisances of the forward model, inferred as well so that posterior samples can be simulated again.

    Attributes:
        can_simulate: whether ``forward`` can be called.
        has_noise: whether ``noise`` draws all that is random of an observation, and ``forward`` nothing. If
            not, as for a state that changes at random, ``forward`` draws from torch's global generator.
        derived: quantities that are functions of the targets; maps show them beside these.
        observation: what an observation holds.
        encoder: description of the network between observation and condition, ``{"kind": …, **arguments}``
            of a class that ``networks.register`` knows; ``None`` for the usual one of such observations.
        flow: further arguments of the flow, where some of what is unknown are pixels or an observation is a
            pixel; with its ``kind`` the description of any flow, which then sees the features as they are.
        posterior_covariance: of unknown pixels in the flow's space, ``(D, D)``, if it is the same for each
            observation; for a flow that starts from it, ``flow = {"start": "dense"}``.
        is_relative: whether only differences between ``channel_features`` mean something, as of logarithms of
            light of unknown strength.
        storage_dtype: number format in which a training pool keeps noise-free observations.
    """

    parameters: tuple[Parameter, ...]
    observation: Observation
    targets: tuple[str, ...]
    derived: tuple[Derived, ...] = ()
    can_simulate: bool = True
    has_noise: bool = True
    is_relative: bool = False
    encoder: Mapping[str, Any] | None = None
    flow: Mapping[str, Any] | None = None
    posterior_covariance: Tensor | None = None
    storage_dtype: torch.dtype = torch.float32

    @property
    def space(self) -> ParameterSpace:
        """Bijection between the physical parameters and the flow's space."""
        return ParameterSpace(self.parameters)

    @property
    def shown(self) -> tuple[Parameter, ...]:
        """What maps show: the targets, then the derived quantities."""
        return (*self.space.subset(self.targets).parameters, *self.derived)

    @property
    def has_fields(self) -> bool:
        """Whether some of what is unknown are pixels of an image."""
        return any(p.field for p in self.parameters)

    def seen_images(self, samples: Tensor, y: Tensor, generator: torch.Generator) -> Tensor | None:
        """Return what people see of posterior samples of an unknown image, for those who see another one.

        Args:
            samples: rows of pixels, ``(S, N, D)``.
            y: the observations, ``(N, C)``.
            generator: source of randomness.

        Returns:
            Images ``(S, N, channels, *size)``; ``None`` by default: the unknown image is what people see.
        """
        return None

    def derive(self, theta: Tensor) -> Tensor:
        """Return the derived quantities ``(…, K)`` of targets, or of all parameters, ``(…, D)``.

        All are in physical units. Samples of a posterior become samples of the derived quantities.
        """
        targets = theta[..., : len(self.targets)]
        return DerivedSpace(self.derived).of(targets) if self.derived else targets[..., :0]

    @property
    def prior(self) -> Distribution:
        """Prior over the parameters in physical units, event shape ``(D,)``: all draws come from it.

        A subclass may return any distribution whose support the parameters' bounds hold.
        """
        return FlatPrior(self.space)

    @property
    def rivals(self) -> InverseProblem | None:
        """The problem in which the model is unknown, too: a class, which comes first; ``None`` if it is not.

        Observations, what pixels share of them and the nuisances are those of this problem; priors are
        independent. Parameters that a model does not have keep their prior under it.
        """
        return None

    @abc.abstractmethod
    def forward(self, theta: Tensor) -> Tensor:
        """Return the noise-free observation ``(…, C)`` of parameters ``(…, D)`` in physical units."""

    @abc.abstractmethod
    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy copies of noise-free observations ``(…, C)``, same shape; the context stays."""

    def noise_again(self, made: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy copies of ``made`` ``(…, C)``, what ``simulate_again`` gives; those of ``noise`` here.

        Where every observation has noise of a level of its own, ``y`` tells that level, and a problem draws
        it given how far ``y`` lies from ``made``.
        """
        return self.noise(made, generator)

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the settings ``(n, K)`` of acquisitions, as ``observation.context`` names them; none here."""
        return torch.zeros(n, 0)

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return the noise-free values ``(…, C − K)`` under settings ``(…, K)``; those of ``forward`` here.

        A problem with context overrides it. NaN stands for what such an acquisition does not measure.
        """
        return self.forward(theta)

    @property
    def application(self) -> Application:
        """What the problem means to people: words, images, configs."""
        return Application(self)

    def features(self, y: Tensor) -> Tensor:
        """Return what the posterior is conditioned on, ``(…, F)``; the observations ``(…, C)`` here."""
        return y

    def channel_features(self, y: Tensor) -> Tensor:
        """Return what each channel of ``(…, C)`` tells for itself, same shape, NaN for NaN; ``y`` here."""
        return y

    def with_light(self, share: float) -> InverseProblem:
        """Return the problem with another share of the light in each channel, which sets the noise.

        Where noise does not depend on light, or nothing is known of it, that is the problem itself.
        """
        return self

    def density_features(self, y: Tensor) -> Tensor:
        """Return what the out-of-distribution density sees of observations ``(…, C)``; ``features`` here."""
        return self.features(y)

    def explained_features(self, y: Tensor) -> Tensor:
        """Return what parameters are to explain of observations ``(…, C)``; ``density_features`` here.

        A difference between two of them should mean the same everywhere, as that of logarithms does.
        """
        return self.density_features(y)

    def curve_features(self, y: Tensor) -> Tensor:
        """Return what people see as a curve of observations ``(…, C)``; ``explained_features`` here."""
        return self.explained_features(y)

    def noise_level(self, y: Tensor) -> Tensor:
        """Return the variance of the noise of observations ``(…, C)``, in any unit, ``(…)``; one here.

        The test of explanation forgives noisy observations more, where they tell how noisy they are.
        """
        return torch.ones_like(y[..., 0])

    def lack_of_fit(self, y: Tensor, made: Tensor) -> Tensor:
        """Return how far observations lie from noise-free ones, both ``(…, C)``, HIGH = far, shape ``(…)``.

        The map ``adequacy`` compares it with that of observations that ``noise`` makes of ``made``. It is the
        sum of squared residuals of ``explained_features``; for a series, if these are rows as observations
        are, the correlation of each residual with the next one that was measured, which does not depend on
        the level of the noise.
        """
        residual = self.explained_features(y) - self.explained_features(made)
        if self.observation.kind != "series" or residual.shape[-1] != len(self.observation):
            return residual.square().nansum(-1)
        parts = self.observation.parts(residual)
        measured_first = (~parts.measured).byte().argsort(dim=-2, stable=True)
        row = parts.values.gather(-2, measured_first)  # zeros follow
        products = (row[..., 1:, :] * row[..., :-1, :]).sum(-2)
        return (products / row.square().sum(-2).clamp_min(_LEAST)).mean(-1)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether observations ``(…, C)`` can be inferred at all, boolean, shape ``(…)``."""
        return self.observation.is_usable(y)

    def require_maps(self) -> None:
        """Raise a ``ValueError`` if an observation is a whole image, of which there are no maps."""
        if not self.observation.is_local:
            raise ValueError(
                f"the problem {self.name!r} takes a whole image at a time and makes no maps of it; "
                f"{self.application.instead_of_maps}."
            )

    def simulate(self, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Draw parameters from the prior and their noisy observations.

        Args:
            n: number of pairs.
            seed: the same seed gives the same pairs; a larger ``n`` only appends.

        Returns:
            ``theta`` of shape ``(n, D)`` in physical units and ``y`` of shape ``(n, C)``, both float32.

        Raises:
            ValueError: if ``n`` is not positive, or more than memory holds.
        """
        theta, clean = self.simulate_clean(n, seed)
        # The noise, too, is drawn for whole blocks, so that a row does not depend on how many follow it.
        whole = torch.cat([clean, clean[-1:].expand(-n % BLOCK, -1)])
        noisy = [self.noise(rows, stream(seed, i, "noise")) for i, rows in enumerate(whole.split(BLOCK))]
        return theta, torch.cat(noisy)[:n]

    def available(self, seed: int) -> int | None:
        """How many simulations there are under a seed; ``None`` if as many as one likes."""
        return None

    def split(self, training: int, held_out: int, thresholds: int, measured: int) -> None:
        """Say which seed a training uses for what; nothing here, where each seed gives new simulations."""

    def simulate_clean(self, n: int, seed: int = 0, first_block: int = 0) -> tuple[Tensor, Tensor]:
        """Draw ``n`` parameters and their noise-free observations, from block ``first_block`` on."""
        if n < 1:
            raise ValueError(f"n = {n} simulations asked for; give a positive number.")
        if (size := 4 * n * (len(self.parameters) + len(self.observation))) > _MOST_BYTES:
            raise ValueError(
                f"n = {n} simulations asked for, which take {size / 1e9:.0f} GB; give at most "
                f"{n * _MOST_BYTES // size:,}, or write more of them to a store (monai-inn simulate)."
            )
        blocks = range(first_block, first_block + math.ceil(n / BLOCK))
        prior = self.prior
        theta = torch.cat([drawn(prior, stream(seed, i, "prior")) for i in blocks])
        context = torch.cat([self.draw_context(BLOCK, stream(seed, i, "context")) for i in blocks])
        if self.has_noise:
            return theta[:n], self._under(theta[:n], context[:n])
        clean = []
        for i, *rows in zip(blocks, theta.split(BLOCK), context.split(BLOCK), strict=True):
            with seeded(int(torch.randint(2**62, (), generator=stream(seed, i, "states")))):
                clean.append(self._under(*rows))
        return theta[:n], torch.cat(clean)[:n]

    def simulate_again(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return noise-free observations ``(…, C)`` of parameters ``(…, D)``, acquired as ``y`` was.

        What is missing in ``y`` is missing in them.
        """
        made = self._under(theta, y[..., self.observation.num_values :])
        return torch.where(y.isnan(), torch.nan, made) if self.observation.may_miss else made

    def _under(self, theta: Tensor, context: Tensor) -> Tensor:
        values = self.forward_with_context(theta, context)
        return torch.cat([values, context.to(values)], -1) if context.shape[-1] else values

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(C,)`` given parameters ``(n, D)``, nats, ``(n,)``.

        Up to a constant of the observation.

        Raises:
            NotImplementedError: if nobody has written down that density; see ``has_likelihood``.
        """
        raise NotImplementedError(f"the problem {self.name!r} has no likelihood.")

    @property
    def has_likelihood(self) -> bool:
        """Whether ``log_likelihood`` can be called."""
        return type(self).log_likelihood is not InverseProblem.log_likelihood

    def log_likelihoods(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log densities ``(S, n)`` of observations ``(n, C)`` given parameters ``(S, n, D)``.

        Of what pixels do not share, see ``shared``, up to a constant of each observation.
        """
        return torch.stack(
            [self.log_likelihood(rows, y) for rows, y in zip(theta.unbind(1), y, strict=True)], 1
        )

    def shared(self, y: Tensor) -> Tensor | None:
        """Return what all pixels of an image have in common of observations ``(N, C)``, ``(N, K)``.

        That is what tells of nuisances alone, such as the curve of an artery. ``None`` if there is nothing.
        """
        return None

    def draw_nuisances(self, y: Tensor, n: int, seed: int, start: Any) -> Tensor:
        """Draw the parameters behind the targets given the shared part of one observation ``(C,)``.

        They are independent of the targets in the prior.

        Args:
            y: the observation.
            n: number of draws.
            seed: seed of all random numbers.
            start: a posterior of all parameters in the flow's space, ``fitted.posterior(y).base``.

        Returns:
            Draws in the flow's space, ``(n, D − targets)``.

        Raises:
            NotImplementedError: if pixels share nothing.
        """
        raise NotImplementedError(f"pixels of the problem {self.name!r} share nothing.")

    def reference_posterior(self, y: Tensor) -> Distribution:
        """Return the exact posterior of observations ``(…, C)``, where the problem has one.

        Raises:
            NotImplementedError: if it has none.
        """
        raise NotImplementedError(f"the problem {self.name!r} has no reference posterior.")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.parameters)} parameters: "
            f"{', '.join(p.name for p in one_of_each_field(self.parameters))}; "
            f"{len(self.observation)} observations)"
        )
