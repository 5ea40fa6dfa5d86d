"""DICOM series of a translated image, each slice of which says that nobody acquired it."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.applications.contrast.translation import RECORD, what_is_said
from monai_inn.files import BadFileError, own_file, read_json
from monai_inn.folders import new_folder
from monai_inn.reading.limits import import_library
from monai_inn.reading.volumes import load_nifti, scaled

__all__ = ["export_translation"]

_EXPORT = "export.json"
_FIRST_SERIES = 9101
_IMAGE_TYPE = ["DERIVED", "SECONDARY", "SYNTHETIC"]


def export_translation(folder: str | PathLike[str], out: str | PathLike[str]) -> dict[str, Any]:
    """Write mean, median and samples of a translation as DICOM series, and return what was written.

    Every slice has the image type derived, secondary, synthetic, and a series description and comments that
    begin with ``SYNTHETIC``. Nothing is claimed outside the
    brain, where grey levels are 0.

    Args:
        folder: folder that ``translate`` wrote.
        out: folder to write.

    Raises:
        ValueError: if the folder does not hold a translation, or an image in it does not say "synthetic".
        ImportError: if highdicom is missing.
    """
    import_library("highdicom", Path(folder))
    import highdicom as hd

    from monai_inn.reports.dicom.source import upright_layout
    from monai_inn.reports.dicom.study import capture, short

    record = read_json(own_file(folder, RECORD))
    said = what_is_said(record["settings"].get("temperature", 1.0))
    study, frame = hd.UID(), hd.UID()
    written: list[dict[str, Any]] = []
    with new_folder(out, _EXPORT, "an export") as draft:
        for entry in record["files"]:
            if entry["map"] not in ("mean", "median", "samples"):
                continue
            volumes, affine = _read(own_file(folder, entry["file"]))
            layout = upright_layout(affine, volumes.shape[1:])
            for number, volume in enumerate(volumes, start=1):
                name = entry["map"] if len(volumes) == 1 else f"{entry['map']}_{number}"
                described = {
                    "study_instance_uid": study,
                    "series_instance_uid": hd.UID(),
                    "series_number": _FIRST_SERIES + len(written),
                    "series_description": short(f"SYNTHETIC {record['to']} {name}, RESEARCH ONLY"),
                }
                grey = layout.apply(np.nan_to_num(volume, nan=0.0).clip(0, 65535).round().astype(np.uint16))
                (draft / name).mkdir()
                for n, pixels in enumerate(grey):
                    image = capture(layout, n, pixels, frame, f"{said} {record['intended_use']}", **described)
                    image.ImageType = _IMAGE_TYPE
                    image.save_as(draft / name / f"{n + 1:03d}.dcm")
                written.append({"file": name, "slices": len(grey)})
        about = {"synthetic": said, "series": written}
        (draft / _EXPORT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return about


def _read(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Volumes ``(n, X, Y, Z)`` of a file that says that it is synthetic, and its affine."""
    image, stored = load_nifti(path)
    said = [extension.get_content() for extension in image.header.extensions]
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in said]
    if not any("SYNTHETIC" in text for text in texts):
        raise BadFileError(
            f"{path}: does not say that it is synthetic, which a translated image has to; it was written by "
            "another program, or changed. Translate again."
        )
    values = np.asarray(scaled(image, stored), np.float32)
    return values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0), np.asarray(image.affine)
