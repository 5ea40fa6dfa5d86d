"""A dynamic series with known concentrations, as the files that scanners and converters write."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import nibabel
import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from monai_inn.applications.perfusion.models.signal import Echo, relative_signal

SIZE, FRAMES, STEP_S = (5, 4, 3), 12, 13.7
TIMES_S = STEP_S * np.arange(FRAMES)
ECHO, ANGLES_DEG = Echo(18.0, 0.0052, 4.1), (3.0, 8.0, 15.0)
BESIDE = {"FlipAngle": ECHO.flip_deg, "RepetitionTime": ECHO.tr_s, "VolumeTiming": TIMES_S.tolist()}
SLOPE = 0.01
CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", [10, -15, 20], degrees=True).as_matrix() * (0.9, 1.1, 3.0)
AFFINE[:3, 3] = 12.3, -45.6, 7.8

generator = np.random.default_rng(0)
T1_S = generator.uniform(0.6, 1.8, SIZE)
AMPLITUDE = generator.uniform(0.1, 0.8, SIZE)
M0 = generator.uniform(900, 1600, SIZE)
_LATE = (TIMES_S - 3 * STEP_S).clip(0)
CONCENTRATION = AMPLITUDE * (1 - np.exp(-_LATE / 60))[:, None, None, None]
ARTERY = 6 * _LATE / 30 * np.exp(1 - _LATE / 30) + 0.8 * (_LATE > 0)


def signals(angle_deg=ECHO.flip_deg, concentration=CONCENTRATION):
    """Signals of a spoiled gradient echo, ``(T, *SIZE)``."""
    angle = np.radians(angle_deg)
    decay = np.exp(-ECHO.tr_s / T1_S)
    resting = M0 * np.sin(angle) * (1 - decay) / (1 - decay * np.cos(angle))
    echo = ECHO._replace(flip_deg=angle_deg)
    return resting * relative_signal(torch.from_numpy(concentration), torch.from_numpy(T1_S), echo).numpy()


def several_angles():
    """Signals without contrast agent at several flip angles, ``(3, *SIZE)``."""
    return np.concatenate([signals(angle, np.zeros((1, *SIZE))) for angle in ANGLES_DEG])


def write_nifti(path: Path, values, affine=AFFINE, beside=None, step=None) -> Path:
    """Images ``(T, x, y, z)`` or one ``(x, y, z)``, and a JSON file beside them."""
    values = np.asarray(values)
    image = nibabel.Nifti1Image(np.moveaxis(values, 0, -1) if values.ndim == 4 else values, affine)
    if step is not None:
        image.header.set_xyzt_units("mm", step[1])
        image.header.set_zooms((*image.header.get_zooms()[:3], step[0]))
    nibabel.save(image, path)
    if beside is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(beside))
    return path


def write_artery(path: Path, times=TIMES_S, values=ARTERY, header="time_s,plasma_mM") -> Path:
    rows = (f"{t:.6g},{c:.6g}" for t, c in zip(times, values, strict=True))
    path.write_text("\n".join([header, *rows]))
    return path


def uid_of(*parts: object) -> str:
    """The same for the same parts."""
    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


def _header(kind: str, uid: str, number: int = 0) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = kind, uid_of(uid, number)
    image.StudyInstanceUID, image.SeriesInstanceUID = uid_of("study"), uid
    image.Modality, image.PatientID = "MR", "phantom"
    image.Rows, image.Columns = SIZE[1], SIZE[0]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = kind
    return image


def _place(slice_: int) -> tuple[list[str], list[str], list[str]]:
    """Position, orientation and spacing of a slice."""
    lps = LPS_TO_RAS @ AFFINE
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    along = (lps[:3, :2] / spacing[:2]).T.ravel()
    texts = lps[:3, 3] + slice_ * lps[:3, 2], along, spacing[[1, 0]]
    return tuple([f"{x:.10g}" for x in part] for part in texts)


def stored(values):
    """Numbers that a file of such a slope holds."""
    return np.rint(np.asarray(values) / SLOPE).astype(np.uint16)


def clock(seconds: float) -> str:
    """A time of the day as DICOM writes it, ``seconds`` after 23:58:30."""
    at = (86310 + seconds) % 86400
    return f"{int(at // 3600):02d}{int(at // 60 % 60):02d}{at % 60:09.6f}"


def acquired(seconds: float) -> dict[str, str]:
    return {"AcquisitionDate": "20260101" if seconds < 90 else "20260102", "AcquisitionTime": clock(seconds)}


def write_classic(folder: Path, values, attributes, seed=1, uid=None) -> Path:
    """One file a slice and frame, under names in no order.

    Args:
        folder: to write into.
        values: images ``(T, *SIZE)``.
        attributes: called with frame and slice, what they have beside the usual.
        seed: of the names.
        uid: of the series.
    """
    folder.mkdir(exist_ok=True)
    uid = uid or uid_of(len(values), seed)
    names = [f"IM{n:05d}" for n in range(len(values) * SIZE[2])]
    Random(seed).shuffle(names)
    for frame, volume in enumerate(stored(values)):
        for slice_ in range(SIZE[2]):
            image = _header(CLASSIC, uid, frame * SIZE[2] + slice_)
            place = _place(slice_)
            image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing = place
            image.SliceThickness = "3"
            image.ScanningSequence, image.RepetitionTime = "GR", str(1000 * ECHO.tr_s)
            image.FlipAngle, image.RescaleSlope, image.RescaleIntercept = str(ECHO.flip_deg), str(SLOPE), "0"
            image.InstanceNumber = str(1 + frame * SIZE[2] + slice_)
            for keyword, value in attributes(frame, slice_).items():
                setattr(image, keyword, value)
            image.PixelData = volume[:, :, slice_].T.tobytes()
            image.save_as(folder / names.pop(), enforce_file_format=True)
    return folder


def write_enhanced(path: Path, values, content) -> Path:
    """One file of all frames, in no order.

    Args:
        path: to write.
        values: images ``(T, *SIZE)``.
        content: called with a frame, attributes of its Frame Content.
    """
    image = _header(ENHANCED, uid_of(len(values)))
    place = _place(0)
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = place[1]
    shared.PixelMeasuresSequence[0].PixelSpacing, shared.PixelMeasuresSequence[0].SliceThickness = place[2], 3
    shared.MRTimingAndRelatedParametersSequence = [Dataset()]
    shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime = 1000 * ECHO.tr_s
    shared.MRTimingAndRelatedParametersSequence[0].FlipAngle = ECHO.flip_deg
    shared.PixelValueTransformationSequence = [Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleSlope = str(SLOPE)
    shared.PixelValueTransformationSequence[0].RescaleIntercept = "0"
    image.SharedFunctionalGroupsSequence = [shared]
    order = [(frame, slice_) for frame in range(len(values)) for slice_ in range(SIZE[2])]
    Random(2).shuffle(order)
    groups = []
    for frame, slice_ in order:
        own = Dataset()
        own.PlanePositionSequence, own.FrameContentSequence = [Dataset()], [Dataset()]
        own.PlanePositionSequence[0].ImagePositionPatient = _place(slice_)[0]
        for keyword, value in content(frame).items():
            setattr(own.FrameContentSequence[0], keyword, value)
        groups.append(own)
    image.PerFrameFunctionalGroupsSequence = groups
    image.NumberOfFrames = len(order)
    image.PixelData = b"".join(stored(values)[f][:, :, s].T.tobytes() for f, s in order)
    image.save_as(path, enforce_file_format=True)
    return path
