"""Classified images in Slicer: what is read, drawn and said is what `monai-inn classify` wrote."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from driving import app, drop, kind_of, shown
from driving import panel_without_bundles as panel
from golden_pictures import check_looks
from made_classes import CLASSES, PAIRS, SIZE, made_evidence, made_images, made_record, write_classes
from made_results import write_result

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import ResultError, class_runs, read_classes, runs, store_classes
from INNDisplayLib.scene.colors import table
from INNDisplayLib.scene.patterns import HATCH_RGB

__all__ = ["panel"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("results") / "chest X-rays")


def layers():
    """Image, evidence and pattern of the first view."""
    view = app.slice_view("Red").composite
    ids = view.GetBackgroundVolumeID(), view.GetLabelVolumeID(), view.GetNthLayerVolumeID(3)
    return [slicer.mrmlScene.GetNodeByID(each or "") for each in ids]


def the_run():
    (run,) = class_runs(slicer.mrmlScene)
    return run


# Reading.


def damage(folder, tmp_path, how):
    target = shutil.copytree(folder, tmp_path / "damaged")
    record, evidence = target / "classification.json", target / "evidence.npy"
    content, values = made_record(), made_evidence()
    if how == "cut evidence":
        evidence.write_bytes(evidence.read_bytes()[:-100])
    elif how == "no evidence":
        evidence.unlink()
    elif how == "links in a circle":
        evidence.unlink()
        evidence.symlink_to(evidence.name)
    elif how == "no array":
        evidence.write_bytes(b"none")
    elif how == "NaN":
        values[1, 2, 3, 4] = np.nan
        np.save(evidence, values)
    elif how == "fewer images":
        np.save(evidence, values[:1])
    elif how == "other images":
        np.save(target / "images.npy", made_images().astype(np.float32))
    elif how == "another kind":
        record.write_text(json.dumps({"format_version": 1, "bundle": {}, "files": [], "parameters": []}))
    elif how == "list":
        record.write_text("[1, 2]")
    elif how == "cut record":
        record.write_text(record.read_text()[:500])
    elif how == "another version":
        record.write_text(json.dumps(content | {"format_version": 2}))
    elif how == "NaN in the record":
        content["images"][0]["p_value"] = float("nan")
        record.write_text(json.dumps(content))
    elif how == "other class":
        content["images"][0]["class"] = "cat"
        record.write_text(json.dumps(content))
    elif how == "missing pair":
        record.write_text(json.dumps(content | {"pairs": PAIRS[:2]}))
    return target


DAMAGES = [
    (
        "cut evidence",
        "evidence.npy: cannot be read; the file is truncated or damaged. Classify the images again",
    ),
    ("no evidence", "evidence.npy is missing; copy the folder as a whole"),
    ("links in a circle", "evidence.npy is missing; copy the folder as a whole"),
    ("no array", "evidence.npy: cannot be read"),
    ("NaN", "evidence.npy: holds values that are not finite numbers. Classify the images again"),
    ("fewer images", r"has shape \(1, 3, 8, 10\), expected \(3, 3, 8, 10\); copy the folder as a whole"),
    ("other images", "images.npy: holds no images of gray levels or colors"),
    ("another kind", "classification.json lacks classes, images, pairs, settings, shares, warnings"),
    ("list", "classification.json lacks bundle"),
    ("cut record", "classification.json: cannot be read"),
    ("another version", "has format 2, this module shows 1; update"),
    ("NaN in the record", "classification.json is damaged .a number is not finite"),
    ("other class", "classification.json is damaged .an image has other classes than the network"),
    ("missing pair", "classification.json is damaged .pairs of classes are missing"),
]


@pytest.mark.parametrize(("how", "message"), DAMAGES)
def test_a_damaged_result_is_refused_in_a_line(folder, tmp_path, how, message):
    with pytest.raises(ResultError, match=message) as error:
        read_classes(damage(folder, tmp_path, how))
    assert "\n" not in str(error.value)


def test_slicers_own_loading_takes_the_record(panel, folder):
    assert slicer.util.loadNodeFromFile(str(folder / "classification.json")) is not None
    assert the_run().name == "chest X-rays"


def test_a_refused_drop_leaves_the_scene_as_it_was(panel, folder, tmp_path):
    before = slicer.mrmlScene.GetNumberOfNodes()
    assert drop(damage(folder, tmp_path, "cut evidence"))
    (message,) = app.messages
    assert "evidence.npy: cannot be read" in message.text
    assert (class_runs(slicer.mrmlScene), slicer.mrmlScene.GetNumberOfNodes()) == ([], before)


# What is shown.


@pytest.mark.parametrize("what", ["folder", "record"])
def test_a_dropped_result_is_shown(panel, folder, what):
    assert not panel.ui.classesSection.visible
    assert drop(folder if what == "folder" else folder / "classification.json")
    ui = panel.ui
    assert (ui.classesBox.currentText, ui.classesSection.visible) == ("chest X-rays", True)
    table_ = ui.classTable
    heads = [table_.horizontalHeaderItem(n).text() for n in range(table_.columnCount)]
    assert heads == ["Image", *(f"{name}\n[%]" for name in CLASSES), "p-value"]
    rows = [[table_.item(row, n).text() for n in range(5)] for row in range(3)]
    assert rows[0] == ["usual.png", "90.0", "8.0", "2.0", "0.62"]
    assert rows[1] == ["inverted.png", "12.5", "75.0", "12.5", "⚠ 0.002"]
    image, evidence, pattern = layers()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(image)[0], made_images()[0, ..., 0])
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(evidence)[0], made_evidence()[0, 0])
    assert pattern is None


@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 0), (2, 1), (1, 2)])
@pytest.mark.parametrize("number", [0, 2])
def test_evidence_is_that_of_the_file_for_any_two_classes(panel, folder, number, first, second):
    drop(folder)
    panel.ui.classTable.setCurrentCell(number, 0)
    panel.choose(panel.ui.classForBox, CLASSES[first])
    panel.choose(panel.ui.classAgainstBox, CLASSES[second])
    pair = [first, second]
    values = made_evidence()[number, PAIRS.index(sorted(pair))] * (1 if pair in PAIRS else -1)
    image, evidence, _pattern = layers()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(evidence)[0], values)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(image)[0], made_images()[number, ..., 0])
    display, limit = evidence.GetDisplayNode(), np.quantile(np.abs(values), 0.995)
    ends = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    np.testing.assert_allclose(ends, [-limit, limit], rtol=1e-6)
    assert evidence.GetAttribute("INN.unit") == "nat"
    title = f"Evidence of each pixel [nat]: positive for {CLASSES[first]}, negative for {CLASSES[second]}"
    assert panel.ui.evidenceTitle.text == title
    said = f"{values.sum(dtype=float):+.2f} nat for {CLASSES[first]} against {CLASSES[second]}"
    assert said in panel.ui.classCard.plainText


def test_the_second_class_gives_way_to_the_first(panel, folder):
    drop(folder)
    assert (panel.state.classFor, panel.state.classAgainst) == ("", "")  # the two most probable ones
    panel.choose(panel.ui.classForBox, "pneumonia")
    assert (panel.ui.classForBox.currentText, panel.ui.classAgainstBox.currentText) == ("pneumonia", "normal")
    assert [panel.ui.classAgainstBox.itemText(n) for n in range(2)] == ["normal", "other"]
    panel.ui.classTable.setCurrentCell(2, 0)
    assert (panel.ui.classForBox.currentText, panel.ui.classAgainstBox.currentText) == ("pneumonia", "normal")


def test_rows_run_down_and_columns_to_the_right(panel, folder):
    drop(folder)
    panel.ui.evidenceOpacitySlider.value = 0.0
    view = app.slice_view("Red")
    view.fit()
    picture = view.pixels().max(-1).astype(int)
    lit = np.argwhere(picture > 200)
    inside = np.argwhere(picture > 0)
    middle = (inside.min(0) + inside.max(0)) / 2
    assert (lit.max(0) < middle).all()  # of 8 rows and 10 columns the first two are bright
    np.testing.assert_allclose(np.ptp(lit, 0) / np.ptp(inside, 0), [2 / SIZE[0], 2 / SIZE[1]], atol=0.02)


def test_strong_evidence_has_the_ends_of_the_table_and_weak_evidence_fades(panel, tmp_path):
    folder, values = write_classes(tmp_path / "made"), made_evidence()
    values[0, 0] = [[9.0] * 3 + [0.0] * 4 + [-9.0] * 3] * SIZE[0]
    np.save(folder / "evidence.npy", values)
    drop(folder)
    panel.ui.evidenceOpacitySlider.value = 1.0
    view = app.slice_view("Red")
    view.fit()
    row = view.pixels()[240]
    inside = row[row.any(1)]
    for place, color in ((5, table("INN difference")[-1]), (-5, table("INN difference")[0])):
        np.testing.assert_allclose(inside[place], 255 * color, atol=1)
    assert inside[len(inside) // 2].tolist() == [30, 30, 30]  # the image, as if nothing lay over it


def test_an_image_of_no_class_has_the_sign_the_frame_and_stripes(panel, folder):
    drop(folder)
    ui = panel.ui
    assert not ui.classCard.styleSheet
    assert ui.classCard.plainText.startswith("p = 0.62: the share of usual images that are as strange.")
    said = "normal: other classes are excluded. Of the images of each class, 90% keep it"
    assert said in ui.classCard.plainText
    ui.classTable.setCurrentCell(1, 0)
    assert "double" in ui.classCard.styleSheet
    text = ui.classCard.plainText
    assert text.startswith(
        "⚠ [///] NOT EXPLAINED. Of no class it knows: of 1,000 usual images 2 or fewer are as"
    )
    assert "No class fits" in text
    assert panel.status == "1 of 3 images are of no class it knows"
    pattern = slicer.util.arrayFromVolume(layers()[2])
    assert pattern.shape == (1, 3 * SIZE[0], 3 * SIZE[1], 4)
    is_stripe = pattern[..., 3] == 255
    assert (pattern[is_stripe][:, :3] == HATCH_RGB).all()
    assert not pattern[~is_stripe].any()
    assert 0.2 < is_stripe.mean() < 0.5
    ui.evidenceOpacitySlider.value = 0.0
    assert layers()[2] is not None
    ui.classTable.setCurrentCell(2, 0)
    assert layers()[2] is None
    assert not ui.classCard.styleSheet
    assert "normal or pneumonia: these cannot be told apart" in ui.classCard.plainText


def test_colors_and_volumes_are_shown_as_they_are(scene, tmp_path):
    from INNDisplayLib import show_class_image

    colored = store_classes(scene, read_classes(write_classes(tmp_path / "cells", channels=3)), "cells")
    show_class_image(colored, 2, "other", "normal", 0.5)
    np.testing.assert_array_equal(colored.array("image")[0], made_images(channels=3)[2])
    size = 4, 5, 6
    result = read_classes(write_classes(tmp_path / "volumes", size=size))
    solid = store_classes(scene, result, "volumes")
    show_class_image(solid, 1, "other", "normal", 0.5)
    np.testing.assert_array_equal(solid.array("image").transpose(), made_images(size=size)[1, ..., 0])
    np.testing.assert_array_equal(solid.array("evidence").transpose(), -made_evidence(size=size)[1, 1])
    assert store_classes(scene, result, "volumes") == solid  # once


# Beside maps, and saved.


def test_maps_come_back_when_classes_are_not_to_be_shown(panel, folder, tmp_path):
    drop(write_result(tmp_path / "liver"))
    assert kind_of(shown()) == "interval_width"
    panel.state.contours = True
    drop(folder)
    assert kind_of(shown()) == "graded"
    assert (panel.ui.displaySection.enabled, panel.ui.displaySection.collapsed) == (False, True)
    (maps,) = runs(slicer.mrmlScene)
    assert maps.find("contour", class_name="vtkMRMLModelNode") is None
    panel.ui.showClassesCheck.checked = False
    assert kind_of(shown()) == "interval_width"
    assert (panel.ui.displaySection.enabled, panel.ui.displaySection.collapsed) == (True, False)
    assert panel.ui.parameterBox.count == 3
    panel.ui.classTable.setCurrentCell(2, 0)  # a click on an image asks for it
    assert kind_of(shown()) == "graded"
    drop(tmp_path / "liver")
    assert kind_of(shown()) == "interval_width"
    assert not panel.ui.showClassesCheck.checked


def test_without_maps_classes_are_shown_whoever_has_opened_them(panel, folder):
    store_classes(slicer.mrmlScene, read_classes(folder), "from a script")
    panel.module.exit()
    panel.module.enter()
    assert kind_of(shown()) == "graded"
    assert not panel.ui.showClassesCheck.visible


def test_the_key_takes_the_evidence_off_and_on(panel, folder):
    drop(folder)
    panel.ui.evidenceOpacitySlider.value = 0.4
    opacity = app.slice_view("Red").composite.GetForegroundOpacity
    for expected in (0.0, 0.4, 0.0, 0.4):
        panel.widget.onToggle()
        assert opacity() == pytest.approx(expected)
    assert panel.state.kind.value == "interval_width"


def test_a_deleted_result_takes_its_section_with_it(panel, folder):
    drop(folder)
    the_run().remove()
    assert not panel.ui.classesSection.visible
    assert panel.state.showClasses  # and nothing to be shown
    panel.ui.fileEdit.currentPath = str(folder)
    panel.widget.onLoad()
    assert panel.status == "1 of 3 images are of no class it knows"


def test_a_scene_file_brings_image_and_classes_back(panel, folder, tmp_path):
    drop(folder)
    panel.ui.classTable.setCurrentCell(2, 0)
    panel.choose(panel.ui.classForBox, "other")
    before = panel.ui.classCard.plainText
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert not panel.ui.classesSection.visible
    panel.ui.fileEdit.currentPath = str(tmp_path / "case.mrb")
    panel.widget.onLoad()
    assert panel.ui.classCard.plainText == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(layers()[1])[0], -made_evidence()[2, 1])
    the_run().drop(the_run().find("evidences"))
    panel.widget.onStateChanged()
    assert not panel.ui.classesSection.visible


@pytest.mark.parametrize(("name", "number"), [("classes_evidence", 0), ("classes_not_explained", 1)])
def test_golden_slices_look_as_they_did(panel, folder, name, number):
    drop(folder)
    panel.ui.classTable.setCurrentCell(number, 0)
    view = app.slice_view("Red")
    view.fit()
    check_looks(view.pixels(), name)
