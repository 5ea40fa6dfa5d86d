"""Series of images: what their files say of each image goes with them, and bundles ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from driving import Panel, add_image, app, opened_panel, panel_without_bundles, use_real_python
from INNUncertaintyLib import Bundle, Channels, channels_of, write_image

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

from monai_inn.transforms import read_multispectral, write_nrrd

__all__ = ["panel_without_bundles"]
BREAST = Path(__file__).parents[2] / "Resources" / "breast_dce.nii.gz"


@pytest.fixture
def series(tmp_path) -> Path:
    """A few voxels of a breast, as NIfTI with the JSON file of their times and artery."""
    whole = nibabel.load(BREAST)
    nibabel.save(whole.slicer[20:26, 30:35], tmp_path / "breast.nii.gz")
    (tmp_path / "breast.json").write_bytes(BREAST.with_name("breast_dce.json").read_bytes())
    return tmp_path / "breast.nii.gz"


@pytest.fixture
def nrrd(series, tmp_path) -> Path:
    """The same as Slicer reads it."""
    return write_nrrd(tmp_path / "breast.nrrd", read_multispectral(series))


def loaded(path: Path):
    return slicer.util.loadVolume(str(path), {"show": False})


def choose(panel: Panel, name: str) -> None:
    panel.choose(panel.ui.bundleBox, next(b.path for b in panel.logic.bundles if b.name == name))


@pytest.mark.slow  # with the real command; that of pixels is always tested
def test_a_series_gets_its_maps(nrrd, monkeypatch):
    use_real_python(monkeypatch)
    with opened_panel() as panel:
        before = panel.state.bundle
        panel.ui.imageSelector.setCurrentNode(loaded(nrrd))
        assert panel.state.bundle == before  # two take such curves
        assert panel.ui.applyButton.toolTip == "Select a bundle. These fit: dsc, perfusion."
        choose(panel, "oximetry")
        assert panel.ui.applyButton.toolTip.endswith("this one has 25. These fit: dsc, perfusion.")
        choose(panel, "perfusion")
        assert "series of up to 60 images, each with artery, time" in panel.ui.bundleCard.plainText
        panel.ui.samplesBox.value, panel.ui.storedSamplesBox.value = 8, 3
        panel.apply()
        assert panel.status.startswith("30 of 30 voxels usable")
        median = slicer.util.arrayFromVolume(panel.run.find("median", "ktrans"))
        assert median.shape == (1, 5, 6)
        assert np.isfinite(median).all()


def test_what_is_known_of_each_image_goes_with_it(nrrd, series, tmp_path):
    app.reset()
    write_image(loaded(nrrd), tmp_path / "again.nrrd")
    before, after = read_multispectral(series), read_multispectral(tmp_path / "again.nrrd")
    assert after.meta["settings"] == before.meta["settings"]
    assert after.meta["units"] == "mM"
    np.testing.assert_array_equal(after.numpy(), before.numpy())
    np.testing.assert_allclose(after.affine, before.affine)


def test_it_is_still_known_when_the_scene_was_saved(panel_without_bundles, nrrd, tmp_path):
    volume = loaded(nrrd)
    panel_without_bundles.ui.imageSelector.setCurrentNode(volume)
    known = channels_of(volume)
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    app.reset()
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert channels_of(slicer.util.getNode("breast")) == known == Channels(25, frozenset({"artery", "time"}))


@pytest.mark.parametrize("said", ["", "no JSON", "[1, 2]", '{"time": 3}', 100_000 * "["], ids=str.__len__)
def test_notes_of_others_are_no_settings(said):
    app.reset()
    image = add_image(np.zeros((1, 2, 3, 4), np.float32))
    image.SetAttribute("monai_inn", said)
    assert channels_of(image) == Channels(4)


def test_bundles_of_series_say_what_they_miss():
    wanted = {"most": 60, "settings": ["artery", "time"]}
    bundle = Bundle({"name": "perfusion", "bands": 180, "series": wanted})
    assert bundle.misfit(Channels(25, frozenset({"time", "artery", "b"}))) == ""
    assert bundle.misfit(Channels(25, frozenset({"time"}))).startswith(
        "perfusion needs artery of each image of a series"
    )
    assert "needs artery, time of each image" in bundle.misfit(Channels(180))
    assert "at most 60 images of a series; this one has 61" in bundle.misfit(
        Channels(61, frozenset({"time", "artery"}))
    )


@pytest.mark.parametrize("name", ["perfusion", "dsc", "ivim"])
def test_shipped_bundles_say_what_a_series_needs(name):
    from monai_inn import load
    from monai_inn.fitted.metadata import list_bundles

    entry = next(entry for entry in list_bundles() if entry["name"] == name)
    seen = load(name).problem.observation
    assert entry["series"] == {"most": seen.places, "settings": [*seen.names[1:], *seen.context]}
    assert json.dumps(entry)
