"""From a CT file to the attenuation that X-rays meet: Hounsfield units, bones, resolution."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.raycasting import Materials
from monai_inn.files import BadFileError, require_file
from monai_inn.reading.dicom import is_series
from monai_inn.reading.limits import check_affine, import_library
from monai_inn.reading.orientation import same_grid
from monai_inn.reading.series_volumes import load_series
from monai_inn.reading.volumes import VOLUMES, itk_affine, load_itk, load_nifti, scaled

__all__ = [
    "attenuation_volume",
    "bone_centre",
    "labels_in_words",
    "landmarks",
    "materials",
    "read_ct",
    "read_label_volume",
    "read_labels",
    "read_volume",
]

_LEAST_RANGE_HU = 200.0
_BONE = 0.025  # 1/mm, about 150 HU
_ANTI_ALIAS = 0.5  # voxels: without, rays that run between their planes see a pattern that no X-ray has
_WATER, _BONE_HU = 0.0192, 100.0  # 1/mm at 70 keV; above, what is more is bone
_CANDIDATES = 20_000
_BORDER_PIXELS = 1.5  # what is left around a mask for the blur
_VOXELS_PER_PIXEL = 2.5
_LEAST_VOXELS = 1.5  # in a pixel, so that its blur can make up for that of interpolation


def read_ct(path: str | PathLike[str]) -> AttenuationVolume:
    """Read a CT in Hounsfield units: NIfTI, NRRD, MetaImage, or the folder of a DICOM series.

    Returns:
        The voxels in HU (not yet attenuation) with their affine to RAS in mm; float32.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is truncated, not one volume, or not in Hounsfield units.
    """
    values, affine = read_volume(path, "a CT as NIfTI, NRRD, MetaImage or DICOM folder")
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(f"{path}: has the shape {values.shape}, expected one volume of three axes.")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: holds NaN or infinite values; fill them, with −1000 HU for air.")
    low, high = float(values.min()), float(values.max())
    if low >= 0 or high - low < _LEAST_RANGE_HU:
        raise ValueError(
            f"{path}: values from {low:g} to {high:g} are not Hounsfield units, in which air is −1000 and "
            "water 0; apply the scanner's rescale slope and intercept first (often: subtract 1024)."
        )
    return AttenuationVolume(torch.from_numpy(values.astype(np.float32)), torch.from_numpy(affine))


def read_volume(path: str | PathLike[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of a file, ``(I, J, K)`` for a volume, and their affine to RAS in mm.

    Args:
        path: NIfTI, NRRD, MetaImage, or folder of a DICOM series.
        kind: what the file is, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or not an image.
    """
    if is_series(Path(path)):
        return load_series(Path(path))
    file = require_file(path, kind)
    try:
        if file.name.lower().endswith((*VOLUMES["NIfTI"], ".hdr", ".img")):
            loaded, stored = load_nifti(file)
            values, affine = np.squeeze(scaled(loaded, stored)), np.asarray(loaded.affine, float)
        else:
            image = load_itk(file)
            affine = itk_affine(image)
            values = import_library("SimpleITK", file).GetArrayFromImage(image).T
    except (BadFileError, ImportError):
        raise
    except Exception as error:  # readers raise what they like at damaged files
        raise BadFileError(
            f"{file}: cannot be read as a volume ({type(error).__name__}): it is not a NIfTI, NRRD or "
            "MetaImage, or truncated; copy the file again."
        ) from error
    if values.dtype.kind not in "biuf":
        raise BadFileError(f"{file}: holds values of type {values.dtype}, expected real numbers.")
    check_affine(file, affine)
    return values, affine


def read_label_volume(path: str | PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a segmentation, shape ``(I, J, K)``, and the affine to RAS in mm.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    return read_volume(path, "labels of the CT's voxels")


def labels_in_words(labels: np.ndarray) -> str:
    """Return the first of the numbers that a segmentation has."""
    return ", ".join(str(int(n)) for n in np.unique(labels)[1:20]) or "none"


def read_labels(path: str | PathLike[str], numbers: Sequence[int], ct: AttenuationVolume) -> Tensor:
    """Read which voxels of a CT have one of some labels, and one voxel around them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, does not lie on the CT's voxels, or has none of the labels.
    """
    from scipy.ndimage import binary_dilation

    labels, affine = read_label_volume(path)
    if labels.shape != tuple(ct.values.shape) or not same_grid(affine, ct.affine, labels.shape):
        raise ValueError(
            f"{path}: labels of shape {labels.shape} do not lie on the voxels of the CT, "
            f"{tuple(ct.values.shape)}; resample them to the CT first."
        )
    found = np.isin(labels, list(numbers))
    if not found.any():
        present = labels_in_words(labels)
        raise ValueError(f"{path}: none of the labels {list(numbers)} is in it; it has {present}.")
    return torch.from_numpy(binary_dilation(found))


def attenuation_volume(
    ct: AttenuationVolume, pixel_mm: float, keep: Tensor | None = None
) -> AttenuationVolume:
    """Return the attenuation of a CT in HU, at the resolution that an image needs.

    One ray a pixel sees a point of it, a detector its area. Blurring the volume by the variance of that area,
    less what the interpolation of voxels blurs anyway, makes one ray do. Voxels are made larger where they
    may be, so that an image of few pixels needs few samples.

    Args:
        ct: voxels in HU, see ``read_ct``.
        pixel_mm: side of a pixel where the target is.
        keep: voxels to keep, boolean, shape of the CT; the rest becomes vacuum and empty borders are cut off.

    Raises:
        ValueError: if the mask has another shape, or keeps nothing.
    """
    from nanodrr.data.preprocess import hu_to_mu

    values, affine = hu_to_mu(ct.values), ct.affine
    if keep is not None:
        _check_mask(values, keep)
        values, affine = _cut(values * keep, affine, keep, pixel_mm)
    new = ct.spacing_mm.clamp(min=pixel_mm / _VOXELS_PER_PIXEL)
    volume, affine = _resampled(values[None], affine, pixel_mm, new)
    # To half precision, a thousandth of the attenuation, which bundles store.
    return AttenuationVolume(volume[0].half().float().contiguous(), affine)


def materials(ct: AttenuationVolume, pixel_mm: float, keep: Tensor | None = None) -> Materials:
    """Return the attenuation of a CT in HU as air to water, what soft tissue adds, and what bone adds.

    How much more soft tissue and bone attenuate than water depends on the energy, hence on the scanner and
    the X-ray unit. Taken apart like this the sum needs two weights that an X-ray itself tells.

    Args:
        ct: voxels in HU, see ``read_ct``.
        pixel_mm: side of a pixel where the target is, over the rays along it.
        keep: voxels to keep, as in ``attenuation_volume``.

    Raises:
        ValueError: as ``attenuation_volume``.
    """
    hu = ct.values
    parts = [(1000 + hu.clamp(max=0)).clamp(min=0), hu.clamp(0, _BONE_HU), (hu - _BONE_HU).clamp(min=0)]
    values, affine = torch.stack(parts) * (_WATER / 1000), ct.affine
    if keep is not None:
        _check_mask(values[0], keep)
        cut = [_cut(part * keep, affine, keep, pixel_mm) for part in values]
        values, affine = torch.stack([part for part, _ in cut]), cut[0][1]
    new = ct.spacing_mm.min().clamp(min=pixel_mm / _LEAST_VOXELS).clamp(min=ct.spacing_mm.mean() / 2)
    volume, affine = _resampled(values, affine, pixel_mm, new.expand(3), upright=True, least_blur=_ANTI_ALIAS)
    return Materials(volume.movedim(0, -1).contiguous(), affine[:3, 3], float(new))


def _resampled(
    values: Tensor,
    affine: Tensor,
    pixel_mm: float,
    spacing_mm: Tensor,
    upright: bool = False,
    least_blur: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Volumes ``(N, I, J, K)`` at other spacings, blurred as an image of such pixels needs it."""
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Spacing
    from scipy.ndimage import gaussian_filter

    # Variances of a uniform pixel and of linear interpolation, whose kernel is a triangle.
    own = affine[:3, :3].norm(dim=0)
    blur = (pixel_mm**2 / 12 - spacing_mm.square() / 6).clamp_min(0).sqrt() / own
    blur = blur.clamp_min(least_blur)
    smooth = np.stack([gaussian_filter(v.numpy(), blur.tolist(), mode="nearest") for v in values])
    space = Spacing(spacing_mm.tolist(), diagonal=upright, mode="bilinear", padding_mode="border")
    resampled: Any = space(MetaTensor(torch.from_numpy(smooth), affine=affine))
    return resampled.as_tensor().clamp(min=0).float(), resampled.affine.double()


def _check_mask(values: Tensor, keep: Tensor) -> None:
    if keep.shape != values.shape or not bool(keep.any()):
        raise ValueError(
            f"the mask has the shape {tuple(keep.shape)} and keeps {int(keep.sum())} voxels; give one of the "
            f"CT's shape, {tuple(values.shape)}, that keeps some."
        )


def _cut(values: Tensor, affine: Tensor, keep: Tensor, pixel_mm: float) -> tuple[Tensor, Tensor]:
    """The box around what is kept, with room for its blur."""
    spacing = affine[:3, :3].norm(dim=0)
    room = (_BORDER_PIXELS * pixel_mm / spacing).ceil().int().tolist()
    inside = torch.nonzero(keep)
    first, last = inside.amin(0), inside.amax(0) + 1
    box = values[tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))]
    pad = [width for axis in reversed(room) for width in (axis, axis)]
    start = first - torch.tensor(room)
    moved = affine.clone()
    moved[:3, 3] = affine[:3, :3] @ start.double() + affine[:3, 3]
    return torch.nn.functional.pad(box, pad), moved


def landmarks(volume: AttenuationVolume, n: int = 12) -> Tensor:
    """Return points of bone that lie far apart, on which poses are compared, RAS in mm, shape ``(n, 3)``.

    Each is the bone voxel that is farthest from those before; where nothing attenuates like bone, the voxels
    that attenuate most take its place. The same volume always gives the same points.
    """
    values = volume.values
    bone = values > min(_BONE, float(values.max()) / 2)
    index = torch.nonzero(bone)
    index = index[:: max(1, len(index) // _CANDIDATES)].double()
    points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    chosen = [points[(points - points.mean(0)).norm(dim=1).argmax()]]
    distance = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for _ in range(n - 1):
        distance = torch.minimum(distance, (points - chosen[-1]).norm(dim=1))
        chosen.append(points[distance.argmax()])
    return torch.stack(chosen)


def bone_centre(volume: AttenuationVolume) -> Tensor:
    """Return the centre of mass of what attenuates like bone, RAS in mm, shape ``(3,)``."""
    values = volume.values.double()
    weight = torch.where(values > min(_BONE, float(values.max()) / 2), values, 0.0)
    index = [torch.arange(s, dtype=torch.float64) for s in weight.shape]
    others = ((1, 2), (0, 2), (0, 1))
    mean = torch.stack([(weight.sum(o) * i).sum() for o, i in zip(others, index, strict=True)]) / weight.sum()
    return volume.affine[:3, :3] @ mean + volume.affine[:3, 3]
