"""As many samples as a pixel needs: where its posterior is simple, most follow from a few that were drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor

from monai_inn.inferers.summaries import quantiles, sorted_last

__all__ = ["FEW", "MANY", "drawn_or_predicted"]

FEW = 4
"""A share of one in so many of the samples is drawn for every pixel."""

MANY = 4
"""Latents of a pixel whose samples are predicted, over those of a pixel whose samples are all drawn."""

_SHARES = (FEW, 2)  # then half of them where these do not suffice
_LEAST = 16  # samples that a prediction needs
_TERMS = 0.6  # of a polynomial, at most, over samples that it is fitted to
_ERROR = 0.2  # of a predicted sample, in posterior standard deviations
_END = 0.5  # between a quantile and that of the preview head, in posterior standard deviations
_BLOCK = 2048  # pixels whose predicted samples are handed on together, so that they stay in the cache

Draw = Callable[[Tensor, Tensor], Tensor]  # numbers of pixels (n,), latents (S, 1, D) to samples (S, n, D)


def drawn_or_predicted(
    draw: Draw, latents: Tensor, quick: Tensor, levels: Sequence[float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixels and samples of their posteriors, until each pixel has been there once.

    Samples of a posterior that is narrow or near normal are almost a polynomial of their latents. One is
    fitted to the first samples of each pixel. Where these lie on it, and its quantiles agree with those of
    the preview head, which has seen none of them, it gives the samples of all latents. A mode that the first
    samples have missed is known to the preview head. Other pixels have ``S`` samples, all of them drawn.

    Args:
        draw: from numbers of pixels ``(n,)`` and latents ``(s, 1, D)`` to samples ``(s, n, D)``.
        latents: shape ``(MANY · S, 1, D)``; the first are as evenly spread as all, as in a Sobol sequence.
        quick: quantiles of the preview head, ``(N, D, L)`` in the space of the samples.
        levels: their levels.

    Yields:
        Numbers of pixels ``(n,)`` and samples, ``(S, n, D)`` or ``(MANY · S, n, D)``.
    """
    total, pixels = len(latents) // MANY, torch.arange(len(quick), device=quick.device)
    samples = latents[:0].expand(-1, len(pixels), -1)
    for stop in (total // share for share in _SHARES if total // share >= _LEAST):
        samples = torch.cat([samples, draw(pixels, latents[len(samples) : stop])])
        fit = _Polynomial(latents.squeeze(1), stop)
        is_simple = torch.zeros_like(pixels, dtype=torch.bool)
        for block in torch.arange(len(pixels), device=pixels.device).split(_BLOCK):
            whole, error = fit(samples[:, block])
            deviation = (whole - whole.mean(0)).square_().mean(0).sqrt_()  # thrice as fast as torch's std
            ends = quantiles(sorted_last(whole), levels).movedim(0, -1)
            distance = (ends - quick[pixels[block]]).abs().amax(-1)
            good = ((error <= _ERROR * deviation) & (distance <= _END * deviation)).all(-1)
            is_simple[block] = good
            if good.any():
                yield pixels[block[good]], whole[:, good]
        pixels, samples = pixels[~is_simple], samples[:, ~is_simple]
        if not len(pixels):
            return
    yield pixels, torch.cat([samples, draw(pixels, latents[len(samples) : total])])


class _Polynomial:
    """The polynomial that fits the first samples of a pixel best.

    Args:
        latents: shape ``(S, D)``, those of the first samples first.
        number: how many first samples there are.
    """

    def __init__(self, latents: Tensor, number: int) -> None:
        terms = _terms(latents.double(), int(_TERMS * number))
        # All pixels have the same latents, so that one matrix serves the polynomials of all.
        inverse = torch.linalg.pinv(terms[:number])
        self._left = (torch.eye(number).to(terms) - terms[:number] @ inverse).to(latents)
        self._rest = (terms[number:] @ inverse).to(latents)
        self._freedom = number - terms.shape[1]

    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples of all latents ``(S, n, D)``, and how far the first ones are from it, ``(n, D)``.

        Args:
            samples: the first samples, ``(number, n, D)``.
        """
        values = samples.flatten(1)
        whole = values.new_empty(len(values) + len(self._rest), values.shape[1])
        whole[: len(values)] = values
        torch.mm(self._rest, values, out=whole[len(values) :])
        error = ((self._left @ values).square().sum(0) / self._freedom).sqrt()
        return whole.unflatten(1, samples.shape[1:]), error.unflatten(0, samples.shape[1:])


def _terms(latents: Tensor, most: int) -> Tensor:
    """Hermite polynomials of latents ``(S, D)``, kind by kind as long as they are no more than so many."""
    columns = latents.unbind(1)
    kinds = [
        [torch.ones_like(columns[0]), *columns],
        [z.square() - 1 for z in columns],
        [a * b for a, b in combinations(columns, 2)],
        [z * (z.square() - 3) for z in columns],
    ]
    chosen: list[Tensor] = []
    for kind in kinds:
        if chosen and len(chosen) + len(kind) > most:
            break
        chosen += kind
    return torch.stack(chosen, 1)
