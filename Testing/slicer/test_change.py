"""The posterior of the difference of two results: exact for known posteriors, and a result like any other."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from driving import app, kind_of, panel_without_bundles, shown
from made_results import (
    AFFINE,
    LEVELS,
    PARAMETERS,
    SHAPE,
    UNTRUSTED,
    UNUSABLE,
    finished,
    write_image_result,
    write_result,
)
from scipy.stats import beta, norm

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import (
    change_text,
    difference_quantiles,
    matrix_of,
    posterior_of_change,
    probability_below,
    read_at,
    read_result,
    runs,
    save_result,
    store,
)

_WANTED = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])
_LEVELS = np.array(sorted({0.025, 0.5, 0.975, *((np.arange(16) + 0.5) / 16)}))

__all__ = ["panel_without_bundles"]


# Numbers.


@pytest.mark.parametrize("spread", [1.0, 0.7, 0.5, 0.3, 0.1, 0.03])
@pytest.mark.parametrize("is_second", [False, True])
def test_normal_posteriors_have_the_normal_difference(spread, is_second):
    """Two per cent of its standard deviation is what the docstring says."""
    sizes = (1.0, spread) if is_second else (spread, 1.0)
    first, second = 5 + sizes[0] * norm.ppf(_LEVELS)[None], 7 + sizes[1] * norm.ppf(_LEVELS)[None]
    found = difference_quantiles(first, second, _WANTED, (_LEVELS, _LEVELS))[0]
    total = np.hypot(*sizes)
    np.testing.assert_allclose(found, 2 + total * norm.ppf(_WANTED), atol=0.02 * total)


def test_skewed_posteriors_agree_with_sampling():
    """A hundred thousand draws have a standard error of .0007 at the ends; the rest is the discretization."""
    laws = beta(2, 6), beta(7, 3)
    rng = np.random.default_rng(0)
    drawn = laws[1].rvs(100_000, random_state=rng) - laws[0].rvs(100_000, random_state=rng)
    first, second = (law.ppf(_LEVELS)[None] for law in laws)
    found = difference_quantiles(first, second, _WANTED, (_LEVELS, _LEVELS))[0]
    np.testing.assert_allclose(found, np.quantile(drawn, _WANTED), atol=0.03 * drawn.std())


def test_two_modes_become_four():
    """Equal halves at 0 and 10 minus equal halves at 0 and 1: differences of -1, 0, 9 and 10."""
    quarter = norm.ppf(_LEVELS * 2 % 1 * 0.98 + 0.01) * 0.01
    second = np.sort(np.where(_LEVELS < 0.5, 0.0, 10.0) + quarter)[None]
    first = np.sort(np.where(_LEVELS < 0.5, 0.0, 1.0) + quarter)[None]
    found = difference_quantiles(first, second, np.array([0.12, 0.37, 0.63, 0.88]), (_LEVELS, _LEVELS))[0]
    np.testing.assert_allclose(found, [-1, 0, 9, 10], atol=0.2)


def test_samples_are_compared_in_all_pairs():
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((3, 5)), rng.standard_normal((3, 4))
    found = difference_quantiles(first, second, (np.arange(20) + 0.5) / 20, (None, None))
    pairs = np.sort((second[:, :, None] - first[:, None]).reshape(3, -1), 1)
    np.testing.assert_allclose(found, pairs, atol=1e-6)


def test_samples_and_quantiles_go_together():
    """Five equal samples are a number, by which the other posterior moves."""
    second = 3 + norm.ppf(_LEVELS)[None]
    found = difference_quantiles(np.full((1, 5), 2.0), second, _WANTED, (None, _LEVELS))[0]
    np.testing.assert_allclose(found, 1 + norm.ppf(_WANTED), atol=0.03)


def test_levels_may_differ():
    many = (np.arange(40) + 0.5) / 40
    found = difference_quantiles(norm.ppf(many)[None], norm.ppf(_LEVELS)[None], _WANTED, (many, _LEVELS))[0]
    np.testing.assert_allclose(found, np.sqrt(2) * norm.ppf(_WANTED), atol=0.03 * np.sqrt(2))


def test_many_voxels_are_those_of_each_alone():
    """More than a piece of them; the order of the two does not matter but for the sign."""
    rng = np.random.default_rng(2)
    first = rng.standard_normal((9000, 1)) + rng.uniform(0.2, 2, (9000, 1)) * norm.ppf(LEVELS)
    second = rng.standard_normal((9000, 1)) + rng.uniform(0.2, 2, (9000, 1)) * norm.ppf(LEVELS)
    found = difference_quantiles(first, second, _WANTED, (LEVELS, LEVELS))
    for row in (0, 8191, 8192, 8999):
        alone = difference_quantiles(first[[row]], second[[row]], _WANTED, (LEVELS, LEVELS))
        np.testing.assert_allclose(found[[row]], alone, atol=1e-5)
    mirrored = difference_quantiles(second[:50], first[:50], _WANTED, (LEVELS, LEVELS))
    np.testing.assert_allclose(found[:50], -mirrored[:, ::-1], atol=1e-4)


# Results.


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two days: the second has .1 of each range more."""
    place = tmp_path_factory.mktemp("days")
    return write_result(place / "day 1"), write_result(place / "day 8", seed=1, shift=0.1)


@pytest.fixture
def days(scene, folders):
    return [store(scene, read_result(folder), folder.name) for folder in folders]


def change_of(scene, first, second, parameter="sao2"):
    return store(scene, finished(posterior_of_change(first, second, parameter)), "change")


def center_and_spread(run, parameter):
    """Of the normal posteriors of a made result."""
    stack, levels = run.quantiles(parameter)
    width = stack[..., -1] - stack[..., 0]
    return run.array("median", parameter), width / (norm.ppf(levels[-1]) - norm.ppf(levels[0]))


@pytest.mark.parametrize("parameter", ["sao2", "a_mie"])
def test_every_voxel_has_the_difference_of_its_posteriors(scene, days, parameter):
    run = change_of(scene, *days, parameter)
    (shown,) = run.parameters
    row = next(row for row in PARAMETERS if row["name"] == parameter)
    assert (shown.name, shown.unit) == (f"{parameter}_change", row["unit"])
    assert (shown.low, shown.high) == (row["low"] - row["high"], row["high"] - row["low"])
    (old, old_spread), (new, new_spread) = (center_and_spread(day, parameter) for day in days)
    total = np.hypot(old_spread, new_spread)
    valid = run.usable()
    quantiles, levels = run.quantiles(shown.name)
    exact = (new - old)[..., None] + total[..., None] * norm.ppf(levels)
    off = np.abs(quantiles - exact)[valid] / total[valid][:, None]
    assert off[:, 1:-1].max() < 0.02
    np.testing.assert_allclose(
        run.array("median", shown.name)[valid], (new - old)[valid], atol=2e-5 * shown.high
    )
    width = 2 * norm.ppf(0.975) * total
    np.testing.assert_allclose(run.array("interval_width", shown.name)[valid], width[valid], rtol=0.02)


def test_probability_that_the_second_is_lower_by_more_than_a_step(scene, days):
    """What the panel's threshold asks: P(change < -d)."""
    first, second = days
    run = change_of(scene, second, first)
    (old, old_spread), (new, new_spread) = (center_and_spread(day, "sao2") for day in (second, first))
    exact = norm.cdf((-0.05 - (new - old)) / np.hypot(old_spread, new_spread))
    found = probability_below(*run.quantiles("sao2_change"), -0.05)
    valid = run.usable()
    assert np.abs(found - exact)[valid].max() < 0.025


def test_a_voxel_is_withheld_where_either_is(scene, days):
    scene_days = days[1]
    ood = scene_days.array("ood")
    ood[1, 6, 6] = 1
    scene_days.find("ood").Modified()
    valid = scene_days.array("valid")
    valid[0, 5, 5] = 0
    run = change_of(scene, *days, "vhb")
    expected = np.zeros(SHAPE, bool)
    expected[UNTRUSTED], expected[1, 6, 6] = True, True
    np.testing.assert_array_equal(run.untrusted(), expected)
    unusable = np.zeros(SHAPE, bool)
    unusable[UNUSABLE], unusable[0, 5, 5] = True, True
    np.testing.assert_array_equal(~run.usable(), unusable)
    assert run.uninformative("vhb_change").sum() == 2 * 3 * 7


def test_a_probe_tells_the_change(scene, days):
    run = change_of(scene, *days)
    node = run.find("median", "sao2_change")
    k, j, i = 0, 6, 8
    reading = read_at(run, tuple((matrix_of(node) @ (i, j, k, 1))[:3]), "", 0.0)
    low, median, high = reading.interval
    assert median == pytest.approx(float(run.array("median", "sao2_change")[k, j, i]), abs=1e-6)
    assert low < median < high
    assert reading.text.startswith(f"Change of oxygen saturation of the blood {median:.3g}, 95% {low:.3g}")
    assert "P(< 0)" in reading.text


def test_a_change_in_words(scene, days):
    run = change_of(scene, *days)
    text = change_text(run)
    assert text.startswith("day 8 minus day 1: lower in 0.0%, higher in ")
    assert "another grid" not in text
    assert change_text(days[0]) == ""


def test_another_grid_is_resampled_and_said_so(scene, folders, tmp_path):
    """The second image is cropped by three voxels along I and two along J."""
    cropped = write_result(tmp_path / "cropped", seed=1, shift=0.1)
    shift = np.eye(4)
    shift[:3, 3] = 3, 2, 0
    for path in cropped.glob("*.nii.gz"):
        image = nibabel.load(path)
        part = np.asarray(image.dataobj)[3:, 2:]
        nibabel.save(nibabel.Nifti1Image(part, AFFINE @ shift), path)
    first, whole, part = (store(scene, read_result(f), f.name) for f in (*folders, cropped))
    expected, found = change_of(scene, first, whole), change_of(scene, first, part)
    inside = np.zeros(SHAPE, bool)
    inside[:, 2:, 3:] = True
    np.testing.assert_array_equal(found.usable(), expected.usable() & inside)
    both = [run.array("median", "sao2_change")[found.usable()] for run in (found, expected)]
    # Vectors of some processors end otherwise where there are fewer voxels, and round otherwise.
    np.testing.assert_allclose(*both, rtol=0, atol=np.finfo(np.float32).eps)
    assert "lay on another grid: its nearest voxels" in change_text(found)


def test_a_transform_between_the_two_is_followed(scene, days):
    """The second result moved by one voxel along I meets its neighbor."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    move = np.eye(4)
    move[:3, 3] = AFFINE[:3, 0]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(move))
    for node in days[1].nodes():
        if node.IsA("vtkMRMLTransformableNode"):
            node.SetAndObserveTransformNodeID(transform.GetID())
    run = change_of(scene, *days)
    old, new = (day.array("median", "sao2") for day in days)
    found = run.array("median", "sao2_change")[:, :, 1:]
    both = run.usable()[:, :, 1:]
    np.testing.assert_allclose(found[both], (new[:, :, :-1] - old[:, :, 1:])[both], atol=2e-5)
    assert not run.usable()[:, :, 0].any()
    assert "another grid" in change_text(run)


def far(scene, run):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "far")
    move = np.eye(4)
    move[:3, 3] = 1000
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(move))
    for kind in ("median", "valid"):
        run.find(kind).SetAndObserveTransformNodeID(transform.GetID())


def bent(scene, run):
    transform = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    run.find("median").SetAndObserveTransformNodeID(transform.GetID())


def without_posterior(scene, run):
    for kind in ("quantiles", "samples"):
        run.drop(run.find(kind, "sao2", "vtkMRMLSequenceNode"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (far, "day 1 and day 8 do not overlap where both are usable; move one by a transform"),
        (bent, "A transform that is not linear lies between day 1 and day 8"),
        (
            without_posterior,
            "day 8: neither quantiles nor samples of Oxygen saturation of the blood are stored",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(scene, days, change, message):
    change(scene, days[1])
    number = scene.GetNumberOfNodes()
    with pytest.raises(ValueError, match=message):
        change_of(scene, *days)
    assert scene.GetNumberOfNodes() == number


def test_another_unknown_is_refused(scene, days, tmp_path):
    image = store(scene, read_result(write_image_result(tmp_path / "image")), "image")
    with pytest.raises(
        ValueError, match="image has no Oxygen saturation of the blood in the unit 1; select another result"
    ):
        change_of(scene, days[0], image)


def test_samples_serve_where_no_quantiles_are(scene, tmp_path):
    first, second = (
        store(scene, read_result(write_image_result(tmp_path / name, synthetic="")), name)
        for name in ("a", "b")
    )
    run = change_of(scene, first, second, "flair")
    assert np.abs(run.array("median", "flair_change")[run.usable()]).max() < 1e-3
    assert run.array("interval_width", "flair_change")[run.usable()].min() > 0


def test_a_change_is_saved_and_exported_like_any_result(scene, days, tmp_path):
    from monai_inn.reports.exporting import export_result

    run = change_of(scene, *days)
    save_result(run, tmp_path / "saved")
    report = export_result(tmp_path / "saved", tmp_path / "out", formats=("nifti", "csv"))
    assert any(entry["file"] == "nifti/median_sao2_change.nii.gz" for entry in report["files"])
    again = store(scene, read_result(tmp_path / "saved"), "again")
    assert change_text(again) == change_text(run)


# The panel.


@pytest.fixture
def panel(folders, panel_without_bundles):
    opened = panel_without_bundles
    for folder in reversed(folders):
        opened.logic.open(folder)
    opened.choose(opened.ui.kindBox, "difference")
    opened.choose(opened.ui.otherBox, runs(slicer.mrmlScene)[0].key)
    return opened


def settle(panel):
    app.wait_until(lambda: panel.widget._change is None)


def test_the_button_makes_a_result_that_all_views_take(panel):
    panel.ui.changeButton.click()
    assert panel.ui.changeButton.text == "Cancel"
    settle(panel)
    assert panel.run.name == "day 8 minus day 1: Oxygen saturation of the blood"
    assert panel.ui.changeButton.text == "Posterior of the difference"
    assert panel.ui.compareLabel.text == change_text(panel.run)
    slider = panel.ui.thresholdSlider
    assert (slider.minimum, slider.maximum, slider.value) == (-1, 1, 0)
    assert (kind_of(shown()), panel.ui.kindBox.currentData) == ("median", "median")
    assert shown().GetDisplayNode().GetColorNode().GetName() == "INN difference"
    panel.choose(panel.ui.kindBox, "probability_below")
    slider.value = 0.1
    assert panel.ui.thresholdLabel.text == "Probability that Change of oxygen saturation of the blood < 0.1"
    assert kind_of(shown()) == "probability_below"
    assert np.nanmean(slicer.util.arrayFromVolume(shown())) == pytest.approx(0.5, abs=0.1)


def test_cancel_leaves_nothing(panel):
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.changeButton.click()
    panel.ui.changeButton.click()
    assert panel.widget._change is None
    assert panel.ui.compareLabel.text == "Canceled; nothing was changed."
    app.process_events()
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_closing_the_scene_ends_the_comparison(panel):
    panel.ui.changeButton.click()
    slicer.mrmlScene.Clear(False)
    app.process_events()
    assert (panel.widget._change, panel.run) == (None, None)


def test_a_result_that_is_deleted_meanwhile_ends_the_comparison(panel):
    panel.ui.changeButton.click()
    runs(slicer.mrmlScene)[0].remove()
    settle(panel)
    assert "deleted" in panel.ui.compareLabel.text
    assert panel.ui.changeButton.text == "Posterior of the difference"


def test_a_module_that_is_left_meanwhile_gets_its_result(panel):
    panel.ui.changeButton.click()
    panel.widget.exit()
    settle(panel)
    name = "day 8 minus day 1: Oxygen saturation of the blood"
    assert [run.name for run in runs(slicer.mrmlScene)].count(name) == 1
    panel.widget.enter()
    assert panel.run.name == name


def test_a_refusal_is_one_message(panel):
    without_posterior(slicer.mrmlScene, runs(slicer.mrmlScene)[0])
    with pytest.raises(ValueError, match="neither quantiles nor samples"):
        panel.widget.onChange()
    (message,) = app.messages
    assert "neither quantiles nor samples of" in message.text
    assert panel.ui.changeButton.text == "Posterior of the difference"
