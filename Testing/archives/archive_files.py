"""A series as a scanner writes it, and objects that refer to it, small and with known UIDs."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, MAP, SEGMENTATION = (
    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.66.4",
)  # fmt: skip
SIZE = 128  # rows and columns; 32 KiB of pixels, so that a connection can be cut within them


def _image(kind: str, study: str, series: str, **attributes: object) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = kind, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.PatientName, image.PatientID, image.AccessionNumber = "Müller^Jörg", "4711", "A1"
    image.SpecificCharacterSet, image.StudyDate, image.Modality = "ISO_IR 100", "20260102", "MR"
    image.Rows, image.Columns, image.SamplesPerPixel = SIZE, SIZE, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def write_series(
    folder: Path, number: int = 3, study: str | None = None, **attributes: object
) -> list[Dataset]:
    """Write images of one series; pixel ``p`` of image ``n`` is ``n + p``, modulo 65536."""
    folder.mkdir(parents=True)
    study, series = study or generate_uid(), generate_uid()
    made = []
    for n in range(number):
        image = _image(MR, study, series, InstanceNumber=n + 1, **attributes)
        pixels = range(n, n + image.Rows * image.Columns)
        image.PixelData = b"".join((p & 0xFFFF).to_bytes(2, "little") for p in pixels)
        image.save_as(folder / f"{n}.dcm", enforce_file_format=True)
        made.append(image)
    return made


def write_objects(folder: Path, source: list[Dataset], number: int = 3) -> list[Dataset]:
    """Write Parametric Maps and, last, a Segmentation, each of a series of its own, of a source series."""
    folder.mkdir(parents=True)
    made = []
    for n in range(number):
        kind, modality = (SEGMENTATION, "SEG") if n == number - 1 else (MAP, "OT")
        study = source[0].StudyInstanceUID
        image = _image(kind, study, generate_uid(), Modality=modality, SeriesDescription=f"map {n}")
        image.PixelData = bytes([n]) * (2 * SIZE * SIZE)
        referred, series = [Dataset() for _ in source], Dataset()
        for item, one in zip(referred, source, strict=True):
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        series.SeriesInstanceUID = source[0].SeriesInstanceUID
        series.ReferencedInstanceSequence = referred
        image.ReferencedSeriesSequence = [series]
        image.save_as(folder / f"object_{n}.dcm", enforce_file_format=True)
        made.append(image)
    return made
