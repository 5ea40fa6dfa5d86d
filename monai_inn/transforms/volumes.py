"""NIfTI and NRRD: stored numbers read unchanged, maps and many bands written with their geometry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.drafts import replacing
from monai_inn.files import BadFileError, parse_json
from monai_inn.reading.limits import import_library
from monai_inn.reading.orientation import places_patient, stored_affine
from monai_inn.reading.volumes import LPS_TO_RAS, itk_affine, itk_name, load_itk, load_nifti, synthetic_mark
from monai_inn.transforms.formats import StoredImage

__all__ = ["read_nifti", "read_nrrd", "write_map", "write_nrrd"]


def read_nifti(path: Path) -> StoredImage:
    """Read a NIfTI ``(x, y, z, channel)`` or, as vectors, ``(x, y, z, 1, channel)``; 3-D is one channel."""
    image, array = load_nifti(path)
    proxy = image.dataobj
    if array.ndim == 5 and array.shape[3] == 1:
        array = array[:, :, :, 0]
    if array.ndim > 4:
        raise BadFileError(
            f"{path}: shape {array.shape}, expected (x, y, z, channel) or (x, y, z, 1, channel). "
            "Split time series first."
        )
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    labels: dict[str, Any] = {}
    for extension in image.header.extensions:
        labels.update(_json_object(extension.get_content()))
    if mark := synthetic_mark(image.header):  # other programs drop the extension
        labels.setdefault("synthetic", mark)
    affine, header = np.asarray(image.affine, np.float64), image.header
    says = places_patient(affine) and bool(header["sform_code"] or header["qform_code"])
    return StoredImage(array, affine, float(proxy.slope), float(proxy.inter), is_oriented=says, labels=labels)


def read_nrrd(path: Path) -> StoredImage:
    """Read an NRRD: a vector volume, a Slicer sequence (one list axis), or 4-D with the bands last."""
    image = load_itk(path)
    array = import_library("SimpleITK", path).GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif image.GetDimension() < 4:
        array = array[None]
    # SimpleITK arrays are (band, z, y, x); MONAI's order is x first.
    array = array.transpose(0, *range(array.ndim - 1, 0, -1))
    affine = itk_affine(image)
    labels: dict[str, Any] = {}
    for key in image.GetMetaDataKeys():
        if key in ("wavelength_nm", "fwhm_nm"):
            labels[key] = image.GetMetaData(key).replace(",", " ").split()
        elif key == "band_names":
            labels[key] = [x.strip() for x in image.GetMetaData(key).split(",")]
        elif key == _OURS:
            labels |= _json_object(image.GetMetaData(key))
    return StoredImage(array, affine, is_oriented=places_patient(affine), labels=labels)


def _json_object(content: Any) -> dict[str, Any]:
    """The JSON object in a NIfTI header extension, or nothing if it holds something else."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    try:
        value = parse_json(text.rstrip("\x00 \n"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


_OURS = "monai_inn"  # key of an NRRD's header, below which stands what a JSON file beside it would say
_PER_CHANNEL = ("band_names", "channel_names", "wavelength_nm", "fwhm_nm")
_COMMENT_EXTENSION = 6


def write_map(path: str | PathLike[str], tensor: Tensor, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a map as NIfTI; the file appears whole under its name or not at all.

    Args:
        path: file to write, ending in ``.nii`` or ``.nii.gz``; an existing file is replaced.
        tensor: map of shape ``(channels, *spatial)`` with two or three spatial axes; booleans are stored as
            0 and 1 (uint8), everything else as float32.
        meta: metadata of the image that the map belongs to; ``affine`` gives the geometry, and ``units``,
            ``band_names``, ``channel_names`` and ``wavelength_nm``, where they fit the number of channels,
            travel as JSON in a header extension. So does ``synthetic``, what an image that nobody acquired
            says of itself, which is the description in the header too. The map's own metadata by default.

    Returns:
        The path written. A map of two spatial axes becomes a volume of one slice, several channels the
        fourth axis, so that ``read_multispectral`` gives the same channels back.

    Raises:
        ValueError: if the ending or the shape does not fit.
        OSError: if the file cannot be written, for example on a full disk; no partial file is left.
        ImportError: if nibabel is missing.
    """
    target = Path(path)
    if not target.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(f"{target}: maps are written as .nii or .nii.gz; change the ending.")
    if tensor.ndim not in (3, 4) or tensor.numel() == 0:
        raise ValueError(
            f"{target}: map of shape {tuple(tensor.shape)}, expected (channels, *spatial) "
            "with 2 or 3 spatial axes."
        )
    if tensor.is_complex():
        raise ValueError(
            f"{target}: map of type {tensor.dtype}, expected real numbers; write real and imaginary part."
        )
    described = dict(meta if meta is not None else getattr(tensor, "meta", {}))
    affine = described.get("affine", getattr(tensor, "affine", None))
    extension = _description(described, len(tensor))
    _write_atomically(
        target,
        _to_volume(tensor),
        _affine(target, affine, tensor.ndim - 1),
        extension,
        described.get("synthetic", ""),
    )
    return target


def write_nrrd(path: str | PathLike[str], image: Tensor) -> Path:
    """Write an image of many bands as an NRRD vector volume, which 3D Slicer reads.

    Args:
        path: file to write, ending in ``.nrrd``; an existing file is replaced.
        image: image of shape ``(bands, *spatial)`` with two or three spatial axes; its ``affine`` gives the
            geometry. Its wavelengths travel in the header, and so do units, settings, such as the times of a
            series, and ``synthetic``, as JSON.

    Returns:
        The path written; ``read_multispectral`` gives the same bands back.

    Raises:
        ValueError: if the ending or the shape does not fit.
        OSError: if the file cannot be written; no partial file is left.
        ImportError: if SimpleITK is missing.
    """
    target = Path(path)
    if target.suffix.lower() != ".nrrd":
        raise ValueError(f"{target}: images of many channels are written as .nrrd; change the ending.")
    if image.ndim not in (3, 4) or image.numel() == 0:
        raise ValueError(
            f"{target}: image of shape {tuple(image.shape)}, expected (channels, *spatial) "
            "with 2 or 3 spatial axes."
        )
    sitk = import_library("SimpleITK", target)
    volume = torch.as_tensor(image).as_subclass(Tensor).detach().cpu().float().numpy()
    volume = volume[..., None] if volume.ndim == 3 else volume
    written = sitk.GetImageFromArray(np.ascontiguousarray(volume.transpose(3, 2, 1, 0)), isVector=True)
    lps = LPS_TO_RAS @ _affine(target, getattr(image, "affine", None), image.ndim - 1)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    written.SetSpacing(spacing.tolist())
    written.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    written.SetOrigin(lps[:3, 3].tolist())
    meta: Mapping[str, Any] = getattr(image, "meta", {})
    wavelengths = meta.get("wavelength_nm")
    if wavelengths is not None and len(wavelengths) == len(image):
        written.SetMetaData("wavelength_nm", " ".join(f"{nm:.3f}" for nm in wavelengths))
    said: dict[str, Any] = {k: str(meta[k]) for k in ("units", "transfer", "synthetic") if k in meta}
    said |= {name: [float(v) for v in values] for name, values in meta.get("settings", {}).items()}
    if said:
        written.SetMetaData(_OURS, json.dumps(said))
    with replacing(target) as draft:
        try:
            sitk.WriteImage(written, itk_name(draft), useCompression=False)
        except RuntimeError as error:
            raise OSError(f"{target}: cannot be written; choose another folder, or free space.") from error
    return target


def _to_volume(tensor: Tensor) -> NDArray[Any]:
    """Map as ``(x, y, z)`` or ``(x, y, z, channels)`` in the dtype that is stored."""
    plain = torch.as_tensor(tensor.detach().cpu()).as_subclass(Tensor)  # type: ignore[arg-type]
    volume = plain.to(torch.uint8 if plain.dtype in (torch.bool, torch.uint8) else torch.float32).numpy()
    if volume.ndim == 3:
        volume = volume[..., None]
    return volume[0] if len(volume) == 1 else np.moveaxis(volume, 0, -1)


def _affine(path: Path, affine: Any, axes: int) -> NDArray[np.float64]:
    """The (4, 4) affine; that of an image as stored where there is none."""
    if affine is None:
        return stored_affine(axes)
    matrix = np.asarray(affine.detach().cpu() if isinstance(affine, Tensor) else affine, np.float64)
    if matrix.shape == (3, 3):  # two spatial axes
        full = np.eye(4)
        full[:2, :2], full[:2, 3] = matrix[:2, :2], matrix[:2, 2]
        return full
    if matrix.shape != (4, 4):
        raise ValueError(
            f"{path}: affine of shape {matrix.shape}, expected (4, 4), index to RAS millimetres."
        )
    return matrix


def _description(meta: Mapping[str, Any], channels: int) -> bytes:
    """Units and labels of the map as JSON; labels of another number of bands belong to the image."""
    kept = {k: list(meta[k]) for k in _PER_CHANNEL if k in meta and len(meta[k]) == channels}
    kept |= {key: meta[key] for key in ("units", "synthetic") if key in meta}
    return json.dumps(kept, default=str, sort_keys=True).encode() if kept else b""


def _write_atomically(
    path: Path, volume: NDArray[Any], affine: NDArray[np.float64], description: bytes, line: str
) -> None:
    """Write under a temporary name in the same folder and rename, so that readers never see half a file."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            f'{path}: writing maps needs nibabel; install it with pip install "monai_inn[io]".'
        ) from error
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first.")
    image = nibabel.Nifti1Image(volume, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    if not np.allclose(image.get_qform(), affine, atol=1e-5):  # a quaternion cannot hold shear
        image.set_qform(affine, code="unknown")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = line.encode("ascii", "replace")[:79]
    if description:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT_EXTENSION, description))
    with replacing(path) as draft:
        nibabel.save(image, draft)
