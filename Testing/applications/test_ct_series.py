"""A CT as the folder of its DICOM series, read by MONAI's ITKReader."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from monai_inn.applications.registration.commands import _kind
from monai_inn.applications.registration.ct import read_ct
from monai_inn.applications.registration.results.from_ct import register_to_ct
from monai_inn.files import BadFileError
from monai_inn.fitted.layout import sha256

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (6, 7, 5)


def hounsfield():
    """Air around a box of bone that is no symmetric thing."""
    values = np.full(SHAPE, -1000, np.int16)
    values[1:4, 2:6, 1:5] = np.arange(3 * 4 * 4).reshape(3, 4, 4) * 10 + 300
    return values


def oblique():
    """Affine to RAS of a patient who lies turned: columns are orthogonal, of three lengths."""
    turn = np.linalg.qr(np.array([[1.0, 0.2, -0.1], [-0.2, 1.0, 0.3], [0.1, -0.3, 1.0]]))[0]
    turn *= np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (0.7, 0.9, 2.5), (12.0, -30.0, 140.0)
    return affine


def write_ct(folder, values, affine, syntax=ExplicitVRLittleEndian, series=None):
    """Slices along k in files whose names tell nothing of their order."""
    folder.mkdir(exist_ok=True)
    lps, series, study, frame = LPS @ affine, series or generate_uid(), generate_uid(), generate_uid()
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if np.linalg.det(lps[:3, :3]) < 0:
        raise ValueError("slices of a series follow the cross product of their axes")
    for k in range(values.shape[2]):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, generate_uid(), "CT"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID, ds.SeriesDate, ds.InstanceNumber = "A^B", "1", "20260101", 9 - k
        ds.Rows, ds.Columns = values.shape[1], values.shape[0]
        ds.ImageOrientationPatient = [f"{x:.9g}" for x in (lps[:3, :2] / spacing[:2]).T.ravel()]
        ds.ImagePositionPatient = [f"{x:.9g}" for x in lps[:3, 3] + k * lps[:3, 2]]
        ds.PixelSpacing, ds.SliceThickness = [f"{x:.9g}" for x in spacing[[1, 0]]], f"{spacing[2]:.9g}"
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
        ds.PixelData = (values[:, :, k].T.astype(np.int32) + 1024).astype("<u2").tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if syntax != ExplicitVRLittleEndian:
            ds.compress(syntax)
        ds.save_as(folder / f"{(k * 3) % 5}{generate_uid()}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=["plain", "compressed"])
def test_values_and_geometry_are_those_of_the_scanner(syntax, tmp_path):
    # Not smaller: ITK's GDCM refuses run lengths of slices of a few pixels.
    noise = np.random.default_rng(0).integers(0, 20, (48, 56, 5)).astype(np.int16)
    values = hounsfield().repeat(8, 0).repeat(8, 1) + noise
    folder = write_ct(tmp_path / "ct", values, oblique(), syntax)
    (folder / "README.txt").write_text("not DICOM, which does not matter")
    ct = read_ct(folder)
    np.testing.assert_array_equal(ct.values.numpy(), values.astype(np.float32))
    np.testing.assert_allclose(ct.affine.numpy(), oblique(), atol=1e-5)


def test_a_series_is_registered_to(tmp_path, monkeypatch):
    """Up to the search, which asks for the CT's voxels."""
    folder = write_ct(tmp_path / "ct", hounsfield().repeat(8, 0).repeat(8, 1), oblique())
    image = (2000 + np.random.default_rng(0).integers(0, 60_000, (128, 128))).astype(np.uint16)
    Image.fromarray(image).save(tmp_path / "xray.png")

    class SearchedError(Exception):
        pass

    def solve(solver, *_):
        raise SearchedError(solver.ct.values.shape)

    monkeypatch.setattr("monai_inn.applications.registration.poses.solver.Solver.solve", solve)
    with pytest.raises(SearchedError, match=r"\[48, 56, 5\]"):
        register_to_ct(folder, tmp_path / "xray.png", tmp_path / "o", contrast="intensity", spacing_mm=1.0)


def test_a_missing_slice_is_noticed(tmp_path):
    folder = write_ct(tmp_path / "ct", hounsfield(), oblique())
    middle = [path for path in folder.iterdir() if pydicom.dcmread(path).InstanceNumber == 7]
    middle[0].unlink()
    with pytest.raises(BadFileError, match="do not form a regular grid"):
        read_ct(folder)


def test_two_phases_of_one_series_are_refused(tmp_path):
    series = generate_uid()
    folder = write_ct(tmp_path / "ct", hounsfield(), oblique(), series=series)
    write_ct(folder, hounsfield(), oblique(), series=series)
    with pytest.raises(BadFileError, match="10 images at 5 places, expected one at each"):
        read_ct(folder)


def test_two_series_are_refused(tmp_path):
    folder = write_ct(tmp_path / "ct", hounsfield(), oblique())
    write_ct(folder, hounsfield(), oblique())
    with pytest.raises(BadFileError, match="holds 2 series"):
        read_ct(folder)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(BadFileError, match="is a folder, expected a CT as NIfTI, NRRD, MetaImage or DICOM"):
        read_ct(tmp_path)


def test_a_folder_of_dicom_files_stands_for_a_ct(tmp_path):
    folder = write_ct(tmp_path / "ct", hounsfield(), oblique())
    assert (_kind(folder), _kind(tmp_path), _kind(tmp_path / "none")) == ("a CT", "a bundle", "a bundle")
    before = sha256(folder)
    next(folder.iterdir()).unlink()
    assert sha256(folder) != before
