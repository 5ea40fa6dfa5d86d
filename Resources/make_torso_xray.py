"""Make the example X-rays of a torso: simulated from the CT in ``ct/``, since no real one may be shipped.

    python Resources/make_torso_xray.py

16-bit pictures of intensities, bone dark. The unit that takes them is that of ``benchmarks/xray_unit.py``:
five energies, water and bone apart, scatter, blur, photon noise, unknown exposure. ``symmetric_xray.png`` is
of the CT averaged with its mirror image, but for a small share, in a parallel beam: two poses explain it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from xray_unit import FIELD_MM, Unit, parallel  # noqa: E402

from monai_inn.applications.registration.ct import read_ct  # noqa: E402
from monai_inn.applications.registration.demo import symmetric  # noqa: E402

POSE = (-24.0, 6.0, 3.0, 8.0, 48.0, 20.0)  # 24° RAO, 6° CRA; roll, right, down, away
SYMMETRIC_POSE = (24.0, 6.0, 0.0, 0.0, 0.0, 0.0)
PIXELS, OPEN, SEED = 256, 1, 0


def write_xray(folder: Path) -> Path:
    """Write the picture of the torso and return its path."""
    return _written(Unit(read_ct(HERE / "ct" / "torso_ct.nii.gz"), PIXELS), POSE, folder / "torso_xray.png")


def write_symmetric(folder: Path) -> Path:
    """Write the picture of the symmetric torso and return its path."""
    patient = symmetric(read_ct(HERE / "ct" / "torso_ct.nii.gz"))
    unit = Unit(patient, PIXELS, parallel)
    unit.target = patient.centre.to(unit.target)
    return _written(unit, SYMMETRIC_POSE, folder / "symmetric_xray.png")


def _written(unit: Unit, pose: tuple[float, ...], path: Path) -> Path:
    image = unit(torch.tensor(pose, dtype=torch.float64), OPEN, np.random.default_rng(SEED))
    Image.fromarray((image / image.max() * 60_000).round().astype(np.uint16)).save(path)
    return path


if __name__ == "__main__":
    for written in (write_xray(HERE), write_symmetric(HERE)):
        print(written, f"{FIELD_MM * 1.2 / PIXELS} mm a pixel on the detector")
