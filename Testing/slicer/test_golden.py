"""Slices of a known result as they looked when a person last looked at them; see ``golden_pictures``."""

from __future__ import annotations

import pytest
from golden_pictures import check_looks
from made_results import AFFINE, write_result
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

from INNDisplayLib import Appearance, Overlay, read_result, store

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
    check_looks(view.pixels(), name)
