"""Measured k-space as an observation: checked, cropped, compressed, scaled, with sensitivities and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.applications.accelerated_mr.acquisition import Acquisition, central_mask
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR

__all__ = ["complete_centre", "low_resolution_observation", "observation_of", "sensitivities_of"]

_LEAST_CENTRE = 4  # samples: less tells no sensitivities
_BRIGHT = 0.995  # quantile of the image above 0 that has the brightness 1, as in training
_OUTER = 0.8  # of the largest frequency: from there on k-space is mostly noise


def observation_of(kspace: Tensor, mask: Tensor, problem: AcceleratedMR) -> tuple[Tensor, float]:
    """Return measured k-space as an observation of a problem.

    Its middle is kept, as an acquisition at the problem's resolution would have. More coils than the problem
    has are compressed to the combinations that receive most.

    Args:
        kspace: complex, ``(coils, rows, columns)``, zero frequency in the middle, in any unit.
        mask: what is sampled, boolean, ``(rows, columns)``.
        problem: the problem.

    Returns:
        The observation ``(1, C)``, and what a brightness of 1 is in the unit of ``kspace``.

    Raises:
        ValueError: if shapes do not fit, coils are missing, samples are not finite, or the centre is not
            complete.
    """
    if kspace.ndim != 3 or mask.shape != kspace.shape[1:]:
        raise ValueError(
            f"k-space of shape {tuple(kspace.shape)} and a mask of {tuple(mask.shape)}; give (coils, rows, "
            "columns) and (rows, columns)."
        )
    if len(kspace) < problem.coils:
        raise ValueError(
            f"k-space has {len(kspace)} coils, this problem {problem.coils}; fit a problem for your coils."
        )
    if any(n % 2 or n < need for n, need in zip(mask.shape, problem.size, strict=True)):
        raise ValueError(
            f"k-space of {tuple(mask.shape)} samples; give even sizes of at least {problem.size}; pad "
            "with points that are not sampled."
        )
    mask = mask.bool()
    if not bool(kspace[:, mask].isfinite().all()):
        raise ValueError("k-space holds NaN or infinity where it is sampled; leave it out of the mask.")
    silent = (kspace[:, mask].abs().amax(1) == 0).nonzero().flatten().tolist()
    if silent:
        raise ValueError(f"coils {[i + 1 for i in silent]} measured only zeros; leave them out.")
    kspace = torch.where(mask, kspace, 0)
    rows, columns = (
        slice((have - need) // 2, (have + need) // 2)
        for have, need in zip(mask.shape, problem.size, strict=True)
    )
    kspace, mask = kspace[:, rows, columns], mask[rows, columns]
    inside = complete_centre(mask)
    kspace = _compressed(kspace, mask, problem.coils)
    sensitivities = sensitivities_of(kspace, inside)
    # Zero frequency first in k-space, and the middle of the image in the middle.
    kspace = torch.fft.fft2(_image(kspace), norm="ortho")
    mask = torch.fft.ifftshift(mask)
    noise_sd = _noise_sd(kspace, mask)
    made = Acquisition(mask.float()[None], sensitivities[None], torch.tensor([1.0]))
    low = torch.fft.ifftshift(inside).float()
    rough = made.adjoint(kspace[None] * low)[0].abs()
    scale = float(rough[rough > 0.1 * rough.max()].quantile(_BRIGHT))
    made = Acquisition(made.mask, made.sensitivities, torch.tensor([noise_sd / scale]))
    return problem.row(made, kspace[None] / scale), scale


def low_resolution_observation(
    image: Tensor, noise_sd: float, problem: AcceleratedMR
) -> tuple[Tensor, float]:
    """Return a magnitude image of low resolution as an observation on a problem's finer grid.

    The image is taken for the centre of the k-space of a real image, seen by coils of one sensitivity. Its
    pixel ``(0, 0)`` has its middle where that of the finer grid has, as reconstructions from the centre of
    the same k-space have.

    Args:
        image: brightness in any unit, of the whole field of view, ``(rows, columns)``.
        noise_sd: standard deviation of its noise, same unit.
        problem: the problem.

    Returns:
        The observation ``(1, C)``, and what a brightness of 1 is in the unit of ``image``.

    Raises:
        ValueError: if the sizes do not fit, or values are not finite, or all zero.
    """
    if image.ndim != 2 or any(
        m > n or m < _LEAST_CENTRE for m, n in zip(image.shape, problem.size, strict=True)
    ):
        raise ValueError(
            f"an image of shape {tuple(image.shape)}; give rows and columns from {_LEAST_CENTRE} each up to "
            f"{problem.size}, those of the problem."
        )
    if not bool(image.isfinite().all()) or not bool((image > 0).any()) or not 0 < noise_sd < math.inf:
        raise ValueError(
            f"an image with NaN, infinity or zeros alone, or noise_sd = {noise_sd}; give finite brightness "
            "and a positive level of noise."
        )
    scale = float(image[image > 0.1 * image.max()].quantile(_BRIGHT))
    kept = torch.tensor([image.shape])
    # Brightness stays: a transform of norm "ortho" grows with the root of the number of pixels.
    finer = math.sqrt(math.prod(problem.size) / image.numel())
    mask = central_mask(problem.size, kept)[0]
    kspace = torch.zeros(problem.size, dtype=torch.complex64)
    inside = central_mask(image.shape, kept)[0] > 0
    kspace[mask > 0] = finer / scale * torch.fft.fft2(image.float(), norm="ortho")[inside]
    coils = (1, problem.coils, *problem.size)
    even = torch.full(coils, 1 / math.sqrt(problem.coils), dtype=torch.complex64)
    made = Acquisition(mask[None], even, torch.tensor([finer * noise_sd / scale]))
    # Noise of each coil that cancels in the image; without its power the guard would find the scan strange.
    turns = torch.exp(2j * math.pi * torch.arange(problem.coils) / problem.coils).view(1, -1, 1, 1)
    own = made.noise_sd * math.sqrt(2 * (1 - 1 / problem.coils)) * turns
    return problem.row(made, kspace.expand(coils) * even + own), scale


def complete_centre(mask: Tensor) -> Tensor:
    """Return the largest complete box around the middle of a mask, boolean, same shape.

    Raises:
        ValueError: if it is smaller than four samples along an axis.
    """

    def box(half: Sequence[int]) -> tuple[slice, ...]:
        return tuple(slice(n // 2 - h, n // 2 + h) for n, h in zip(mask.shape, half, strict=True))

    half = [_LEAST_CENTRE // 2] * 2
    if not bool(mask[box(half)].all()):
        raise ValueError(
            f"the middle {_LEAST_CENTRE} × {_LEAST_CENTRE} points of k-space are not all sampled; they tell "
            "the sensitivities, so measure the centre completely."
        )
    is_growing = True
    while is_growing:
        is_growing = False
        for axis in (0, 1):
            wider = [h + (a == axis) for a, h in enumerate(half)]
            if 2 * wider[axis] <= mask.shape[axis] and bool(mask[box(wider)].all()):
                half, is_growing = wider, True
    inside = torch.zeros_like(mask, dtype=torch.bool)
    inside[box(half)] = True
    return inside


def sensitivities_of(kspace: Tensor, inside: Tensor) -> Tensor:
    """Return sensitivities from the complete centre, ``(coils, rows, columns)``; their squares add up to one.

    They are the images of the windowed centre over the root of their sum of squares. So they carry the
    smooth phase of the image, which a library's estimate would give to a coil at random (ESPIRiT).

    Args:
        kspace: ``(coils, rows, columns)``, zero frequency in the middle.
        inside: the complete centre, boolean, ``(rows, columns)``.
    """
    window = inside.float()
    for axis in (0, 1):
        along = inside.any(1 - axis)
        taper = torch.zeros(len(along))
        taper[along] = torch.hann_window(int(along.sum()) + 2, periodic=False)[1:-1]
        window = window * (taper[:, None] if axis == 0 else taper)
    coils = _image(kspace * window)
    return coils / coils.abs().square().sum(0).sqrt().clamp_min(torch.finfo(coils.abs().dtype).tiny)


def _image(kspace: Tensor) -> Tensor:
    """Images of k-space ``(coils, rows, columns)``, both with their origin in the middle."""
    low = torch.fft.ifftshift(kspace, dim=(1, 2))
    return torch.fft.fftshift(torch.fft.ifft2(low, norm="ortho"), dim=(1, 2))


def _compressed(kspace: Tensor, mask: Tensor, coils: int) -> Tensor:
    """The combinations of coils that receive most."""
    if len(kspace) == coils:
        return kspace
    u = torch.linalg.svd(kspace[:, mask], full_matrices=False)[0]
    return torch.einsum("cv,cyx->vyx", u[:, :coils].conj(), kspace)


def _noise_sd(kspace: Tensor, mask: Tensor) -> float:
    """Standard deviation of real and imaginary part, from the outer samples of the weakest coil."""
    reach = torch.stack(torch.meshgrid(*(torch.fft.fftfreq(n).abs() * 2 for n in mask.shape), indexing="ij"))
    outer = mask & (reach.amax(0) > _OUTER)
    power = (kspace[:, outer] if bool(outer.any()) else kspace[:, mask]).abs().square()
    # Half of the squares of noise lie below their mean times log 2; what is an image's lies above.
    return float((power.median(1).values.min() / (2 * torch.tensor(2.0).log())).sqrt())
