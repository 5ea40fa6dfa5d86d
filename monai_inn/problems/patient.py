"""The registration problem of one patient: from the files of a CT to a ``PoseRegistration``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from monai_inn.physics.carm import Detector
from monai_inn.physics.ct import attenuation_volume, read_ct, read_labels
from monai_inn.problems.registration import PoseRegistration

__all__ = ["another_patient", "patient_registration"]


def patient_registration(
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
) -> PoseRegistration:
    """Return the registration of X-rays to a patient's CT.

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
    if (labels is None) != (not keep):
        raise ValueError(
            "labels and the numbers to keep come together; give both (--labels FILE --keep 28 29), or none."
        )
    if not 8 <= size <= 512 or not 10 <= field_mm <= 1000:
        raise ValueError(
            f"size = {size}, field_mm = {field_mm:g}; give 8 to 512 pixels and a field of 10 to 1000 mm."
        )
    magnification = source_detector_mm / source_isocentre_mm if beam == "cone" else 1.0
    detector = Detector(
        size, size, field_mm / size * magnification, source_detector_mm, source_isocentre_mm, beam, view
    )
    hounsfield = read_ct(ct)
    mask = None if labels is None else read_labels(labels, keep, hounsfield)
    volume = attenuation_volume(hounsfield, detector.spacing_at_isocentre_mm, mask)
    return PoseRegistration(
        volume.values,
        volume.affine.tolist(),
        free=free,
        fixed=fixed,
        target=target,
        detector=detector,
        noise=noise,
    )


def another_patient(
    like: PoseRegistration,
    ct: str | PathLike[str],
    labels: str | PathLike[str] | None = None,
    keep: Sequence[int] = (),
) -> PoseRegistration:
    """Return the registration of another patient's CT before the same C-arm.

    Args:
        like: registration whose detector, parameters and noise are taken over.
        ct: CT in Hounsfield units.
        labels: segmentation on the CT's voxels.
        keep: labels of the structures that are registered.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not usable, or the detector is not square.
    """
    detector = like.detector
    if detector.rows != detector.columns:
        raise ValueError(
            f"the detector has {detector.rows} x {detector.columns} pixels; only square ones are taken over."
        )
    return patient_registration(
        ct,
        labels=labels,
        keep=keep,
        size=detector.rows,
        field_mm=detector.rows * detector.spacing_at_isocentre_mm,
        source_detector_mm=detector.source_detector_mm,
        source_isocentre_mm=detector.source_isocentre_mm,
        beam=detector.beam,
        view=detector.view,
        free={p.name: (p.low, p.high) for p in like.parameters},
        fixed=like.fixed,
        noise=like.to_config()["noise"],
    )
