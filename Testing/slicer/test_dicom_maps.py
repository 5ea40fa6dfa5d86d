"""Parametric Maps that an export wrote come back into Slicer as the result, by its DICOM module."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
from driving import NO_BUNDLES, SOURCE, Panel, app, kind_of, replace_python, shown, view
from made_results import AFFINE, PARAMETERS, SHAPE, UNTRUSTED, UNUSABLE, write_image_result, write_result
from scipy.spatial.transform import Rotation

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import ResultError, matrix_of, read_at, read_parametric_maps, runs, save_result
from shim.dicom import load_series

from monai_inn.reports.exporting import export_result

pydicom = pytest.importorskip("pydicom", reason='pydicom is missing: pip install "monai_inn[dicom]"')
pytest.importorskip("highdicom", reason='highdicom is missing: pip install "monai_inn[dicom]"')

_TURNED = np.eye(4)
_TURNED[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() * (0.5, 0.8, 3.0)
_TURNED[:3, 3] = -12.3, 45.6, 7.8


def complete(folder):
    """Add to a made result what an export wants of it."""
    path = folder / "result.json"
    record = json.loads(path.read_text())
    record["created"] = "2026-03-01T10:20:30+00:00"
    path.write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return complete(write_result(tmp_path_factory.mktemp("made") / "result"))


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """Folder of the DICOM objects of a made result."""
    out = tmp_path_factory.mktemp("exported") / "out"
    export_result(made, out, formats=("dicom",))
    return out / "dicom"


@pytest.fixture(autouse=True)
def plugin(scene):
    del slicer.modules.dicomPlugins  # as if the DICOM module were loaded later
    app.load_plugin(SOURCE.parent / "DICOMPosteriorMapPlugin.py")
    yield
    slicer.modules.dicomPlugins.clear()
    assert app.errors == []


def series_of(*paths):
    return [pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID for path in paths]


def load(folder, *names):
    """Import a folder and load some of its series, as a person would."""
    slicer.dicomDatabase.add(folder)
    done = load_series(*series_of(*(folder / name for name in names or ("median_sao2.dcm",))))
    found = runs(slicer.mrmlScene)
    return done, found[-1] if found else None


def check(run, folder, affine):
    """Every trusted voxel has exactly the value of the result's file at the same place in the patient."""
    valid = nibabel.load(folder / "valid.nii.gz").get_fdata() > 0
    trusted = valid & ~(nibabel.load(folder / "ood.nii.gz").get_fdata() > 0)
    node = run.find("median", "sao2")
    k, j, i = np.indices(run.shape)
    places = np.stack([i, j, k, np.ones_like(i)], -1) @ matrix_of(node).T
    index = places @ np.linalg.inv(affine).T
    np.testing.assert_allclose(index, index.round(), atol=2e-3)
    at = tuple(np.moveaxis(index[..., :3].round().astype(int), -1, 0))
    assert sorted(zip(*(a.ravel() for a in at), strict=True)) == sorted(np.ndindex(valid.shape))
    for kind in ("median", "interval_width"):
        for row in PARAMETERS:
            stored = np.asarray(nibabel.load(folder / f"{kind}_{row['name']}.nii.gz").dataobj)[at]
            expected = np.where(trusted[at], stored, np.float32(np.nan))
            np.testing.assert_array_equal(run.array(kind, row["name"]), expected)
    np.testing.assert_array_equal(run.usable(), valid[at])
    np.testing.assert_array_equal(run.untrusted(), (valid & ~trusted)[at])


def test_one_map_brings_the_result_with_exactly_its_numbers(exported, made):
    done, run = load(exported)
    assert done == [True]
    check(run, made, AFFINE)
    assert run.name == "made.hdr, made"
    assert [(p.name, p.unit, p.low, p.high, p.width) for p in run.parameters] == [
        (p["name"], p["unit"], p["low"], p["high"], p["width"]) for p in PARAMETERS
    ]
    assert run.interval == 0.95
    assert app.messages == []


def test_geometry_that_is_no_axis_of_the_patient_comes_back(tmp_path):
    folder = complete(write_result(tmp_path / "turned"))
    for path in folder.glob("*.nii.gz"):
        old = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.asarray(old.dataobj), _TURNED), path)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    check(load(tmp_path / "out" / "dicom")[1], folder, _TURNED)


def test_a_result_is_loaded_once_however_many_series_are_chosen(exported):
    names = [path.name for path in exported.glob("*.dcm") if path.name != "withheld.dcm"]
    done, _ = load(exported, *names)
    maps = [name for name in names if not name.startswith("image_")]
    assert done == [True] * len(maps)
    assert len(runs(slicer.mrmlScene)) == 1


def test_two_results_of_one_study_are_kept_apart(exported, made, tmp_path):
    later = shutil.copytree(made, tmp_path / "later")
    record = json.loads((later / "result.json").read_text())
    (later / "result.json").write_text(json.dumps(record | {"created": "2026-03-02T10:20:30+00:00"}))
    export_result(later, tmp_path / "out", formats=("dicom",))
    study = pydicom.dcmread(exported / "median_sao2.dcm").StudyInstanceUID
    for path in (tmp_path / "out" / "dicom").glob("*.dcm"):
        found = pydicom.dcmread(path)
        found.StudyInstanceUID = study
        found.save_as(path)
    slicer.dicomDatabase.add(tmp_path / "out" / "dicom")
    load(exported, "median_vhb.dcm")
    load(tmp_path / "out" / "dicom", "median_vhb.dcm")
    assert len(runs(slicer.mrmlScene)) == 2


def test_maps_lie_over_the_series_they_refer_to_whenever_it_is_loaded(exported):
    _, run = load(exported)
    assert run.background is None
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "picture")
    slicer.util.updateVolumeFromArray(volume, np.zeros((*SHAPE, 3), np.uint8))
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in sorted(exported.glob("image_*.dcm"))]
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    assert run.background is volume


def test_the_module_shows_what_the_dicom_module_has_loaded(exported, tmp_path, monkeypatch):
    replace_python(tmp_path / "python", NO_BUNDLES, monkeypatch)
    opened = Panel()
    opened.settle()
    _, run = load(exported)
    assert opened.ui.runBox.currentData == run.key
    assert kind_of(shown()) == "interval_width"
    assert view().GetNthLayerVolumeID(3) is not None
    opened.module.close()


def test_a_voxel_tells_median_and_width_or_why_it_is_withheld(exported):
    _, run = load(exported)
    node = run.find("median", "sao2")

    def text(mask):
        k, j, i = np.argwhere(mask)[0]
        return read_at(run, tuple((matrix_of(node) @ (i, j, k, 1))[:3]), "sao2").text

    shown = text(~run.withheld())
    k, j, i = np.argwhere(~run.withheld())[0]
    median, width = (run.array(kind, "sao2")[k, j, i] for kind in ("median", "interval_width"))
    assert shown == (
        f"Oxygen saturation of the blood {median:.3g}, 95% interval {width:.3g} wide, in distribution"
    )
    assert text(run.untrusted()).startswith("[///] NOT EXPLAINED")
    assert text(~run.usable()).startswith("[+++] NOT USABLE")


def test_what_was_loaded_is_exported_again_with_the_same_numbers(exported, made, tmp_path):
    _, run = load(exported)
    save_result(run, tmp_path / "saved")
    export_result(tmp_path / "saved", tmp_path / "out", formats=("dicom",))
    for name in ("median_sao2", "interval_width_a_mie", "adequacy"):
        old, new = (pydicom.dcmread(f / f"{name}.dcm") for f in (exported, tmp_path / "out" / "dicom"))
        np.testing.assert_array_equal(old.pixel_array, new.pixel_array)


def test_a_synthetic_image_still_says_so(tmp_path):
    folder = complete(write_image_result(tmp_path / "image"))
    for path in folder.glob("*.nii.gz"):  # as the package writes them
        if path.name.startswith(("mean", "median", "interval")):
            image = nibabel.load(path)
            image.header["descrip"] = b"SYNTHETIC: computed from other contrasts"
            nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    export_result(folder, tmp_path / "out", formats=("dicom",))
    _, run = load(tmp_path / "out" / "dicom", "mean_flair.dcm")
    assert run.synthetic == "SYNTHETIC: computed from other contrasts, not acquired."
    assert "SYNTHETIC" in run.find("mean", "flair").GetName()


def one_message():
    (message,) = app.messages
    app.messages.clear()
    return message.text


def changed(exported, folder, name, change):
    """A copy of the objects in which one was changed."""
    shutil.copytree(exported, folder)
    found = pydicom.dcmread(folder / name)
    change(found)
    found.save_as(folder / name)
    return folder


def _statistic(found):
    mapping = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    return mapping.QuantityDefinitionSequence[1].ConceptCodeSequence[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: setattr(_statistic(d), "CodeValue", "SKEWNESS"), "does not know; update the extension"),
        (lambda d: setattr(d, "ImageComments", "other words"), "another monai_inn; update the older"),
        (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), "damaged or cut off"),
        (lambda d: setattr(d, "FloatPixelData", d.FloatPixelData[:40]), "damaged or cut off"),
        (lambda d: setattr(d, "ContentLabel", "MEDIAN"), ""),
    ],
    ids=["newer", "other comment", "without geometry", "truncated pixels", "harmless"],
)
def test_a_changed_map_is_refused_in_a_line(exported, tmp_path, change, message):
    folder = changed(exported, tmp_path / "changed", "median_sao2.dcm", change)
    done, run = load(folder)
    assert (done, run is None) == ([not message], bool(message))
    if message:
        text = one_message()
        assert message in text
        assert "\n" not in text


def test_a_result_without_its_withheld_voxels_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "part")
    (folder / "withheld.dcm").unlink()
    assert load(folder)[0] == [False]
    assert "has 0 Segmentations of withheld voxels, expected 1" in one_message()


def test_a_foreign_map_is_left_to_others(exported, tmp_path):
    folder = changed(
        exported, tmp_path / "foreign", "median_sao2.dcm", lambda d: setattr(d, "Manufacturer", "X")
    )
    assert load(folder) == ([], None)
    with pytest.raises(ResultError, match="not an object of monai_inn"):
        read_parametric_maps([folder / "median_sao2.dcm"])


def test_files_that_are_no_dicom_are_refused(exported, tmp_path):
    (tmp_path / "text.dcm").write_text("no")
    with pytest.raises(ResultError, match="not a DICOM file"):
        read_parametric_maps([tmp_path / "text.dcm"])
    whole = (exported / "median_sao2.dcm").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "cut.dcm").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ResultError):
            read_parametric_maps([tmp_path / "cut.dcm", exported / "withheld.dcm"])


def test_maps_of_different_grids_are_refused(exported, tmp_path):
    def shift(found):
        for frame in found.PerFrameFunctionalGroupsSequence:
            x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
            frame.PlanePositionSequence[0].ImagePositionPatient = [x + 1, y, z]

    folder = changed(exported, tmp_path / "shifted", "median_vhb.dcm", shift)
    assert load(folder)[0] == [False]
    assert "lies on another grid than the other maps" in one_message()


def test_verdicts_are_those_of_the_made_result(exported):
    _, run = load(exported)
    assert run.untrusted().sum() == np.ones(SHAPE)[UNTRUSTED].sum()
    assert (~run.usable()).sum() == np.ones(SHAPE)[UNUSABLE].sum()
