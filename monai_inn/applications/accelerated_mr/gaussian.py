"""Posterior of a stationary Gaussian image given k-space: mean, spectrum and samples.

Images have two channels, real and imaginary part, ``(N, 2, rows, columns)``. Their prior has mean 0; the
channels are independent, each with its own spectrum ``(2, rows, columns)``, the variance at each frequency of
a discrete Fourier transform of norm ``"ortho"``.

Source: Pruessmann et al., Advances in sensitivity encoding with arbitrary k-space trajectories, 2001.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.applications.accelerated_mr.acquisition import Acquisition
from monai_inn.problems.stationary import filtered

__all__ = [
    "agreeing",
    "as_channels",
    "as_complex",
    "posterior_mean",
    "posterior_spectrum",
    "solve",
]

_MOST_STEPS = 60
_LEFT = 3e-3  # of the error of a draw, in its standard deviations
# A frequency measured in part shares what is measured with its neighbours, and is known less well than its
# share tells. Of powers 1 to 2.5 this one gives exact draws the largest log density, .019 nats a value above
# that of 1 (8 acquisitions). Where all or nothing is measured it changes nothing.
_SHARED = 1.5


def as_channels(image: Tensor) -> Tensor:
    """Return complex images ``(N, …)`` as two channels ``(N, 2, …)``."""
    return torch.stack([image.real, image.imag], 1)


def as_complex(channels: Tensor) -> Tensor:
    """Return images of two channels ``(N, 2, …)`` as complex ones ``(N, …)``."""
    return torch.complex(channels[:, 0], channels[:, 1])


def posterior_spectrum(acquisition: Acquisition, prior: Tensor) -> Tensor:
    """Return the posterior covariance at each frequency, ``(N, 4, rows, columns)``.

    It is diagonal in frequency: exact for one coil of sensitivity 1, otherwise approximated from the sampling
    density of the mask and the sensitivities.

    Args:
        acquisition: the acquisitions.
        prior: spectrum of the prior.

    Returns:
        Variance of real and of imaginary part, real and imaginary part of their covariance.
    """
    density = acquisition.density().to(prior) ** _SHARED
    # What is measured at k tells about real and imaginary part at both k and −k.
    mirrored = density.flip(1, 2).roll((1, 1), (1, 2))
    variance = acquisition.noise_sd.to(prior).square().view(-1, 1, 1)
    own, cross = (density + mirrored) / (2 * variance), (density - mirrored) / (2 * variance)
    real, imaginary = 1 / prior[0] + own, 1 / prior[1] + own
    determinant = real * imaginary - cross.square()
    zero = torch.zeros_like(own)
    return torch.stack([imaginary, real, zero, -cross], 1) / determinant.unsqueeze(1)


def posterior_mean(acquisition: Acquisition, kspace: Tensor, prior: Tensor) -> Tensor:
    """Return the posterior mean ``(N, 2, …)`` given k-space ``(N, coils, …)``."""
    weight = acquisition.noise_sd.square().view(-1, 1, 1)
    return solve(acquisition, as_channels(acquisition.adjoint(kspace) / weight), prior)


def agreeing(
    acquisition: Acquisition, deviation: Tensor, prior: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Return deviations from the posterior mean ``(N, 2, …)`` that agree with the samples of k-space.

    What the samples determine is drawn anew, from their noise; what they leave open stays. With the spectrum
    of the prior, draws of the prior become draws of the posterior. With twice that spectrum, draws of the
    posterior stay draws of the posterior: for precisions A of the data, Q of the prior and V = (A + Q)⁻¹,
    (A + Q/2) V (A + Q/2) = A + Q V Q / 4, which is the covariance of the right-hand side.

    Args:
        acquisition: the acquisitions.
        deviation: draws minus the posterior mean.
        prior: spectrum of the prior, or twice that.
        generator: source of the noise.
    """
    shape = acquisition.sensitivities.shape
    white = torch.randn((2, *shape), generator=generator, dtype=prior.dtype)
    noise = torch.complex(*white) * acquisition.noise_sd.view(-1, 1, 1, 1)
    right = acquisition.adjoint(noise) / acquisition.noise_sd.square().view(-1, 1, 1)
    return solve(acquisition, as_channels(right) + filtered(deviation, 1 / prior), prior, _LEFT)


def solve(acquisition: Acquisition, right: Tensor, prior: Tensor, left: float | None = None) -> Tensor:
    """Return posterior covariance times images ``(N, 2, …)``, by conjugate gradients.

    They are preconditioned by ``posterior_spectrum``, where one step does if that is exact.

    Args:
        acquisition: the acquisitions.
        right: images.
        prior: spectrum of the prior.
        left: share of the error that may be left; next to none by default.
    """
    spectrum = posterior_spectrum(acquisition, prior)
    weight = acquisition.noise_sd.square().view(-1, 1, 1)

    def precision(image: Tensor) -> Tensor:
        measured = acquisition.adjoint(acquisition.forward(as_complex(image))) / weight
        return as_channels(measured) + filtered(image, 1 / prior)

    solution = torch.zeros_like(right)
    residual, direction = right, _applied(spectrum, right)
    power = _dot(residual, direction)
    least = left or torch.finfo(right.dtype).eps ** 0.6
    first = power.clamp_min(torch.finfo(right.dtype).tiny)
    for _ in range(_MOST_STEPS):
        if bool((power <= least**2 * first).all()):
            break
        moved = precision(direction)
        step = power / _dot(direction, moved).clamp_min(torch.finfo(right.dtype).tiny)
        solution, residual = solution + step * direction, residual - step * moved
        preconditioned = _applied(spectrum, residual)
        power, before = _dot(residual, preconditioned), power
        direction = preconditioned + power / before.clamp_min(torch.finfo(right.dtype).tiny) * direction
    return solution


def _applied(spectrum: Tensor, image: Tensor) -> Tensor:
    """A covariance of ``posterior_spectrum`` times images."""
    real, imaginary = torch.fft.fft2(image, norm="ortho").unbind(1)
    across = torch.complex(spectrum[:, 2], spectrum[:, 3])
    first = spectrum[:, 0] * real + across * imaginary
    second = across.conj() * real + spectrum[:, 1] * imaginary
    return torch.fft.ifft2(torch.stack([first, second], 1), norm="ortho").real


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)
