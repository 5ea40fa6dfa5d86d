"""What slice views show, looked at in their pixels: opacity, thresholds, grades, stripes, legend, lines."""

from __future__ import annotations

import numpy as np
import pytest
from made_results import AFFINE, PARAMETERS, SHAPE, SILENT, UNTRUSTED, UNUSABLE, write_result
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
from INNDisplayLib import (
    KINDS,
    Appearance,
    Overlay,
    ThresholdStep,
    compare,
    hide_contours,
    read_at,
    read_region,
    read_result,
    show_posterior,
    store,
)
from INNDisplayLib.scene.colors import table
from INNDisplayLib.scene.patterns import hatch


@pytest.fixture
def run(scene, tmp_path):
    return store(scene, read_result(write_result(tmp_path / "result")), "case")


@pytest.fixture
def view(app, run):
    view = app.slice_view("Red")
    Overlay(run).show(Appearance("off"))
    view.fit()
    view.logic.SetSliceOffset(float(AFFINE[2, 3]))  # the plane of k = 0
    return view


def shown(view, run, **appearance):
    Overlay(run).show(Appearance(**appearance))
    return view.pixels().astype(int)


def world(k, j, i):
    return tuple(float(v) for v in (AFFINE @ [i, j, k, 1])[:3])


def pixel(view, k, j, i):
    """Row and column of a voxel's center in the picture."""
    matrix = slicer.util.arrayFromVTKMatrix(view.node.GetXYToRAS())
    x, y = np.linalg.solve(matrix, [*world(k, j, i), 1])[:2]
    height = view.pixels().shape[0]
    return height - 1 - round(y), round(x)


@pytest.fixture
def at(view):
    return lambda picture, k, j, i: picture[pixel(view, k, j, i)]


def test_rows_run_down_and_columns_to_the_right(view):
    (top, left), (bottom, right) = pixel(view, 0, 0, 0), pixel(view, 0, SHAPE[1] - 1, SHAPE[2] - 1)
    # In this geometry i runs along the rows and j along the columns, as for an image of a camera.
    assert top < bottom
    assert left < right


def test_full_opacity_shows_the_color_of_the_value_and_none_the_image(view, run, at):
    plain = shown(view, run, kind="off")
    np.testing.assert_array_equal(shown(view, run, kind="median", opacity=0.0), plain)
    full = shown(view, run, kind="median", opacity=1.0)
    for j, i in ((5, 6), (8, 12)):
        share = float(run.array("median", "sao2")[0, j, i])
        expected = 255 * table("INN value")[round(share * 255)]
        np.testing.assert_allclose(at(full, 0, j, i), expected, atol=4)
    half = shown(view, run, kind="median", opacity=0.5)
    mixed = (at(full, 0, 5, 6) + at(plain, 0, 5, 6)) / 2
    np.testing.assert_allclose(at(half, 0, 5, 6), mixed, atol=2)


def test_scales_are_those_of_the_parameter_not_of_the_image(run):
    overlay = Overlay(run)
    for row in PARAMETERS:
        assert overlay.scale(Appearance("median", row["name"])) == (row["low"], row["high"])
        assert overlay.scale(Appearance("interval_width", row["name"])) == (0.0, row["width"])
    assert overlay.scale(Appearance("probability_below", "a_mie")) == (0.0, 1.0)
    assert overlay.scale(Appearance("waic")) == (-25.0, 5.0)
    run.array("median", "sao2")[:] *= 0.1
    volume = overlay.update(Appearance("median", "sao2"))
    assert volume.GetDisplayNode().GetWindowLevelMax() == 1.0
    assert not volume.GetDisplayNode().GetAutoWindowLevel()


def test_small_values_are_hidden_below_the_limit_and_only_they(view, run, at):
    plain = shown(view, run, kind="off")
    picture = shown(view, run, kind="interval_width", parameter="sao2", opacity=1.0, hide_below=0.25)
    width = run.array("interval_width", "sao2")[0]
    hidden, drawn = 0, 0
    for j in range(SHAPE[1] - 1):
        for i in range(5, SHAPE[2] - 1):
            is_plain = (at(picture, 0, j, i) == at(plain, 0, j, i)).all()
            if abs(width[j, i] - 0.25 * 0.95) > 0.02:
                assert is_plain == (width[j, i] < 0.25 * 0.95)
                hidden, drawn = hidden + is_plain, drawn + (not is_plain)
    assert hidden > 20
    assert drawn > 20


def test_graded_transparency_is_really_graded(view, run, at):
    """Widths grow along j: so does the share of the map in the mixture with the image, in many steps."""
    plain = shown(view, run, kind="off")
    flat = shown(view, run, kind="interval_width", parameter="sao2", opacity=1.0)
    graded = shown(view, run, kind="interval_width", parameter="sao2", opacity=1.0, graded=True)
    weights = []
    for j in range(4, SHAPE[1] - 1):
        own, map_color = at(plain, 0, j, 9), at(flat, 0, j, 9)
        channel = np.abs(map_color - own).argmax()
        mixed = at(graded, 0, j, 9)
        weights.append((mixed - own)[channel] / (map_color - own)[channel])
    expected = run.array("interval_width", "sao2")[0, 4 : SHAPE[1] - 1, 9] / 0.95
    np.testing.assert_allclose(weights, expected, atol=0.03)
    assert len({round(w, 2) for w in weights}) > 5


def test_certain_medians_are_opaque_and_uncertain_ones_fade(view, run, at):
    flat = shown(view, run, kind="median", parameter="sao2", opacity=1.0)
    graded = shown(view, run, kind="median", parameter="sao2", opacity=1.0, graded=True)
    difference = np.abs(flat - graded).sum(-1)
    assert at(difference, 0, 4, 9) < at(difference, 0, 10, 9)


def test_stripes_cover_what_is_out_of_distribution_whatever_the_map(view, run, at):
    pictures = [
        shown(view, run, kind=kind, parameter="sao2", opacity=opacity, threshold=0.5, graded=graded)
        for kind in KINDS
        for opacity, graded in ((0.0, False), (1.0, False), (1.0, True))
        if not (kind == "off" and opacity)
    ]
    plain = pictures[0]
    for k, j, i in ((0, 1, 1), (0, 0, 3)):
        untouched = slicer.util.arrayFromVolume(run.find("photo"))[k, j, i].astype(int)
        for picture in pictures:
            assert np.abs(at(picture, k, j, i) - untouched).max() > 40
    striped = [tuple(at(plain, 0, j, i)) for j in range(3) for i in range(4)]
    assert len(set(striped)) > 1  # stripes and tint between them
    # One voxel further nothing is covered.
    beside = slicer.util.arrayFromVolume(run.find("photo"))[0, 4, 6]
    np.testing.assert_allclose(at(plain, 0, 4, 6), beside, atol=12)


def test_where_all_is_explained_informative_and_usable_nothing_is_covered(view, run):
    run.array("ood")[UNTRUSTED] = 0
    run.array("valid")[:] = 1
    Overlay(run).show(Appearance("off", "sao2"))
    assert view.composite.GetNthLayerVolumeID(3) is None
    Overlay(run).show(Appearance("off", "vhb"))
    assert view.composite.GetNthLayerVolumeID(3) is not None


def test_three_verdicts_have_three_patterns(run):
    covered = slicer.util.arrayFromVolume(hatch(run, "vhb"))
    voxels = covered.reshape(SHAPE[0], SHAPE[1], 3, SHAPE[2], 3, 4).swapaxes(2, 3)
    silent = voxels[SILENT]
    assert {tuple(v) for v in silent.reshape(-1, 4)} == {
        (255, 255, 255, 140),
        (255, 255, 255, 255),
        (0, 0, 0, 255),
    }
    assert (silent[:, 0, :, 0] == (0, 0, 0, 255)).all()  # the outline
    assert (silent[:, -1, :, -1] == (0, 0, 0, 255)).all()
    untrusted = {tuple(v) for v in voxels[UNTRUSTED].reshape(-1, 4)}
    assert untrusted == {(255, 255, 255, 140), (255, 255, 255, 255), (217, 0, 115, 255)}
    assert {tuple(v) for v in voxels[UNUSABLE].reshape(-1, 4)} == {(150, 150, 150, 255), (60, 60, 60, 255)}
    others = voxels.copy()
    others[UNTRUSTED], others[SILENT], others[UNUSABLE] = 0, 0, 0
    assert not others[..., 3].any()
    silent = slicer.util.arrayFromVolume(hatch(run, "sao2")).reshape(voxels.swapaxes(2, 3).shape)
    assert not silent.swapaxes(2, 3)[SILENT][..., 3].any()


def test_the_probability_follows_the_threshold_without_inference(run):
    overlay = Overlay(run)
    for threshold in (0.3, 0.5, 0.7):
        volume = overlay.update(Appearance("probability_below", "sao2", threshold=threshold))
        found = slicer.util.arrayFromVolume(volume)
        median = run.array("median", "sao2")
        known = np.isfinite(median)
        assert (np.isnan(found) == ~known).all()
        np.testing.assert_array_equal(found[known] > 0.5, median[known] < threshold)
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", run.scene)
    assert sum(node.GetAttribute("INN.map") == "probability_below" for node in nodes) == 1


def test_adequacy_is_one_map_whatever_the_parameter(run):
    overlay = Overlay(run)
    volumes = [overlay.update(Appearance("adequacy", name)) for name in ("sao2", "a_mie")]
    assert volumes[0] is volumes[1]
    assert volumes[0].GetName() == "case: adequacy, low = the model does not fit"
    assert overlay.scale(Appearance("adequacy", "a_mie")) == (0.0, 1.0)
    assert overlay.unit(Appearance("adequacy", "a_mie")) == ""
    values = slicer.util.arrayFromVolume(volumes[0])
    np.testing.assert_allclose(np.unique(values[np.isfinite(values)]), [0.05, 0.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("appearance", "title"),
    [
        (Appearance("interval_width", "a_mie"), "Reduced scattering\n95% width [1/cm]"),
        (Appearance("median", "sao2"), "Oxygen saturation of\nthe blood\nmedian"),
        (Appearance("probability_below", "a_mie", threshold=20), "P(Reduced scattering\n< 20 1/cm)"),
        (Appearance("waic"), "WAIC\n[nat]"),
        (Appearance("adequacy", "a_mie"), "adequacy\np-value"),
    ],
)
def test_the_legend_says_what_is_shown_in_which_unit(run, appearance, title):
    Overlay(run).show(appearance)
    visible = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", run.scene)
        if node.GetVisibility()
    ]
    assert [node.GetTitleText() for node in visible] == [title]
    Overlay(run).show(Appearance("off"))
    assert not visible[0].GetVisibility()


def test_the_legend_is_drawn_also_beside_a_graded_map(app, view, run):
    if not app.has_opengl:
        pytest.skip("needs OpenGL (libegl1, libgl1-mesa-dri) to draw legends")
    for graded in (False, True):
        Overlay(run).show(Appearance("interval_width", "sao2", graded=graded))
        with_legend = view.grab().astype(int)
        right = np.abs(with_legend - view.pixels()).sum(-1)[:, -160:]
        assert (right > 60).mean() > 0.02


def test_lines_lie_where_the_posterior_crosses_the_threshold(run):
    ThresholdStep(run, "sao2", 0.5, has_contours=True).place()
    models = [n for n in run.nodes() if n.GetAttribute("INN.map") == "contour"]
    assert [m.GetName() for m in models] == [
        f"case: P(Oxygen saturation of the blood < 0.5) = {p} %" for p in (5, 50, 95)
    ]
    points = slicer.util.arrayFromModelPoints(models[1])
    index = np.linalg.solve(AFFINE, np.c_[points, np.ones(len(points))].T)[:3].T
    median = run.array("median", "sao2")
    for i, j, _ in index[:: max(1, len(index) // 50)]:
        near = median[:, max(0, int(j)) : int(j) + 2, max(0, int(i)) : int(i) + 2]
        assert np.nanmin(near) <= 0.5 <= np.nanmax(near)
    ThresholdStep(run, "sao2", 0.6, has_contours=True).place()
    assert [n for n in run.nodes() if n.GetAttribute("INN.map") == "contour"] == models
    assert models[0].GetDisplayNode().GetVisibility2D()
    hide_contours(run)
    assert not any(n.GetAttribute("INN.map") == "contour" for n in run.nodes())


def test_reading_a_voxel_in_words_with_units(run):
    trusted = read_at(run, world(1, 6, 8), "a_mie", threshold=20)
    assert trusted.state == "in distribution"
    low, median, high = trusted.interval
    assert median == pytest.approx(run.array("median", "a_mie")[1, 6, 8])
    assert trusted.text.startswith(
        f"Reduced scattering {median:.3g} 1/cm, 95% {low:.3g}–{high:.3g} 1/cm, 1 mode, P(< 20 1/cm) "
    )
    assert trusted.text.endswith(", in distribution")
    withheld = read_at(run, world(0, 1, 1), "sao2")
    assert withheld.text.startswith(
        "[///] NOT EXPLAINED, out of distribution (absorption like that of a dye). Do not use: "
    )
    silent = read_at(run, world(0, 9, 4), "vhb")
    assert silent.text.startswith("[...] NOT INFORMATIVE about Blood volume fraction, hardly more than known")
    assert read_at(run, world(0, 9, 4), "sao2").text.endswith("in distribution")
    assert read_at(run, world(0, 11, 15), "sao2").text.startswith("[+++] NOT USABLE")
    assert read_at(run, (500, 0, 0), "sao2").text == "outside the image"
    assert read_at(run, world(1, 6, 8)).parameter.name == "sao2"


def test_the_chart_is_refilled_and_warns(run):
    chart = show_posterior(run, read_at(run, world(1, 6, 8), "a_mie"))
    nodes = sum(1 for _ in run.nodes())
    assert chart.GetXAxisTitle() == "Reduced scattering [1/cm]"
    assert chart.GetYAxisTitle() == "posterior density per 1/cm"
    table_node = run.find("posterior table", class_name="vtkMRMLTableNode")
    values, height = (slicer.util.arrayFromTableColumn(table_node, name) for name in ("a_mie", "density"))
    assert np.trapezoid(height, values) == pytest.approx(1, abs=0.01)
    again = show_posterior(run, read_at(run, world(0, 1, 1), "sao2"))
    assert again is chart
    assert sum(1 for _ in run.nodes()) == nodes
    assert chart.GetTitle().startswith("[///] NOT EXPLAINED")
    show_posterior(run, read_at(run, (500, 0, 0), "sao2"))
    assert table_node.GetNumberOfRows() == 0


def test_the_mean_over_a_segment(app, run, scene):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    reference = run.find("median", "sao2")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    inside = np.zeros(SHAPE, np.uint8)
    inside[:, 2:6, 3:9] = 1
    segment = segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside, segmentation, segment, reference)
    found = read_region(run, segmentation, segment, "sao2")
    untrusted = run.untrusted() & (inside > 0)
    assert found.mean.left_out == untrusted.sum() == 2
    counted = run.array("median", "sao2")[(inside > 0) & ~untrusted]
    assert found.mean.voxels == len(counted)
    assert found.mean.expected == pytest.approx(counted.mean(), abs=2e-3)  # normal posteriors
    assert not found.is_resampled
    lines = found.text.splitlines()
    assert lines[0].startswith("Oxygen saturation of the blood, mean over liver: ")
    assert "fully shared" in lines[1]
    assert "independent" in lines[2]
    assert "2 voxels left out" in lines[4]


def test_two_runs_are_compared_voxel_by_voxel(scene, run, tmp_path):
    other = store(scene, read_result(write_result(tmp_path / "other", seed=1, shift=0.15)), "other")
    found = compare(run, other, "a_mie")
    values = slicer.util.arrayFromVolume(found.volume)
    expected = other.array("median", "a_mie") - run.array("median", "a_mie")
    withheld = run.withheld() | other.withheld()
    np.testing.assert_allclose(values, np.where(withheld, np.nan, expected), rtol=1e-5, atol=1e-5)
    assert found.voxels == (~withheld).sum()
    low, high = (run.quantiles("a_mie")[0][..., k] for k in (0, -1))
    low2, high2 = (other.quantiles("a_mie")[0][..., k] for k in (0, -1))
    apart = ((low2 > high) | (high2 < low))[~withheld].mean()
    assert 0.1 < apart < 0.9
    assert found.contradicting == pytest.approx(apart)
    assert "1/cm" in found.text
    assert not found.is_resampled
    volume = Overlay(run).update(Appearance("difference", "a_mie", other=other.key))
    assert volume is found.volume
    assert Overlay(run).scale(Appearance("difference", "a_mie")) == (-42.75 / 2, 42.75 / 2)
    assert Overlay(run).update(Appearance("difference", "a_mie", other="gone")) is None


def test_a_run_on_another_grid_is_resampled_with_a_notice(scene, run, tmp_path):
    other = store(scene, read_result(write_result(tmp_path / "other")), "other")
    for node in other.nodes():
        if node.IsA("vtkMRMLVolumeNode"):
            shifted = AFFINE.copy()
            shifted[:3, 3] += AFFINE[:3, 0] * 2  # two voxels along i
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(shifted))
    found = compare(run, other, "sao2")
    assert found.is_resampled
    assert "resampled" in found.text
    values, own = slicer.util.arrayFromVolume(found.volume), run.array("median", "sao2")
    np.testing.assert_allclose(values[1, 5, 6], own[1, 5, 4] - own[1, 5, 6], atol=1e-6)
    assert np.isnan(values[:, :, :2]).all()
