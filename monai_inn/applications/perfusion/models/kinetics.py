"""From the arterial curve to the curve of a tissue: exact convolutions with sums of exponentials.

The arterial curve is linear between its knots, so that its convolution with an exponential is a recursion
over the knots and a closed form between them. Nothing is discretised, and curves can be had at any times.

Sources: Tofts et al., Estimating kinetic parameters from dynamic contrast-enhanced T1-weighted MRI of a
diffusable tracer: standardized quantities and symbols, 1999; Sourbron and Buckley, Tracer kinetic modelling
in MRI: estimating perfusion and capillary permeability, 2012.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Artery",
    "Places",
    "Response",
    "concentration_at",
    "convolved",
    "exchange",
    "extended_tofts",
    "passage_curve",
    "patlak",
    "places_of",
    "tissue_curve",
    "values_at",
]

_PER_MINUTE = 1 / 60.0  # in 1/s
_SMALL = 0.05  # below it the quotients of ``_weights`` lose digits, and a series of seven terms has all
_SERIES = (1 / 2, -1 / 6, 1 / 24, -1 / 120, 1 / 720, -1 / 5040, 1 / 40320)
_LEAST_PLASMA = 1e-6


class Artery(NamedTuple):
    """Concentration in arterial plasma, linear between knots; 0 before the first, constant after the last.

    Attributes:
        knots_s: ascending times of the knots in s, shape ``(K,)`` or ``(…, K)``.
        values: concentrations there in mM, shape ``(…, K)``.
    """

    knots_s: Tensor
    values: Tensor


class Response(NamedTuple):
    """What a tissue does with a unit of tracer: ``plasma · δ(t) + Σ amplitudes · exp(−rates t)``.

    Attributes:
        plasma: share of the tissue that follows the artery at once, shape ``(…)``.
        amplitudes: in 1/s, shape ``(…, J)``.
        rates: in 1/s, none negative, shape ``(…, J)``.
    """

    plasma: Tensor
    amplitudes: Tensor
    rates: Tensor


class Places(NamedTuple):
    """Where times lie among the knots of an artery; all of shape ``(…, T)`` but the first.

    Attributes:
        artery: the curve.
        last: number of the knot before.
        elapsed: time since then in s.
        value: concentration at that knot in mM.
        slope: change since then in mM/s.
        is_after: whether the first knot is past.
    """

    artery: Artery
    last: Tensor
    elapsed: Tensor
    value: Tensor
    slope: Tensor
    is_after: Tensor


def extended_tofts(ktrans: Tensor, ve: Tensor, vp: Tensor) -> Response:
    """Return the response of plasma and of a space that it exchanges tracer with.

    Args:
        ktrans: transfer constant in 1/min, shape ``(…)``.
        ve: volume fraction of the extravascular extracellular space, positive.
        vp: volume fraction of the plasma.
    """
    transfer = ktrans * _PER_MINUTE
    return Response(vp, transfer.unsqueeze(-1), (transfer / ve).unsqueeze(-1))


def patlak(ktrans: Tensor, vp: Tensor) -> Response:
    """Return the response of ``extended_tofts`` without a way back."""
    return Response(vp, (ktrans * _PER_MINUTE).unsqueeze(-1), torch.zeros_like(ktrans).unsqueeze(-1))


def exchange(ktrans: Tensor, extraction: Tensor, ve: Tensor, vp: Tensor) -> Response:
    """Return the response of two compartments that exchange tracer, of which the plasma is perfused.

    The flow of plasma is ``Fp = Ktrans / E``, the exchange ``PS = Ktrans / (1 − E)``. Without extraction, at
    infinite flow, this is ``extended_tofts``.

    Args:
        ktrans: transfer constant in 1/min, shape ``(…)``.
        extraction: share ``E`` of the tracer that leaves the plasma on its way, between 0 and 1.
        ve: volume fraction of the extravascular extracellular space, positive.
        vp: volume fraction of the plasma; a millionth is taken for less.
    """
    vp = vp.clamp_min(_LEAST_PLASMA)
    transfer = ktrans * _PER_MINUTE
    flow, leak = transfer / extraction, transfer / (1 - extraction)
    out, across, back = flow / vp, leak / vp, leak / ve
    # Sums of positive numbers wherever that is possible: one rate may be a millionth of the other.
    apart = ((out + across - back).square() + 4 * across * back).sqrt()
    fast = (out + across + back + apart) / 2
    slow = out * back / fast
    share = (across + back - slow) / apart  # of the flow that leaves at the slow rate
    amplitudes = torch.stack([flow * share, flow * (out - slow) / apart], -1)
    return Response(torch.zeros_like(vp), amplitudes, torch.stack([slow, fast], -1))


def tissue_curve(
    artery: Artery, response: Response, times_s: Tensor, delay_s: Tensor | float = 0.0
) -> Tensor:
    """Return the concentration in a tissue.

    Args:
        artery: curve of the artery.
        response: response of the tissue, of shapes ``(…)`` and ``(…, J)``.
        times_s: times in s, in any order, shape ``(T,)`` or ``(…, T)``; NaN gives NaN.
        delay_s: how much later than in the artery the tracer arrives, in s, ``(…)``.

    Returns:
        Concentrations in mM, shape ``(…, T)``, where leading axes are broadcast.
    """
    shifted = times_s - torch.as_tensor(delay_s, dtype=times_s.dtype, device=times_s.device).unsqueeze(-1)
    places = places_of(artery, shifted, response.plasma.shape)
    total = response.plasma.unsqueeze(-1) * values_at(places)
    for amplitude, rate in zip(response.amplitudes.unbind(-1), response.rates.unbind(-1), strict=True):
        total = total + amplitude.unsqueeze(-1) * convolved(places, rate)
    return total


def passage_curve(
    artery: Artery, mtt_s: Tensor, spread: Tensor, times_s: Tensor, delay_s: Tensor | float = 0.0
) -> Tensor:
    """Return the artery convolved with the residue of a tracer that passes through vessels and stays in them.

    The residue is the share of a unit of tracer that has not left yet. Up to a spread of 1 all tracer stays
    for ``(1 − spread) mtt`` and leaves exponentially then: from plug flow to a well-mixed space. Above 1 two
    exponentials leave side by side, which carry the same volume.

    Args:
        artery: curve of the artery.
        mtt_s: mean transit time in s, shape ``(…)``, which is the integral of the residue.
        spread: standard deviation of the transit times over their mean, positive, shape ``(…)``.
        times_s: times in s, shape ``(T,)`` or ``(…, T)``.
        delay_s: how much later than in the artery the tracer arrives, in s, ``(…)``.

    Returns:
        Shape ``(…, T)`` in mM s; times the flow of plasma in 1/s it is the concentration in the tissue.
    """
    variance = spread.clamp_min(1).square()
    share = (1 + ((variance - 1) / (variance + 1)).sqrt()) / 2
    wait, left = (1 - spread).clamp_min(0) * mtt_s, spread.clamp_max(1) * mtt_s
    none, one = torch.zeros_like(share), torch.ones_like(share)
    amplitudes = torch.stack([-one, share, 1 - share], -1)
    rates = torch.stack([none, 2 * share / left, 2 * (1 - share) / left], -1)
    entered = Response(none, one.unsqueeze(-1), none.unsqueeze(-1))
    return tissue_curve(artery, entered, times_s, delay_s) + tissue_curve(
        artery, Response(none, amplitudes, rates), times_s, delay_s + wait
    )


def concentration_at(artery: Artery, times_s: Tensor) -> Tensor:
    """Return the concentration of the artery in mM at times ``(T,)`` or ``(…, T)`` in s, ``(…, T)``."""
    return values_at(places_of(artery, times_s, torch.Size()))


def places_of(artery: Artery, times_s: Tensor, shape: torch.Size) -> Places:
    """Find times ``(…, T)`` in s among the knots of arteries, of rows that are broadcast to a shape."""
    rows = torch.broadcast_shapes(
        artery.values.shape[:-1], artery.knots_s.shape[:-1], times_s.shape[:-1], shape
    )
    times = times_s.expand(*rows, -1).contiguous()
    values = artery.values.expand(*rows, -1)
    knots = artery.knots_s.contiguous()
    if knots.ndim > 1:
        knots = knots.expand(*rows, -1).contiguous()
    found = torch.searchsorted(knots.detach(), times.detach(), right=True) - 1
    index = found.clamp(0, knots.shape[-1] - 1)
    start = knots[index] if knots.ndim == 1 else knots.gather(-1, index)
    slopes = values.diff(dim=-1) / knots.diff(dim=-1)
    slopes = torch.cat([slopes, torch.zeros_like(values[..., :1])], -1)
    return Places(
        Artery(knots, values),
        index,
        torch.where(found >= 0, times - start, 0.0),
        values.gather(-1, index),
        slopes.gather(-1, index),
        found >= 0,
    )


def values_at(places: Places) -> Tensor:
    """Return the concentration of the artery in mM there, ``(…, T)``."""
    return torch.where(places.is_after, places.value + places.slope * places.elapsed, 0.0)


def convolved(places: Places, rate: Tensor) -> Tensor:
    """Return the artery convolved with ``exp(−rate t)`` in mM s, ``(…, T)``, for rates ``(…)`` in 1/s."""
    knots, values = places.artery
    step = knots.diff(dim=-1)
    decay, first, second = _weights(rate.unsqueeze(-1) * step)
    gain = step * (values[..., :-1] * first + values.diff(dim=-1) * second)
    # Knots first, so that each step of the recursion reads what lies beside each other.
    decays, gains = (
        part.movedim(-1, 0).contiguous().unbind(0) for part in torch.broadcast_tensors(decay, gain)
    )
    states = [torch.zeros_like(gains[0])]
    for factor, addend in zip(decays, gains, strict=True):
        states.append(factor * states[-1] + addend)
    state = torch.stack(states, -1).expand(*places.last.shape[:-1], -1).gather(-1, places.last)
    decay, first, second = _weights(rate.unsqueeze(-1) * places.elapsed)
    risen = places.slope * places.elapsed
    return decay * state + places.elapsed * (places.value * first + risen * second)


def _weights(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``exp(−x)``, ``(1 − exp(−x)) / x`` and ``(x − 1 + exp(−x)) / x²`` for ``x`` of 0 or more."""
    low = x.clamp_max(_SMALL)
    series = torch.full_like(x, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        series = series * low + coefficient
    high = x.clamp_min(_SMALL)
    lost = -torch.expm1(-high)
    is_small = x < _SMALL
    first = torch.where(is_small, 1 - x * series, lost / high)
    return torch.exp(-x), first, torch.where(is_small, series, (high - lost) / high.square())
