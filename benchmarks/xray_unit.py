"""An X-ray unit in front of a CT, simulated otherwise than the solver models it.

Another renderer (nanodrr) on the CT's own voxels with several rays a pixel, five energies, water and bone
apart, scatter of random amount and width, blur, photon noise, an unknown exposure; a rod or a collimator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.applications.registration.ct import bone_centre, landmarks
from monai_inn.applications.registration.projection import AttenuationVolume, Projector

# At 40, 50, 60, 80, 100 keV: share of the photons; water and bone in cm²/g (NIST XCOM), 1 and 1.92 g/cm³.
SPECTRUM = (0.15, 0.25, 0.30, 0.20, 0.10)
WATER = (0.2683, 0.2269, 0.2059, 0.1837, 0.1707)
BONE = (0.6655, 0.4242, 0.3148, 0.2229, 0.1855)
FIELD_MM, FINER, RAYS = 240.0, 2, 2


def detector(pixels: int) -> Detector:
    return Detector(pixels, pixels, FIELD_MM * 1.2 / pixels)


def parallel(pixels: int) -> Detector:
    """The same in a beam that is parallel."""
    near = detector(pixels)
    return replace(near, beam="parallel", spacing_mm=near.spacing_at_isocentre_mm)


class Unit:
    """An X-ray unit in front of a patient.

    Args:
        ct: voxels in HU.
        pixels: along each side of its images.
        made: its detector for so many pixels.
    """

    def __init__(
        self, ct: AttenuationVolume, pixels: int = 128, made: Callable[[int], Detector] = detector
    ) -> None:
        self.pixels = pixels
        hounsfield = ct.values
        bone = ((hounsfield - 100) / 1480).clamp_min(0)
        water = torch.where(hounsfield < 100, 1 + hounsfield / 1000, 1.1 * (1 - bone)).clamp_min(0)
        attenuation = AttenuationVolume(0.0192 * (1 + hounsfield / 1000).clamp_min(0), ct.affine)
        self.target, self.landmarks = bone_centre(attenuation), landmarks(attenuation)
        self.fine = made(pixels * FINER)
        rays = made(pixels * FINER * RAYS)
        self.parts = [Projector(AttenuationVolume(v.float(), ct.affine), rays) for v in (water, 1.92 * bone)]

    def __call__(
        self,
        pose: Tensor,
        kind: int,
        generator: np.random.Generator,
        source: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> np.ndarray:
        """Intensity of an image, arbitrary exposure.

        Kind 0 shows a rod, kind 3 a collimator. The source is off its place by so many mm to the right, down
        and away; the first two are rounded to pixels.
        """
        water, bone = self._paths(pose, source)
        beam = sum(
            s * np.exp(-0.1 * (water * w + bone * b)) for s, w, b in zip(SPECTRUM, WATER, BONE, strict=True)
        )
        beam, is_open = self._covered(beam, kind, generator)
        width, share = generator.uniform(25, 60) / self.fine.spacing_mm, generator.uniform(0.3, 0.8)
        scatter = gaussian_filter(beam, width, mode="nearest")
        scatter *= share * beam[is_open].mean() / scatter[is_open].mean()
        photons = 20_000
        seen = generator.poisson(gaussian_filter(beam + scatter, 0.7) * photons) / photons
        n = self.pixels
        return generator.uniform(0.3, 3) * np.maximum(
            seen.reshape(n, FINER, n, FINER).mean((1, 3)), 0.5 / photons
        )

    def _paths(self, pose: Tensor, source: tuple[float, float, float]) -> list[np.ndarray]:
        """Line integrals through water and bone."""
        fine, parts, away = self.fine, self.parts, source[2]
        right, down = (round(side / fine.spacing_mm) * fine.spacing_mm for side in source[:2])
        camera = camera_to_world(pose, fine, self.target)
        margin = math.ceil(max(abs(right), abs(down)) / fine.spacing_mm)
        if any(source):
            # A camera that moves along takes a larger image, of which the detector sees a part.
            moved = torch.tensor([fine.handedness * right, down, -away]).to(camera)
            camera[:3, 3] += camera[:3, :3] @ moved
            distances = (d + away for d in (fine.source_detector_mm, fine.source_isocentre_mm))
            size = [(n + 2 * margin) * RAYS for n in (fine.rows, fine.columns)]
            larger = Detector(*size, fine.spacing_mm / RAYS, *distances)
            parts = [Projector(p.volume, larger) for p in parts]
        top, left = (margin - round(side / fine.spacing_mm) for side in (down, right))
        paths = [torch.nn.functional.avg_pool2d(p(camera)[None], RAYS)[0] for p in parts]
        return [p[top : top + fine.rows, left : left + fine.columns].double().numpy() for p in paths]

    def _covered(
        self, beam: np.ndarray, kind: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The beam behind a rod (kind 0) or between the blades of a collimator (kind 3)."""
        size, pixel = len(beam), self.fine.spacing_at_isocentre_mm
        is_open = np.ones_like(beam, bool)
        if kind == 0:
            y, x = np.mgrid[:size, :size] - size / 2 + 0.5
            angle, offset = generator.uniform(0, np.pi), generator.uniform(-0.25, 0.25) * size
            away = np.abs(np.cos(angle) * x + np.sin(angle) * y - offset)
            along, radius = np.cos(angle) * y - np.sin(angle) * x, generator.uniform(2, 4) / pixel
            rod = (away < radius) & (along > generator.uniform(-0.5, 0.1) * size)
            chord = 2 * np.sqrt(np.clip(radius**2 - away**2, 0, None)) * pixel
            return np.where(rod, beam * np.exp(-0.35 * chord), beam), ~rod
        if kind == 3:
            top, bottom, left, right = generator.integers(0, int(0.18 * size), 4)
            is_open[:] = False
            is_open[top : size - bottom, left : size - right] = True
            return np.where(is_open, beam, 0.01 * beam), is_open
        return beam, is_open
