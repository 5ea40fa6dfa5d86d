"""Learn how measured organs deviate from the model of layered tissue; writes the shipped table. Two minutes.

    python Resources/learn_discrepancy.py

The mean over organs of what the best fits leave becomes part of the forward model, the rest of its noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import monai_inn
from monai_inn.applications.oximetry.learning import learn_discrepancy
from monai_inn.physics import tissue_spectra
from monai_inn.problems import Oximetry

OUT = Path(monai_inn.__file__).parent / "physics" / "data" / "discrepancy" / "organ.csv"
MODES = 4


def main() -> None:
    """Learn from all shipped organs and write the table."""
    problem = Oximetry("tivita", discrepancy=None)
    spectra, groups = {}, {}
    for organ, curves in tissue_spectra.organs().items():
        for number, curve in enumerate(curves):
            name = f"{organ} {number}"
            at_bands = np.interp(problem.camera.centre_nm, curve.wavelength_nm, curve.mean)
            spectra[name], groups[name] = torch.from_numpy(at_bands), organ
    learned = learn_discrepancy(problem, spectra, groups, MODES)
    header = ["wavelength_nm", "mean", *(f"deviation_{k + 1}" for k in range(MODES))]
    rows = zip(learned.wavelength_nm, learned.mean, *learned.modes, strict=True)
    lines = [f"{wavelength:.3f},{','.join(f'{v:.5f}' for v in values)}" for wavelength, *values in rows]
    about = f"# Logarithm of measured over best simulated reflectance of {len(set(groups.values()))} organs."
    OUT.write_text("\n".join([about, ",".join(header), *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
