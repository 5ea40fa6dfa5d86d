"""What problems share whose tracer reaches a tissue from an artery, both measured in the same frames."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.applications.perfusion.fitting.features import NUM_FEATURES, curve_features
from monai_inn.applications.perfusion.fitting.likelihood import (
    log_likelihood_of_any_level,
    log_likelihood_of_magnitudes,
)
from monai_inn.applications.perfusion.models import kinetics
from monai_inn.applications.perfusion.models.acquisition import (
    ARTERY_NOISE,
    LEAST_PEAK_MM,
    TISSUE_NOISE,
    Frames,
    artery_scale,
    draw_times,
    noise_level_of,
    noisy_curves,
)
from monai_inn.applications.perfusion.models.arteries import artery
from monai_inn.applications.perfusion.models.magnitudes import Magnitudes
from monai_inn.physics.rows import by_rows
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.exact.tempering import Start, TemperedSamples, tempered_posterior, tempered_samples
from monai_inn.problems.known import split_parameters

__all__ = ["TracerCurves"]

_ROWS = 1024
_MINUTE = 60.0
_FEWEST_FRAMES = 4


class TracerCurves(InverseProblem):
    """A tissue that tracer reaches from an artery, both measured in the same frames.

    The artery is known only in frames and with noise: between them it is any member of a wide family
    (``arteries.ARTERY``), whose parameters are inferred as well. So a network works for any artery, times of
    frames and level of noise.

    A subclass sets ``frames``, ``observation``, ``of_magnitudes`` and ``parameters``, and writes ``tissue``.

    Args:
        magnitude_share: share of tissues whose noise is that of magnitude images instead of white.

    Raises:
        ValueError: if the share is none.
    """

    frames: ClassVar[Frames]
    of_magnitudes: ClassVar[Magnitudes]
    encoder = MappingProxyType({"kind": "series", "channels": NUM_FEATURES, "watched": 2})

    def __init__(self, magnitude_share: float) -> None:
        if not 0 <= magnitude_share <= 1:
            raise ValueError(f"magnitude_share = {magnitude_share}; give a number from 0 to 1.")
        self.magnitude_share = float(magnitude_share)

    @abc.abstractmethod
    def tissue(self, value: Mapping[str, Tensor], blood: kinetics.Artery, since_s: Tensor) -> Tensor:
        """Return concentrations in tissues in mM.

        Args:
            value: parameters by name, each ``(n,)``.
            blood: artery of each.
            since_s: times since the arrival in the artery, ``(n, T)``.

        Returns:
            Shape ``(n, T)``.
        """

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw times of frames, see ``acquisition.draw_times``."""
        return draw_times(n, generator, self.frames)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the curves in usual frames, ``(…, 2 T)``; see ``forward_with_context``."""
        times = self.frames.usual_s * torch.arange(self.frames.most, dtype=theta.dtype, device=theta.device)
        return self.forward_with_context(theta, times.expand(*theta.shape[:-1], -1))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return concentrations in tissue and artery in mM, those of one frame beside each other.

        Args:
            theta: parameters in physical units, shape ``(…, D)``.
            context: times of the frames in s after the first, shape ``(…, T)``; NaN for none.

        Returns:
            Shape ``(…, 2 T)``, float32; NaN where there is no frame.

        Raises:
            ValueError: if the last axis of ``theta`` is not one entry a parameter.
        """
        split_parameters(theta, self.space)
        rows = torch.cat([theta, context.to(theta)], -1)
        rows = rows.reshape(-1, rows.shape[-1])
        with torch.no_grad():
            made = by_rows(self._curves, rows.detach().cpu().float(), _ROWS)
        return made.reshape(*theta.shape[:-1], -1).to(theta.device)

    def _curves(self, rows: Tensor) -> Tensor:
        """Both curves of rows of parameters and times ``(n, D + T)``, ``(n, 2 T)``."""
        return torch.stack([self._in_tissue(rows), self._in_artery(rows)], -1).flatten(-2)

    def _in_tissue(self, rows: Tensor) -> Tensor:
        value, since_arrival = self._read(rows)
        return self.tissue(value, artery(value), since_arrival)

    def _in_artery(self, rows: Tensor) -> Tensor:
        value, since_arrival = self._read(rows)
        return kinetics.concentration_at(artery(value), since_arrival)

    def _read(self, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Parameters by name, and times since the arrival, of rows ``(n, D + T)``."""
        value = dict(zip(self.space.names, rows.unbind(-1), strict=False))
        return value, rows[:, len(self.parameters) :] - value["arrival"].unsqueeze(-1)

    @staticmethod
    def curves(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return concentrations in tissue and artery in mM, and times in s, each ``(…, T)``, of rows."""
        most = y.shape[-1] // 3
        tissue, blood = y[..., : 2 * most].unflatten(-1, (most, 2)).unbind(-1)
        return tissue, blood, y[..., 2 * most :]

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return curves ``(…, C)`` with noise, see ``acquisition.noisy_curves``; times stay."""
        tissue, blood, times = self.curves(y)
        noisy = self._noisy(tissue, blood, generator)
        return torch.cat([torch.stack(noisy, -1).flatten(-2), times], -1)

    def noise_again(self, made: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return curves ``(…, C)`` with noise of the levels that the residuals of ``y`` tell; times stay."""
        tissue, blood, times = self.curves(made)
        seen_tissue, seen_blood, _ = self.curves(y)
        relative = (seen_blood - blood) / artery_scale(blood).unsqueeze(-1)
        levels = (
            noise_level_of(seen_tissue - tissue, TISSUE_NOISE, generator),
            noise_level_of(relative, ARTERY_NOISE, generator),
        )
        noisy, artery = self._noisy(tissue, blood, generator, levels)
        # Of magnitudes the level is that before the tracer; the residuals tell that of the whole curve.
        whole = (noisy - tissue).square().nanmean(-1, keepdim=True).sqrt()
        noisy = tissue + (noisy - tissue) * (levels[0] / whole)
        return torch.cat([torch.stack([noisy, artery], -1).flatten(-2), times], -1)

    def _noisy(
        self,
        tissue: Tensor,
        blood: Tensor,
        generator: torch.Generator | None,
        levels: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        draw = self.of_magnitudes.draw
        return noisy_curves(tissue, blood, self.magnitude_share, generator, draw, levels)

    def features(self, y: Tensor) -> Tensor:
        """Return ``features.curve_features`` of each frame, then times in minutes; NaN for NaN."""
        tissue, blood, times = self.curves(y)
        return torch.cat([curve_features(tissue, blood, times).flatten(-2), times / _MINUTE], -1)

    def explained_features(self, y: Tensor) -> Tensor:
        """Return rows ``(…, C)`` as they are: noise is white in concentrations."""
        return y

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether rows ``(…, C)`` have four frames of both curves in order of time, and a bolus."""
        tissue, blood, times = self.curves(y)
        is_frame = tissue.isfinite() | blood.isfinite()
        both = (tissue.isfinite() & blood.isfinite()).sum(-1)
        # Frames that were left out do not count: each is compared with the latest before it.
        latest = torch.where(is_frame, times, -torch.inf).cummax(-1).values
        before = torch.cat([torch.full_like(latest[..., :1], -torch.inf), latest[..., :-1]], -1)
        is_ordered = (~is_frame | (times > before)).all(-1)
        reaches = blood.nan_to_num(0.0).amax(-1) >= LEAST_PEAK_MM
        return self.observation.is_usable(y) & (both >= _FEWEST_FRAMES) & is_ordered & reaches

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Log density of an observation ``(C,)`` given parameters ``(n, D)``, nats, ``(n,)``.

        The levels of both noises are integrated out: that of the artery is white, that of the tissue white or
        of magnitudes, see ``likelihood``. Exact for ``magnitude_share=0``, and nearly so for others.
        """
        rows, one = theta.unsqueeze(1), y.unsqueeze(0)
        return (self.log_likelihoods(rows, one) + self._log_likelihoods_of_artery(rows, one)).squeeze(1)

    def log_likelihoods(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return those of the curves in tissues, see ``InverseProblem.log_likelihoods``."""
        seen, _, times = self._frames(y)
        made = _made(self._in_tissue, theta, times)
        white = log_likelihood_of_any_level(made, seen, TISSUE_NOISE)
        if self.magnitude_share == 0:
            return white
        value = dict(zip(self.space.names, theta.unbind(-1), strict=True))
        is_baseline = times < (value["arrival"] + value["delay"].clamp_max(0)).unsqueeze(-1)
        conversions = self.of_magnitudes.conversions()
        both = log_likelihood_of_magnitudes(made, is_baseline, seen, TISSUE_NOISE, conversions), white
        share = torch.tensor([self.magnitude_share, 1 - self.magnitude_share], dtype=torch.float64)
        return (torch.stack(both, -1) + share.log()).logsumexp(-1)

    def _log_likelihoods_of_artery(self, theta: Tensor, y: Tensor) -> Tensor:
        _, seen, times = self._frames(y)
        made = _made(self._in_artery, theta, times)
        return log_likelihood_of_any_level(made, seen, ARTERY_NOISE, artery_scale(made))

    def _frames(self, y: Tensor) -> tuple[Tensor, ...]:
        """What ``curves`` returns, without frames that none of the observations ``(n, C)`` has."""
        parts = self.curves(y)
        there = parts[2].isfinite().any(0)
        return tuple(values[:, there] for values in parts)

    def shared(self, y: Tensor) -> Tensor:
        """Return the artery's curve and the times of observations ``(N, C)``, ``(N, 2 T)``."""
        return torch.cat(self.curves(y)[1:], -1)

    def draw_nuisances(self, y: Tensor, n: int, seed: int, start: Any) -> Tensor:
        """Draw parameters of the artery given its curve alone, by tempered Monte Carlo from a network's.

        Arguments and results are those of ``InverseProblem.draw_nuisances``.
        """
        number = len(self.targets)
        targets = start.leading(number)

        def log_likelihood(latent: Tensor) -> Tensor:
            # What the network says of the tissue stays: the artery alone is on its way.
            own = latent[:, :number].float()
            theta = self.space.inverse(latent).float().unsqueeze(1)
            of_artery = self._log_likelihoods_of_artery(theta, y.unsqueeze(0)).squeeze(1)
            stays = targets.log_prob(own.unsqueeze(1)).flatten().double()
            return of_artery + stays + 0.5 * own.double().square().sum(-1)

        return tempered_samples(log_likelihood, len(self.parameters), n, seed, start).samples[:, number:]

    def exact_samples(self, y: Tensor, n: int, seed: int = 0, start: Start | None = None) -> TemperedSamples:
        """Draw from the exact posterior of one observation ``(C,)`` by tempered Monte Carlo, a minute or so.

        Args:
            y: the observation.
            n: number of samples.
            seed: seed of all random numbers.
            start: a network's posterior in the flow's space, ``fitted.posterior(y).base``. From the prior the
                way is so long that runs end in different places when the noise is little.

        Returns:
            Samples in the flow's space, ``(n, D)``; ``space.inverse`` gives physical units.
        """
        return tempered_posterior(self, y, n, seed, start)


def _made(make: Callable[[Tensor], Tensor], theta: Tensor, times: Tensor) -> Tensor:
    """Noise-free curves ``(S, n, T)`` of parameters ``(S, n, D)`` at times ``(n, T)``."""
    rows = torch.cat([theta, times.to(theta).expand(*theta.shape[:2], -1)], -1)
    parts = rows.flatten(0, 1).float().split(_ROWS)  # that stay in the cache
    return torch.cat([make(part) for part in parts]).unflatten(0, theta.shape[:2])
