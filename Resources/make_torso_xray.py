"""Make the example X-ray of a torso: simulated from the CT in ``ct/``, since no real one may be shipped.

    python Resources/make_torso_xray.py

A 16-bit picture of intensities, bone dark. The unit that takes it is that of ``benchmarks/xray_unit.py``:
five energies, water and bone apart, scatter, blur, photon noise, unknown exposure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from xray_unit import FIELD_MM, Unit  # noqa: E402

from monai_inn.applications.registration.ct import read_ct  # noqa: E402

POSE = (-24.0, 6.0, 3.0, 8.0, 48.0, 20.0)  # 24° RAO, 6° CRA; roll, right, down, away
PIXELS, OPEN, SEED = 256, 1, 0


def write_xray(folder: Path) -> Path:
    """Write the picture and return its path."""
    unit = Unit(read_ct(HERE / "ct" / "torso_ct.nii.gz"), PIXELS)
    image = unit(torch.tensor(POSE, dtype=torch.float64), OPEN, np.random.default_rng(SEED))
    path = folder / "torso_xray.png"
    Image.fromarray((image / image.max() * 60_000).round().astype(np.uint16)).save(path)
    return path


if __name__ == "__main__":
    print(write_xray(HERE), f"{FIELD_MM * 1.2 / PIXELS} mm a pixel on the detector")
