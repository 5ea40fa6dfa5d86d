"""Grey DICOM images: that one is whole, and its frame as a screen shows it.

Attributes are those of DICOM PS3.3: the Modality LUT and VOI LUT modules (C.11.1, C.11.2), and the functional
groups that enhanced images have in their place.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError
from monai_inn.reading.dicom import frame_pixels, frames_of, is_dicom
from monai_inn.reading.pictures import check_pixels, load_dicom

__all__ = ["Displayed", "check_grey", "highest_stored", "load_image", "read_displayed"]

_HUGE = 1e30  # beyond any window
_GROUPS = {
    "RescaleSlope": "PixelValueTransformation",
    "RescaleIntercept": "PixelValueTransformation",
    "WindowCenter": "FrameVOILUT",
    "WindowWidth": "FrameVOILUT",
    "VOILUTFunction": "FrameVOILUT",
}


def load_image(path: Path) -> Any:
    """Return the dataset of one DICOM file.

    Raises:
        BadFileError: if it is not one, or would fill more memory than the limit.
        ImportError: if pydicom is missing.
        Exception: whatever pydicom raises on damaged files.
    """
    if not is_dicom(path):
        raise BadFileError(
            f"{path}: is not a DICOM file, or is damaged; give the file the ending of its "
            "format, or copy it again."
        )
    return load_dicom(path)


def check_grey(path: Path, image: Any) -> None:
    """Refuse a dataset that is not a whole image in shades of grey.

    Raises:
        BadFileError: if it is none, or has fewer pixels than announced.
    """
    if any(keyword not in image for keyword in ("Rows", "Columns", "PhotometricInterpretation", "PixelData")):
        raise BadFileError(
            f"{path}: a DICOM file without a whole image, damaged or truncated. Copy it again."
        )
    if image.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise BadFileError(
            f"{path}: photometric interpretation {image.PhotometricInterpretation}, expected MONOCHROME1 or "
            "MONOCHROME2. Export the image in grey, without marks."
        )
    check_pixels(path, image)


def highest_stored(image: Any) -> int:
    """Return the largest number that the stored bits of a dataset can hold."""
    return int(2 ** (int(image.BitsStored) - int(image.PixelRepresentation)) - 1)


class Displayed(NamedTuple):
    """A frame as a screen shows it.

    Attributes:
        values: numbers ``(rows, columns)``, float64.
        window: the least and the largest number that the display tells apart; None if the file does not say.
        is_inverted: whether the least is white and the largest black.
    """

    values: NDArray[np.float64]
    window: tuple[float, float] | None
    is_inverted: bool


def read_displayed(path: Path, window: tuple[float, float] | None = None) -> Displayed:
    """Return the frame of a grey DICOM image as screens show it, of any modality.

    Numbers go through the modality look-up table or the rescaling, and then through the first window or
    look-up table for display. Without either the window is all that unsigned stored bits can hold.

    Args:
        path: the file.
        window: ends of another window than the file's, in numbers behind the rescaling.

    Raises:
        BadFileError: if it is damaged, not grey, or has several frames.
        ImportError: if pydicom is missing.
        Exception: whatever pydicom raises on damaged files.
    """
    from pydicom.pixels.processing import apply_modality_lut

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = load_image(path)
        check_grey(path, image)
        count = int(image.get("NumberOfFrames") or 1)
        if count > 1:
            raise BadFileError(
                f"{path}: holds {count} frames, expected one image; save one of them as a file."
            )
        for keyword, group in _GROUPS.items():
            value = frames_of(path, image)[0].get(keyword, group)
            if value is not None:
                setattr(image, keyword, value)
        values = np.asarray(apply_modality_lut(frame_pixels(path, image, 0), image), np.float64)
        if window is None:
            values, window = _windowed(values, image)
    return Displayed(values, window, image.PhotometricInterpretation == "MONOCHROME1")


def _windowed(
    values: NDArray[np.float64], image: Any
) -> tuple[NDArray[np.float64], tuple[float, float] | None]:
    """Numbers behind the window or table of a dataset, and the ends of what comes out of it."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

    if image.get("VOILUTSequence"):
        item = image.VOILUTSequence[0]
        count, first, bits = item.LUTDescriptor
        # pydicom counts entries in as many bits as they have, and there may be more than 256 of 8 bits.
        item.LUTDescriptor = [count, first, 16]
        return apply_voi(np.rint(values).astype(np.int64), image).astype(np.float64), (0.0, 2.0**bits - 1)
    if image.get("WindowCenter") is not None and image.get("WindowWidth") is not None:
        black, white = apply_windowing(np.array([-_HUGE, _HUGE]), image).tolist()
        return apply_windowing(values, image), (black, white)
    if image.PixelRepresentation:
        return values, None
    if image.get("ModalityLUTSequence"):
        return values, (0.0, 2.0 ** image.ModalityLUTSequence[0].LUTDescriptor[2] - 1)
    low, high = sorted(apply_modality_lut(np.array([0, highest_stored(image)]), image).tolist())
    return values, (float(low), float(high))
