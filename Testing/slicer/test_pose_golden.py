"""Comparisons and the spread of a known registration as they looked; see ``golden_pictures``."""

from __future__ import annotations

import pytest
from golden_pictures import check_looks
from made_registrations import TARGET, phantom, write_registration
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
from INNDisplayLib import Comparing, read_poses, show_images, show_mode, store_poses

LOOKS = {
    "pose_1_blend": (1, Comparing("blend", 0.5)),
    "pose_2_blend": (2, Comparing("blend", 0.5)),
    "pose_2_checkerboard": (2, Comparing("checkerboard", fields=8)),
    "pose_2_difference": (2, Comparing("difference")),
}


@pytest.fixture
def run(app, scene, tmp_path):
    app.add_slice_view("INNCompare")
    return store_poses(scene, read_poses(write_registration(tmp_path / "case")), "case")


@pytest.mark.parametrize("name", LOOKS)
def test_comparisons_look_as_they_did(app, run, name):
    show_mode(run, *LOOKS[name])
    show_images(run)
    check_looks(app.slice_view("INNCompare").pixels(), name)


@pytest.mark.parametrize("number", [1, 2])
def test_spread_looks_as_it_did(app, run, number):
    if not app.has_opengl:
        pytest.skip("needs OpenGL (libegl1, libgl1-mesa-dri) to draw models")
    array, matrix = phantom()
    slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="CT")
    show_mode(run, number)
    view = app.slice_view("Red")
    view.composite.SetBackgroundVolumeID(slicer.util.getNode("CT").GetID())
    view.fit()
    view.logic.SetSliceOffset(float(TARGET[2]))
    check_looks(view.grab(), f"pose_{number}_spread")
