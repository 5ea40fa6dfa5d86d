"""Make the photoacoustic example in this folder: a simulated slice with vessels at several depths.

    python Resources/make_photoacoustic.py

The same seed gives the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from spectral.io import envi

from monai_inn.physics.transport.fluence import fluence
from monai_inn.problems import Photoacoustics

HERE = Path(__file__).resolve().parent
SEED = 0
ROWS, COLUMNS, PIXEL_MM = 44, 80, 0.5
# Noise of every pixel, over the brightest; deep vessels drown in it first.
NOISE, GAIN_SD = 6e-4, 0.01
COUNTS = 30_000.0  # of the brightest pixel
TISSUE = {
    "tissue_so2": 0.7,
    "vhb": 0.02,
    "vhb_ratio": 0.7,
    "water": 0.7,
    "fat": 0.1,
    "upper_water": 0.3,
    "upper_fat": 0.6,
    "a_mie": 16.0,
    "b_mie": 1.2,
    "a_mie_ratio": 1.0,
    "melanin": 0.02,
    "d_epidermis": 0.08,
    "vessel_radius": 500.0,
}
FAT_MM = 2.0  # thickness of the upper tissue


class Vessel(NamedTuple):
    """A round vessel across the slice."""

    column_mm: float
    depth_mm: float
    radius_mm: float
    so2: float
    dye: float = 0.0


VESSELS = (
    Vessel(5.0, 3.0, 1.0, 0.97),
    Vessel(9.0, 3.5, 1.2, 0.60),
    Vessel(13.0, 8.0, 1.2, 0.97),
    Vessel(17.5, 8.5, 1.4, 0.60),
    Vessel(22.0, 13.0, 1.4, 0.97),
    Vessel(26.5, 13.5, 1.6, 0.60),
    Vessel(31.0, 18.0, 1.5, 0.97),
    Vessel(35.5, 18.5, 1.7, 0.60),
    Vessel(35.0, 5.0, 1.2, 0.80, dye=1.0),
)


def parameters(problem: Photoacoustics, depth_mm: NDArray[np.float64], so2: float) -> torch.Tensor:
    """Parameters ``(n, D)`` of vessels at depths ``(n,)``."""
    depth = torch.from_numpy(depth_mm)
    value = TISSUE | {"so2": so2, "depth": depth}
    value["upper_share"] = (FAT_MM / (depth - TISSUE["d_epidermis"])).clamp(0, 1)
    return torch.stack(
        [torch.as_tensor(value[n]).expand(len(depth)).double() for n in problem.space.names], 1
    )


def slice_of_tissue(problem: Photoacoustics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Initial pressure ``(ROWS, COLUMNS, W)``, and the saturation of vessels, NaN elsewhere."""
    depth = (np.arange(ROWS) + 2) * PIXEL_MM
    theta = parameters(problem, depth, 0.7)
    layers = problem.layer_properties(theta)
    light = fluence(*(v[:, 0].numpy() for v in layers[:3]))
    lower = (depth > FAT_MM).astype(int) + 1
    background = layers.mu_a_per_cm[np.arange(ROWS), 0, lower].numpy() * light
    pressure = np.repeat(background[:, None], COLUMNS, 1)
    truth = np.full((ROWS, COLUMNS), np.nan)
    across = np.arange(COLUMNS) * PIXEL_MM
    axis = np.array(problem.wavelengths_nm)
    for vessel in VESSELS:
        inside = np.hypot(across - vessel.column_mm, depth[:, None] - vessel.depth_mm) <= vessel.radius_mm
        so2, radius = (torch.tensor([v], dtype=torch.float64) for v in (vessel.so2, TISSUE["vessel_radius"]))
        absorbed = problem.vessel_absorption(so2, radius)[0].numpy()
        absorbed = absorbed + vessel.dye * 8.0 * np.exp(-0.5 * ((axis - 800) / 22) ** 2)
        pressure[inside] = (absorbed * light)[np.nonzero(inside)[0]]
        truth[inside] = np.nan if vessel.dye else vessel.so2
    return pressure, truth


def main() -> None:
    """Write the image and the saturations behind it."""
    problem, rng = Photoacoustics(), np.random.default_rng(SEED)
    pressure, truth = slice_of_tissue(problem)
    most = pressure.max()
    pressure *= 1 + GAIN_SD * rng.standard_normal(pressure.shape[-1])
    pressure += NOISE * most * rng.standard_normal(pressure.shape)
    counts = np.clip(np.rint(pressure / most * COUNTS), -32767, 32767).astype(np.int16)
    metadata = {
        "description": "Simulated photoacoustic slice; see README.md",
        "wavelength": [f"{w:g}" for w in problem.wavelengths_nm],
        "wavelength units": "Nanometers",
    }
    path = HERE / "photoacoustic_slice.hdr"
    envi.save_image(str(path), counts, metadata=metadata, interleave="bsq", ext=".dat", force=True)
    np.savez_compressed(HERE / "photoacoustic_slice_truth.npz", so2=truth.astype(np.float32))


if __name__ == "__main__":
    main()
