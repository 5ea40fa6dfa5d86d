"""The posterior of an unknown image in a scene: what maps lie over, its samples, and the word SYNTHETIC."""

from __future__ import annotations

import numpy as np
import pytest
from golden_pictures import check_looks
from made_results import (
    AFFINE,
    IMAGE,
    OFFSETS,
    SHAPE,
    SYNTHETIC,
    UNTRUSTED,
    UNUSABLE,
    image_center,
    image_spread,
    write_image_result,
    write_result,
)
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
from INNDisplayLib import (
    Appearance,
    Overlay,
    number_of_samples,
    picture,
    pictures,
    read_at,
    read_result,
    save_result,
    share_above,
    store,
)

NAME, VOXEL = IMAGE["name"], (1, 6, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_image_result(tmp_path_factory.mktemp("images") / "result")


@pytest.fixture
def run(scene, folder):
    return store(scene, read_result(folder), "case")


@pytest.fixture
def view(app, run):
    view = app.slice_view("Red")
    Overlay(run).show(Appearance("off"))
    view.fit()
    view.logic.SetSliceOffset(float(AFFINE[2, 3]))
    return view


def world(k, j, i):
    return tuple(float(v) for v in (AFFINE @ [i, j, k, 1])[:3])


def background(scene):
    return scene.GetNodeByID(scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode").GetBackgroundVolumeID())


def test_the_images_are_those_of_the_posterior_and_what_they_are_compared_with(run, scene, tmp_path):
    assert pictures(run) == ("mean", "median", "sample", "true image", "t1")
    assert pictures(store(scene, read_result(write_result(tmp_path / "maps")), "maps")) == ()
    for name, expected in (
        ("mean", image_center()),
        ("true image", image_center() + image_spread()),
        ("t1", image_center()[..., ::-1]),
    ):
        found = slicer.util.arrayFromVolume(picture(run, name))
        np.testing.assert_allclose(found[VOXEL], expected[VOXEL], rtol=1e-6)
    assert np.isnan(slicer.util.arrayFromVolume(picture(run, "mean"))[UNUSABLE]).all()


def test_all_images_have_the_shades_of_one_scale(run):
    for name in pictures(run):
        display = picture(run, name).GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (IMAGE["low"], IMAGE["high"])
        assert display.GetColorNodeID() == "vtkMRMLColorTableNodeGrey"


@pytest.mark.parametrize("sample", [0, 3])
def test_a_sample_lies_below_the_map(run, view, scene, sample):
    Overlay(run).show(Appearance("interval_width", pictures=("sample",), sample=sample))
    below = background(scene)
    assert below.GetName() == f"case: SYNTHETIC Flair image, sample {sample + 1} of {len(OFFSETS)}"
    expected = image_center() + image_spread() * OFFSETS[sample]
    np.testing.assert_allclose(slicer.util.arrayFromVolume(below)[VOXEL], expected[VOXEL], rtol=1e-6)


def test_every_view_may_have_an_image_of_its_own(app, run, view, scene):
    others = [app.slice_view(name) for name in ("Green", "Yellow")]
    Overlay(run).show(Appearance("off", pictures=("mean", "sample", "true image")))
    kinds = [
        scene.GetNodeByID(each.logic.GetSliceCompositeNode().GetBackgroundVolumeID()).GetAttribute("INN.map")
        for each in (view, *others)
    ]
    assert kinds == ["mean", "sample", "reference"]


def test_the_probability_above_is_the_share_of_samples(run, view):
    threshold = float(image_center()[VOXEL])
    volume = Overlay(run).show(Appearance("probability_above", threshold=threshold))
    found = slicer.util.arrayFromVolume(volume)
    stack = image_center()[..., None] + image_spread()[..., None] * OFFSETS
    expected = (stack > threshold).mean(-1)
    usable = np.ones(SHAPE, bool)
    usable[UNUSABLE] = False
    np.testing.assert_allclose(found[usable], expected[usable], atol=1e-6)
    assert np.isnan(found[~usable]).all()
    assert found[VOXEL] == pytest.approx(2 / 5)


def test_shares_are_exact_and_missing_voxels_stay_missing():
    samples = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, 3.0], [3.0, np.nan, 3.0]], np.float32)
    np.testing.assert_array_equal(share_above(samples, 1.5), np.float32([2 / 3, np.nan, 1]))
    np.testing.assert_array_equal(share_above(samples, 3.0), np.float32([0, np.nan, 0]))
    with pytest.raises(ValueError, match="no sample is stored"):
        share_above([], 1.0)


def test_a_voxel_tells_its_interval_and_its_samples(run):
    threshold = float(image_center()[VOXEL])
    reading = read_at(run, world(*VOXEL), NAME, threshold)
    center, spread = image_center()[VOXEL], image_spread()[VOXEL]
    np.testing.assert_allclose(reading.interval, center + spread * np.array([-1.5, 0.1, 1.5]), rtol=1e-6)
    np.testing.assert_allclose(reading.samples, center + spread * OFFSETS, rtol=1e-6)
    assert reading.above == (threshold, pytest.approx(0.4))
    assert f"40% of 5 samples > {threshold:.3g} grey level" in reading.text
    assert "mode" not in reading.text
    assert read_at(run, world(*VOXEL)).above is None
    assert read_at(run, world(0, UNUSABLE[1], UNUSABLE[2])).text.startswith("[+++] NOT USABLE")
    k, j, i = 0, UNTRUSTED[1].start, UNTRUSTED[2].start
    assert read_at(run, world(k, j, i)).text.startswith("[///] NOT EXPLAINED")


def test_samples_are_a_sequence_played_at_five_a_second(run):
    assert number_of_samples(run, NAME) == len(OFFSETS)
    browser = run.find("browser", class_name="vtkMRMLSequenceBrowserNode")
    assert browser.GetPlaybackRateFps() == 5
    browser.SetSelectedItemNumber(2)
    assert browser.GetProxyNode(browser.GetMasterSequenceNode()) is run.find("sample", NAME)


def test_what_nobody_acquired_says_so(run, view, scene):
    Overlay(run).show(Appearance("probability_above"))
    marked = {"mean", "median", "sample", "samples", "interval_low", "interval_high", "interval_width"}
    for node in run.nodes():
        kind = node.GetAttribute("INN.map")
        is_marked = kind in marked | {"probability_above"}
        assert ("SYNTHETIC" in node.GetName(), node.GetAttribute("INN.synthetic")) == (
            (True, SYNTHETIC) if is_marked else (False, None)
        )
    item = run.find("samples", NAME, "vtkMRMLSequenceNode").GetNthDataNode(1)
    assert item.GetAttribute("INN.synthetic") == SYNTHETIC


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (Appearance("off"), "SYNTHETIC\nFlair image\nmean [grey level]"),
        (Appearance("interval_width"), "SYNTHETIC\nFlair image\n90% width [grey level]"),
        (Appearance("off", pictures=("true image",)), None),
    ],
)
def test_views_say_so_too(run, view, look, said):
    Overlay(run).show(look)
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", run.scene)
    titles = [legend.GetTitleText() for legend in legends if legend.GetVisibility()]
    assert titles == ([] if said is None else [said])
    Overlay(run).show(look, has_legend=False)  # as the browser, which says it in the corner of the views
    assert not any(legend.GetVisibility() for legend in legends)


def test_reconstructions_are_measured_and_not_synthetic(scene, tmp_path):
    run = store(scene, read_result(write_image_result(tmp_path / "measured", synthetic="")), "measured")
    Overlay(run).show(Appearance("interval_width"))
    for node in run.nodes():
        assert "SYNTHETIC" not in node.GetName()
        assert node.GetAttribute("INN.synthetic") is None


def test_what_is_saved_is_what_was_read(run, folder, tmp_path):
    save_result(run, tmp_path / "saved")
    before, after = read_result(folder), read_result(tmp_path / "saved")
    assert after.record == before.record | {"pictures": []}
    for one, other in zip(before.files, after.files, strict=True):
        read = one.read()
        if read.dtype.kind == "f":
            read[UNUSABLE] = 0  # as ITK reads NaN
        np.testing.assert_allclose(np.nan_to_num(other.read()), read, rtol=1e-6)


LOOKS = {
    "mean_alone": Appearance("off"),
    "mean_with_width": Appearance("interval_width", opacity=0.6),
    "sample_with_probability": Appearance(
        "probability_above", opacity=0.5, threshold=120.0, pictures=("sample",), sample=3
    ),
}


@pytest.mark.parametrize("name", LOOKS)
def test_slices_look_as_they_did(run, view, name):
    Overlay(run).show(LOOKS[name])
    check_looks(view.pixels(), name)
