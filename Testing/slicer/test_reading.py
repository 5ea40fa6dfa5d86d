"""Whether people can read the picture: values off colors, alarms by any color vision, words for names."""

# ruff: noqa: E402 -- the parts of slicer exist only after install()

from __future__ import annotations

import numpy as np
import pytest
from made_results import AFFINE, SHAPE, UNTRUSTED, UNUSABLE, write_result
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
install()

import slicer
import slicer.util
from INNDisplayLib import (
    Appearance,
    Overlay,
    hatch,
    legend_of,
    nothing_to_see,
    read_at,
    read_result,
    show_posterior,
    store,
)
from INNDisplayLib.scene.colors import TABLES, rgb_to_lab, table
from INNUncertaintyLib import BAR, legend_picture
from test_colors import DEUTAN, PROTAN, TRITAN, seen

VISIONS = {"all": np.eye(3), "protan": PROTAN, "deutan": DEUTAN, "tritan": TRITAN}


@pytest.fixture
def run(scene, tmp_path):
    return store(scene, read_result(write_result(tmp_path / "result")), "case")


@pytest.fixture
def views(app, run):
    """The axial view, and the third one turned to the same plane."""
    image, beside = app.slice_view("Red"), app.slice_view("Yellow")
    Overlay(run).show(Appearance("off"))
    beside.node.SetOrientation(image.node.GetOrientation())
    for view in (image, beside):
        view.fit()
        view.logic.SetSliceOffset(float(AFFINE[2, 3]))  # the plane of k = 0
    yield image, beside
    beside.node.SetOrientation("Sagittal")


def colors_at(view, run, parameter):
    """Colors in the middle of each voxel of the first slice that can be trusted, and their (j, i)."""
    matrix, picture = slicer.util.arrayFromVTKMatrix(view.node.GetXYToRAS()), view.pixels().astype(int)
    found = []
    for j, i in np.argwhere(~(run.withheld() | run.uninformative(parameter))[0]):
        x, y = np.linalg.solve(matrix, [*(AFFINE @ [i, j, 0, 1])[:3], 1])[:2]
        found.append((picture[picture.shape[0] - 1 - round(y), round(x)], (j, i)))
    return found


def worst_error(picture, legend, found, stored):
    """How far a person is off who looks for colors on the drawn scale, as a share of the scale."""
    image, (left, top, width, height) = picture.toImage(), BAR
    bar = [image.pixelColor(left + n, top + height // 2) for n in range(width)]
    scale = np.array([(c.red(), c.green(), c.blue()) for c in bar])
    places = [(np.abs(scale - color).sum(-1).argmin() + 0.5) / width for color, _ in found]
    return max(
        abs(place - legend.place(float(stored[at]))) for place, (_, at) in zip(places, found, strict=True)
    )


@pytest.mark.parametrize(
    ("kind", "parameter"),
    [("median", "sao2"), ("interval_width", "a_mie"), ("probability_below", "sao2"), ("median", "vhb")],
)
def test_a_color_beside_the_image_is_that_of_its_value_on_the_scale(views, run, kind, parameter):
    look = Appearance(kind, parameter, opacity=0.6, threshold=0.5, map_beside=True)
    overlay = Overlay(run)
    overlay.show(look)
    legend, stored = legend_of(overlay, look, BAR[2]), run.array(kind, parameter)[0]
    picture, found = legend_picture(legend), colors_at(views[1], run, parameter)
    assert len(found) > 100
    assert worst_error(picture, legend, found, stored) < 0.01
    # Laid over the image at the usual opacity the same map cannot be read.
    overlay.show(Appearance(kind, parameter, opacity=0.6, threshold=0.5))
    assert worst_error(picture, legend, colors_at(views[0], run, parameter), stored) > 0.05


def test_the_image_beside_the_map_is_left_alone(views, run):
    Overlay(run).show(Appearance("off"))
    alone = views[0].pixels()
    Overlay(run).show(Appearance("median", "sao2", graded=True, map_beside=True))
    np.testing.assert_array_equal(views[0].pixels(), alone)
    shown = views[1].composite.GetForegroundVolumeID()
    assert shown == run.find("median", "sao2").GetID()  # also of a fading map: it would not be opaque


def test_the_scale_is_drawn_with_its_unit_its_numbers_and_what_is_hidden(run):
    overlay = Overlay(run)
    look = Appearance("interval_width", "a_mie", hide_below=0.25)
    overlay.show(look)
    legend = legend_of(overlay, look, 288)
    assert legend.title == "Reduced scattering, 95% width [1/cm]"
    assert [text for _, text in legend.marks] == ["0", "10", "20", "30", "40"]
    assert legend.hidden == pytest.approx(0.25)
    np.testing.assert_allclose(legend.colors[[0, -1]], 255 * table("INN interval width")[[0, -1]], atol=1)
    decades = legend_of(overlay, Appearance("median", "vhb"), 288)
    overlay.show(Appearance("median", "vhb"))
    decades = legend_of(overlay, Appearance("median", "vhb"), 288)
    assert decades.value(decades.place(0.02)) == pytest.approx(0.02)
    assert decades.place(0.02) == pytest.approx(np.log(10) / np.log(150))
    overlay.show(Appearance("waic"))
    assert legend_of(overlay, Appearance("waic"), 288).limit == -12
    assert legend_of(overlay, Appearance("off"), 288) is None


# Alarms.


def lightness(rgb, vision):
    return rgb_to_lab(seen(np.asarray(rgb, float) / 255, VISIONS[vision]))[..., 0]


def over(rgba, below):
    """A color with its alpha over another one."""
    alpha = rgba[..., 3:] / 255
    return alpha * rgba[..., :3] + (1 - alpha) * below


@pytest.mark.parametrize("vision", VISIONS)
def test_a_withheld_voxel_has_two_tones_on_every_map_for_every_color_vision(run, vision):
    """Also one by itself: no voxel of a map has."""
    run.array("ood")[:], run.array("uninformative", "vhb")[:], run.array("valid")[:] = 0, 0, 1
    run.array("ood")[0, 5, 5] = run.array("uninformative", "vhb")[0, 5, 9] = 1
    run.array("valid")[0, 8, 5] = 0
    covered = slicer.util.arrayFromVolume(hatch(run, "vhb"))
    parts = covered.shape[1] // SHAPE[1]
    assert parts == 3
    for j, i in ((5, 5), (5, 9), (8, 5)):
        voxel = covered[0, parts * j : parts * (j + 1), parts * i : parts * (i + 1)]
        rim, middle = voxel[0, 0], voxel[1, 1]
        assert (voxel[[0, 0, 2, 2], [0, 2, 0, 2]] == rim).all()
        for name in TABLES:
            below = 255 * table(name)
            assert (lightness(over(middle, below), vision) - lightness(over(rim, below), vision)).min() > 25
    outside = covered[0].reshape(SHAPE[1], parts, SHAPE[2], parts, 4).any((1, 3, 4))
    assert outside.sum() == 3  # nothing beside them is covered


@pytest.mark.parametrize("vision", VISIONS)
def test_an_unusable_highlight_does_not_look_like_one(run, vision):
    run.array("valid")[0, 8, 5] = 0
    covered = slicer.util.arrayFromVolume(hatch(run, "sao2"))[0, 24:27, 15:18]
    assert lightness(over(covered, np.full(3, 255.0)), vision).max() < 65


def test_patterns_lie_on_the_voxels_that_they_cover(run):
    node = hatch(run, "sao2")
    bounds, whole = np.zeros(6), np.zeros(6)
    node.GetRASBounds(bounds)
    run.find("valid").GetRASBounds(whole)
    np.testing.assert_allclose(bounds, whole)
    covered = slicer.util.arrayFromVolume(node)[..., 3] > 0
    corner = covered.reshape(SHAPE[0], SHAPE[1], 3, SHAPE[2], 3).all((2, 4))
    assert corner[UNTRUSTED].all()
    assert covered[:, 33:, 45:].all()
    others = corner.copy()
    others[UNTRUSTED], others[UNUSABLE] = False, False
    assert not others.any()


def test_a_posterior_that_is_not_to_be_used_is_dashed(run):
    """Pink and blue are hardly told apart by protan viewers."""
    styles = []
    for j, i in ((6, 8), (1, 1)):
        ras = tuple(float(v) for v in (AFFINE @ [i, j, 0, 1])[:3])
        chart = show_posterior(run, read_at(run, ras, "sao2"))
        styles.append({chart.GetNthPlotSeriesNode(n).GetLineStyle() for n in range(2)})
    plot = slicer.vtkMRMLPlotSeriesNode
    assert styles == [{plot.LineStyleSolid}, {plot.LineStyleDash}]


# Words.


def test_maps_without_anything_conspicuous_say_so(run):
    assert nothing_to_see(run, Appearance("mode_count", "vhb")) == (
        "Nothing to see: Blood volume fraction has one mode in every voxel."
    )
    run.array("mode_count", "vhb")[0, 3, 9] = 2
    assert nothing_to_see(run, Appearance("mode_count", "vhb")) == ""
    assert nothing_to_see(run, Appearance("waic")) == ""
    run.array("waic")[UNTRUSTED] = -20
    assert nothing_to_see(run, Appearance("waic")) == (
        "Nothing to see: WAIC is nowhere above its limit of trust, -12 nat."
    )
    assert nothing_to_see(run, Appearance("median", "vhb")) == ""


def test_people_read_what_a_parameter_is_and_not_its_name(run):
    assert [p.label for p in run.parameters] == [
        "Oxygen saturation of the blood", "Blood volume fraction", "Reduced scattering",
    ]  # fmt: skip
    assert run.find("median", "sao2").GetName() == "case: Oxygen saturation of the blood, median"
    assert read_at(run, tuple((AFFINE @ [8, 6, 0, 1])[:3]), "sao2").text.startswith(
        "Oxygen saturation of the blood 0."
    )
    shown = [node.GetName() for node in run.nodes() if node.IsA("vtkMRMLVolumeNode")]
    assert not [name for name in shown if "sao2" in name or "vhb" in name or "a_mie" in name]


def test_warnings_are_in_the_language_of_the_application(run, monkeypatch):
    monkeypatch.setattr(slicer.i18n, "translate", lambda context, text: f"({context}) {text}")
    at = {"withheld": (1, 1), "unusable": (11, 15), "silent": (9, 4), "trusted": (6, 8)}
    said = {
        name: read_at(run, tuple(float(v) for v in (AFFINE @ [i, j, 0, 1])[:3]), "vhb").text
        for name, (j, i) in at.items()
    }
    assert said["withheld"].startswith("(inspection) [///] NOT EXPLAINED")
    assert said["unusable"].startswith("(inspection) [+++] NOT USABLE")
    assert said["silent"].startswith("(inspection) [...] NOT INFORMATIVE")
    assert said["trusted"].startswith("(inspection) Blood volume fraction")
    assert said["trusted"].endswith("(inspection) 1 mode, in distribution")
    assert nothing_to_see(run, Appearance("mode_count", "vhb")).startswith(
        "(legend) Nothing to see: (legend) "
    )
    assert run.title("interval_width", "vhb").endswith("volume fraction, (run) 95% interval width")
    assert (
        Overlay(run)
        .legend_title(Appearance("median", "vhb"))
        .startswith("Blood volume fraction, (overlay) median")
    )
