"""What an X-ray leaves unexplained, as noise of a spectrum that the residual itself tells.

The residual of a real X-ray is not white: scatter and calibration leave smooth errors, the CT's voxels and
the detector's blur fine ones, photons white ones. In the basis of cosines a field whose statistics are the
same everywhere has independent coefficients, whose variance depends on the frequency alone (Whittle's
likelihood). Photons are not the same everywhere: few come through where the patient is thick, so pixels are
weighed by the noise that the image itself shows at their brightness.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "Whitening",
    "assumed_density",
    "contrast_of",
    "cosines",
    "estimated_density",
    "photon_variance",
    "pixel_noise",
]

_BANDS = 12
_BELIEF = 30.0  # coefficients that the assumed density counts as
# Share of the assumed variance that is believed where an image says nothing.
_ASSUMED_SHARE = 0.3
# (sd over the range of the image, correlation length in mm): smooth errors, those of a few pixels, white ones
_SMOOTH, _FINE, _WHITE = (0.06, 20.0), (0.01, 5.0), 0.01
_STANDS_OUT, _MOST_MODES = 10.0, 256  # times the median variance; cosines
_LEVELS = 8  # of brightness


class Whitening:
    """Makes residuals white, of unit variance.

    Behind a window cosines are no longer independent: a smooth error that is cut off has edges of all
    frequencies. Those cosines that stand out are therefore a part of the model, of known variance, on the
    pixels that count; the rest is taken as it comes.

    Args:
        window: share by which each pixel counts, 0 where something covers the patient, ``(rows, columns)``.
        density: variance of each cosine's coefficient, same shape.
        noise: standard deviation of each pixel's white noise; the same everywhere by default.
    """

    def __init__(self, window: Tensor, density: Tensor, noise: Tensor | None = None) -> None:
        self.window, self.density, self.noise = window, density, noise
        self.weight = window if noise is None else window * _weight(noise, window)
        self._rows, self._columns = (cosines(n).to(window) for n in window.shape)
        is_whole = bool((self.weight == 1).all())
        most = torch.inf if is_whole else _STANDS_OUT * float(density.median())
        if not is_whole and int((density > most).sum()) > _MOST_MODES:
            most = float(density.flatten().topk(_MOST_MODES).values[-1])
        self._scale = density.clamp(max=most).rsqrt()
        self.stands_out = density > most
        self._explicit = self._modes(most) if bool(self.stands_out.any()) else None

    def __call__(self, images: Tensor) -> Tensor:
        """Return white coefficients ``(…, rows · columns)`` of residuals ``(…, rows, columns)``."""
        white = (self._scale * (self._rows @ (images * self.weight) @ self._columns.T)).flatten(-2)
        if self._explicit is None:
            return white
        modes, shrink = self._explicit
        return white - (white @ modes.T) @ shrink @ modes

    def pixels(self, white: Tensor) -> Tensor:
        """Return white coefficients ``(…, rows · columns)`` as images of pixels, still white."""
        return self._rows.T @ white.unflatten(-1, self.window.shape) @ self._columns

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Return errors of these statistics, ``(rows, columns)``; 0 where pixels do not count."""
        white = torch.randn(self.window.shape, generator=generator).to(self.density)
        field = self._rows.T @ (self.density.sqrt() * white) @ self._columns
        return torch.where(self.weight > 0, field / self.weight.clamp_min(1e-6), 0.0)

    def _modes(self, most: float) -> tuple[Tensor, Tensor]:
        """Modes ``F`` that stand out, ``(K, C)``, and ``A`` of ``(I + FᵀF)^-½ = I − FᵀAF``."""
        row, column = torch.nonzero(self.stands_out, as_tuple=True)
        more = (self.density[row, column] - most).sqrt()[:, None, None]
        cosine = more * self._rows[row][:, :, None] * self._columns[column][:, None, :]
        modes = (self._scale * (self._rows @ (cosine * self.weight) @ self._columns.T)).flatten(1)
        gram, vectors = torch.linalg.eigh((modes @ modes.T).double())
        gram = gram.clamp_min(1e-9)
        shrink = (vectors * ((1 - (1 + gram).rsqrt()) / gram)) @ vectors.T
        return modes, shrink.to(modes)


def _weight(noise: Tensor, window: Tensor) -> Tensor:
    """Inverse of a noise, of mean square 1 in the window."""
    weight = noise.reciprocal()
    return weight * ((weight.square() * window).sum() / window.sum()).rsqrt()


def photon_variance(image: Tensor, window: Tensor) -> Tensor:
    """Return the variance of white noise that an image shows at each pixel's brightness.

    Args:
        image: minus log intensity, shape ``(rows, columns)``.
        window: share by which each pixel counts, same shape.
    """
    inner = torch.nonzero(window[1:, 1:].flatten() > 0.5).flatten()
    smooth = _smooth(image)
    at = smooth[1:, 1:].flatten()[inner]
    order = at.argsort()
    mixed = _mixed(image).flatten()[inner]
    groups = order.tensor_split(_LEVELS)
    noise = torch.stack([1.4826 * mixed[group].median() for group in groups]).clamp_min(1e-6)
    middle = torch.stack([at[group].median() for group in groups])
    return _interpolated(smooth, middle, 2 * noise.log()).exp()


def pixel_noise(image: Tensor, photons: Tensor, contrast: float, misplaced: float, around: int = 1) -> Tensor:
    """Return the standard deviation of what is different from pixel to pixel, ``(rows, columns)``.

    Args:
        image: minus log intensity, shape ``(rows, columns)``.
        photons: variance of the photons' share, same shape.
        contrast: of the image.
        misplaced: pixels by which surfaces are off in a simulation.
        around: pixels, odd, over which a surface is as wrong as where it is steepest.
    """
    down, right = torch.gradient(_smooth(image))
    slope = (down.square() + right.square())[None]
    steepest = torch.nn.functional.max_pool2d(slope, around, 1, around // 2)[0]
    return (photons + (_WHITE * contrast) ** 2 + misplaced**2 * steepest).sqrt()


def _smooth(image: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(image[None], 5, 1, 2, count_include_pad=False)[0]


def contrast_of(image: Tensor, window: Tensor) -> float:
    """Return the range of an image ``(rows, columns)`` where a window is open."""
    high, low = image[window > 0.5].quantile(torch.tensor([0.99, 0.01])).tolist()
    return float(high - low)


def _mixed(image: Tensor) -> Tensor:
    """What differs from pixel to pixel, whatever the image is; of white noise it has the spread."""
    return (image[1:, 1:] - image[1:, :-1] - image[:-1, 1:] + image[:-1, :-1]).abs() / 2


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


def assumed_density(
    image: Tensor, window: Tensor, pixel_mm: float, contrast: float, noise: Tensor | None = None
) -> Tensor:
    """Return the density that is assumed before there is a residual, ``(rows, columns)``.

    Args:
        image: minus log intensity, shape ``(rows, columns)``.
        window: share by which each pixel counts, same shape.
        pixel_mm: side of a pixel where the target is.
        contrast: what the simulation's errors are a share of.
        noise: see ``Whitening``.
    """
    size = (image.shape[0], image.shape[1])
    mixed = _mixed(image) if noise is None else _mixed(image) * _weight(noise, window)[1:, 1:]
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
