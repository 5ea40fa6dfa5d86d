"""What a network answers, as modules that torch can record: tensors in, tensors out, units included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_inn.inferers.rows import RowPosterior
from monai_inn.inferers.trust.verdicts import Explained
from monai_inn.networks import ParameterPosterior

__all__ = ["GRAPHS", "Density", "Graph", "Sampler", "Trust"]


class Graph(nn.Module):
    """One question to a posterior. An observation that cannot be inferred is answered by NaN.

    Arguments and results are of single precision, whichever the graph computes with: ``graph.double()``.

    Args:
        fitted: the posterior.

    Attributes:
        inputs: names of the arguments.
        outputs: names of the results.
    """

    inputs: ClassVar[Sequence[str]]
    outputs: ClassVar[Sequence[str]]
    invalid: Tensor

    def __init__(self, fitted: RowPosterior) -> None:
        super().__init__()
        self.network, self.problem = fitted.network, fitted.problem
        self.space = self.problem.space.subset(self.problem.targets)
        # As a buffer, because torch 2.8 cannot store a program that holds NaN as a number.
        self.register_buffer("invalid", torch.tensor(torch.nan), persistent=False)

    @property
    def is_double(self) -> bool:
        """Whether it computes in double precision."""
        return self.invalid.dtype == torch.float64

    def _posterior(self, observation: Tensor) -> tuple[ParameterPosterior, Tensor]:
        """The posterior of the targets, and which observations can be inferred, ``(N,)``."""
        rows, valid = self._rows(observation)
        q = self.network.posterior(self.problem.features(rows)).leading(len(self.space))
        return ParameterPosterior(q, self.space), valid

    def _answer(self, values: Tensor, valid: Tensor) -> Tensor:
        """Values, single precision, and NaN in the place of those that are not valid."""
        return torch.where(valid, values, self.invalid).float()

    def _rows(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Observations with a stand-in for each that cannot be inferred, and which can, ``(N,)``."""
        observation = observation.to(self.invalid)
        valid = self.problem.is_valid(observation)
        return torch.where(valid.unsqueeze(-1), observation, torch.ones_like(observation)), valid


class Sampler(Graph):
    """Samples of the targets that belong to latents, which all observations share as in maps."""

    inputs = ("observation", "latent")
    outputs = ("samples",)

    def forward(self, observation: Tensor, latent: Tensor) -> Tensor:
        """Return samples ``(S, N, D)``, physical units, of observations ``(N, C)`` and latents ``(S, D)``."""
        q, valid = self._posterior(observation)
        samples = self.space.inverse(q.base.push(latent.to(self.invalid).unsqueeze(1)))
        return self._answer(samples, valid.unsqueeze(-1))


class Density(Graph):
    """Log density of the targets, of which ``Sampler`` draws."""

    inputs = ("observation", "parameters")
    outputs = ("log_prob",)

    def forward(self, observation: Tensor, parameters: Tensor) -> Tensor:
        """Return nats ``(N,)`` in physical units of observations ``(N, C)`` and parameters ``(N, D)``."""
        q, valid = self._posterior(observation)
        return self._answer(q.log_prob(parameters.to(self.invalid)), valid)


class Trust(Graph):
    """Whether observations are explained: WAIC, and the p-value from which the map ``ood`` is made.

    Series are judged by WAIC alone: what simulates them again cannot be recorded.
    """

    inputs = ("observation",)
    outputs = ("waic", "p_value")

    def __init__(self, fitted: RowPosterior) -> None:
        super().__init__(fitted)
        # Asked for p-values alone.
        self._explained = Explained(self.problem, self.network, false_alarm=0.05, resimulates=False)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return WAIC in nats and p-values, ``(N,)`` each, of observations ``(N, C)``."""
        rows, valid = self._rows(observation)
        waic, p_value, _ = self._explained.p_values(rows)
        return self._answer(waic, valid), self._answer(p_value, valid)


GRAPHS: dict[str, type[Graph]] = {"sampler": Sampler, "log_prob": Density, "trust": Trust}
