"""Contrasts of one patient: read, checked, turned to one orientation and brought to common grey levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.files import BadFileError
from monai_inn.reading.limits import import_library
from monai_inn.reading.orientation import same_grid
from monai_inn.reading.volumes import load_nifti, scaled, synthetic_mark

__all__ = ["WHITE", "Scan", "Shape", "read_volume", "shape_of"]

WHITE = 230.0
"""Grey level that the 99.9th percentile of a brain has where no peak is known yet."""

_BINS, _SMOOTH = 256, 5.0
_LEVELS = (0.3, 0.5, 0.7, 0.9, 0.97)
_MOST_FILLED = 0.6  # of a volume that a brain alone takes
_MOST_OBLIQUE = 0.25  # sine of the angle between an axis of the file and one of the body
_LEAST_SLICES = 10


class Shape(NamedTuple):
    """What tells one contrast from another, whatever its scale.

    Attributes:
        quantiles: logarithms of some quantiles of the brain over its most frequent grey level, of each
            contrast ``(F, 5)``.
        correlation: of each pair of contrasts inside the brain, ``(F (F − 1) / 2,)``.
    """

    quantiles: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class Scan:
    """Volumes of one patient on one grid, axes to the right, to the front and to the head.

    Attributes:
        name: of the patient, for messages.
        values: grey levels as read, 0 outside the brain, ``(F, X, Y, Z)``.
        peak: the most frequent grey level of each, ``(F,)``.
        affine: of the first file.
        turned: what ``nibabel`` did to the axes of the file.
    """

    name: str
    values: Tensor
    peak: Tensor
    affine: NDArray[np.float64]
    turned: NDArray[np.float64]

    @classmethod
    def read(
        cls, files: Mapping[str, str | PathLike[str]], spacing_mm: float, name: str = "", *, extra: int = 0
    ) -> Scan:
        """Read the files of some contrasts, whose names are the keys.

        Args:
            files: NIfTI files, brain only, 0 outside.
            spacing_mm: spacing that they must have.
            name: of the patient.
            extra: of the last files so many do not take part in the mask of the brain.

        Raises:
            BadFileError: if a file is damaged, holds NaN, has another spacing, or does not fit the others.
        """
        volumes, first = [], None
        for contrast, path in files.items():
            values, affine, turned = read_volume(path, spacing_mm)
            if first is None:
                first = (affine, turned, values.shape, path)
            elif values.shape != first[2] or not same_grid(affine, first[0], values.shape):
                raise BadFileError(
                    f"{path}: the {contrast} image lies on another grid than {first[3]}; check that both "
                    "are of one patient, and resample it to that."
                )
            volumes.append(torch.from_numpy(values))
        assert first is not None
        stacked = torch.stack(volumes)
        brain = (stacked[: len(volumes) - extra] > 0).all(0)
        _check_brain(brain, str(first[3]))
        stacked = stacked.clamp_min(0) * brain
        peak = torch.tensor([_peak(volume[brain]) for volume in stacked])
        return cls(name, stacked, peak, first[0], first[1])

    @property
    def brain(self) -> Tensor:
        """Where the brain is, boolean, ``(X, Y, Z)``."""
        return self.values[0] > 0

    def white(self) -> Tensor:
        """Return the peak that each contrast has if its 99.9th percentile is ``WHITE``, ``(F,)``."""
        top = [np.quantile(volume[self.brain].numpy(), 0.999) for volume in self.values]
        return self.peak * WHITE / torch.tensor(top, dtype=torch.float32)

    def harmonised(self, peaks: Tensor) -> Tensor:
        """Return the volumes with the most frequent grey level of each as given, ``(F, X, Y, Z)``."""
        return self.values * (peaks / self.peak).view(-1, 1, 1, 1)

    def as_in_file(self, volume: Tensor) -> Tensor:
        """Return volumes ``(…, X, Y, Z)`` with the axes of the file."""
        nibabel = import_library("nibabel", Path(self.name))
        back = nibabel.orientations.ornt_transform(_UPRIGHT, self.turned)
        turn = nibabel.orientations.apply_orientation
        whole = volume.reshape(-1, *volume.shape[-3:]).numpy()
        turned = np.stack([turn(part, back) for part in whole])
        return torch.from_numpy(turned).reshape(*volume.shape[:-3], *turned.shape[1:])


_UPRIGHT = np.array([[0.0, 1], [1, 1], [2, 1]])


def read_volume(
    path: str | PathLike[str], spacing_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return a volume with its axes to the right, front and head, its affine, and how axes were turned.

    Raises:
        BadFileError: see ``Scan.read``.
    """
    source = Path(path)
    nibabel = import_library("nibabel", source)
    image, stored = load_nifti(source)
    if synthetic_mark(image.header):
        raise BadFileError(f"{source}: the image is synthetic, nobody acquired it; give an acquired one.")
    values = np.asarray(scaled(image, stored), np.float32)
    if values.ndim != 3 or min(values.shape) < _LEAST_SLICES:
        raise BadFileError(
            f"{source}: shape {values.shape}, expected a volume of at least {_LEAST_SLICES} slices: grey "
            "levels are compared over the whole brain. Give the whole volume, one contrast a file."
        )
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise BadFileError(f"{source}: {count:,} voxels are NaN or infinite; repair them, or set them to 0.")
    affine = np.asarray(image.affine, np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(spacing / spacing_mm - 1).max() > 0.05:
        raise BadFileError(
            f"{source}: voxels of {' × '.join(f'{s:.3g}' for s in spacing)} mm, expected {spacing_mm:g} mm "
            "along each axis; resample the images."
        )
    if np.sort(np.abs(affine[:3, :3] / spacing), 0)[:2].max() > _MOST_OBLIQUE:
        raise BadFileError(
            f"{source}: its axes are oblique to those of the body; resample the images to axial slices."
        )
    turned = nibabel.io_orientation(affine)
    upright = nibabel.orientations.apply_orientation(values, turned)
    return np.ascontiguousarray(upright), affine, turned


def shape_of(values: Tensor, brain: Tensor, peak: Tensor) -> Shape:
    """Return what tells contrasts ``(F, X, Y, Z)`` with most frequent grey levels ``(F,)`` from others."""
    inside = values[:, brain].numpy()
    quantiles = np.quantile(inside, _LEVELS, axis=1).T / peak.numpy()[:, None]
    rows, columns = np.triu_indices(len(inside), 1)
    correlation = np.atleast_2d(np.corrcoef(inside))[rows, columns]
    return Shape(
        torch.from_numpy(np.log(np.maximum(quantiles, 1e-3))).float(), torch.from_numpy(correlation).float()
    )


def _check_brain(brain: Tensor, path: str) -> None:
    share = float(brain.float().mean())
    if share > _MOST_FILLED:
        raise BadFileError(
            f"{path}: {share:.0%} of the voxels are not 0; expected the brain alone. Extract it first."
        )
    if int(brain.any(0).any(0).sum()) < _LEAST_SLICES:
        raise BadFileError(f"{path}: holds hardly any voxel that is not 0 in all contrasts; check the files.")


def _peak(values: Tensor) -> float:
    """The most frequent of some grey levels, by a smoothed histogram."""
    from scipy.ndimage import gaussian_filter1d

    numbers = values.numpy()
    top = float(np.quantile(numbers, 0.999))
    count, edges = np.histogram(numbers, _BINS, (0.0, top))
    # The lowest bins hold what the extraction of the brain left over.
    most = int(gaussian_filter1d(count.astype(float), _SMOOTH)[8:].argmax()) + 8
    return float((edges[most] + edges[most + 1]) / 2)
