"""From series and sets of any length to a condition."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_inn.networks.encoders.encoders import ConditionEncoder
from monai_inn.networks.encoders.whitening import Whitening
from monai_inn.networks.kernels.chunks import full_precision, is_traced
from monai_inn.networks.kernels.products import Linear
from monai_inn.networks.parts import Encoder, arguments, register

__all__ = ["SeriesEncoder"]

_HEADS, _POINTS, _ROWS = 4, 12, 512
_HIDDEN, _LOG_RIDGE, _SMALL = 32, -4.0, 1e-8  # of the regression


class _Entries(NamedTuple):
    """Entries of series ``(N, T, …)``, those that are there first, and whether they are there, ``(N, T)``."""

    seen: Tensor
    there: Tensor


@register
class SeriesEncoder(Encoder):
    """Encoder of series and sets of up to so many entries.

    Features are rows as ``Observation.series`` describes them: values of all entries, NaN where nothing was
    measured, then their settings, such as times. Where an entry stands, and how many empty ones there are,
    changes nothing.

    Entries are made wider one by one, mixed, and pooled: their mean, their maximum, and the mean products of
    what was measured, which are all that a linear model with normal noise needs. Where there are settings,
    values are regressed on learned functions of them besides: coefficients, their errors and what is left
    mean the same whatever the entries are. This is where a precise answer comes from, see docs/perfusion.md.

    Args:
        num_features: length of a row.
        channels: values of one entry.
        context: settings of one entry.
        mixing: ``"none"`` (a deep set) or ``"attention"`` of entries whose order says nothing; of ordered
            ones ``"convolution"`` or ``"gru"``.
        out_channels: channels of the condition.
        width: channels of an entry.
        layers: mixing layers.
        num_blocks: residual blocks behind the pooling.
        basis: functions of the settings that values are regressed on.
        watched: how many channels, the first ones, ``summary`` shows; all by default.
        whole: numbers of the row as a whole, which stand behind its entries.

    Raises:
        ValueError: if sizes do not fit each other, or there is no such mixing.
    """

    kind = "series"
    location: Tensor
    scale: Tensor

    def __init__(
        self,
        num_features: int,
        channels: int = 1,
        context: int = 0,
        mixing: str = "convolution",
        out_channels: int = 32,
        width: int = 48,
        layers: int = 3,
        num_blocks: int = 2,
        basis: int = 12,
        watched: int | None = None,
        whole: int = 0,
    ) -> None:
        super().__init__()
        given = arguments(locals())
        self.config = given if whole else {n: v for n, v in given.items() if n != "whole"}
        if (num_features - whole) % (channels + context) or width % _HEADS:
            raise ValueError(
                f"rows of {num_features} numbers, {channels} values and {context} settings an entry, width "
                f"{width}; expected whole entries, and a width that {_HEADS} divides."
            )
        if mixing not in _MIXING:
            raise ValueError(f"mixing = {mixing!r}; expected one of {', '.join(_MIXING)}.")
        self.channels, self.context, self.watched = channels, context, watched or channels
        self.places = (num_features - whole) // (channels + context)
        self.whole, self.whitening = whole, Whitening(whole) if whole else None
        self.is_ordered = mixing in ("convolution", "gru")
        self.register_buffer("location", torch.zeros(channels + context))
        self.register_buffer("scale", torch.ones(channels + context))
        # An entry: values, which of several were measured, settings, and their steps from entry to entry.
        size = channels + (channels if channels > 1 else 0) + context * (1 + self.is_ordered)
        self.inlet = nn.Sequential(Linear(size, width), nn.SiLU(), Linear(width, width))
        self.mixing = nn.ModuleList(_MIXING[mixing](width) for _ in range(layers))
        products = size * (size + 3) // 2
        self.regression = _Regression(channels, context, basis) if context else None
        pooled = whole + 2 * width + products + 2 + (self.regression.out_channels if self.regression else 0)
        self.outlet = ConditionEncoder(pooled, out_channels, 2 * width, num_blocks)
        self.out_channels = out_channels

    @torch.no_grad()
    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Set location and scale of values and settings from features ``(N, F)``."""
        columns = torch.cat(self._apart(features), -1).flatten(0, -2)
        self.location.copy_(columns.nanmean(0).nan_to_num(0.0))
        variance = (columns - self.location).square().nanmean(0).nan_to_num(0.0)
        self.scale.copy_(torch.where(variance > 0, variance, 1.0).sqrt())
        if self.whitening is not None:
            self.whitening.standardise(features[..., -self.whole :].flatten(0, -2))

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(…, F)`` to a condition ``(…, out_channels)``."""
        rows = features.reshape(-1, features.shape[-1])
        # Entries are many times the numbers of a row: few rows at a time stay in the processor's cache.
        is_whole = torch.is_grad_enabled() or rows.is_cuda or is_traced()
        with full_precision(features.device, trained=self):
            parts = [self._condition(part) for part in ([rows] if is_whole else rows.split(_ROWS))]
        return torch.cat(parts).reshape(*features.shape[:-1], self.out_channels)

    def _condition(self, rows: Tensor) -> Tensor:
        entries = self._entries(rows)
        there = weight = entries.there.unsqueeze(-1).to(rows.dtype)
        hidden = self.inlet(entries.seen) * weight
        for layer in self.mixing:
            hidden, weight = layer(hidden, weight)
        parts = [*_pooled(hidden, weight), *_moments(entries.seen, there)]
        if self.regression is not None:
            parts.append(self.regression(entries.seen, there))
        if self.whitening is not None:
            parts.append(self.whitening(rows[:, -self.whole :]))
        return self.outlet(torch.cat(parts, -1))  # type: ignore[no-any-return]

    def summary(self, features: Tensor) -> Tensor:
        """Return the values at a few ranks from the first entry to the last, ``(…, K)``, standardised.

        Of a set, the ranks are those of the values themselves. What is missing is left out.
        """
        shown = slice(self.watched)
        values = (self._apart(features)[0][..., shown] - self.location[shown]) / self.scale[shown]
        values = values.movedim(-1, -2)
        there = values.isfinite()
        if self.is_ordered:
            packed = _packed(values.flatten(0, -2).unsqueeze(-1), there.flatten(0, -2)).reshape(values.shape)
        else:
            packed = torch.where(there, values, torch.inf).sort(-1).values
        last = (there.sum(-1, keepdim=True) - 1).clamp_min(0)
        place = torch.linspace(0, 1, _POINTS, device=values.device, dtype=values.dtype) * last
        low = place.floor().long()
        below, above = packed.gather(-1, low), packed.gather(-1, torch.minimum(low + 1, last))
        return torch.lerp(below, above, place - low).nan_to_num(0.0, 0.0, 0.0).flatten(-2)

    def _apart(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``(…, T, channels)`` and settings ``(…, T, context)`` of rows, whatever is behind."""
        end, last = self.places * self.channels, self.places * (self.channels + self.context)
        values = features[..., :end].unflatten(-1, (self.places, -1))
        return values, features[..., end:last].reshape(*values.shape[:-1], self.context)

    def _entries(self, rows: Tensor) -> _Entries:
        """Standardised entries of rows ``(N, F)``, those that are there first."""
        values, context = self._apart(rows)
        columns = (torch.cat([values, context], -1) - self.location) / self.scale
        measured = values.isfinite()
        there = measured.any(-1)
        parts = [columns, measured.to(rows.dtype)] if self.channels > 1 else [columns]
        seen = _packed(torch.cat(parts, -1).nan_to_num(0.0, 0.0, 0.0), there)
        there = torch.arange(there.shape[1], device=rows.device) < there.sum(1, keepdim=True)
        if self.is_ordered and self.context:
            known = seen[..., self.channels : self.channels + self.context]
            seen = torch.cat([seen, F.pad(known.diff(dim=1), (0, 0, 1, 0))], -1)
        return _Entries(seen * there.unsqueeze(-1), there)


def _packed(entries: Tensor, there: Tensor) -> Tensor:
    """Entries ``(N, T, K)``, those that are there first and in their order, zeros behind them."""
    size = there.shape[1]
    place = torch.where(there, there.long().cumsum(1) - 1, size).unsqueeze(-1)
    empty = entries.new_zeros(entries.shape[0], size + 1, entries.shape[2])
    return empty.scatter(1, place.expand_as(entries), entries)[:, :size]


def _pooled(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and maximum of entries ``(N, T, W)``, each ``(N, W)``."""
    mean = hidden.sum(1) / weight.sum(1).clamp_min(1)
    return mean, torch.where(weight > 0, hidden, -1e4).amax(1).clamp_min(-1e3)


def _moments(seen: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means of entries ``(N, T, K)`` and of their products, and how many there are."""
    number = weight.sum(1)
    mean = seen.sum(1) / number.clamp_min(1)
    upper = torch.triu_indices(seen.shape[2], seen.shape[2], device=seen.device)
    products = (seen.mT @ seen)[:, upper[0], upper[1]] / number.clamp_min(1)
    return mean, products, number.clamp_min(1).log() / math.log(10), number.clamp_min(1).rsqrt()


class _Regression(nn.Module):
    """Least squares of values on learned functions of the settings, with a learned ridge."""

    def __init__(self, channels: int, context: int, size: int) -> None:
        super().__init__()
        self.known = slice(channels, channels + context)
        self.functions = nn.Sequential(
            Linear(context, _HIDDEN),
            nn.SiLU(),
            Linear(_HIDDEN, _HIDDEN),
            nn.SiLU(),
            Linear(_HIDDEN, size - 1),
        )
        self.log_ridge = nn.Parameter(torch.full((size,), _LOG_RIDGE))
        self.out_channels = size * (channels + 1) + channels

    def forward(self, seen: Tensor, there: Tensor) -> Tensor:
        """Return coefficients, logarithms of their variances and of the mean square that is left."""
        values = seen[..., : self.known.start]
        design = F.pad(self.functions(seen[..., self.known]), (1, 0), value=1.0) * there
        # Functions may be nearly alike: single precision is too little to tell their differences.
        gram = (design.mT @ design).double() + self.log_ridge.double().exp().diag()
        inverse = torch.linalg.inv(gram)
        coefficients = (inverse @ (design.mT @ values).double()).to(values.dtype)
        left = (values - design @ coefficients) * there
        mean_square = left.square().sum(1) / there.sum(1).clamp_min(1)
        variances = inverse.diagonal(dim1=-2, dim2=-1).to(values.dtype)
        return torch.cat([coefficients.flatten(1).asinh(), variances.log(), (mean_square + _SMALL).log()], -1)


class _Alone(nn.Module):
    """A residual block for each entry."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, width))

    def forward(self, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return hidden + self.net(hidden) * weight, weight


class _Convolution(nn.Module):
    """A residual convolution, then the means of pairs; empty entries are zeros, and half a pair is itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.along = nn.Conv1d(width, width, 3, padding=1)
        self.outlet = Linear(width, width)

    def forward(self, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.along((self.norm(hidden) * weight).mT).mT
        hidden = hidden + self.outlet(F.silu(mixed)) * weight
        odd = hidden.shape[1] % 2
        pairs = F.pad(hidden, (0, 0, 0, odd)).unflatten(1, (-1, 2)).sum(2)
        number = F.pad(weight, (0, 0, 0, odd)).unflatten(1, (-1, 2)).sum(2)
        return pairs / number.clamp_min(1), number.clamp_max(1)


class _Recurrence(nn.Module):
    """A residual gated recurrence; what stands behind the last entry cannot change those before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.along = nn.GRU(width, width, batch_first=True)

    def forward(self, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return hidden + self.along(self.norm(hidden))[0] * weight, weight


class _Attention(nn.Module):
    """Self-attention among the entries that are there, then a residual block for each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query_key_value = Linear(width, 3 * width)
        self.outlet = Linear(width, width)
        self.each = _Alone(width)

    def forward(self, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        parts = self.query_key_value(self.norm(hidden)).unflatten(-1, (3, _HEADS, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # Not -inf, which would make NaN of a row without entries.
        away = torch.where(weight.mT.unsqueeze(1) > 0, 0.0, -1e4).to(query.dtype)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=away)
        hidden = hidden + self.outlet(found.transpose(1, 2).flatten(2)) * weight
        return self.each(hidden, weight)  # type: ignore[no-any-return]


_MIXING: dict[str, type[nn.Module]] = {
    "attention": _Attention,
    "convolution": _Convolution,
    "gru": _Recurrence,
    "none": _Alone,
}
