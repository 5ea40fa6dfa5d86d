"""What small files of the same name beside an image say of it: JSON, and the b-values of FSL's tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_inn.files import BadFileError, read_json
from monai_inn.reading.volumes import VOLUMES
from monai_inn.spelling import nearest

__all__ = ["LABELS", "b_values_beside", "check_labels", "described_beside"]

LABELS = ("wavelength_nm", "fwhm_nm", "band_names", "channel_names", "units", "transfer", "synthetic")
"""What a file may say of its bands and values, by name."""
_OTHER_WORDS = ("lambda", "lambda_nm", "wl", "wl_nm", "nm", "bands", "channels")  # for some of these


def check_labels(path: Path, names: Iterable[str]) -> None:
    """Refuse a name that is like one of ``LABELS``, whose content would be ignored in silence.

    Other names are let pass: converters write many things, and settings have names of their own.

    Raises:
        BadFileError: if there is one.
    """
    for name in names:
        hint = nearest(name, LABELS)
        if name not in LABELS and (hint or name.lower() in _OTHER_WORDS):
            raise BadFileError(
                f"{path}: {name!r}{hint} is not read; the names are {', '.join(LABELS)}, wavelengths in nm. "
                "Rename it."
            )


def described_beside(path: Path) -> Mapping[str, Any]:
    """Return what the JSON file of the same name beside an image holds; nothing if there is none.

    Raises:
        BadFileError: if it is not a JSON object, or has a key that ``check_labels`` refuses.
    """
    beside = _beside(path, ".json")
    if not beside.is_file():
        return {}
    try:
        described = read_json(beside)
    except ValueError as error:
        raise BadFileError(f"{beside}: is not valid JSON ({error}); mend or remove it.") from error
    if not isinstance(described, Mapping):
        raise BadFileError(f'{beside}: expected an object such as {{"wavelength_nm": […]}}; correct it.')
    check_labels(beside, described)
    return described


def b_values_beside(path: Path) -> dict[str, list[float]]:
    """Return the b-values of diffusion-weighted images, ``{"b": […]}``, from FSL's text file beside a NIfTI.

    Raises:
        BadFileError: if it holds something else, or others than the JSON file.
    """
    beside = _beside(path, ".bval")
    if not path.name.lower().endswith(VOLUMES["NIfTI"]) or not beside.is_file():
        return {}
    try:
        values = [float(text) for text in beside.read_text(encoding="utf-8").split()]
    except ValueError:
        values = []
    if not values or not np.isfinite(values).all():
        raise BadFileError(f"{beside}: expected b-values in s/mm², numbers with blanks between; correct it.")
    given = described_beside(path).get("b", values)
    if given != values:
        raise BadFileError(f"{beside}: its b-values are not those of the JSON file; remove what is wrong.")
    return {"b": values}


def _beside(path: Path, ending: str) -> Path:
    """The file of the same name as an image, with another ending."""
    stem = path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem
    return path.with_name(f"{stem}{ending}")
