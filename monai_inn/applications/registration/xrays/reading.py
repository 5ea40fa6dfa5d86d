"""Reading an X-ray of any supported format into one form."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from monai_inn.applications.registration.xrays import formats as xray_formats
from monai_inn.applications.registration.xrays.dicom import is_dicom, read_dicom
from monai_inn.applications.registration.xrays.formats import CONTRASTS, Xray
from monai_inn.files import BadFileError, damage_named, require_file

__all__ = ["CONTRASTS", "READABLE_XRAYS", "Xray", "read_xray"]

_Reader = Callable[[Path, "int | None"], Xray]
_FORMATS: dict[str, tuple[_Reader, tuple[str, ...]]] = {
    "PNG": (xray_formats.read_picture, (".png",)),
    "JPEG": (xray_formats.read_picture, (".jpg", ".jpeg")),
    "TIFF": (xray_formats.read_tiff_xray, (".tif", ".tiff")),
    "NIfTI": (xray_formats.read_volume, (".nii", ".nii.gz")),
    "NRRD": (xray_formats.read_volume, (".nrrd", ".nhdr")),
    "MetaImage": (xray_formats.read_volume, (".mha", ".mhd")),
    "DICOM": (read_dicom, (".dcm", ".dicom")),
}
READABLE_XRAYS: tuple[str, ...] = tuple(ending for _, endings in _FORMATS.values() for ending in endings)
"""File name endings that ``read_xray`` takes; DICOM files are known by their content as well."""


def read_xray(path: str | PathLike[str], *, frame: int | None = None) -> Xray:
    """Read an X-ray of any supported format: PNG, JPEG, TIFF, NIfTI, NRRD, MetaImage or DICOM.

    Nothing is assumed of values here but which way is up; ``match_detector`` turns them into line integrals.

    Args:
        path: the file; DICOM files may have any ending.
        frame: number of the frame, slice or page, counted from 1; needed where there are several.

    Returns:
        Grey values in the order of a screen, float32, shape ``(rows, columns)``, with what the file says of
        spacing, contrast and geometry.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, empty, coloured, of unknown format, no X-ray, or has several
            frames and ``frame`` does not say which.
        ImportError: if the library for the format is missing.
    """
    source = Path(path)
    name = _format_of(source)
    advice = "the file is damaged, truncated or of another format. Copy it again."
    with damage_named(source, name, advice):
        return _FORMATS[name][0](source, frame)


def _format_of(path: Path) -> str:
    """Format by the file's ending, DICOM by its first bytes as well."""
    require_file(path, f"one X-ray ({', '.join(READABLE_XRAYS)})")
    if path.stat().st_size == 0:
        raise BadFileError(f"{path}: the file is empty (0 bytes). Copy it again.")
    lower = path.name.lower()
    for name, (_, endings) in _FORMATS.items():
        if lower.endswith(endings):
            return name
    if is_dicom(path):
        return "DICOM"
    raise BadFileError(
        f"{path}: unknown ending {path.suffix!r}, expected one of {', '.join(READABLE_XRAYS)}, or DICOM."
    )
