"""Curves in a result folder: whole files of known size that read back as what was written."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_inn.problems import Application, Observation
from monai_inn.problems.application import Curve
from monai_inn.reports import infer_image
from monai_inn.reports.curve_files import CurveFiles
from monai_inn.reports.schemas import RESULT, RESULT_RECORD, read_record
from monai_inn.reports.stored import read_stored
from monai_inn.testproblems.series import LinearTrend

BREAST = Path(__file__).parents[2] / "Resources" / "breast_dce"
PARTS = ("measured", "low", "median", "high")
AFFINE = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("spatial", [(3, 4, 2), (3, 4), (7,)])
def test_pieces_in_any_order_lie_at_their_pixels(tmp_path, spatial):
    problem = LinearTrend(most=6)

    image = torch.full((12, *spatial), torch.nan)
    image[6:10] = torch.tensor([5.0, 1.0, 2.5, 1e6 / 3]).reshape(-1, *[1] * len(spatial))
    files = CurveFiles(tmp_path, problem, MetaTensor(image, affine=AFFINE), 0.95)
    assert files.curves.columns.tolist() == [1, 2, 0, 3]
    number = int(np.prod(spatial))
    curves = torch.randn(number, 4, 4, generator=torch.Generator().manual_seed(0))
    curves[3, :, 2] = torch.nan
    order = torch.randperm(number, generator=torch.Generator().manual_seed(0))
    for piece in order[1:].split(5):
        files.curves.write(piece, curves[piece])
    record = files.finish(19)["curves"]
    assert record == {
        "quantity": "value", "unit": "", "axis": "time", "axis_unit": "", "interval": 0.9,
        "positions": [1.0, 2.5, 5.0, 333333.3], "bytes": 16 * number * 4,
    }  # fmt: skip
    curves[order[0]] = torch.nan  # a pixel that was not inferred
    for part, entry in enumerate(files.files):
        assert (entry["file"], entry["parameter"]) == (f"curve_{PARTS[part]}.nii", PARTS[part])
        stored = nibabel.load(tmp_path / entry["file"])
        np.testing.assert_array_equal(
            np.asarray(stored.dataobj).reshape(number, 4), curves[:, part].numpy(), strict=True
        )
        np.testing.assert_allclose(stored.affine, AFFINE)
        assert (tmp_path / entry["file"]).stat().st_size < 4 * number * 4 + 1000


def test_a_problem_without_an_axis_has_no_files(tmp_path):
    problem = LinearTrend(most=6)
    problem.observation = Observation.series(6, "value", context=("time", "place"))
    assert Application(problem).curve is None
    files = CurveFiles(tmp_path, problem, MetaTensor(torch.zeros(18, 3, 3)), 0.95)
    assert (files.curves, files.files, files.finish(19), [*tmp_path.iterdir()]) == (None, [], {}, [])


def test_a_full_disk_is_told_before_anything_is_simulated(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    problem = LinearTrend(most=6)
    image = MetaTensor(torch.arange(12.0).reshape(12, 1, 1).repeat(1, 3, 3))
    with pytest.raises(OSError, match=r"cannot be written \(No space left.*need 0 MB.*curve_measured"):
        CurveFiles(tmp_path, problem, image, 0.95)
    assert [*tmp_path.iterdir()] == []


@pytest.fixture(scope="module")
def breast(tmp_path_factory):
    """Some voxels of the example, one of which lacks a frame, and their result."""
    folder = tmp_path_factory.mktemp("breast")
    whole = nibabel.load(BREAST.with_suffix(".nii.gz"))
    voxels = np.asarray(whole.dataobj, np.float32)[30:33, 20:24]
    voxels[2, 3, 0, 10] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, whole.affine), folder / "some.nii.gz")
    (folder / "some.json").write_bytes(BREAST.with_suffix(".json").read_bytes())
    record = infer_image(
        "perfusion", folder / "some.nii.gz", folder / "out", samples=16, adequacy=19, has_picture=False
    )
    return voxels, record, folder / "out"


def test_curves_of_an_image_stand_beside_its_maps(breast):
    voxels, record, folder = breast
    about, times = record["curves"], json.loads(BREAST.with_suffix(".json").read_text())["time"]
    assert about["positions"] == pytest.approx(times)
    words = Curve("concentration in the tissue", "mM", "time since the first frame", "s")
    assert {key: about[key] for key in words._fields} == words._asdict()
    assert about["interval"] == 0.9
    stored = [np.asarray(nibabel.load(folder / f"curve_{part}.nii").dataobj) for part in PARTS]
    valid = nibabel.load(folder / "valid.nii.gz").get_fdata() > 0
    np.testing.assert_array_equal(stored[0][valid], voxels[valid])
    assert np.isnan(stored[0][2, 3, 0]).nonzero()[0].tolist() == [10]
    _, low, median, high = stored
    known = np.isfinite(low)
    np.testing.assert_array_equal(known[valid], np.isfinite(voxels[valid]))
    assert (low[known] < median[known]).all()
    assert (median[known] < high[known]).all()


def test_a_record_with_and_without_curves_is_read(breast, tmp_path):
    _, record, folder = breast
    assert read_record(folder, RESULT, RESULT_RECORD, "infer")["curves"] == record["curves"]
    kept = [entry for entry in record["files"] if entry["map"] != "curve"]
    for entry in kept:
        (tmp_path / entry["file"]).write_bytes((folder / entry["file"]).read_bytes())
    older = {key: value for key, value in record.items() if key != "curves"} | {"files": kept}
    (tmp_path / RESULT).write_text(json.dumps(older))
    assert read_stored(tmp_path).maps.keys() == read_stored(folder).maps.keys()
    (tmp_path / RESULT).write_text(json.dumps(older | {"curves": record["curves"] | {"positions": ["a", 1]}}))
    with pytest.raises(ValueError, match=r"is damaged \(.*positions"):
        read_stored(tmp_path)
