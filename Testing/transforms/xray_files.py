"""X-rays for tests, written by the libraries that own the formats."""

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

SOP_CLASS = {
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
}
XA_GEOMETRY = {
    "PositionerPrimaryAngle": "30.5",
    "PositionerSecondaryAngle": "-12.25",
    "DistanceSourceToDetector": "1020",
    "DistanceSourceToPatient": "850",
    "PositionerMotion": "STATIC",
}


def intensity(line_integrals, bits=16):
    """Photons that 2^bits - 1 become behind line integrals, rounded as a detector does."""
    return np.rint((2**bits - 1) * np.exp(-np.asarray(line_integrals))).astype(np.uint16)


def write_dicom(path, pixels, modality="XA", bits=16, photometric="MONOCHROME2", **attributes):
    """A DICOM file of pixels ``([frames,] rows, columns)`` with attributes by keyword."""
    pixels = np.asarray(pixels)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(SOP_CLASS[modality])
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientID, image.Modality = "phantom", modality
    image.Rows, image.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        image.NumberOfFrames = len(pixels)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, photometric
    image.BitsAllocated = 8 * pixels.dtype.itemsize
    image.BitsStored, image.HighBit = bits, bits - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    image.PixelData = pixels.tobytes()
    image.save_as(path, enforce_file_format=True)
    return Path(path)


def write_xa(path, pixels, spacing=(1.6, 1.6), **attributes):
    """A valid XA of one frame, linear in photons, with the pose of the C-arm."""
    known = {"PixelIntensityRelationship": "LIN", "ImagerPixelSpacing": list(map(str, spacing))} | XA_GEOMETRY
    return write_dicom(path, pixels, "XA", **(known | attributes))


def modality_table(entries):
    """A modality look-up table of 16 bits that starts at 0."""
    table = Dataset()
    table.LUTDescriptor = [len(entries) % 65536, 0, 16]
    table.add_new("ModalityLUTType", "LO", "US")
    table.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return [table]


def write_nifti(path, image, spacing=(1.6, 1.6)):
    """A NIfTI of an image ``(rows, columns)``: its axes are columns, rows and one slice."""
    affine = np.diag([spacing[1], spacing[0], 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(np.asarray(image).T)[:, :, None], affine), path)
    return Path(path)


def write_itk(path, image, spacing=(1.6, 1.6)):
    """An NRRD or MetaImage of an image ``(rows, columns)``."""
    stored = sitk.GetImageFromArray(np.asarray(image))
    stored.SetSpacing([spacing[1], spacing[0]])
    sitk.WriteImage(stored, str(path))
    return Path(path)


def write_picture(path, image):
    """A PNG, JPEG or TIFF of an image ``(rows, columns[, channels])``."""
    if Path(path).suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    else:
        Image.fromarray(image).save(path)
    return Path(path)


def write_all(folder, image):
    """One X-ray of each format, of line integrals ``(rows, columns)``."""
    photons = intensity(image)
    eight = (photons >> 8).astype(np.uint8)
    return [
        write_picture(folder / "sixteen.png", photons),
        write_picture(folder / "eight.jpg", eight),
        write_picture(folder / "photons.tif", photons),
        write_nifti(folder / "line_integrals.nii", np.float32(image)),
        write_nifti(folder / "packed.nii.gz", np.float32(image)),
        write_itk(folder / "line_integrals.nrrd", np.float32(image)),
        write_itk(folder / "line_integrals.mha", np.float32(image)),
        write_xa(folder / "angio.dcm", photons),
    ]
