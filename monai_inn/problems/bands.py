"""A problem of which only some channels are measured: which ones is drawn anew for every observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from monai_inn.problems.base import InverseProblem
from monai_inn.problems.drawing import FlatPrior
from monai_inn.problems.observation import Observation
from monai_inn.problems.valid import fresh_simulations
from monai_inn.seeding import stream

__all__ = ["SomeBands"]


class SomeBands(InverseProblem):
    """Another problem whose devices measure only some of its channels, with all of the light in these.

    A network that is trained on it answers for every such choice of channels. What is not measured is NaN.

    Args:
        problem: the problem with all channels, of single pixels.
        bands: numbers of channels that an observation may have, each as often as the others.
        parameters: parameters that the choice is about, the problem's targets by default; they become the
            targets here.

    Raises:
        ValueError: if observations are not pixels without settings, the number of bands is not possible, or a
            parameter is unknown.
    """

    name: ClassVar[str] = "some_bands"

    def __init__(self, problem: InverseProblem, bands: Sequence[int], parameters: Sequence[str] = ()) -> None:
        observation, channels = problem.observation, len(problem.observation)
        if observation.kind != "pixel" or observation.context or observation.may_miss:
            raise ValueError(
                f"the problem {problem.name!r} has no bands to choose: its observations are not the channels "
                "of a pixel alone."
            )
        least = 1 + problem.is_relative
        if not bands:
            raise ValueError(f"no number of bands is given; give some, each from {least} to {channels}.")
        if wrong := [k for k in bands if not least <= k <= channels]:
            raise ValueError(f"bands = {wrong[0]}; give a number from {least} to {channels} of this device.")
        names = tuple(parameters) or problem.targets
        chosen = [problem.space.index(name) for name in names]
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"parameters {', '.join(names)} name one twice; give each once.")
        self.problem, self.bands, self.targets = problem, tuple(sorted(set(bands))), names
        self.order = [*chosen, *(i for i in range(len(problem.space)) if i not in chosen)]
        self.parameters = tuple(problem.parameters[i] for i in self.order)
        self.observation = Observation(observation.names, may_miss=True)
        self.is_relative = problem.is_relative
        self._lit = {k: problem.with_light(channels / k) for k in self.bands}
        self._places = [self.order.index(i) for i in range(len(self.order))]

    @property
    def prior(self) -> Distribution:
        """Prior of the problem, in the order of the parameters here."""
        prior = self.problem.prior
        if type(prior) is FlatPrior:
            return FlatPrior(self.space)
        if self.order != sorted(self.order):
            raise ValueError(
                f"the prior of {self.problem.name!r} does not take its parameters in another order; leave "
                f"the parameters out, which means {', '.join(self.problem.targets)}."
            )
        return prior

    def forward(self, theta: Tensor) -> Tensor:
        """Return the noise-free values of all channels, ``(…, C)``."""
        return self.problem.forward(theta[..., self._places])

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy values ``(…, C)`` of random channels, NaN in the others."""
        which = torch.randint(len(self.bands), y.shape[:-1], generator=generator, device=y.device)
        place = torch.rand(y.shape, generator=generator, device=y.device).argsort(-1).argsort(-1)
        noisy = torch.full_like(y, torch.nan)
        for number, bands in enumerate(self.bands):
            rows = which == number
            values = self.light_noise(y[rows], bands, generator)
            noisy[rows] = values.where(place[rows] < bands, torch.nan)
        return noisy

    def light_noise(self, y: Tensor, bands: int, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy values of all channels ``(…, C)``, each with the light that one of ``bands`` gets."""
        return self._lit[bands].noise(y, generator)

    def simulate_all(self, n: int, bands: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return up to ``n`` fresh pairs with the noise of ``light_noise`` and nothing missing."""
        theta, _ = fresh_simulations(self, n, seed)
        y = self.light_noise(self.forward(theta), bands, stream(seed, "all bands"))
        keep = self.problem.is_valid(y)
        return theta[keep], y[keep]

    def only(self, y: Tensor, chosen: Tensor) -> Tensor:
        """Return observations ``(…, C)`` of which only the channels ``(k,)`` are measured."""
        kept = torch.full_like(y, torch.nan)
        kept[..., chosen] = y[..., chosen]
        return kept

    def features(self, y: Tensor) -> Tensor:
        """Return what each channel tells, ``(…, C)``, less the mean where that is all they tell."""
        each = self.problem.channel_features(y)
        return each - each.nanmean(-1, keepdim=True) if self.is_relative else each

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether observations ``(…, C)`` can be inferred: as if the others were like the measured ones."""
        filled = torch.where(y.isnan(), y.nanmean(-1, keepdim=True), y)
        return super().is_valid(y) & self.problem.is_valid(filled)

    def to_config(self) -> dict[str, Any]:
        """Return what describes the problem, for checkpoints; it is not made anew from this."""
        return {"problem": self.problem.identity, "bands": list(self.bands), "parameters": list(self.targets)}
