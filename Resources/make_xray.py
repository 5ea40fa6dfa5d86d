"""Make the example X-ray in this folder: simulated from the example CT, since no real one may be shipped.

    python Resources/make_xray.py

A 16-bit picture of intensities, bone dark, as a flat-panel detector gives it. Beside photon-like white noise
it has a smooth error, such as scatter leaves, of the size that the shipped bundle `lumbar_spine` allows for.
The same seed gives the same file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from train_bundles import lumbar_spine

from monai_inn.physics.carm import Detector
from monai_inn.physics.ct import attenuation_volume, read_ct, read_labels
from monai_inn.problems import PoseRegistration

HERE = Path(__file__).resolve().parent
FINE = 8  # pixels of the picture along each side of one of the bundle's
POSE, SEED = (-105.0, 8.0), 3
UNATTENUATED, MOST = 60_000.0, 65_535


def xray_problem(coarse: PoseRegistration) -> PoseRegistration:
    """The bundle's problem on a detector of smaller pixels, whose noise averages to that of the bundle."""
    wide = coarse.detector.to_config()
    wide |= {
        "rows": FINE * coarse.detector.rows,
        "columns": FINE * coarse.detector.columns,
        "spacing_mm": coarse.detector.spacing_mm / FINE,
    }
    detector = Detector(**wide)
    hounsfield = read_ct(HERE / "ct/lumbar_ct.nii.gz")
    mask = read_labels(HERE / "ct/lumbar_vertebrae.nii.gz", (21, 22, 23), hounsfield)
    volume = attenuation_volume(hounsfield, detector.spacing_at_isocentre_mm, mask)
    noise = coarse.to_config()["noise"]
    return PoseRegistration(
        volume.values,
        volume.affine.tolist(),
        target=coarse.target.tolist(),
        detector=detector,
        noise=noise | {"sd": FINE * noise["sd"]},
        brightest=coarse.brightest,
    )


def write_xray(folder: Path) -> Path:
    """Write the picture and return its path."""
    problem = xray_problem(lumbar_spine())
    clean = problem.forward(torch.tensor([POSE]))
    y = problem.noise(clean, torch.Generator().manual_seed(SEED))[0] * problem.brightest
    image = UNATTENUATED * torch.exp(-y.reshape(problem.image_size))
    path = folder / "lumbar_xray.png"
    Image.fromarray(image.round().clamp(0, MOST).numpy().astype(np.uint16)).save(path)
    return path


if __name__ == "__main__":
    print(write_xray(HERE))
