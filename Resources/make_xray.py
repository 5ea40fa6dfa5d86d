"""Make the example X-ray in this folder: simulated from the example CT, since no real one may be shipped.

    python Resources/make_xray.py

A 16-bit picture of intensities, bone dark, as a flat-panel detector gives it. Averaged over the pixels of the
shipped bundle `lumbar_spine`, its errors are drawn from the noise that the bundle knows; within them there is
white noise. The same seed gives the same file; it is the first from 0 that leaves two poses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from train_bundles import lumbar_spine

from monai_inn.problems import PoseRegistration

HERE = Path(__file__).resolve().parent
FINE = 4  # pixels of the picture along each side of one of the bundle's
POSE, SEED = (-118.0, 4.0), 5
WHITE = 0.1  # of the brightest line integral
UNATTENUATED, MOST = 4_000.0, 65_535


def xray_problem(coarse: PoseRegistration) -> PoseRegistration:
    """The bundle's problem on a detector of smaller pixels."""
    return lumbar_spine(FINE * coarse.detector.rows, coarse.target.tolist())


def errors(coarse: PoseRegistration, generator: torch.Generator) -> Tensor:
    """Errors of the pixels of the picture, whose averages are noise of the bundle's."""
    rows, columns = coarse.detector.rows, coarse.detector.columns
    wanted = coarse.noise(torch.zeros(1, rows * columns), generator).reshape(1, 1, rows, columns)
    smooth = functional.interpolate(wanted, scale_factor=FINE, mode="bicubic")
    made = smooth + WHITE * torch.randn(smooth.shape, generator=generator)
    missing = wanted - functional.avg_pool2d(made, FINE)
    return (made + functional.interpolate(missing, scale_factor=FINE, mode="nearest"))[0, 0]


def write_xray(folder: Path) -> Path:
    """Write the picture and return its path."""
    coarse = lumbar_spine()
    fine = xray_problem(coarse)
    clean = fine.projector(fine.cameras(torch.tensor(POSE)))
    y = clean + errors(coarse, torch.Generator().manual_seed(SEED)) * coarse.brightest
    image = (UNATTENUATED * torch.exp(-y)).round().clamp(1, MOST).numpy().astype(np.uint16)
    path = folder / "lumbar_xray.png"
    Image.fromarray(image).save(path)
    return path


if __name__ == "__main__":
    print(write_xray(HERE))
