"""How measured spectra of tissue deviate from the best that a layered model can do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_inn.physics.tables import DATA, read_table

__all__ = ["Discrepancy", "load"]

_FOLDER = DATA / "discrepancy"


class Discrepancy(NamedTuple):
    """Logarithm of measured over best simulated reflectance: what tissues share, and how they differ.

    Attributes:
        wavelength_nm: ascending, shape ``(W,)``.
        mean: what all tissues share, shape ``(W,)``, 1.
        modes: standard deviations of independent deviations from it, shape ``(K, W)``, 1.
    """

    wavelength_nm: NDArray[np.float64]
    mean: NDArray[np.float64]
    modes: NDArray[np.float64]

    def at(self, wavelength_nm: ArrayLike) -> Discrepancy:
        """Return it at other wavelengths; beyond its own the last value holds."""
        axis = np.asarray(wavelength_nm, dtype=np.float64)
        mean, *modes = (np.interp(axis, self.wavelength_nm, row) for row in (self.mean, *self.modes))
        return Discrepancy(axis, mean, np.reshape(modes, (-1, axis.size)))

    def to_tensor(self) -> Tensor:
        """Return all of it as one tensor of rows: wavelength, mean, modes; float32, shape ``(2 + K, W)``."""
        return torch.from_numpy(np.stack([self.wavelength_nm, self.mean, *self.modes])).float()

    @classmethod
    def from_tensor(cls, rows: Tensor) -> Discrepancy:
        """Return what ``to_tensor`` described.

        Raises:
            ValueError: if the wavelengths do not ascend, or a value is not finite.
        """
        values = rows.detach().cpu().double().numpy()
        if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(
                f"discrepancy has shape {tuple(rows.shape)}; expected finite rows: wavelength in nm, mean, "
                "deviations."
            )
        if (np.diff(values[0]) <= 0).any():
            raise ValueError("discrepancy: the wavelengths of its first row must ascend.")
        return cls(values[0], values[1], values[2:])


def load(tissue: str) -> Discrepancy | None:
    """Return the shipped discrepancy of a kind of tissue, ``None`` if none was learned."""
    path = _FOLDER / f"{tissue}.csv"
    if not path.exists():
        return None
    # As a bundle stores it, so that a problem that was loaded is the one that was trained.
    return Discrepancy.from_tensor(torch.from_numpy(read_table(path).numbers().T.copy()).float())
