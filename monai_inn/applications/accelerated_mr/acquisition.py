"""What a scanner with several coils measures of an image, and its adjoint.

Images are complex, ``(N, rows, columns)``; k-space has an axis of coils, ``(N, coils, rows, columns)``, its
zero frequency first. Fourier transforms have the norm ``"ortho"``, so that noise keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Acquisition",
    "cartesian_mask",
    "central_mask",
    "is_central",
    "simulated_sensitivities",
    "smooth_phase",
]

_FALL = 2.0  # power of the distance with which the density of samples falls
_REACH = 1.6  # of the coils' distance from the middle, half fields of view: their sensitivities are this wide
_TURNS = 3.0  # range of a sensitivity's phase across the field of view, rad


@dataclass(frozen=True)
class Acquisition:
    """Cartesian acquisitions of ``N`` images.

    Args:
        mask: which points of k-space are sampled, 1 or 0, ``(N, rows, columns)``.
        sensitivities: of the coils, complex, ``(N, coils, rows, columns)``.
        noise_sd: standard deviation of the noise of real and of imaginary part, ``(N,)``.
    """

    mask: Tensor
    sensitivities: Tensor
    noise_sd: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Return the k-space ``(N, coils, …)`` of images ``(N, …)``, 0 where nothing is sampled."""
        coils = self.sensitivities * image.unsqueeze(1)
        return torch.fft.fft2(coils, norm="ortho") * self.mask.unsqueeze(1)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """Return the image ``(N, …)`` that the adjoint of ``forward`` makes of k-space."""
        coils = torch.fft.ifft2(kspace * self.mask.unsqueeze(1), norm="ortho")
        return (self.sensitivities.conj() * coils).sum(1)

    def density(self) -> Tensor:
        """Return which share of each frequency of the image is measured, ``(N, rows, columns)``.

        It is the diagonal of ``adjoint(forward(·))`` in frequency: the mask, smeared by the spectrum of the
        sensitivities. For one coil of sensitivity 1 it is the mask.
        """
        spectra = torch.fft.fft2(self.sensitivities, norm="ortho").abs().square().sum(1)
        share = torch.fft.ifft2(torch.fft.fft2(self.mask) * torch.fft.fft2(spectra).conj()).real
        return share.clamp_min(0) / math.prod(self.mask.shape[1:])


def cartesian_mask(
    size: Sequence[int],
    factor: Tensor,
    is_lines: Tensor,
    centre: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw masks of variable density whose centre is complete, ``(N, *size)`` of 0 and 1.

    The number of samples is exactly one in ``factor``. Their density falls with the distance from the middle.

    Args:
        size: rows and columns.
        factor: acceleration of each mask, ``(N,)``, at least 1.
        is_lines: whether whole rows are sampled, as in a 2-D acquisition, or points, as in two phase-encoded
            directions, boolean, ``(N,)``.
        centre: rows, or rows and columns of the middle, that are complete.
        generator: source of randomness.

    Raises:
        ValueError: if the centre alone has more samples than the factor leaves.
    """
    rows, columns = (torch.fft.fftfreq(n) * 2 for n in size)
    frequency = torch.stack([rows[:, None].expand(*size), columns.expand(*size)])
    reach = torch.where(is_lines.view(-1, 1, 1), frequency[0].abs(), frequency.square().sum(0).sqrt())
    limit = torch.tensor([centre / n for n in size]).view(-1, 1, 1)
    inside = (frequency >= -limit) & (frequency < limit)
    is_centre = torch.where(is_lines.view(-1, 1, 1), inside[0], inside.all(0))
    # Gumbel's trick: the largest sums of log weight and noise are draws without replacement.
    u = torch.rand(len(factor), *size, generator=generator).clamp(1e-7, 1 - 1e-7)
    u = torch.where(is_lines.view(-1, 1, 1), u[:, :, :1], u)
    weight = (1 - reach / (reach.flatten(1).amax(1).view(-1, 1, 1) * 1.01)).clamp_min(1e-3) ** _FALL
    score = weight.log() - (-u.log()).log()
    score = torch.where(is_centre, torch.inf, score)
    total = math.prod(size)
    count = torch.where(is_lines, (size[0] / factor).round() * size[1], (total / factor).round())
    if bool((is_centre.flatten(1).sum(1) > count).any()):
        raise ValueError(
            f"a complete centre of {centre} of {tuple(size)} has more samples than an acceleration of "
            f"{float(factor.max()):.3g} leaves; give a smaller one."
        )
    rank = score.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < count.unsqueeze(1)).view(-1, *size).float()


def central_mask(size: Sequence[int], kept: Tensor) -> Tensor:
    """Return masks of the centre alone, as scans of low resolution sample it, ``(N, *size)`` of 0 and 1.

    A scan of ``n`` pixels along an axis samples the frequencies below ``n / 2`` on either side. The highest
    one of an even ``n``, which it cannot tell from its negative, is left out.

    Args:
        size: rows and columns.
        kept: rows and columns of the scans, ``(N, 2)``.
    """
    rows, columns = (torch.fft.fftfreq(n, 1 / n).abs() < kept[:, [i]] / 2 for i, n in enumerate(size))
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).float()


def is_central(mask: Tensor) -> Tensor:
    """Return which masks ``(N, rows, columns)`` are a box around zero, smaller than k-space, ``(N,)``."""
    sides = mask.amax(2), mask.amax(1)
    is_box = (mask == sides[0].unsqueeze(2) * sides[1].unsqueeze(1)).all((1, 2))
    for side in sides:
        reach = torch.fft.fftfreq(side.shape[1], 1 / side.shape[1], device=mask.device).abs()
        is_box &= (reach * side).amax(1) <= side.sum(1) / 2
    return is_box & (mask.mean((1, 2)) < 1)


def simulated_sensitivities(
    number: int, coils: int, size: Sequence[int], generator: torch.Generator | None = None
) -> Tensor:
    """Draw smooth sensitivities of coils around the field of view, complex, ``(number, coils, *size)``.

    Their squares add up to one at every place.
    """
    y, x = (torch.linspace(-1, 1, n) for n in size)
    turn = torch.arange(coils) + torch.rand(number, 1, generator=generator)
    turn = turn + 0.3 * torch.rand(number, coils, generator=generator)
    angle = (2 * math.pi / coils) * turn
    place = 1.0 + 0.3 * torch.rand(number, coils, generator=generator)
    down, right = place * angle.sin(), place * angle.cos()
    square = (y[:, None] - down[..., None, None]).square() + (x - right[..., None, None]).square()
    strength = torch.exp(-square / _REACH**2)
    strength = strength / strength.square().sum(1, keepdim=True).sqrt()
    return torch.polar(strength, smooth_phase((number, coils), size, _TURNS, generator))


def smooth_phase(
    shape: Sequence[int], size: Sequence[int], spread: float, generator: torch.Generator | None = None
) -> Tensor:
    """Draw smooth phases ``(*shape, *size)``: a constant, slopes and curvatures of standard normal size.

    Args:
        shape: leading axes.
        size: rows and columns.
        spread: standard deviation at the border, rad, roughly.
        generator: source of randomness.
    """
    y, x = (torch.linspace(-1, 1, n) for n in size)
    y, x = y[:, None].expand(*size), x.expand(*size)
    terms = torch.stack([torch.ones_like(x), y, x, y * x, y.square() - 1 / 3, x.square() - 1 / 3])
    weights = torch.randn(*shape, len(terms), generator=generator) / 2
    return spread * torch.einsum("...t,tyx->...yx", weights, terms)
