"""The files of a registration: images in the detector's plane, poses as ITK transforms, samples as tables."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.carm import POSE, Detector, itk_matrix
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.files import own_file
from monai_inn.reading.arrays import read_npz

__all__ = [
    "detector_ncc",
    "files_of_pose",
    "read_samples",
    "write_bone",
    "write_detector_image",
    "write_samples",
    "write_transform",
]

_SAMPLES = ("pose", "mode", "log_density", "camera_to_world")
_BONE_MM, _SOFT, _DENSE = 2.5, 0.022, 0.045  # 1/mm, about 75 and 680 HU: bone lies between, or above


def files_of_pose(name: str) -> dict[str, str]:
    """Return the files of a pose: two transforms and a simulated X-ray.

    Args:
        name: its number, with ``_refined`` if it is the best fit near that pose.
    """
    return {"tfm": f"pose_{name}.tfm", "h5": f"pose_{name}.h5", "drr": f"drr_{name}.nii.gz"}


def write_detector_image(path: Path, image: Tensor, detector: Detector) -> None:
    """Write an image ``(rows, columns)`` as NIfTI whose affine leads to the detector, camera frame, mm.

    Under the transform from camera to world it stands in the CT's scene where the detector was.
    """
    import nibabel

    step, side = detector.spacing_mm, detector.handedness
    affine = np.diag([side * step, step, 1.0, 1.0])
    affine[:3, 3] = (
        -side * step * (detector.columns - 1) / 2,
        -step * (detector.rows - 1) / 2,
        detector.source_detector_mm,
    )
    written = nibabel.Nifti1Image(image.detach().cpu().float().T.unsqueeze(-1).numpy(), affine)
    written.header.set_xyzt_units("mm")
    written.set_sform(affine, 1)
    written.set_qform(affine, 1)
    nibabel.save(written, path)


def write_bone(path: Path, volume: AttenuationVolume) -> None:
    """Write what is denser than soft tissue as NIfTI, coarse enough for a surface in 3-D views.

    Args:
        path: file to write.
        volume: the CT, attenuation in 1/mm.
    """
    import nibabel

    steps = (_BONE_MM / volume.spacing_mm).round().clamp(min=1).long()
    steps = torch.minimum(steps, torch.tensor(volume.values.shape))
    pooled = torch.nn.functional.avg_pool3d(volume.values[None].float(), steps.tolist())[0]
    bytes_ = ((pooled - _SOFT) / (_DENSE - _SOFT)).clamp(0, 1).mul(255).round().byte().cpu().numpy()
    affine = volume.affine.clone()
    affine[:3, 3] += affine[:3, :3] @ ((steps - 1) / 2).to(affine)  # the middle of the first block
    affine[:3, :3] *= steps.to(affine)
    written = nibabel.Nifti1Image(bytes_, affine.numpy())
    written.header.set_slope_inter((_DENSE - _SOFT) / 255, _SOFT)
    written.header.set_xyzt_units("mm")
    nibabel.save(written, path)


def write_transform(path: Path, camera: Tensor) -> None:
    """Write a pose as ``.tfm`` or ``.h5``, see ``carm.itk_matrix``."""
    import SimpleITK as sitk  # noqa: N813 (its users' name)

    matrix = itk_matrix(camera.double()).numpy()
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    with tempfile.TemporaryDirectory() as folder:  # SimpleITK dies of a path that is not UTF-8
        written = Path(folder) / f"pose{path.suffix}"
        sitk.WriteTransform(transform, str(written))
        shutil.copyfile(written, path)


def write_samples(
    folder: Path, pose: Tensor, camera: Tensor, mode: Tensor, log_density: Tensor
) -> Iterator[dict[str, Any]]:
    """Write posterior samples as ``samples.npz``, with matrices, and as ``samples.csv``, for people.

    Args:
        folder: where to.
        pose: all six parameters, shape ``(S, 6)``.
        camera: from camera to world, shape ``(S, 4, 4)``.
        mode: number of the mode of each, from 1, shape ``(S,)``.
        log_density: nats, shape ``(S,)``.
    """
    np.savez(
        folder / "samples.npz",
        camera_to_world=camera.double().numpy(),
        mode=mode.numpy(),
        log_density=log_density.numpy(),
        pose=pose.double().numpy(),
    )
    yield {"file": "samples.npz", "what": "posterior samples with their matrices"}
    yield write_samples_table(folder, POSE, pose, mode, log_density)


def write_samples_table(
    folder: Path, parameters: Mapping[str, tuple[str, str]], rows: Tensor, mode: Tensor, log_density: Tensor
) -> dict[str, Any]:
    """Write posterior samples as ``samples.csv``; returns what the file is.

    Args:
        folder: where to.
        parameters: unit and meaning by name, in the order of the last axis.
        rows: shape ``(S, D)``.
        mode: number of the mode of each, from 1, shape ``(S,)``.
        log_density: nats, shape ``(S,)``.
    """
    with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        names = (f"{name} [{unit}]" for name, (unit, _) in parameters.items())
        table.writerow(["mode", "log_density [nat]", *names])
        for number, density, row in zip(mode.tolist(), log_density.tolist(), rows.tolist(), strict=True):
            table.writerow([number, f"{density:.4f}", *(f"{value:.4f}" for value in row)])
    return {"file": "samples.csv", "what": "posterior samples"}


def read_samples(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return poses ``(S, 6)``, modes from 1, log densities and cameras ``(S, 4, 4)`` that were written.

    Raises:
        FileNotFoundError: if the folder has no samples.
        ValueError: if they are damaged.
    """
    path = own_file(folder, "samples.npz")
    try:
        stored, _ = read_npz(path, _SAMPLES)
        pose, mode, density, camera = (np.asarray(stored[name], np.float64) for name in _SAMPLES)
        n = len(pose)
        shapes = pose.shape, mode.shape, density.shape, camera.shape
        if not n or shapes != ((n, len(POSE)), (n,), (n,), (n, 4, 4)):
            raise ValueError(f"arrays of shapes {shapes}")
        if not all(np.isfinite(part).all() for part in (pose, mode, density, camera)):
            raise ValueError("NaN or infinite values")
    except Exception as error:  # on a damaged file NumPy raises types of many libraries
        raise ValueError(f"{path}: is damaged ({error}); register the X-ray again.") from error
    return (
        torch.from_numpy(pose),
        torch.from_numpy(mode).long(),
        torch.from_numpy(density),
        torch.from_numpy(camera),
    )


def detector_ncc(first: Tensor, second: Tensor) -> float:
    """Return the correlation of two images."""
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]).double())[0, 1])
