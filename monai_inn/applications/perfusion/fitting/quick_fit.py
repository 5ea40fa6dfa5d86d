"""A least-squares fit of the extended Tofts model, fast enough for every row that a network sees.

For each of a few delays and rates the model is linear in its two amplitudes; the best of them is refined by
Gauss–Newton steps. The artery is taken as linear between its frames, which it is not: the network learns
what that does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.fitting.features import LEAST_ARTERY_MM, held
from monai_inn.applications.perfusion.models.kinetics import Artery, convolved, places_of, values_at

__all__ = ["NUM_FITTED", "delays_that_fit", "fitted_features"]

_DELAYS_S = tuple(range(-10, 11, 2))
_RATES = tuple(0.02 * 1000 ** (n / 9) / 60 for n in range(10))  # in 1/s, .02 to 20 a minute

NUM_FITTED = len(_DELAYS_S) + len(_RATES) + 14
"""Numbers of a row."""

_ROWS = 160  # at a time, whose grids stay in the processor's cache
_STEPS, _AWAY, _DAMPING = 4, 0.02, 1e-2
_LEAST_NOISE_MM, _RIDGE, _SMALL = 1e-3, 1e-6, 1e-12
_HIGHEST = 20.0  # of a number that a network sees, before it is standardised

# Delay in s, logarithm of the rate in 1/s, transfer in 1/s, share of plasma.
_LOW, _HIGH = (-10.0, -9.0, 0.0, 0.0), (10.0, 0.0, 0.1, 1.0)
_PRIOR_SD = (6.0, 3.0, 0.05, 0.5)  # so that what the curve does not tell stays where it is


class _Curves(NamedTuple):
    """Curves in shares of the artery's peak, ``(N, T)``; ``there`` is 1 where the tissue was measured."""

    tissue: Tensor
    artery: Tensor
    times: Tensor
    there: Tensor


def fitted_features(tissue: Tensor, artery: Tensor, times_s: Tensor) -> Tensor:
    """Return what the fit says of each row: which delays and rates fit, best values, errors, what is left.

    Args:
        tissue: concentrations in mM, shape ``(…, T)``; NaN where nothing was measured.
        artery: those in the artery.
        times_s: times of the frames in s.

    Returns:
        Shape ``(…, NUM_FITTED)``, finite.
    """
    curves = (part.reshape(-1, part.shape[-1]).float().split(_ROWS) for part in (tissue, artery, times_s))
    found = [_of_rows(*rows) for rows in zip(*curves, strict=True)]
    return torch.cat(found).reshape(*tissue.shape[:-1], NUM_FITTED)


def delays_that_fit(
    tissue: Tensor, artery: Tensor, times_s: Tensor, delays_s: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the delay behind the artery that fits each tissue best, and the share of its squares left there.

    Args:
        tissue: concentrations in mM, shape ``(N, T)``; NaN where nothing was measured.
        artery: those in the artery, same shape.
        times_s: times of the frames in s, same shape.
        delays_s: delays to choose from, in s, shape ``(D,)``.

    Returns:
        Delays in s and shares, each ``(N,)``.
    """
    rows = max(1, _ROWS * len(_DELAYS_S) // len(delays_s))
    parts = (part.float().split(rows) for part in (tissue, artery, times_s))
    found = []
    for part in zip(*parts, strict=True):
        curves, _ = _prepared(*part)
        left, best = _grid(curves, delays_s.float(), torch.tensor(_RATES))[0].amin(2).min(1)
        found.append((delays_s[best], left / curves.tissue.square().sum(1).clamp_min(_SMALL)))
    delays, shares = map(torch.cat, zip(*found, strict=True))
    return delays, shares


def _prepared(tissue: Tensor, artery: Tensor, times: Tensor) -> tuple[_Curves, Tensor]:
    """Curves ``(N, T)`` in shares of the artery's peak, and that peak."""
    there = tissue.isfinite() & times.isfinite()
    blood, times = held(artery, times)
    peak = blood.amax(1).clamp_min(LEAST_ARTERY_MM)
    shown = torch.where(there, tissue, 0.0)
    return _Curves(shown / peak[:, None], blood / peak[:, None], times, there.float()), peak


def _of_rows(tissue: Tensor, artery: Tensor, times: Tensor) -> Tensor:
    """As ``fitted_features`` of few rows, ``(N, T)``."""
    curves, peak = _prepared(tissue, artery, times)
    number = curves.there.sum(1).clamp_min(1)
    delays, rates = (torch.tensor(values).to(peak) for values in (_DELAYS_S, _RATES))
    left, amplitudes = _grid(curves, delays, rates)
    noise = left / number[:, None, None] + (_LEAST_NOISE_MM / peak).square()[:, None, None]
    share = (-0.5 * number[:, None, None] * noise.log()).flatten(1).softmax(1).view_as(left)
    best = share.flatten(1).argmax(1)
    start = [delays[best // len(rates)], rates.log()[best % len(rates)]]
    start += amplitudes.flatten(1, 2)[torch.arange(len(best), device=best.device), best].unbind(-1)
    fit, error, rest = _refined(_Curves(*(part.double() for part in curves)), torch.stack(start, -1).double())

    transfer = (fit[:, 2] * 60 + 1e-3).log()
    rest = rest / number
    values = [
        fit[:, 0] / 10,
        fit[:, 1],
        transfer,
        fit[:, 3].sqrt(),
        transfer - fit[:, 1],
        *error.clamp_min(1e-8).log().unbind(-1),
        0.5 * (rest + _SMALL).log(),
        0.5 * (rest * peak.square() + _SMALL).log(),
        peak.log(),
        number.log(),
        -0.5 * left.flatten(1).amin(1).clamp_min(_SMALL).log(),
    ]
    found = torch.cat([share.sum(2), share.sum(1), torch.stack([v.to(share) for v in values], -1)], -1)
    return found.nan_to_num(0.0).clamp(-_HIGHEST, _HIGHEST)


def _grid(curves: _Curves, delays: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """Squares left ``(N, D, G)`` and amplitudes ``(N, D, G, 2)``, not negative: transfer in 1/s, plasma."""
    times = curves.times[:, None]
    blood = Artery(times, curves.artery[:, None])
    in_frames = places_of(blood, times, torch.Size((len(rates),)))
    slow = convolved(in_frames, rates.expand(len(times), -1))
    delayed = places_of(blood, times - delays[:, None], torch.Size())
    # Linear between the frames, which is enough to start from.
    change = slow.diff(dim=2) / times.diff(dim=2).clamp_min(_SMALL)
    change = torch.cat([change, torch.zeros_like(slow[..., :1])], 2)
    last = delayed.last.flatten(1)[:, None].expand(-1, len(rates), -1)
    between = slow.gather(2, last) + change.gather(2, last) * delayed.elapsed.flatten(1)[:, None]
    between = between.unflatten(2, (len(delays), -1)).transpose(1, 2) * curves.there[:, None, None]
    return _solved(curves, values_at(delayed) * curves.there[:, None], between)


def _solved(curves: _Curves, fast: Tensor, slow: Tensor) -> tuple[Tensor, Tensor]:
    """As ``_grid``, of the two parts of a curve, ``(N, D, T)`` and ``(N, D, G, T)``."""
    ff, sf = fast.square().sum(-1, keepdim=True), (slow * fast.unsqueeze(2)).sum(-1)
    ss = slow.square().sum(-1)
    fy = (fast * curves.tissue[:, None]).sum(-1, keepdim=True)
    sy = (slow * curves.tissue[:, None, None]).sum(-1)
    det = (ff * ss - sf.square()).clamp_min(_SMALL) + _RIDGE * ff * ss
    transfer, plasma = (ff * sy - sf * fy) / det, (ss * fy - sf * sy) / det
    transfer = torch.where(plasma < 0, (sy / ss.clamp_min(_SMALL)).clamp_min(0), transfer)
    plasma = torch.where(transfer < 0, (fy / ff.clamp_min(_SMALL)).clamp_min(0), plasma.clamp_min(0))
    transfer = transfer.clamp_min(0)
    left = curves.tissue.square().sum(-1)[:, None, None] - 2 * (transfer * sy + plasma * fy)
    left = left + transfer.square() * ss + 2 * transfer * plasma * sf + plasma.square() * ff
    return left.clamp_min(0), torch.stack([transfer, plasma], -1)


def _model(curves: _Curves, x: Tensor) -> tuple[Tensor, Tensor]:
    """What is left ``(N, T)`` and slopes of the model ``(N, 4, T)``, 0 where nothing was measured."""
    delay, log_rate, transfer, plasma = x.unsqueeze(-1).unbind(1)
    rates = (log_rate + torch.tensor([0.0, _AWAY]).to(x)).exp()
    blood = Artery(curves.times[:, None], curves.artery[:, None])
    places = places_of(blood, (curves.times - delay)[:, None], torch.Size((2,)))
    slow, other = convolved(places, rates).unbind(1)
    value = values_at(places)[:, 0]
    slope = torch.where(places.is_after, places.slope, 0.0)[:, 0]
    turned = -(plasma * slope + transfer * (value - rates[:, :1] * slow))
    slopes = torch.stack([turned, transfer * (other - slow) / _AWAY, slow, value], 1)
    left = curves.tissue - (transfer * slow + plasma * value)
    return left * curves.there, slopes * curves.there.unsqueeze(1)


def _refined(curves: _Curves, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best values and their errors ``(N, 4)``, and the squares left ``(N,)``, by damped steps."""
    low, high, sd = (x.new_tensor(values) for values in (_LOW, _HIGH, _PRIOR_SD))
    number = curves.there.sum(1)
    x = x.clamp(low, high)
    damping = torch.full_like(x[:, :1], _DAMPING)
    left, slopes = _model(curves, x)
    rest = left.square().sum(1)
    for _ in range(_STEPS):
        gram = _gram(slopes, rest / number.clamp_min(1), sd)
        damped = gram + torch.diag_embed(damping * gram.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, slopes @ left.unsqueeze(-1)).squeeze(-1)
        tried = (x + step).clamp(low, high)
        new_left, new_slopes = _model(curves, tried)
        new_rest = new_left.square().sum(1)
        is_better = (new_rest < rest)[:, None]
        x, left = torch.where(is_better, tried, x), torch.where(is_better, new_left, left)
        slopes = torch.where(is_better.unsqueeze(-1), new_slopes, slopes)
        rest = torch.minimum(new_rest, rest)
        damping = torch.where(is_better, damping / 5, damping * 5)
    noise = rest / (number - 4).clamp_min(1)
    variance = torch.linalg.inv(_gram(slopes, noise, sd)).diagonal(dim1=1, dim2=2)
    return x, (variance * noise.clamp_min(_SMALL)[:, None]).clamp_min(0).sqrt(), rest


def _gram(slopes: Tensor, noise: Tensor, sd: Tensor) -> Tensor:
    """Products of slopes ``(N, 4, 4)`` with what the prior knows, for a variance of the noise ``(N,)``."""
    return slopes @ slopes.mT + torch.diag_embed(noise.clamp_min(_SMALL)[:, None] / sd.square())
