"""The module on the shipped image with the shipped bundle, from opening it to the posterior of a voxel.

With INN_SCREENSHOTS naming a folder the pictures stay there; `make screenshots` puts them into the docs.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
from chart_view import draw_chart
from driving import use_real_python
from INNDisplayLib import find_regions, runs
from PIL import Image

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "SlicerINN" / "INNUncertainty" / "INNUncertainty.py"
IMAGE = ROOT / "Resources" / "organ_mosaic.hdr"
LIVER, CORNER, OUTSIDE = (0, 40, 40), (0, 1, 1), (500.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    named = os.environ.get("INN_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def module(app):
    """The module after Apply on the organs."""
    app.reset()
    with pytest.MonkeyPatch.context() as patch:
        use_real_python(patch)
        yield from _applied(app)


def _applied(app):
    from monai_inn.transforms import read_multispectral

    module = app.load_module(MODULE)
    ui = module.widget.ui
    app.wait_until(lambda: ui.bundleBox.count >= 2)
    image = read_multispectral(IMAGE)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "organs")
    slicer.util.updateVolumeFromArray(volume, image.numpy().transpose(2, 1, 0)[None].copy())
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(image.affine.numpy()))
    volume.CreateDefaultDisplayNodes()
    ui.imageSelector.setCurrentNode(volume)
    if not os.environ.get("INN_SCREENSHOTS"):
        ui.samplesBox.value = 16  # coarser maps, which nobody looks at
    ui.applyButton.click()
    app.wait_until(lambda: module.widget.logic.inference is None, 300)
    yield module
    module.close()


@pytest.fixture
def run(module):
    (run,) = runs(slicer.mrmlScene)
    return run


def world(run, k, j, i):
    matrix = slicer.util.arrayFromVTKMatrix(_ijk_to_ras(run.find("median", "sao2")))
    return tuple(float(v) for v in (matrix @ [i, j, k, 1])[:3])


def _ijk_to_ras(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def choose(module, app, kind, **state):
    ui = module.widget.ui
    ui.kindBox.setCurrentIndex(ui.kindBox.findData(kind))
    for name, value in state.items():
        setattr(module.widget._state, name, value)
    app.process_events()


def test_screenshot_of_the_panel(app, module, run, pictures):
    text = module.widget.ui.statusLabel.text
    assert "% of them not explained, out of distribution (stripes). Not informative: " in text
    assert "0.4%" in module.widget.ui.validationLabel.text
    assert "Research only" in module.widget.ui.intendedUseLabel.text
    choose(module, app, "interval_width")
    path = pictures / "slicer_panel.png"
    app.grab_panel(module, path)
    assert path.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("name", "kind", "state"),
    [
        ("slicer_median", "median", {"opacity": 1.0, "graded": True}),
        ("slicer_width", "interval_width", {"opacity": 0.8, "hideBelow": 20.0, "graded": True}),
        ("slicer_probability", "probability_below", {"opacity": 0.7, "threshold": 0.5, "contours": True}),
        ("slicer_off", "off", {}),
    ],
)
def test_screenshots_of_slices(app, module, run, pictures, name, kind, state):
    choose(module, app, kind, **({"graded": False, "contours": False, "hideBelow": 0.0} | state))
    view = app.slice_view("Red")
    view.fit()
    picture = view.grab(pictures / f"{name}.png").astype(int)
    assert picture.shape == (480, 640, 3)
    stripes = (np.abs(picture - (217, 0, 115)).max(-1) < 12).mean()
    assert 0.005 < stripes < 0.1  # a corner, a kidney with dye and a phantom, whatever else is shown


@pytest.mark.parametrize(
    ("name", "voxel", "start"),
    [("certain", LIVER, "Oxygen saturation"), ("withheld", CORNER, "[///] NOT EXPLAINED")],
)
def test_screenshot_of_a_posterior(app, module, run, pictures, name, voxel, start):
    if not app.has_opengl:
        pytest.skip("needs OpenGL (libegl1, libgl1-mesa-dri) to draw charts")
    choose(module, app, "median", parameter="sao2")
    probe = module.widget._state.probe
    if probe is None:
        module.widget.onPlaceProbe()
        probe = module.widget._state.probe
    probe.RemoveAllControlPoints()
    probe.AddControlPointWorld(*world(run, *voxel))
    app.process_events()
    chart = run.find("posterior chart", class_name="vtkMRMLPlotChartNode")
    assert chart.GetTitle().startswith(start)
    assert module.widget.ui.readoutLabel.text == chart.GetTitle().replace("\n", " ")
    path = pictures / f"slicer_posterior_{name}.png"
    draw_chart(chart, path)
    assert path.stat().st_size > 5000


def test_screenshot_of_the_plan(app, module, run, pictures):
    ui = module.widget.ui
    plan = {"parameter": "sao2", "threshold": 0.35, "regions": True, "smallestIsland": 20.0}
    choose(module, app, "probability_below", **plan)
    app.wait_until(lambda: find_regions(run) is not None and not module.widget._background.is_busy)
    for name, ends in (("liver", ((0, 20, 20), (0, 44, 48))), ("kidney", ((0, 100, 30), (0, 140, 100)))):
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
        for voxel in ends:
            line.AddControlPointWorld(*world(run, *voxel))
    ui.rankButton.click()
    assert ui.lineTable.rowCount == 2
    assert ui.regionsLabel.text.startswith("Oxygen saturation of the blood < 0.35. Area: ")
    assert ui.smallestIslandBox.suffix == " mm²"
    sections = [ui.inputsSection, ui.displaySection, ui.probeSection, ui.planSection]
    before = [section.collapsed for section in sections]
    for section in sections:
        section.collapsed = section is not ui.planSection
    path = pictures / "slicer_plan.png"
    app.grab_panel(module, path)
    for section, was_collapsed in zip(sections, before, strict=True):
        section.collapsed = was_collapsed
    assert path.stat().st_size > 20_000
    choose(module, app, "off")
    app.slice_view("Red").fit()
    picture = app.slice_view("Red").grab(pictures / "slicer_regions.png").astype(int)
    module.widget._state.regions = False
    if app.has_opengl:
        for rgb in ((0, 115, 178), (230, 158, 0)):  # outlines of the certain and the possible region
            assert (np.abs(picture - rgb).max(-1) < 40).sum() > 50


# Of 1080 pixels: title, tool bar and status bar of Slicer, head and help of the module, and the data probe.
SCREEN, SLICER_NEEDS, PANEL_WIDTH = (1920, 1080), 230, 440


def test_screenshot_of_image_and_map_on_a_usual_screen(app, module, run, pictures):
    """All that is open after the first result is on the screen, and the views keep the rest of it."""
    panel, views = module.panel, ("Red", "Yellow")
    ui = module.widget.ui
    assert (ui.inputsSection.collapsed, ui.displaySection.collapsed) == (True, False)
    choose(module, app, "median", parameter="sao2", mapBeside=True, contours=False)
    app.grab_panel(module, pictures / "panel_alone.png")
    assert panel.sizeHint().height() <= SCREEN[1] - SLICER_NEEDS
    picture = Image.new("RGB", SCREEN, "#22252b")
    panel.resize(PANEL_WIDTH, SCREEN[1])
    app.grab_panel(module, pictures / "panel_alone.png")
    alone = Image.open(pictures / "panel_alone.png").convert("RGB")
    picture.paste(alone, (0, 0))
    (pictures / "panel_alone.png").unlink()
    width = (SCREEN[0] - alone.width) // len(views)
    shown = []
    for number, name in enumerate(views):
        view = app.slice_view(name)
        view.fit()
        shown.append(view.grab())
        picture.paste(
            Image.fromarray(shown[-1]).resize((width - 4, width * 3 // 4)),
            (alone.width + number * width + 2, (SCREEN[1] - width * 3 // 4) // 2),
        )
    assert (shown[0] != shown[1]).any(-1).mean() > 0.3
    picture.resize((1280, 720), Image.Resampling.LANCZOS).save(
        pictures / "slicer_uncertainty.png", optimize=True
    )
    choose(module, app, "median", mapBeside=False)


def test_screenshot_of_classes(app, module, pictures, tmp_path):
    """A usual X-ray and the same inverted, of the bundle that is shipped."""
    import monai_inn as mi
    from monai_inn.applications.classification.classifying import classify

    row = mi.load("chest_xray").problem.tensors["images"][0].reshape(28, 28).byte().numpy()
    for name, pixels in (("usual", row), ("inverted", 255 - row)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    classify("chest_xray", [tmp_path / "usual.png", tmp_path / "inverted.png"], tmp_path / "X-rays")
    ui = module.widget.ui
    module.widget.logic.open(tmp_path / "X-rays")
    picture = Image.new("RGB", (1280, 720), "#22252b")
    for number, name in enumerate(("usual", "inverted")):
        ui.classTable.setCurrentCell(number, 0)
        app.process_events()
        assert bool(ui.classCard.styleSheet) is (name == "inverted")
        assert ui.validationLabel.text.startswith("Bundle chest_xray: ")  # not that of the organs
        view = app.slice_view("Red")
        view.fit()
        square = Image.fromarray(view.grab()).crop((80, 0, 560, 480)).resize((410, 410))
        picture.paste(square, (405 + 420 * number, 155))
    for section in (ui.inputsSection, ui.displaySection, ui.probeSection):
        section.collapsed = True
    module.panel.resize(PANEL_WIDTH, 1080)
    app.grab_panel(module, tmp_path / "panel.png")
    panel = Image.open(tmp_path / "panel.png").convert("RGB")
    picture.paste(panel.crop((0, 0, PANEL_WIDTH, 900)).resize((PANEL_WIDTH * 720 // 900, 720)), (0, 0))
    picture.save(pictures / "slicer_classes.png", optimize=True)
    module.widget.ui.showClassesCheck.checked = False


def test_the_scene_file_of_the_organs_comes_back(app, module, run, tmp_path):
    path = tmp_path / "organs.mrb"
    bands = slicer.util.arrayFromVolume(run.image).copy()
    medians = {p.name: run.array("median", p.name).copy() for p in run.parameters}
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(False)
    app.process_events()
    slicer.util.loadScene(str(path))
    app.process_events()
    (back,) = runs(slicer.mrmlScene)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(back.image), bands)  # all hundred of them
    for name, values in medians.items():
        np.testing.assert_array_equal(back.array("median", name), values)
    assert module.widget.ui.runBox.count == 1
    assert module.widget.ui.displaySection.enabled
