"""What spectra may hold that the model of tissue does not, such as dyes; and measured tissue itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.physics import tissue_spectra
from monai_inn.physics.dyes import gaussian_band

if TYPE_CHECKING:
    from monai_inn.applications.oximetry.problem import Oximetry

__all__ = ["band_shapes", "dye_shapes", "measured_organs", "spoilt"]

_STEP_NM, _WIDTHS_NM = 10.0, (40.0, 80.0)
_LOG_LEVEL = math.log(0.1), math.log(0.4)  # mean reflectance, of which the tables say nothing
_ABSORBANCE, _ABSORBER_NM, _SHIFT_NM = 0.3, 50.0, 25.0
_COVERED = 0.95  # of the bands' response must lie where tissue was measured


def band_shapes(problem: Oximetry) -> dict[str, dict[str, Tensor]]:
    """Return absorption bands of two widths all over the camera's range, and what too little absorbs."""
    centre = problem.camera.centre_nm
    more, less = {}, {}
    for width in _WIDTHS_NM:
        for peak in np.arange(np.ceil(centre.min() / 10) * 10, centre.max(), _STEP_NM):
            shape = _explained(problem, -gaussian_band(centre, peak, width))
            where = f"near {peak:.0f} nm, {width:.0f} nm wide"
            more[f"absorption {where}, that no tissue of the model has"] = shape
            less[f"less absorption {where}, than any tissue of the model has"] = -shape
    return {"absorption": more, "transparency": less}


def dye_shapes(problem: Oximetry) -> dict[str, Tensor]:
    """Return the absorption of the dyes whose main band the camera sees."""
    centre = problem.camera.centre_nm
    return {
        f"absorption like that of {dye.name}": _explained(problem, -dye.absorbance(centre))
        for dye in problem.dyes
        if centre.min() <= dye.bands[0][0] <= centre.max()
    }


def spoilt(problem: Oximetry, y: Tensor) -> dict[str, Tensor]:
    """Return what a camera sees that is not a tissue of the model, made of simulations ``(n, C)``."""
    centre = problem.camera.centre_nm
    order = np.argsort(centre)
    absorber = np.exp(-_ABSORBANCE * gaussian_band(centre, centre.mean(), _ABSORBER_NM))
    rows = y.double().numpy()
    shifted = [np.interp(centre + _SHIFT_NM, centre[order], row[order]) for row in rows]
    return {
        "absorber_in_the_middle": torch.from_numpy(rows * absorber).to(y),
        "bands_25_nm_off": torch.from_numpy(np.stack(shifted)).to(y),
    }


def measured_organs(problem: Oximetry, n: int, seed: int) -> dict[str, Tensor]:
    """Return spectra drawn around the measured means of organs as the camera sees them, some of each organ.

    There are none for a camera that sees beyond the range that was measured.
    """
    grid = np.asarray(problem.wavelength_nm)
    weights = problem.camera.weights(grid)
    rng = np.random.default_rng(seed)
    organs = tissue_spectra.organs()
    found = {}
    for name, curves in organs.items():
        seen = []
        for curve in curves:
            inside = (grid >= curve.wavelength_nm[0]) & (grid <= curve.wavelength_nm[-1])
            if weights[:, inside].sum(1).mean() < _COVERED:
                return {}
            drawn = tissue_spectra.draw_subjects(curve, -(-n // (len(organs) * len(curves))), rng)
            level = np.exp(rng.uniform(*_LOG_LEVEL, (len(drawn), 1)))
            at_grid = np.stack([np.interp(grid, curve.wavelength_nm, row) for row in drawn])
            seen.append(level * (at_grid / drawn.mean(1, keepdims=True)) @ weights.T)
        found[name] = torch.from_numpy(np.concatenate(seen)).float()
    return found


def _explained(problem: Oximetry, logarithm: NDArray[np.float64]) -> Tensor:
    """What a change of the logarithm of reflectance is in the features that are explained, ``(K,)``."""
    return problem.explained_features(torch.from_numpy(np.exp(1e-3 * logarithm))) / 1e-3
