"""Maps of derived quantities, from the joint samples of the targets that they are functions of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_inn.inferers.summaries import summarise
from monai_inn.inferers.trust.verdicts import UNINFORMATIVE, mass_of_draws
from monai_inn.problems import InverseProblem
from monai_inn.problems.derived import DerivedSpace
from monai_inn.problems.drawing import drawn
from monai_inn.seeding import stream

__all__ = ["DerivedSummaries", "side_by_side"]


class DerivedSummaries:
    """What maps show of a problem's derived quantities.

    Quantiles are those of the joint samples, also where a network was recalibrated: its joint samples are,
    but its quantile levels are those of one target each, and say nothing of a function of several.

    Args:
        problem: problem that has derived quantities.
        interval: probability inside the reported central interval.
        below: thresholds in physical units, by name; those of derived quantities count.
        stored: levels of the quantiles that are wanted themselves.
    """

    def __init__(
        self,
        problem: InverseProblem,
        interval: float,
        below: Mapping[str, float],
        stored: Sequence[float],
    ) -> None:
        self._targets = problem.space.subset(problem.targets)
        self._quantities = DerivedSpace(problem.derived)
        self._interval, self._stored = interval, stored
        self._below = {name: value for name, value in below.items() if name in self._quantities.names}
        draws = drawn(problem.prior, stream(0, "prior of derived quantities"))
        self._prior = problem.derive(draws).sort(0).values

    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """Return what ``summarise`` does, and ``uninformative``, of samples ``(S, n, D)`` of the targets.

        Args:
            samples: in the flow's space.
        """
        values = self._quantities.of(self._targets.inverse(samples))
        scaled = self._quantities.to_latent(values)
        maps = summarise(scaled, self._quantities, self._interval, self._below, None, self._stored)
        known = mass_of_draws(self._prior.to(values), maps["interval_low"], maps["interval_high"])
        return maps | {"uninformative": (known >= UNINFORMATIVE * self._interval).float()}


def side_by_side(maps: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the columns ``(n, K)`` of each map, those of ``others`` behind."""
    return {
        name: torch.cat([found[name] for found in (maps, others) if name in found], -1)
        for name in [*maps, *others]
    }
