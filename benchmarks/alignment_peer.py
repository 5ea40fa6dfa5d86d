"""Alignment by SimpleITK as well as it can be done: every place of a lattice, overlap, three resolutions.

Mattes' mutual information of all voxels at 8 mm is taken at every place of a lattice of 20 mm over the larger
image, for 27 rotations. Places in which less than half of the small image lies inside the large one are left
out, for few voxels share much information by chance; grey values are cut at 2 and 99.8 %, so that metal and
air leave bins for the rest. The 100 best places, no two of them neighbours, climb at 8 mm, the 40 best of
those at 4, the 5 best at 2. The best metric wins.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its users' name)
import torch

from monai_inn.applications.rigid.volumes import Volume

LPS = np.array([-1.0, -1.0, 1.0])
TURNS = tuple(itertools.product((-10.0, 0.0, 10.0), repeat=3))
LATTICE_MM, SPACINGS_MM, KEPT, FIRST_MM = 20.0, (8.0, 4.0, 2.0), (100, 40, 5), (3.0, 1.0, 0.5)
MOST_SAMPLES, LEAST_OVERLAP, BINS, CUT = 30_000, 0.5, 32, (0.02, 0.998)


def by_itk(fixed: Volume, moving: Volume, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the moving image's centre lies, RAS in mm, and its rotation."""
    centre, corners = LPS * moving.centre.numpy(), LPS * fixed.corners().numpy()
    native = float(torch.cat([fixed.spacing_mm, moving.spacing_mm]).max())
    coarse = min(SPACINGS_MM[0], float(moving.size_mm.min()) / 8)
    some = np.random.default_rng(seed).integers(len(moving.points()), size=60)
    points = moving.points().numpy()[some] * LPS
    rows = np.empty((0, 7))
    for n, spacing in enumerate((coarse, *SPACINGS_MM[1:])):
        blur = max(spacing / 2, 0.6 * native)
        small, large = (to_itk(v.resampled(spacing, blur)) for v in (moving, fixed))
        if n == 0:
            rows = _lattice(small, large, centre, corners)
            rows = _apart(rows[_overlap(rows, centre, points, corners) >= LEAST_OVERLAP], KEPT[0], 12.0, 5.0)
        climbed = np.array([_climbed(small, large, centre, row, n, seed) for row in rows])
        inside = _overlap(climbed, centre, points, corners) >= LEAST_OVERLAP
        rows = _apart(climbed[inside], KEPT[min(n + 1, 2)], 2.0, 2.0)
    best = _transform(rows[0], centre)
    place = LPS * np.array(best.TransformPoint(centre.tolist()))
    rotation = np.diag(LPS) @ np.array(best.GetMatrix()).reshape(3, 3) @ np.diag(LPS)
    return torch.from_numpy(place), torch.from_numpy(rotation)


def to_itk(volume: Volume) -> Any:
    values = volume.values.numpy()
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.clip(*np.quantile(values, CUT)).T))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine.numpy()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _metric() -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _lattice(small: Any, large: Any, centre: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Metric and six parameters at every place, for every rotation, ``(N, 7)``."""
    low, high = corners.min(0) - centre, corners.max(0) - centre
    steps = np.floor((high - low) / 2 / LATTICE_MM).astype(int)
    rows: list[tuple[float, ...]] = []
    for turn in TURNS:
        start = _transform(np.r_[0.0, np.deg2rad(turn), (low + high) / 2], centre)
        method = _metric()
        method.SetOptimizerAsExhaustive([0, 0, 0, *steps.tolist()], 1.0)
        method.SetOptimizerScales([1.0] * 3 + [LATTICE_MM] * 3)
        method.SetInitialTransform(start, inPlace=False)

        def keep(one: Any = method) -> None:
            rows.append((one.GetMetricValue(), *one.GetOptimizerPosition()))

        method.AddCommand(sitk.sitkIterationEvent, keep)
        method.Execute(small, large)
    return np.array(rows)


def _climbed(
    small: Any, large: Any, centre: np.ndarray, row: np.ndarray, level: int, seed: int
) -> np.ndarray:
    method, transform = _metric(), _transform(row, centre)
    if small.GetNumberOfPixels() > MOST_SAMPLES:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(MOST_SAMPLES / small.GetNumberOfPixels(), seed + 1)
    method.SetOptimizerAsRegularStepGradientDescent(FIRST_MM[level], FIRST_MM[level] / 100, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(small, large)
    except RuntimeError:  # the images no longer overlap
        return np.r_[np.inf, row[1:]]
    return np.r_[method.GetMetricValue(), transform.GetParameters()]


def _transform(row: np.ndarray, centre: np.ndarray) -> Any:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetParameters(row[1:7].tolist())
    return transform


def _overlap(rows: np.ndarray, centre: np.ndarray, points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Share of some points of the small image that lie inside the large one, whose axes are the patient's."""
    turns, which = np.unique(rows[:, 1:4], axis=0, return_inverse=True)
    matrices = [_transform(np.r_[0.0, turn, np.zeros(3)], centre).GetMatrix() for turn in turns]
    away = (points - centre) @ np.array(matrices).reshape(-1, 3, 3).transpose(0, 2, 1)
    there = away[which.ravel()] + (centre + rows[:, 4:])[:, None]
    return ((there >= corners.min(0)) & (there <= corners.max(0))).all(2).mean(1)


def _apart(rows: np.ndarray, count: int, mm: float, degrees: float) -> np.ndarray:
    """The rows of best metric, no two of them close together."""
    kept: list[np.ndarray] = []
    for row in rows[rows[:, 0].argsort()]:
        away = [(np.linalg.norm(row[4:] - k[4:]), np.rad2deg(np.abs(row[1:4] - k[1:4]).max())) for k in kept]
        if all(shift > mm or turn > degrees for shift, turn in away):
            kept.append(row)
        if len(kept) == count:
            break
    return np.array(kept)
