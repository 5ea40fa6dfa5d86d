"""What DICOM objects say of themselves, and the study that they form where no patient's is given."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from numpy.typing import NDArray
from pydicom.valuerep import DS

from monai_inn import __version__
from monai_inn.reports.dicom.source import Layout
from monai_inn.reports.stored import StoredResult, read_volume

__all__ = ["SCHEME", "capture", "comment", "identity", "own_study", "short"]

SCHEME = "99MONAIINN"
_MARK = "RESEARCH ONLY"


def short(text: str) -> str:
    """Return a text as it fits a Long String: 64 characters, no backslash."""
    return text.replace("\\", "/")[:64]


def comment(result: StoredResult) -> str:
    """Return what every object says under Image Comments."""
    record = result.record
    bundle = record["bundle"]
    return f"{result.synthetic} " * bool(result.synthetic) + (
        f"{_MARK}. {record['intended_use']} Derived by monai_inn {__version__} from {result.image_name} with "
        f"the bundle {bundle.get('name', 'unknown')} {bundle.get('version', '')}."
    )


def _mark(result: StoredResult) -> str:
    """What descriptions begin with."""
    return f"SYNTHETIC, {_MARK}" if result.synthetic else _MARK


def identity(result: StoredResult, number: int, description: str) -> dict[str, Any]:
    """Return UIDs, equipment and description of a new object in a series of its own, as highdicom takes them.

    The series has the date and time of the result: what is equal in study, bundle and time belongs together.

    Args:
        result: whose maps it holds; the bundle's weights stand for the serial number of a device.
        number: number of the series.
        description: what it is; the series carries it behind ``RESEARCH ONLY``, and before that
            ``SYNTHETIC`` if nobody acquired it.
    """
    scheme = CodingSchemeIdentificationItem(
        SCHEME, name="Parameters of monai_inn", version=__version__, responsible_organization="monai_inn"
    )
    created = _created(result)
    return {
        "series_instance_uid": hd.UID(),
        "series_number": number,
        "series_date": f"{created:%Y%m%d}",
        "series_time": f"{created:%H%M%S}",
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "monai_inn",
        "manufacturer_model_name": "monai_inn",
        "software_versions": f"monai_inn {__version__}",
        "device_serial_number": short(str(result.record["bundle"].get("weights_sha256", "unknown"))),
        "series_description": short(f"{_mark(result)}: {description}"),
        "coding_schemes": [scheme],
    }


def _created(result: StoredResult) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(result.record["created"])
    except (KeyError, ValueError):
        return datetime.datetime(1900, 1, 1)


def own_study(result: StoredResult, layout: Layout) -> list[Any]:
    """Return secondary-capture images of what the camera saw, one a slice, in a new study of nobody.

    Of an unknown image it is the mean. Where the result holds no photo, usable pixels are white. Geometry in
    LPS millimetres is the layout's.

    Raises:
        ValueError: if the photo is of another size than the maps.
    """
    path = result.files.get(("photo", "photo"))
    colours = _shades(result) if path is None else _photo(result, path)
    slices = layout.apply(np.broadcast_to(colours, (*result.valid.shape, 3)))
    created = _created(result)
    shared = {
        "study_instance_uid": hd.UID(),
        "series_instance_uid": hd.UID(),
        "study_date": f"{created:%Y%m%d}",
        "study_time": f"{created:%H%M%S}",
        "series_number": 1,
        "series_description": f"{_mark(result)}: the image, as a picture",
    }
    frame, about = hd.UID(), comment(result)
    return [capture(layout, n, pixels, frame, about, **shared) for n, pixels in enumerate(slices)]


def capture(layout: Layout, n: int, pixels: NDArray[Any], frame: str, about: str, **described: Any) -> Any:
    """Return one slice as a secondary capture that knows where it lies.

    Args:
        layout: of all slices.
        n: number of this one.
        pixels: colours ``(rows, columns, 3)``, uint8, or grey levels ``(rows, columns)``, uint16.
        frame: UID of the frame of reference.
        about: what it says under Image Comments.
        **described: UIDs of study and series, its number and description.
    """
    steps = np.linalg.norm(layout.affine[:3, :3], axis=0)
    rows, columns = (layout.affine[:3, a] / steps[a] for a in (1, 2))
    image = hd.sc.SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB" if pixels.ndim == 3 else "MONOCHROME2",
        bits_allocated=8 * pixels.itemsize,
        coordinate_system="PATIENT",
        sop_instance_uid=hd.UID(),
        instance_number=n + 1,
        manufacturer="monai_inn",
        software_versions=f"monai_inn {__version__}",
        patient_id="ANONYMOUS",
        patient_name="ANONYMOUS^",
        pixel_spacing=(float(steps[1]), float(steps[2])),
        patient_orientation=(_letter(columns), _letter(rows)),
        **described,
    )
    position = layout.affine[:3, :3] @ (n, 0, 0) + layout.affine[:3, 3]
    image.StudyDescription = f"{_MARK}: derived by monai_inn, no patient study"
    image.ImageComments = about
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = frame, None
    image.ImageOrientationPatient = [DS(float(x), auto_format=True) for x in (*columns, *rows)]
    image.ImagePositionPatient = [DS(float(x), auto_format=True) for x in position]
    image.SliceThickness = DS(float(steps[0]), auto_format=True)
    return image


def _shades(result: StoredResult) -> NDArray[np.uint8]:
    """The mean of an unknown image in shades of grey, else usable pixels in white; ``(i, j, k, 1)``."""
    row = result.record["parameters"][0]
    mean = result.maps.get(("mean", row["name"]))
    if mean is None:
        return 255 * result.valid[..., None].astype(np.uint8)
    share = (np.nan_to_num(mean, nan=row["low"]) - row["low"]) / (row["high"] - row["low"])
    return (255 * share.clip(0, 1)).round().astype(np.uint8)[..., None]


def _photo(result: StoredResult, path: Path) -> NDArray[np.uint8]:
    """Red, green and blue along the last axis."""
    colours = read_volume(path)[0]
    if colours.shape != (*result.valid.shape, 3):
        raise ValueError(f"{path}: shape {colours.shape}, expected {(*result.valid.shape, 3)}, as the maps.")
    return colours.astype(np.uint8)


def _letter(direction: NDArray[np.float64]) -> str:
    """The side of the patient that a direction in LPS points to most."""
    axis = int(np.abs(direction).argmax())
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]
