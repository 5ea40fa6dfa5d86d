"""A quantity with a cause and an effect, of which the effect means something else at every site."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.problems import InverseProblem, Observation, Parameter

__all__ = ["CauseAndEffect"]


class CauseAndEffect(InverseProblem):
    """An outcome ``y = a c + n`` of a measured cause ``c``, with a measured effect ``b y + t m``.

    All of ``c``, ``n`` and ``m`` are standard normal. The law of the outcome given the cause is the same
    everywhere. That of the effect, with its slope ``b`` and its spread ``t``, differs from site to site: a
    prediction that uses it may fail at a site that nobody has seen, however good it was at all others.

    Args:
        cause: the slope ``a``.
        slopes: ``b`` of each site.
        spreads: ``t`` of each site.

    Raises:
        ValueError: if there is not one slope and one spread above zero for each of two or more sites.

    Source: Peters et al., Causal inference by using invariant prediction, 2016.
    """

    name = "cause_and_effect"
    has_noise = False
    observation = Observation.pixel("cause", "effect")
    targets = ("outcome",)

    def __init__(
        self,
        cause: float = 1.0,
        slopes: Sequence[float] = (0.4, 0.8, 1.2, 1.6),
        spreads: Sequence[float] = (0.3, 0.4, 0.5, 0.6),
    ) -> None:
        self.cause, self.slopes, self.spreads = float(cause), tuple(slopes), tuple(spreads)
        sites = len(self.slopes)
        if sites < 2 or len(self.spreads) != sites or min(self.spreads) <= 0:
            raise ValueError(
                f"slopes = {self.slopes}, spreads = {self.spreads}; give one of each for two or more sites, "
                "spreads above zero."
            )
        names = tuple(f"site {i + 1}" for i in range(sites))
        sd = math.sqrt(1 + self.cause**2)
        self.parameters = (
            Parameter("outcome", "1", -torch.inf, torch.inf, "outcome between cause and effect", sd=sd),
            Parameter("site", "1", 0.0, float(sites), "where it was measured", categories=names),
        )

    def forward(self, theta: Tensor) -> Tensor:
        """Return random cause and effect of outcome and site ``(…, 2)``, shape ``(…, 2)``."""
        outcome, site = theta.unbind(-1)
        site = site.long().clamp_max(len(self.slopes) - 1)
        slope, spread = (torch.tensor(values).to(theta)[site] for values in (self.slopes, self.spreads))
        variance = 1 / (1 + self.cause**2)  # of the cause, given the outcome
        first, second = torch.randn(2, *outcome.shape, dtype=theta.dtype)
        cause = self.cause * variance * outcome + math.sqrt(variance) * first
        return torch.stack([cause, slope * outcome + spread * second], -1)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the observations as they are: all that is random is in ``forward``."""
        return y

    def risk(self, weights: Sequence[float], slope: float, spread: float) -> float:
        """Return the mean squared error of ``w₁ cause + w₂ effect`` at a site of that slope and spread."""
        of_cause, of_effect = weights
        kept = 1 - of_effect * slope  # of the outcome
        return (kept * self.cause - of_cause) ** 2 + kept**2 + (of_effect * spread) ** 2

    @property
    def pooled(self) -> tuple[float, float]:
        """The weights of cause and effect with the least error over all sites together."""
        a, b = self.cause, torch.tensor(self.slopes, dtype=torch.float64)
        spread = torch.tensor(self.spreads, dtype=torch.float64)
        second = (b.square() * (1 + a**2) + spread.square()).mean()
        moments = torch.stack([torch.stack([torch.ones_like(second), a * b.mean()]),
                               torch.stack([a * b.mean(), second])])  # fmt: skip
        crossed = torch.stack([torch.full_like(second, a), (1 + a**2) * b.mean()])
        of_cause, of_effect = torch.linalg.solve(moments, crossed).tolist()
        return of_cause, of_effect
