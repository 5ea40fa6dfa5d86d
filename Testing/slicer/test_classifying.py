"""From an image of the scene to its class by Apply: what is written, asked for, and shown."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
from driving import opened_panel, replace_python
from made_classes import write_classes
from PIL import Image

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import class_runs, runs
from INNUncertaintyLib.classifying import Classification, _written_in_8_bits

from monai_inn import cli

# What is asked for is kept, with the file that was written; a made answer is the answer.
_PYTHON = """#!/bin/sh
here='{folder}'
echo "$@" >> "$here/calls"
if [ "$3" = bundles ]; then cat "$here/bundles.json"; exit 0; fi
cp "$5" "$here/"
cp -r "$here/answer" "$7"
echo '{{"out": "out"}}'
"""


MEASURED = {
    "cases": 1200, "calibration_error_if_exact": 0.022,
    "figures": {"accuracy": {"value": 0.954}, "expected calibration error": {"value": 0.019}},
}  # fmt: skip


def bundle(name: str, bands: int, result: str, axes: int = 2) -> dict:
    return {
        "path": f"/bundles/{name}", "name": name, "bands": bands, "size": [28] * axes, "camera": None,
        "problem": "made", "result": result, "description": "", "intended_use": "",
        "targets": [{"name": "class", "unit": "1", "description": "class", "categories": ["usual", "odd"]}],
        "calibration": {"errors": {}, "recalibrated": False, "simulations": 0},
    }  # fmt: skip


@pytest.fixture
def panel(tmp_path, monkeypatch):
    place = tmp_path / "python"
    replace_python(place, _PYTHON, monkeypatch)
    write_classes(place / "answer")
    listing = [bundle("gray", 1, "classes"), bundle("colors", 3, "classes"), bundle("maps", 1, "maps")]
    listing.append(bundle("solid", 1, "classes", axes=3) | {"classes": MEASURED})
    (place / "bundles.json").write_text(json.dumps({"bundles": listing}))
    with opened_panel() as opened:
        opened.place = place
        yield opened


def add(values: np.ndarray, name: str = "an X-ray") -> slicer.vtkMRMLVolumeNode:
    kind = "vtkMRMLVectorVolumeNode" if values.ndim == 4 else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, values)
    node.CreateDefaultDisplayNodes()
    return node


def grey(kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 40, 50)).astype(kind)


def test_apply_classifies_the_image_and_shows_its_class(panel):
    values = grey()
    panel.ui.imageSelector.setCurrentNode(add(values))
    assert panel.ui.bundleBox.currentText == "maps"  # a classifier is nobody's proposal
    panel.choose(panel.ui.bundleBox, "/bundles/gray")
    assert panel.ui.applyButton.toolTip == "Tell the class of the image"
    assert "usual, odd" in panel.ui.bundleCard.html
    panel.apply()
    (run,) = class_runs(slicer.mrmlScene)
    assert run.name == "an X-ray, gray"
    assert panel.ui.classesSection.visible
    assert panel.state.showClasses
    assert panel.status == "1 of 3 images are of no class it knows"
    assert not runs(slicer.mrmlScene)
    (asked,) = [line for line in (panel.place / "calls").read_text().splitlines() if "classify" in line]
    assert asked.startswith("-m monai_inn classify /bundles/gray ")
    assert "--false-alarm 0.05" in asked
    assert np.array_equal(np.asarray(Image.open(panel.place / "an_X-ray.png")), values[0])


def test_other_values_than_of_8_bits_are_taken_as_they_are_shown(panel):
    node = add(grey(np.int16) * 10 - 1000, "CT slice")
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(-500, 520)
    panel.ui.imageSelector.setCurrentNode(node)
    panel.choose(panel.ui.bundleBox, "/bundles/gray")
    panel.apply()
    written = np.asarray(Image.open(panel.place / "CT_slice.png"))
    expected = np.clip((grey()[0] * 10.0 - 1000 + 500) / 1020, 0, 1) * 255
    assert np.array_equal(written, expected.round().astype(np.uint8))


def test_a_volume_of_several_slices_is_written_as_one(panel, tmp_path):
    values = np.concatenate([grey(), 255 - grey()])
    path = _written_in_8_bits(add(values, "of a child: CT"), tmp_path)
    assert path.name == "of_a_child_CT.nrrd"
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)


def test_a_volume_needs_a_bundle_of_volumes_and_a_picture_one_of_pictures(panel):
    values = np.concatenate([grey(), 255 - grey()])
    panel.ui.imageSelector.setCurrentNode(add(values, "CT"))
    panel.choose(panel.ui.bundleBox, "/bundles/gray")
    tip = "gray needs an image of one slice; this one has 2. Crop it to a slice."
    assert panel.ui.applyButton.toolTip.startswith(tip)
    assert not panel.ui.applyButton.enabled
    panel.choose(panel.ui.bundleBox, "/bundles/solid")
    assert panel.ui.applyButton.enabled
    assert panel.ui.validationLabel.text == (
        "Bundle solid: 95.4% of 1,200 held-out images right; probabilities off by 0.019, exact ones by up to "
        "0.022."
    )
    panel.apply()
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(panel.place / "CT.nrrd"))), values)
    panel.ui.imageSelector.setCurrentNode(add(grey()))
    panel.choose(panel.ui.bundleBox, "/bundles/solid")
    assert panel.ui.applyButton.toolTip.startswith(
        "solid needs a volume of several slices; this image has one."
    )


def test_colors_need_a_bundle_of_colors(panel):
    values = np.stack([grey(), grey() // 2, grey() // 3], -1)
    panel.ui.imageSelector.setCurrentNode(add(values, "cells"))
    panel.choose(panel.ui.bundleBox, "/bundles/gray")
    assert panel.ui.applyButton.toolTip == "gray needs an image of 1 channels (usual, odd); this one has 3."
    panel.choose(panel.ui.bundleBox, "/bundles/colors")
    panel.apply()
    assert np.array_equal(np.asarray(Image.open(panel.place / "cells.png")), values[0])


def test_what_cannot_be_classified_is_refused_and_nothing_is_left(panel):
    before = panel.left_behind()
    panel.state.bundle = "/bundles/colors"
    panel.state.image = add(np.stack([grey(np.uint16)] * 3, -1), "deep")
    with pytest.raises(ValueError, match=r"^deep has colors of more than 8 bits; give a picture of 8 bits"):
        panel.logic.start(panel.state)
    assert panel.left_behind() == before


def test_the_command_is_one_that_the_package_knows(panel, capsys):
    """From the image in the scene to the answer of a shipped bundle, without a child process."""
    panel.state.image, panel.state.bundle = add(grey(np.float32)), "chest_xray"
    job = Classification(panel.state)
    job.child.cancel()
    words = job._arguments(panel.state)
    shutil.rmtree(job.folder / "result", ignore_errors=True)  # of the child, which took no image
    assert cli.main([*words, "--json"]) in (0, None)
    capsys.readouterr()
    job.child.result = lambda: None
    run = job.finish()
    assert run.record["images"][0]["image"].endswith("an_X-ray.png")
    assert run.record["images"][0]["is_of_no_class"]  # noise
    assert not job.folder.exists()
