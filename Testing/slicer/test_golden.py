"""Slices of a known result as they looked when a person last looked at them.

After a change that is wanted: INN_GOLDEN=1 pytest Testing/slicer/test_golden.py, and look at the pictures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from made_results import AFFINE, write_result
from PIL import Image
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

from INNDisplayLib import Appearance, Overlay, read_result, store

GOLDEN = Path(__file__).parent / "golden"
LOOKS = {
    "image_alone": Appearance("off"),
    "median": Appearance("median", "vhb", opacity=1.0),
    "median_fading": Appearance("median", "sao2", opacity=1.0, graded=True),
    "width_hidden_below": Appearance("interval_width", "a_mie", opacity=0.8, hide_below=0.3),
    "probability": Appearance("probability_below", "sao2", opacity=0.7, threshold=0.5),
    "waic": Appearance("waic", opacity=0.7),
}


@pytest.fixture
def view(app, scene, tmp_path):
    run = store(scene, read_result(write_result(tmp_path / "result")), "case")
    view = app.slice_view("Red")
    Overlay(run).show(LOOKS["image_alone"])
    view.fit()
    view.logic.SetSliceOffset(float(AFFINE[2, 3]))
    view.run = run
    return view


@pytest.mark.parametrize("name", LOOKS)
def test_slices_look_as_they_did(view, name):
    Overlay(view.run).show(LOOKS[name])
    picture = view.pixels()[::2, ::2]
    path = GOLDEN / f"{name}.png"
    if os.environ.get("INN_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path, optimize=True)
    golden = np.asarray(Image.open(path).convert("RGB"), int)
    difference = np.abs(picture.astype(int) - golden)
    # Rounding moves a color by one or two; a voxel's edge may move by a pixel.
    assert difference.mean() < 0.5
    assert (difference.max(-1) > 6).mean() < 0.005
