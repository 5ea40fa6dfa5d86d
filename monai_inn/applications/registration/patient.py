"""From the files of a patient's CT to the arguments of a ``PoseRegistration``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from torch import Tensor

from monai_inn.applications.registration.carm import RANGES, WIDE_RANGES, Detector
from monai_inn.applications.registration.ct import attenuation_volume, read_ct, read_labels
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.arguments import range_of, value_of

__all__ = [
    "OF_DETECTOR",
    "add_options",
    "in_order",
    "read_patient",
    "settings_before",
    "settings_of_ct",
    "settings_of_options",
    "wide_ranges",
]

OF_DETECTOR = ("source_detector_mm", "source_isocentre_mm", "beam", "view")
"""Arguments of ``settings_of_ct`` that are attributes of a detector, and options."""

_OPTIONS = ("labels", "keep", "size", "field_mm", *OF_DETECTOR)


def settings_of_ct(
    ct: str | PathLike[str],
    *,
    labels: str | PathLike[str] | None = None,
    keep: Sequence[int] = (),
    size: int = 64,
    field_mm: float = 200.0,
    source_detector_mm: float = 1020.0,
    source_isocentre_mm: float = 850.0,
    beam: str = "cone",
    view: str = "detector",
    free: Mapping[str, Sequence[float]] | None = None,
    fixed: Mapping[str, float] | None = None,
    target: Sequence[float] | None = None,
    noise: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of ``PoseRegistration`` for X-rays of a patient.

    Args:
        ct: CT in Hounsfield units, any axes and spacing; NIfTI, NRRD or MetaImage.
        labels: segmentation on the CT's voxels.
        keep: labels of the structures that are registered, such as vertebrae; all of the CT without.
        size: rows and columns of the image that poses are found from.
        field_mm: side of what it shows, where the target is.
        source_detector_mm: distance from the source to the detector.
        source_isocentre_mm: distance from the source to the target.
        beam: ``"cone"`` or ``"parallel"``.
        view: side from which images are seen, see ``Detector``.
        free: ranges of the pose parameters to find, see ``PoseRegistration``.
        fixed: values of others.
        target: point that angles turn about, RAS in mm; the centre of the bone by default.
        noise: arguments of ``ImageNoise``.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file or an argument is not usable.
    """
    _check_labels(labels, keep)
    if not 8 <= size <= 512 or not 10 <= field_mm <= 1000:
        raise ValueError(
            f"size = {size}, field_mm = {field_mm:g}; give 8 to 512 pixels and a field of 10 to 1000 mm."
        )
    magnification = source_detector_mm / source_isocentre_mm if beam == "cone" else 1.0
    detector = Detector(
        size, size, field_mm / size * magnification, source_detector_mm, source_isocentre_mm, beam, view
    )
    hounsfield, mask = read_patient(ct, labels, keep)
    before = settings_before(hounsfield, mask, detector)
    return before | {"free": free, "fixed": fixed, "target": target, "noise": noise}


def _check_labels(labels: str | PathLike[str] | None, keep: Sequence[int]) -> None:
    if (labels is None) != (not keep):
        raise ValueError(
            "labels and the numbers to keep come together; give both (--labels FILE --keep 28 29), or none."
        )


def read_patient(
    ct: str | PathLike[str], labels: str | PathLike[str] | None, keep: Sequence[int]
) -> tuple[AttenuationVolume, Tensor | None]:
    """Return a CT's voxels in HU, and which of them are registered, None for all.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not usable, or labels come without numbers to keep.
    """
    _check_labels(labels, keep)
    hounsfield = read_ct(ct)
    return hounsfield, None if labels is None else read_labels(labels, keep, hounsfield)


def settings_before(hounsfield: AttenuationVolume, mask: Tensor | None, detector: Detector) -> dict[str, Any]:
    """Return the arguments for a CT before a detector, at the resolution that its pixels need.

    Args:
        hounsfield: voxels in HU.
        mask: voxels to keep; all by default.
        detector: the C-arm.
    """
    volume = attenuation_volume(hounsfield, detector.spacing_at_isocentre_mm, mask)
    return {"volume": volume.values, "affine": volume.affine.tolist(), "detector": detector}


def in_order(free: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return ranges of pose parameters in the order of ``RANGES``, unknown names last."""
    return {name: free[name] for name in RANGES if name in free} | dict(free)


def wide_ranges(fixed: Mapping[str, float]) -> dict[str, Sequence[float]]:
    """Return the default ranges of all pose parameters but those that are known."""
    return {name: edges for name, edges in WIDE_RANGES.items() if name not in fixed}


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that ``settings_of_options`` reads."""
    parser.add_argument("--ct", help="CT in Hounsfield units: NIfTI, NRRD or MetaImage")
    parser.add_argument("--labels", help="segmentation on the CT's voxels")
    parser.add_argument("--keep", type=int, nargs="+", default=[], metavar="LABEL",
                        help="labels to register, e.g. of vertebrae; all of the CT without")  # fmt: skip
    parser.add_argument("--free", nargs="+", metavar="NAME", help="pose parameters to find, with their usual "
                        "ranges: lao cra roll right down away (lao cra)")  # fmt: skip
    parser.add_argument("--range", action="append", default=[], type=range_of, metavar="NAME=LOW:HIGH",
                        help="range of a pose parameter to find, degrees or mm; may be repeated")  # fmt: skip
    parser.add_argument("--fixed", action="append", default=[], type=value_of, metavar="NAME=VALUE",
                        help="value of a pose parameter that is known (0); may be repeated")  # fmt: skip
    parser.add_argument("--size", type=int, default=64, help="rows and columns of the image (64)")
    parser.add_argument("--field", dest="field_mm", type=float, default=200.0, metavar="MM",
                        help="side of what the image shows, at the target (200)")  # fmt: skip
    parser.add_argument("--source-detector", dest="source_detector_mm", type=float, default=1020.0,
                        metavar="MM", help="distance from source to detector (1020)")  # fmt: skip
    parser.add_argument("--source-isocentre", dest="source_isocentre_mm", type=float, default=850.0,
                        metavar="MM", help="distance from source to target (850)")  # fmt: skip
    parser.add_argument("--beam", choices=("cone", "parallel"), default="cone", help="(cone)")
    parser.add_argument("--view", choices=("detector", "source"), default="detector",
                        help="side that images are seen from, on displays (detector)")  # fmt: skip
    parser.add_argument("--noise", type=float, metavar="SHARE",
                        help="white noise, sd as a share of the brightest pixel (0.05)")  # fmt: skip
    parser.add_argument("--mismatch", type=float, default=0.0, metavar="SHARE",
                        help="smooth error of the simulation, in the same measure (0)")  # fmt: skip
    parser.add_argument("--photons", type=float, help="photons a pixel instead of --noise and --mismatch")


def settings_of_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``PoseRegistration`` for the patient whose CT the options name.

    Raises:
        ValueError: if there is no CT, or an option is not usable.
    """
    if options.ct is None:
        raise ValueError("registration is fitted to one patient; give the CT: --ct CT.nii.gz.")
    free: dict[str, Sequence[float]] = {}
    for name in options.free or (() if options.range else ("lao", "cra")):
        if name not in RANGES:
            raise ValueError(f"--free {name!r} is not a pose parameter; choose from {', '.join(RANGES)}.")
        free[name] = RANGES[name]
    free |= dict(options.range)
    return settings_of_ct(
        options.ct,
        **{name: getattr(options, name) for name in _OPTIONS},
        free=in_order(free),
        fixed=dict(options.fixed),
        noise={"photons": options.photons, "sd": options.noise, "mismatch_sd": options.mismatch},
    )
