"""The module INN Registration and its views in one picture, as they lie on the screen.

With INN_SCREENSHOTS naming a folder the picture stays there; `make screenshots` puts it into the docs.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from driving_registration import app, panel, replay
from made_registrations import phantom, write_registration
from PIL import Image, ImageDraw, ImageFont

import slicer.util  # isort: skip -- driving has installed what stands in for it
from three_d_view import ThreeDView  # isort: skip

__all__ = ["panel", "replay"]

VIEW, PANEL_WIDTH, PANEL_HEIGHT = (600, 450), 440, 1060
VIEWS = (
    ("INNXray", "X-ray (cross: target; outline: 95 %)"),
    ("INNDRR", "DRR: X-ray simulated for the shown pose"),
    ("INNCompare", "X-ray minus DRR"),
    ("3D", "C-arm, CT and target"),
    ("Red", "CT, axial: where the target may lie (95 %)"),
    ("Green", "CT, coronal"),
)


def test_screenshot_of_panel_and_views(panel, tmp_path):
    if not app.has_opengl:
        pytest.skip("needs OpenGL (libegl1, libgl1-mesa-dri) to draw models")
    named = os.environ.get("INN_SCREENSHOTS")
    folder = Path(named) if named else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    room = ThreeDView()
    array, matrix = phantom()
    ct = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="CT")
    panel.open(write_registration(tmp_path / "lateral"))
    panel.ui.ctSelector.setCurrentNode(ct)
    panel.ui.poseTable.setCurrentCell(1, 0)
    panel.ui.differenceButton.click()
    panel.ui.viewsButton.click()
    for edit, path in (("bundleEdit", "patient_7"), ("xrayEdit", "lateral.dcm"), ("outputEdit", "results")):
        getattr(panel.ui, edit).currentPath = path
    panel.ui.statusLabel.text = ""
    panel.module.panel.resize(PANEL_WIDTH, PANEL_HEIGHT)
    app.grab_panel(panel.module, tmp_path / "panel.png")
    picture = Image.new("RGB", (PANEL_WIDTH + 3 * VIEW[0], PANEL_HEIGHT), "#22252b")
    picture.paste(Image.open(tmp_path / "panel.png").convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(picture)
    height = PANEL_HEIGHT // 2
    for number, (name, label) in enumerate(VIEWS):
        pixels = room.grab() if name == "3D" else app.slice_view(name).grab()
        assert pixels.std() > 5, name
        x, y = PANEL_WIDTH + VIEW[0] * (number % 3), height * (number // 3)
        view = Image.fromarray(pixels).resize(VIEW)
        picture.paste(view, (x + 2, y + (height - VIEW[1]) // 2))
        draw.text((x + 12, y + 10), label, fill="white", font=ImageFont.load_default(20))
    picture = picture.resize((3 * picture.width // 4, 3 * picture.height // 4), Image.Resampling.LANCZOS)
    picture.save(folder / "slicer_registration.png", optimize=True)
    amber = np.asarray(room.grab()).astype(int)
    assert ((amber[..., 0] > 150) & (amber[..., 2] < 60)).sum() > 30, "the ellipsoid"
