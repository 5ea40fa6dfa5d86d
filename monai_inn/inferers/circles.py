"""Angles of posterior samples: where a circle is cut must not decide what its median and its interval are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_inn.problems.parameters import ParameterSpace

__all__ = ["Circles"]

_LEAST = 1e-6  # share of a turn nearest to a cut, whose normal score is still finite in float32


class Circles:
    """The periodic parameters of many pixels, each circle cut opposite to the mean direction of its samples.

    Away from the cut an angle is a number like any other: samples can be sorted, and their quantiles and
    their mean mean something. Other parameters are left as they are.

    Args:
        samples: posterior samples in the flow's space, ``(S, n, D)``.
        space: bijection to physical parameters, ``D`` of them.
    """

    def __init__(self, samples: Tensor, space: ParameterSpace) -> None:
        self._space = space
        self._columns = [i for i, p in enumerate(space.parameters) if p.is_periodic]
        if not self._columns:
            return
        angle = 2 * math.pi * torch.special.ndtr(samples[..., self._columns])
        direction = torch.atan2(angle.sin().mean(0), angle.cos().mean(0))
        self._centre = (direction / (2 * math.pi)) % 1  # in turns, (n, angles)

    def cut(self, samples: Tensor) -> Tensor:
        """Return samples ``(S, n, D)`` in the flow's space, whose circles begin at the cut; same shape."""
        if not self._columns:
            return samples
        turn = torch.special.ndtr(samples[..., self._columns]) - self._centre
        share = (turn - turn.round() + 0.5).clamp(_LEAST, 1 - _LEAST)
        cut = samples.clone()
        cut[..., self._columns] = torch.special.ndtri(share)
        return cut

    def physical(self, latent: Tensor, median: Tensor) -> Tensor:
        """Return physical values of what was taken from cut samples.

        An angle is at most half a turn from its median, which lies within the bounds; its own value may lie
        beyond them, so that an interval never seems to be the rest of the circle.

        Args:
            latent: shape ``(…, n, D)``.
            median: median of the cut samples, ``(n, D)``.
        """
        values = self._space.inverse(latent)
        for i, column in enumerate(self._columns):
            p, centre = self._space.parameters[column], self._centre[:, i]
            middle = torch.special.ndtr(median[:, column]) - 0.5 + centre
            turn = torch.special.ndtr(latent[..., column]) - 0.5 + centre - middle.floor()
            values[..., column] = p.low + (p.high - p.low) * turn
        return values

    def within(self, values: Tensor) -> Tensor:
        """Return physical values ``(…, n, D)`` whose angles are brought back within their bounds."""
        values = values.clone() if self._columns else values
        for column in self._columns:
            p = self._space.parameters[column]
            values[..., column] = p.low + (values[..., column] - p.low) % (p.high - p.low)
        return values
