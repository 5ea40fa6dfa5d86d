"""The module INN Registration and its views in one picture.

With INN_SCREENSHOTS naming a folder the picture stays there, and shows the shipped torso; `make screenshots`
puts it into the docs. Without, it is of a phantom, which takes no registration.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from driving_registration import app, panel, replay
from made_registrations import phantom, write_registration
from PIL import Image, ImageDraw, ImageFont
from torso_case import CT, ENTRY, NEIGHBOURS, RADIUS_MM, TARGET, VERTEBRAE, register_torso, save_small, volume

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from driving import use_real_python  # isort: skip
from three_d_view import ThreeDView  # isort: skip

__all__ = ["panel", "replay"]

VIEW, PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = (560, 420), 440, 1320, 2
VIEWS = (
    ("INNXray", "X-ray (cross: target; outline: 95 %)"),
    ("INNDRR", "DRR: X-ray simulated for the shown pose"),
    ("INNCompare", "X-ray minus DRR"),
    ("3D", "C-arm, bone of the CT, screw (green)"),
    ("Red", "CT, axial; green: tube that holds the screw (95 %)"),
    ("Green", "CT, coronal"),
)


def plan_screw(panel):
    """Choose a line through a pedicle, and the vertebrae beside, and carry it through all poses."""
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "screw L3 left")
    for point in (ENTRY, TARGET):
        line.AddControlPointWorld(*point)
    line.CreateDefaultDisplayNodes()
    line.GetDisplayNode().SetPropertiesLabelVisibility(False)
    line.GetDisplayNode().SetPointLabelsVisibility(False)
    labels, _ = volume(VERTEBRAE)
    beside = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "vertebrae beside")
    beside.CreateDefaultDisplayNodes()
    for name, label in NEIGHBOURS.items():
        key = beside.GetSegmentation().AddEmptySegment(name, name)
        voxels = (labels == label).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, beside, key, panel.state.ct)
    panel.ui.aimSection.collapsed = False
    panel.ui.planSelector.setCurrentNode(line)
    panel.ui.avoidSelector.setCurrentNode(beside)
    panel.ui.radiusBox.value = RADIUS_MM
    panel.ui.aimButton.click()
    panel.settle()
    panel.run.find("target", class_name="vtkMRMLMarkupsFiducialNode").SetNthControlPointPositionWorld(
        0, *TARGET
    )


def test_screenshot_of_panel_and_views(panel, tmp_path, monkeypatch):
    if not app.has_opengl:
        pytest.skip("needs OpenGL (libegl1, libgl1-mesa-dri) to draw models")
    named = os.environ.get("INN_SCREENSHOTS")
    folder = Path(named) if named else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    room = ThreeDView()
    array, matrix = volume(CT) if named else phantom()
    ct = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="torso_ct")
    panel.open(register_torso(tmp_path / "torso") if named else write_registration(tmp_path / "lateral"))
    panel.ui.ctSelector.setCurrentNode(ct)
    if named:
        use_real_python(monkeypatch)
        plan_screw(panel)
    panel.ui.differenceButton.click()
    panel.ui.viewsButton.click()
    for edit, path in (("bundleEdit", ""), ("xrayEdit", "torso_xray.png"), ("outputEdit", "results")):
        getattr(panel.ui, edit).currentPath = path
    panel.ui.statusLabel.text = ""
    panel.module.panel.resize(PANEL_WIDTH, PANEL_HEIGHT)
    app.grab_panel(panel.module, tmp_path / "panel.png")
    picture = Image.new("RGB", (PANEL_WIDTH + COLUMNS * VIEW[0], PANEL_HEIGHT), "#22252b")
    picture.paste(Image.open(tmp_path / "panel.png").convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(picture)
    height = PANEL_HEIGHT * COLUMNS // len(VIEWS)
    for number, (name, label) in enumerate(VIEWS):
        pixels = room.grab() if name == "3D" else app.slice_view(name).grab()
        assert pixels.std() > 5, name
        x, y = PANEL_WIDTH + VIEW[0] * (number % COLUMNS), height * (number // COLUMNS)
        view = Image.fromarray(pixels).resize(VIEW)
        picture.paste(view, (x + 2, y + height - VIEW[1]))
        draw.text((x + 12, y + 4), label, fill="white", font=ImageFont.load_default(20))
    picture = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS)
    save_small(picture, folder / "slicer_registration.png")
    colors = np.asarray(room.grab()).astype(int)
    drawn = (
        colors[..., 1] - colors[..., [0, 2]].max(-1) > 20
        if named
        else (colors[..., 0] > 150) & (colors[..., 2] < 60)
    )
    assert drawn.sum() > 30, "the tube of the screw, or the ellipsoid"
