"""From the archive to the archive: fetch a series, infer, export, store, and read back what was stored."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from archive_files import write_series

from monai_inn.archives.storing import store_objects
from monai_inn.cli import main

pytest.importorskip("highdicom", reason='highdicom is missing: pip install "monai_inn[dicom]"')

COUNTS = 1e4  # of a reflectance of 1
PLACE = {
    "Rows": 7, "Columns": 6, "FrameOfReferenceUID": "1.2.3", "ImagePositionPatient": [0, 0, 0],
    "ImageOrientationPatient": [-1, 0, 0, 0, -1, 0], "PixelSpacing": [0.25, 0.5], "SliceThickness": 2,
}  # fmt: skip
AFFINE = np.diag([0.5, 0.25, 2.0, 1.0])  # the same in RAS, of (column, row, slice)


def run(*arguments) -> None:
    assert main([str(a) for a in arguments]) == 0


@pytest.mark.parametrize(
    "archive",
    ["web-orthanc", "dimse-orthanc", pytest.param("dimse-small", marks=pytest.mark.slow)],
    indirect=True,
)
def test_from_the_archive_to_the_archive(archive, bundle, image, tmp_path, quick_picture):
    scanner, result = tmp_path / "scanner", tmp_path / "result"
    series = write_series(scanner, len(image), **PLACE)
    for n, one in enumerate(series):
        one.PixelData = np.rint(COUNTS * image[n].numpy()).astype("<u2").T.tobytes()
        one.save_as(scanner / f"{n}.dcm", enforce_file_format=True)
    store_objects(scanner, archive.address)

    uid, study = series[0].SeriesInstanceUID, series[0].StudyInstanceUID
    run("fetch", archive.address, "--study", study, "--modality", "MR", "-o", tmp_path / "series")
    found = [pydicom.dcmread(path) for path in (tmp_path / "series").glob("*.dcm")]
    found.sort(key=lambda one: int(one.InstanceNumber))
    bands = np.stack([one.pixel_array.T for one in found]) / COUNTS
    np.savez(tmp_path / "bands.npz", image=bands.astype(np.float32), affine=AFFINE)
    run("infer", bundle, tmp_path / "bands.npz", "-o", result, "--samples", "8")
    run("export", result, "-o", tmp_path / "out", "--format", "dicom", "--source", tmp_path / "series")
    run("store", tmp_path / "out", archive.address)
    run("store", tmp_path / "out", archive.address)

    listed = json.loads((tmp_path / "out" / "export.json").read_text())["files"]
    assert {entry["object"] for entry in listed} == {"parametric map", "segmentation"}
    times = archive.times()
    for entry in listed:
        sent = pydicom.dcmread(tmp_path / "out" / entry["file"])
        assert times[sent.SOPInstanceUID] == 1
        back = tmp_path / "back" / entry["file"]
        run("fetch", archive.address, "--study", study, "--series", sent.SeriesInstanceUID, "-o", back)
        (path,) = back.glob("*.dcm")
        read = pydicom.dcmread(path)
        assert read == sent
        assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
        referred = {item.ReferencedSOPInstanceUID for item in read.SourceImageSequence}
        assert referred == {one.SOPInstanceUID for one in series}
