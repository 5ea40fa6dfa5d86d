"""The files of an alignment: resampled images, transforms, samples as tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from monai_inn.applications.registration.results.files import write_samples_table, write_transform
from monai_inn.applications.rigid.motion import MOTION, Motions
from monai_inn.applications.rigid.posterior import Alignment
from monai_inn.applications.rigid.volumes import Volume, mapped
from monai_inn.transforms.volumes import write_map

__all__ = ["files_of_mode", "write_modes", "write_samples"]


def files_of_mode(number: int) -> dict[str, str]:
    """Return the files of a mode: its transform, and the moving image on the fixed one's voxels."""
    return {"tfm": f"alignment_{number}.tfm", "aligned": f"aligned_{number}.nii.gz"}


def write_modes(
    folder: Path, fixed: Volume, moving: Volume, alignment: Alignment, images: int
) -> Iterator[dict[str, Any]]:
    """Write the transform of every mode, and the moving image resampled by the first of them.

    A transform leads points of the fixed image to those of the moving one, in LPS, as SimpleITK's resampling
    wants it; 3D Slicer shows it as the transform that takes the moving image to the fixed one. Outside of the
    moving image its lowest value is written.
    """
    matrices = Motions.of(alignment.mean).matrix(moving.centre)
    for number, matrix in enumerate(matrices, start=1):
        names = files_of_mode(number)
        write_transform(folder / names["tfm"], matrix)
        yield {"file": names["tfm"], "what": f"ITK transform of alignment {number}"}
        if number <= images:
            points = fixed.points()
            inverse = matrix.inverse()
            found = moving.at(mapped(points, inverse))
            filled = found.nan_to_num(nan=float(moving.values.min())).reshape(fixed.values.shape)
            write_map(folder / names["aligned"], filled[None], {"affine": fixed.affine})
            yield {
                "file": names["aligned"],
                "what": f"moving image on the fixed one's voxels, alignment {number}",
            }


def write_samples(
    folder: Path, motion: Tensor, mode: Tensor, log_density: Tensor, centre: Tensor
) -> Iterator[dict[str, Any]]:
    """Write posterior samples as ``samples.npz``, with matrices, and as ``samples.csv``, for people.

    Args:
        folder: where to.
        motion: all six parameters, shape ``(S, 6)``, degrees and mm.
        mode: number of the mode of each, from 1, shape ``(S,)``.
        log_density: nats, shape ``(S,)``.
        centre: of the moving image, RAS in mm.
    """
    np.savez(
        folder / "samples.npz",
        moving_to_fixed=Motions.of(motion).matrix(centre).numpy(),
        mode=mode.numpy(),
        log_density=log_density.numpy(),
        motion=motion.numpy(),
    )
    yield {"file": "samples.npz", "what": "posterior samples with their matrices (RAS, mm)"}
    yield write_samples_table(folder, MOTION, motion, mode, log_density)
