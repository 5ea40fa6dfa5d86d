"""Readers of NIfTI and NRRD: stored numbers unchanged, geometry as MONAI gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from monai_inn.files import BadFileError, parse_json
from monai_inn.reading.limits import import_library
from monai_inn.reading.volumes import load_itk, load_nifti
from monai_inn.transforms.formats import StoredImage

__all__ = ["read_nifti", "read_nrrd"]

# ITK and DICOM count x to the left and y to the back, MONAI and NIfTI to the right and to the front.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path) -> StoredImage:
    """Read a NIfTI ``(x, y, z, band)`` or, as vectors, ``(x, y, z, 1, band)``; a 3-D file is one band."""
    image, array = load_nifti(path)
    proxy = image.dataobj
    if array.ndim == 5 and array.shape[3] == 1:
        array = array[:, :, :, 0]
    if array.ndim > 4:
        raise BadFileError(
            f"{path}: shape {array.shape}, expected (x, y, z, band) or (x, y, z, 1, band). "
            "Split time series first."
        )
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    labels: dict[str, Any] = {}
    for extension in image.header.extensions:
        labels.update(_json_object(extension.get_content()))
    return StoredImage(
        array, np.asarray(image.affine, np.float64), float(proxy.slope), float(proxy.inter), labels=labels
    )


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
    size, rank = image.GetDimension(), min(image.GetDimension(), 3)
    direction = np.asarray(image.GetDirection()).reshape(size, size)[:rank, :rank]
    affine = np.eye(4)
    affine[:rank, :rank] = direction * np.asarray(image.GetSpacing())[:rank]
    affine[:rank, 3] = np.asarray(image.GetOrigin())[:rank]
    labels: dict[str, Any] = {}
    for key in image.GetMetaDataKeys():
        if key in ("wavelength_nm", "fwhm_nm"):
            labels[key] = image.GetMetaData(key).replace(",", " ").split()
        elif key == "band_names":
            labels[key] = [x.strip() for x in image.GetMetaData(key).split(",")]
    return StoredImage(array, _LPS_TO_RAS @ affine, labels=labels)


def _json_object(content: Any) -> dict[str, Any]:
    """The JSON object in a NIfTI header extension, or nothing if it holds something else."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    try:
        value = parse_json(text.rstrip("\x00 \n"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
