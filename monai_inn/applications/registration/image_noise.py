"""What disturbs an X-ray: electronic noise, photon noise, and what the simulation gets wrong."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["ImageNoise"]

_LEAST_COUNT = 0.5  # stands for no photon at all, of which there is no logarithm


class ImageNoise:
    """Noise of images of line integrals, with its likelihood.

    Two kinds. *Gaussian*: white noise, and beside it, if asked for, smooth errors of the model: scatter,
    wrong calibration, soft tissue and gas that the CT lacks or shows elsewhere. Those are one Gaussian field
    whose correlation falls off as ``exp(−r² / 2ℓ²)``. *Photons*: each pixel counts Poisson numbers behind the
    patient, and the image is the logarithm of the counts.

    Args:
        sd: standard deviation of the white noise, as a share of the brightest pixel.
        mismatch_sd: standard deviation of the smooth errors, as a share of the brightest pixel.
        mismatch_mm: correlation length ``ℓ`` of the smooth errors, where the target is.
        photons: photons that reach a pixel where there is no patient, instead of all of the above.

    Raises:
        ValueError: if a number is not positive, or photons are given beside another kind.
    """

    def __init__(
        self,
        sd: float | None = None,
        mismatch_sd: float = 0.0,
        mismatch_mm: float = 20.0,
        photons: float | None = None,
    ) -> None:
        if photons is not None and (sd is not None or mismatch_sd):
            raise ValueError(
                "noise: photons are a kind of their own; leave out sd and mismatch_sd, or photons."
            )
        self.photons = photons
        self.sd = 0.05 if sd is None and photons is None else sd or 0.0
        self.mismatch_sd, self.mismatch_mm = mismatch_sd, mismatch_mm
        wrong = {"photons": photons} if photons is not None else {"sd": self.sd, "mismatch_mm": mismatch_mm}
        for name, value in wrong.items():
            if value is None or not 0 < value < math.inf:
                raise ValueError(f"noise: {name} = {value}; give a positive, finite number.")
        if not 0 <= mismatch_sd < math.inf:
            raise ValueError(f"noise: mismatch_sd = {mismatch_sd}; give 0 or a positive number.")
        self._axes: tuple[Tensor, Tensor] | None = None
        self._variance = torch.zeros(())
        self._size, self._brightest = (1, 1), 1.0

    def fitted(self, size: tuple[int, int], spacing_mm: float, brightest: float) -> ImageNoise:
        """Return this noise for images of some size; all methods but ``to_config`` need that.

        Args:
            size: rows and columns.
            spacing_mm: side of a pixel where the target is.
            brightest: line integral of the brightest pixel.
        """
        made = ImageNoise(**self.to_config())
        made._size, made._brightest = size, brightest
        white = torch.full(size, made.sd**2, dtype=torch.float64)
        made._variance = white
        if made.mismatch_sd:
            spectra, axes = zip(*[_eigen(n, spacing_mm / made.mismatch_mm) for n in size], strict=True)
            made._axes = axes
            made._variance = white + made.mismatch_sd**2 * spectra[0][:, None] * spectra[1]
        return made

    def add(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy copies of images ``(…, C)`` of shares of the brightest pixel."""
        if self.photons is not None:
            counts = torch.poisson(self._expected(y), generator=generator)
            return -(counts.clamp_min(_LEAST_COUNT) / self.photons).log() / self._brightest
        white = torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)
        if self._axes is None:
            return y + self.sd * white
        image = white.unflatten(-1, self._size) * self._variance.sqrt().to(y)
        rows, columns = (axes.to(y) for axes in self._axes)
        return y + (rows @ image @ columns.T).flatten(-2)

    def whitened(self, y: Tensor) -> Tensor:
        """Return a function of images ``(…, C)`` that loses nothing and whose noise is white, variance one.

        For photons by Anscombe's transform, whose variance is one from about ten photons a pixel on.
        """
        if self.photons is not None:
            return 2 * (self._expected(y) + 0.375).sqrt()
        if self._axes is None:
            return y / self.sd
        rows, columns = (axes.to(y) for axes in self._axes)
        image = rows.T @ y.unflatten(-1, self._size) @ columns
        return (image / self._variance.sqrt().to(y)).flatten(-2)

    def log_likelihood(self, clean: Tensor, y: Tensor) -> Tensor:
        """Log density of one image ``(C,)`` given clean ones ``(n, C)``, nats, up to a constant, ``(n,)``."""
        if self.photons is not None:
            expected, counts = self._expected(clean.double()), self._expected(y.double())
            counts = torch.where(counts < (1 + _LEAST_COUNT) / 2, 0.0, counts)
            return (counts * expected.log() - expected).sum(-1)
        return -0.5 * (self.whitened(y.to(clean)) - self.whitened(clean)).double().square().sum(-1)

    def _expected(self, y: Tensor) -> Tensor:
        """Photons of images: counts of noisy ones, expected counts of clean ones (Beer–Lambert)."""
        assert self.photons is not None
        return self.photons * torch.exp(-self._brightest * y)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        if self.photons is not None:
            return {"photons": self.photons}
        return {"sd": self.sd, "mismatch_sd": self.mismatch_sd, "mismatch_mm": self.mismatch_mm}


def _eigen(n: int, step: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues and vectors of the smooth errors' correlation along one axis of pixels ``step`` ℓ apart."""
    at = step * torch.arange(n, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(torch.exp(-0.5 * (at[:, None] - at).square()))
    return values.clamp_min(0), vectors
