"""A CT of three vertebrae in soft tissue, and X-rays of it that no model of ours has made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.applications.registration.projection import AttenuationVolume, Projector, spine_phantom

WATER = 0.0192
DETECTOR = Detector(128, 128, 1.8)
POSE = torch.tensor([24.0, 6.0, 3.0, 5.0, -7.0, 12.0], dtype=torch.float64)
SPACING_MM = 2.5
_MARGIN = 16  # pixels


def phantom_ct() -> AttenuationVolume:
    """Voxels in HU: vertebrae with a spur on one side, fat and gas, in an ellipse of water."""
    spine = spine_phantom(1.0, SPACING_MM).values
    values = torch.nn.functional.pad(spine, (0, 0, 20, 14, 18, 18))
    size = torch.tensor(values.shape)
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - (n - 1) / 2) * SPACING_MM for n in size.tolist()], indexing="ij"
    )
    body = (x / 92).square() + (y / 88).square() < 1
    fat = (x - 50).square() + (y - 40).square() + (z / 1.5).square() < 25**2
    gas = (x + 45).square() + (y - 45).square() + (z + 15).square() < 16**2
    hounsfield = torch.where(body, 0.0, -1000.0)
    hounsfield = torch.where(fat, -100.0, hounsfield)
    hounsfield = torch.where(gas, -900.0, hounsfield)
    hounsfield = torch.where(values > 0.3 * WATER, (values / WATER - 1).clamp_min(0) * 1000, hounsfield)
    affine = torch.diag(torch.tensor([SPACING_MM] * 3 + [1.0], dtype=torch.float64))
    affine[:3, 3] = -(size - 1) / 2 * SPACING_MM
    return AttenuationVolume(hounsfield.float(), affine)


def write_ct(path: Path) -> Path:
    import nibabel

    ct = phantom_ct()
    nibabel.save(nibabel.Nifti1Image(ct.values.numpy().astype(np.int16), ct.affine.numpy()), path)
    return path


def intensity(
    pose: torch.Tensor = POSE,
    target: torch.Tensor | None = None,
    seed: int = 0,
    source: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ct: AttenuationVolume | None = None,
) -> np.ndarray:
    """Photons behind the patient at 128 × 128 pixels: scatter, blur, noise.

    ``source`` is how far the source is off its place, to the right, down and away, in mm; whole pixels.
    """
    ct = phantom_ct() if ct is None else ct
    attenuation = AttenuationVolume(WATER * (1 + ct.values / 1000).clamp_min(0), ct.affine)
    pixel, (right, down, away) = DETECTOR.spacing_mm / 2, source
    distances = (d + away for d in (DETECTOR.source_detector_mm, DETECTOR.source_isocentre_mm))
    larger = Detector(256 + 2 * _MARGIN, 256 + 2 * _MARGIN, pixel, *distances)
    camera = camera_to_world(pose, DETECTOR, torch.zeros(3) if target is None else target)
    moved = torch.tensor([DETECTOR.handedness * right, down, -away], dtype=torch.float64)
    camera[:3, 3] += camera[:3, :3] @ moved
    path = Projector(attenuation, larger)(camera).double().numpy()
    top, left = (_MARGIN - round(side / pixel) for side in (down, right))
    primary = np.exp(-path[top : top + 256, left : left + 256])
    scatter = gaussian_filter(primary, 45 / pixel, mode="nearest")
    total = gaussian_filter(primary + 0.4 * scatter, 0.7).reshape(128, 2, 128, 2).mean((1, 3))
    return np.random.default_rng(seed).poisson(total * 40_000) / 40_000


def write_xray(path: Path, image: np.ndarray) -> Path:
    Image.fromarray((image / image.max() * 60_000).astype(np.uint16)).save(path)
    return path
