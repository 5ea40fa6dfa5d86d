"""The posterior as an ordinary image-to-image module, for MONAI's bundle tools and for export."""

from __future__ import annotations

from typing import Any

import torch
from monai.utils.type_conversion import convert_to_dst_type
from torch import Tensor, nn

from monai_inn.inferers.circles import Circles
from monai_inn.inferers.levels import QuantileLevels
from monai_inn.inferers.pixels import rows_of_all
from monai_inn.inferers.posterior import PosteriorInferer
from monai_inn.inferers.summaries import (
    calibrated_quantiles,
    interval_levels,
    quantiles,
    shared_latents,
    sorted_last,
)
from monai_inn.metrics.detection.combined import CombinedThreshold
from monai_inn.metrics.detection.ood import ConformalThreshold
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.kernels.chunks import is_traced
from monai_inn.problems import InverseProblem, create
from monai_inn.problems.derived import DerivedSpace

__all__ = ["MapNetwork"]


class MapNetwork(nn.Module):
    """Image in, one tensor of posterior maps out: medians, interval widths, WAIC and the OoD mask.

    The latents are fixed by ``seed``, so that the module is deterministic. The full posterior stays within
    reach as ``module.network``.

    Args:
        problem: ``{"name": …, **arguments}`` of ``monai_inn.problems.create``, or the problem itself.
        network: ``config`` of a ``PosteriorNetwork``.
        samples: posterior samples per pixel.
        interval: probability inside the interval.
        false_alarm: share of in-distribution pixels that the OoD mask may flag.
        seed: seed of the latents.
    """

    latents: Tensor
    invalid: Tensor

    def __init__(
        self,
        problem: dict[str, Any] | InverseProblem,
        network: dict[str, Any],
        samples: int = 64,
        interval: float = 0.95,
        false_alarm: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.problem = problem if isinstance(problem, InverseProblem) else create(**problem)
        self.network = PosteriorNetwork.from_config(network)
        self.samples, self.interval, self.false_alarm, self.seed = samples, interval, false_alarm, seed
        self.register_buffer(
            "latents", shared_latents(samples, len(self.problem.targets), seed), persistent=False
        )
        # As a buffer, because torch 2.8 cannot store a program that holds NaN as a number.
        self.register_buffer("invalid", torch.tensor(torch.nan), persistent=False)
        # Of the numbers 0, 1, … the threshold is its own position, known before any weights are loaded.
        self._threshold_rank = int(
            ConformalThreshold(torch.arange(len(self.network.ood_scores))).threshold(false_alarm)
        )

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the output channels."""
        return (
            *(f"median {p.name}" for p in self.problem.shown),
            *(f"interval width {p.name}" for p in self.problem.shown),
            "waic",
            "ood",
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map an image ``(B, C, *spatial)`` to ``(B, 2 (D + K) + 2, *spatial)``; invalid pixels are NaN.

        ``D`` are the targets, ``K`` the derived quantities behind them.
        """
        if is_traced():
            return self._plain(image)
        inferer = PosteriorInferer(
            self.problem,
            samples=self.samples,
            interval=self.interval,
            false_alarm=self.false_alarm,
            seed=self.seed,
        )
        maps = inferer(image, self.network)
        stacked = torch.cat([maps[name] for name in ("median", "interval_width", "waic", "ood")], 1)
        return convert_to_dst_type(stacked, image)[0]  # keeps the geometry that writers need

    def _plain(self, image: Tensor) -> Tensor:
        """The same maps in tensor operations alone, for tools that record them."""
        rows = rows_of_all(image, self.problem.observation)
        valid = self.problem.is_valid(rows) & ~self.problem.observation.is_blank(rows)
        valid = valid.unsqueeze(-1)
        observation = torch.where(valid, rows, torch.ones_like(rows)).flatten(0, -2)
        features = self.problem.features(observation)
        targets = len(self.problem.targets)
        samples = self.network.posterior(features).leading(targets).push(self.latents)
        levels = QuantileLevels.of(self.network)
        space = self.problem.space.subset(self.problem.targets)
        nominal = interval_levels(self.interval)
        circles = Circles(samples, space)
        ends = calibrated_quantiles(sorted_last(circles.cut(samples)), nominal, levels)
        physical = circles.physical(ends, ends[1])
        if self.problem.derived:
            quantities = DerivedSpace(self.problem.derived)
            scaled = quantities.to_latent(self.problem.derive(space.inverse(samples)))
            own = quantities.inverse(quantiles(sorted_last(scaled), nominal))
            physical = torch.cat([physical, own], -1)
        low, median, high = physical
        log_prob = self.network.observation_log_prob(self.problem.density_features(observation)).double()
        score = (log_prob.var(0) - log_prob.mean(0)).float().unsqueeze(-1)
        maps = torch.cat([median, high - low, score, self._is_out(score, observation).float()], -1)
        maps = torch.where(valid, maps.unflatten(0, rows.shape[:-1]), self.invalid)
        return maps.movedim(-1, 1)

    def _is_out(self, score: Tensor, observation: Tensor) -> Tensor:
        """Whether observations ``(n, C)`` with WAIC ``(n, 1)`` are not explained, ``(n, 1)``.

        Series are judged by WAIC alone: what simulates them again cannot be recorded.
        """
        part = self.network.explanation
        if part is None:
            return score > self.network.ood_scores.sort().values[self._threshold_rank]
        misfit = part(self.problem.explained_features(observation), self.problem.noise_level(observation))
        p_value = CombinedThreshold(part.populations())(torch.cat([score, misfit.scores], -1))[0]
        return p_value.unsqueeze(-1) <= self.false_alarm
