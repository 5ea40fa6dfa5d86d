"""What an X-ray leaves unexplained, as noise of a spectrum that the residual itself tells.

The residual of a real X-ray is not white: scatter and calibration leave smooth errors, the CT's voxels and
the detector's blur fine ones, photons white ones. In the basis of cosines a field whose statistics are the
same everywhere has independent coefficients, whose variance depends on the frequency alone (Whittle's
likelihood).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Whitening", "assumed_density", "cosines", "estimated_density"]

_BANDS = 12
_BELIEF = 30.0  # coefficients that the assumed density counts as
# Share of the assumed variance that is believed where an image says nothing.
_ASSUMED_SHARE = 0.3
# (sd over the range of the image, correlation length in mm): smooth errors, those of a few pixels, white ones
_SMOOTH, _FINE, _WHITE = (0.06, 20.0), (0.01, 5.0), 0.01
_STANDS_OUT, _MOST_MODES = 10.0, 256  # times the median variance; cosines


class Whitening:
    """Makes residuals white, of unit variance.

    Behind a window cosines are no longer independent: a smooth error that is cut off has edges of all
    frequencies. Those cosines that stand out are therefore a part of the model, of known variance, on the
    pixels that count; the rest is taken as it comes.

    Args:
        window: share by which each pixel counts, 0 where something covers the patient, ``(rows, columns)``.
        density: variance of each cosine's coefficient, same shape.
    """

    def __init__(self, window: Tensor, density: Tensor) -> None:
        self.window, self.density = window, density
        self._rows, self._columns = (cosines(n).to(window) for n in window.shape)
        is_whole = bool((window == 1).all())
        most = torch.inf if is_whole else _STANDS_OUT * float(density.median())
        if not is_whole and int((density > most).sum()) > _MOST_MODES:
            most = float(density.flatten().topk(_MOST_MODES).values[-1])
        self._scale = density.clamp(max=most).rsqrt()
        self.stands_out = density > most
        self._explicit = self._modes(most) if bool(self.stands_out.any()) else None

    def __call__(self, images: Tensor) -> Tensor:
        """Return white coefficients ``(…, rows · columns)`` of residuals ``(…, rows, columns)``."""
        white = (self._scale * (self._rows @ (images * self.window) @ self._columns.T)).flatten(-2)
        if self._explicit is None:
            return white
        modes, shrink = self._explicit
        return white - (white @ modes.T) @ shrink @ modes

    def pixels(self, white: Tensor) -> Tensor:
        """Return white coefficients ``(…, rows · columns)`` as images of pixels, still white."""
        return self._rows.T @ white.unflatten(-1, self.window.shape) @ self._columns

    def _modes(self, most: float) -> tuple[Tensor, Tensor]:
        """Modes ``F`` that stand out, ``(K, C)``, and ``A`` of ``(I + FᵀF)^-½ = I − FᵀAF``."""
        row, column = torch.nonzero(self.stands_out, as_tuple=True)
        more = (self.density[row, column] - most).sqrt()[:, None, None]
        cosine = more * self._rows[row][:, :, None] * self._columns[column][:, None, :]
        modes = (self._scale * (self._rows @ (cosine * self.window) @ self._columns.T)).flatten(1)
        gram, vectors = torch.linalg.eigh((modes @ modes.T).double())
        gram = gram.clamp_min(1e-9)
        shrink = (vectors * ((1 - (1 + gram).rsqrt()) / gram)) @ vectors.T
        return modes, shrink.to(modes)


def cosines(n: int) -> Tensor:
    """Return the orthonormal matrix ``(n, n)`` of the discrete cosine transform."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def _frequency(size: tuple[int, int], pixel_mm: float) -> Tensor:
    """Cycles per mm of each pair of cosines."""
    rows, columns = (torch.arange(n, dtype=torch.float64) / (2 * n * pixel_mm) for n in size)
    return (rows.square()[:, None] + columns.square()).sqrt().float()


def assumed_density(image: Tensor, window: Tensor, pixel_mm: float) -> Tensor:
    """Return the density that is assumed before there is a residual, ``(rows, columns)``.

    Args:
        image: minus log intensity, shape ``(rows, columns)``.
        window: share by which each pixel counts, same shape.
        pixel_mm: side of a pixel where the target is.
    """
    size, counted = (image.shape[0], image.shape[1]), image[window > 0.5]
    high, low = counted.quantile(torch.tensor([0.99, 0.01])).tolist()
    contrast = high - low
    # White noise is what differs from pixel to pixel, whatever the image is.
    mixed = (image[1:, 1:] - image[1:, :-1] - image[:-1, 1:] + image[:-1, :-1]).abs() / 2
    white = 1.4826 * float(mixed[window[1:, 1:] > 0.5].median())
    at = _frequency(size, pixel_mm)
    density = torch.full(size, max(_WHITE * contrast, white) ** 2)
    for share, length in (_SMOOTH, _FINE):
        area = 2 * math.pi * (length / pixel_mm) ** 2
        density += (share * contrast) ** 2 * area * torch.exp(-2 * (math.pi * length * at).square())
    return density


def estimated_density(residual: Tensor, whitening: Whitening, pixel_mm: float) -> Tensor:
    """Return the density that a residual ``(rows, columns)`` shows: a smooth multiple of that assumed."""
    size = (residual.shape[0], residual.shape[1])
    at = _frequency(size, pixel_mm)
    share = torch.where(whitening.stands_out, 1.0, whitening.window.square().mean())
    power = whitening(residual).square().reshape(size) / share
    lowest = 1.5 / (2 * max(size) * pixel_mm)
    edges = torch.logspace(math.log10(lowest), math.log10(float(at.max()) * 1.001), _BANDS)
    band = torch.bucketize(at, edges).flatten()
    count = torch.zeros(_BANDS + 1).index_add_(0, band, torch.ones(band.numel()))
    total = torch.zeros(_BANDS + 1).index_add_(0, band, power.flatten())
    place = torch.zeros(_BANDS + 1).index_add_(0, band, at.flatten())
    filled = count > 0
    ratio = (total[filled] + _ASSUMED_SHARE * _BELIEF) / (count[filled] + _BELIEF)
    middle = (place[filled] / count[filled]).clamp_min(1e-6).log()
    return whitening.density * _interpolated(at.clamp_min(1e-6).log(), middle, ratio.log()).exp()


def _interpolated(at: Tensor, points: Tensor, values: Tensor) -> Tensor:
    """Values on the lines between points; constant beyond them."""
    upper = torch.bucketize(at, points).clamp(1, len(points) - 1)
    low, high = points[upper - 1], points[upper]
    share = ((at - low) / (high - low)).clamp(0, 1)
    return values[upper - 1] + share * (values[upper] - values[upper - 1])
