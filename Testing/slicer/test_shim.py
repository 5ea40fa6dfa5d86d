"""The stand-in for desktop Slicer, driven with a small module (`scaler_module`)."""

# ruff: noqa: E402 -- qt, ctk and the parts of slicer exist only after install()

from __future__ import annotations

import pathlib
from typing import Annotated, Optional

import numpy as np
import pytest
from scaler_module import SOURCE, WIDGETS, form
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
app = install()

import ctk
import qt
import slicer
from slicer.parameterNodeWrapper import FloatRange, WithinRange, parameterNodeWrapper


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Scaler")
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Scaler.ui").write_text(form(WIDGETS))
    (folder / "Scaler.py").write_text(SOURCE)
    module = app.load_module(folder / "Scaler.py")
    yield module
    module.close()


@pytest.fixture(autouse=True)
def no_lost_errors():
    """An exception in a slot is printed by Qt and lost, unless somebody looks."""
    app.reset()
    yield
    assert app.errors == []


@pytest.fixture
def ui(module):
    return module.widget.ui


@pytest.fixture
def image():
    ramp = np.broadcast_to(np.linspace(0, 100, 32, dtype=np.float32), (8, 24, 32))
    node = slicer.util.addVolumeFromArray(ramp.copy(), name="Ramp")
    node.CreateDefaultDisplayNodes()
    return node


def text_of(module, name: str) -> str:
    return module.widget.node.parameterNode.GetParameter(name)


def test_module_is_described_and_registered(module):
    assert (module.title, module.categories) == ("Scaler", ["Testing"])
    assert app.sample_data["Ramp"]["category"] == "Testing"
    assert slicer.util.getModuleWidget("Scaler") is module.widget
    assert slicer.util.getModuleLogic("Scaler") is module.logic
    assert install() is app


@pytest.mark.parametrize(
    ("name", "change", "parameter", "value", "key", "text"),
    [
        ("gainSlider", {"value": 3.5}, "gain", 3.5, "gain", "3.5"),
        ("countBox", {"value": 7}, "count", 7, "count", "7"),
        ("labelLine", {"text": "new"}, "label", "new", "label", "new"),
        ("channelBox", {"currentIndex": 0}, "channel", "red", "channel", "red"),
        ("modeBox", {"currentText": "Offset"}, "mode", "ADD", "mode", "ADD"),
        ("fastBox", {"checked": False}, "isFast", False, "isFast", "False"),
        ("windowRange", {"minimumValue": 30.0}, "window", FloatRange(30, 90), "window.minimum", "30.0"),
        ("folderLine", {"currentPath": "/data"}, "folder", pathlib.Path("/data"), "folder", "/data"),
    ],
)
def test_widget_and_parameter_agree(module, ui, name, change, parameter, value, key, text):
    widget, node = getattr(ui, name), module.widget.node
    if parameter == "mode":
        value = type(node.mode)[value]
    (attribute, shown), before = *change.items(), getattr(node, parameter)
    shown_before = getattr(widget, attribute)
    assert before != value
    setattr(widget, attribute, shown)
    assert getattr(node, parameter) == value
    assert text_of(module, key) == text
    setattr(node, parameter, before)
    assert getattr(widget, attribute) == shown_before


def test_limits_and_labels_come_from_the_annotations(ui):
    assert (ui.gainSlider.minimum, ui.gainSlider.maximum) == (0, 5)
    assert (ui.countBox.minimum, ui.countBox.maximum) == (1, 9)
    assert [ui.modeBox.itemText(index) for index in range(ui.modeBox.count)] == ["Gain", "Offset"]


def test_a_change_makes_one_event(module):
    node, events = module.widget.node, []
    tag = node.AddObserver("ModifiedEvent", lambda caller, event: events.append(event))
    node.window = FloatRange(20, 40)
    node.window = FloatRange(20, 40)
    node.parameterNode.RemoveObserver(tag)  # or it is called once more, while the next test clears the scene
    assert len(events) == 1


def test_values_are_checked(module):
    node = module.widget.node
    for name, wrong, error in (
        ("gain", 6, ValueError),
        ("channel", "blue", ValueError),
        ("count", 1.5, TypeError),
    ):
        with pytest.raises(error):
            setattr(node, name, wrong)
    with pytest.raises(TypeError):
        node.image = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    with pytest.raises(TypeError):
        node.history.append(3)


def test_a_list_writes_through(module):
    node = module.widget.node
    node.history = ["a", "b"]
    node.history.append("c")
    del node.history[0]
    assert node.history == ["b", "c"]
    assert (text_of(module, "history.len"), text_of(module, "history.1")) == ("2", "c")
    assert not node.parameterNode.HasParameter("history.2")


def test_references_are_stored_where_slicer_looks_for_them(module, image):
    node = module.widget.node
    node.image = node.result = image
    stored = node.parameterNode
    assert stored.GetNodeReference("image") is stored.GetNodeReference("result.0") is image
    node.result = None
    assert (stored.GetNodeReference("result.0"), text_of(module, "result.1")) == (None, "True")


def test_selector_follows_the_scene(ui, image):
    selector, seen = ui.imageSelector, []

    def listed():
        return [node.GetName() for node in selector.nodes()]

    def see(node):
        seen.append(node)

    selector.connect("currentNodeChanged(vtkMRMLNode*)", see)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Not a volume")
    assert listed() == ["Ramp"]
    assert selector.currentNode() is None
    selector.setCurrentNode(image)
    assert selector.currentNodeID == image.GetID()
    image.SetName("Renamed")
    assert listed() == ["Renamed"]
    assert selector.findChild(qt.QComboBox).currentText == "Renamed"
    slicer.mrmlScene.RemoveNode(image)
    assert listed() == []
    assert seen == [image, None]
    assert selector.disconnect("currentNodeChanged(vtkMRMLNode*)", see)


def test_selector_creates_and_deletes(module, ui):
    box = ui.imageSelector.findChild(qt.QComboBox)
    box.activated.emit(box.findText("Create new node"))
    assert module.widget.node.image.GetName() == "ScalarVolume"
    box.activated.emit(box.findText("Delete current node"))
    assert module.widget.node.image is None
    assert box.findText("Delete current node") == -1


def test_selector_without_none_takes_the_first():
    scene, selector, seen = slicer.vtkMRMLScene(), slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    selector.setMRMLScene(scene)
    first, _ = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in ("first", "second"))
    assert seen == [first]
    scene.Clear(False)
    assert seen == [first, None]  # and not the second in between


def test_selector_hides_what_slicer_hides(ui, image):
    image.HideFromEditorsOn()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "child")
    selector = ui.imageSelector
    assert [node.GetName() for node in selector.nodes()] == ["child"]
    selector.showChildNodeTypes = False
    assert selector.nodes() == []
    selector.showHidden = True
    assert selector.nodes() == [image]
    selector.showChildNodeTypes, selector.showHidden = True, False


def test_button_runs_the_logic(module, ui, image):
    ui.imageSelector.setCurrentNode(image)
    ui.gainSlider.value = 3
    ui.applyButton.click()
    result = ui.resultSelector.currentNode()
    assert (result.GetName(), ui.statusLabel.text) == ("scaled", "done")
    assert slicer.util.arrayFromVolume(result).max() == 300
    assert module.widget.node.history == ["MULTIPLY"]
    assert app.messages == []


def test_error_becomes_a_message_box(ui):
    ui.applyButton.click()
    (message,) = app.messages
    assert (message.kind, message.text) == ("error", "Scaling failed.\n\nNo image is selected.")
    assert "ValueError" in message.details
    assert qt.QApplication.overrideCursor() is None
    # Slicer raises on after it has shown the box.
    assert [str(error) for error in app.errors] == ["No image is selected."]
    app.errors.clear()


def test_questions_get_the_queued_answer(module, ui, image):
    node = module.widget.node
    node.image = image
    ui.applyButton.click()
    app.answers.append(False)
    ui.applyButton.click()
    assert len(node.history) == 1
    ui.applyButton.click()
    assert len(node.history) == 2
    assert [message.kind for message in app.messages] == ["question", "question"]


def test_self_test_raises(module):
    with pytest.raises(ValueError, match="No image"):
        module.run_tests()
    assert app.messages == []
    assert not slicer.app.testingEnabled()


def test_closing_the_scene_drops_the_parameters(module, ui, image):
    old = module.widget.node
    old.image, old.gain = image, 4
    slicer.mrmlScene.Clear(False)
    assert module.widget.node is not old
    assert (module.widget.node.image, module.widget.node.gain) == (None, 2)
    assert module.widget.node.parameterNode.GetAttribute("ModuleName") == "Scaler"
    assert ui.gainSlider.value == 2


def test_exit_unties_the_widgets(module, ui):
    module.exit()
    ui.gainSlider.value = 1
    slicer.mrmlScene.Clear(False)
    assert module.widget.node is None
    module.enter()
    assert (module.widget.node.gain, ui.gainSlider.value) == (2, 2)


def test_reload_reads_the_file_again(module, ui):
    module.widget.node.gain = 1.5
    old, source = module.widget, pathlib.Path(module.path)
    source.write_text(SOURCE.replace('"done"', '"finished"').replace('_("Offset")', '_("Shift")'))
    module.reload()
    assert module.widget is not old
    assert (old.node, module.widget.visits) == (None, 0)
    assert module.widget.ui.gainSlider.value == 1.5
    assert module.widget.ui.modeBox.itemText(1) == "Shift"
    assert not ui.gainSlider.visible
    source.write_text(SOURCE)
    module.reload()


def test_scene_file_keeps_the_parameters(module, ui, image, tmp_path):
    node = module.widget.node
    node.image, node.gain, node.history, node.window = image, 4.5, ["a"], FloatRange(5, 6)
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert module.widget.node.gain == 2
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    module.exit()
    module.enter()
    node = module.widget.node
    assert slicer.util.arrayFromVolume(node.image).max() == 100
    assert (node.image.GetName(), node.gain, node.history, node.window) == (
        "Ramp",
        4.5,
        ["a"],
        FloatRange(5, 6),
    )
    assert ui.imageSelector.currentNode() is node.image
    assert (ui.gainSlider.value, ui.windowRange.maximumValue) == (4.5, 6)


def test_unknown_widget_is_named(tmp_path):
    path = tmp_path / "wrong.ui"
    path.write_text(form([("qMRMLNoSuchWidget", "x", "", {})]))
    with pytest.raises(NotImplementedError, match="no stand-in for qMRMLNoSuchWidget"):
        slicer.util.loadUI(str(path))


def test_misspelled_names_raise(ui):
    with pytest.raises(ValueError, match="clicket"):
        ui.applyButton.connect("clicket()", print)
    with pytest.raises(ValueError, match="currentNodeChanged"):
        ui.imageSelector.connect("currentNodeChanged(int)", print)
    with pytest.raises(AttributeError, match="tooltip"):
        ui.applyButton.tooltip = "x"
    with pytest.raises(AttributeError, match="values"):
        ui.gainSlider.values = 3


def test_signals_pass_what_the_slot_takes():
    button, seen = qt.QPushButton("x"), []
    button.connect("clicked()", lambda: seen.append("none"))
    button.connect("clicked(bool)", seen.append)
    button.click()
    assert seen == ["none", False]
    assert button.disconnect("clicked(bool)", seen.append)
    button.click()
    assert seen == ["none", False, "none"]


def test_slicer_refuses_what_it_cannot_show_or_store():
    with pytest.raises(TypeError, match="cannot store"):

        @parameterNodeWrapper
        class Modern:
            image: slicer.vtkMRMLScalarVolumeNode | None

    @parameterNodeWrapper
    class Loose:
        gain: float
        count: Annotated[int, WithinRange(0, 9)]
        text: Optional[str]  # noqa: UP045 -- Slicer knows no other spelling

    node = Loose(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    assert node.text is None
    with pytest.raises(RuntimeError, match="WithinRange"):
        node.connectParametersToGui({"gain": ctk.ctkSliderWidget()})
    with pytest.raises(RuntimeError, match="ctkSliderWidget cannot show count"):
        node.connectParametersToGui({"count": ctk.ctkSliderWidget()})


def test_ctk_numbers_stay_within_their_limits():
    slider, window, seen = ctk.ctkSliderWidget(), ctk.ctkRangeWidget(), []
    slider.connect("valueChanged(double)", seen.append)
    window.connect("valuesChanged(double,double)", lambda low, high: seen.append((low, high)))
    slider.maximum = 10
    slider.value = 20
    slider.setValue(10)
    slider.maximum = 5
    assert seen == [10, 5]
    window.setRange(0, 50)
    window.setValues(40, 20)
    window.setValues(20, 40)
    window.minimumValue = 45
    assert seen[2:] == [(0, 50), (20, 40), (45, 45)]


def test_collapsed_button_respects_what_the_module_hides(ui):
    ui.progressBar.visible = False
    ui.inputs.collapsed = True
    assert not ui.gainSlider.visible
    ui.inputs.click()
    assert ui.gainSlider.visible
    assert not ui.progressBar.visible
    ui.progressBar.visible = True


def test_packages_are_asked_for_and_never_installed():
    slicer.packaging.pip_ensure("numpy>=1", requester="Scaler")
    assert app.messages == []
    app.packages.missing.add("monai-inn")
    app.answers.append(False)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(["monai-inn>=0.1"], requester="Scaler")
    assert not slicer.packaging.pip_check("monai-inn>=0.1")
    slicer.packaging.pip_ensure(["monai-inn>=0.1"], requester="Scaler")
    assert slicer.packaging.pip_check("monai-inn>=0.1")
    app.packages.missing.add("torch")
    slicer.util.pip_install("torch>=2")
    assert app.packages.missing == set()
    assert app.packages.calls[1] == ("pip_ensure", ["monai-inn>=0.1"])


def test_child_process_reports_while_the_window_lives():
    process, lines, ends = qt.QProcess(), [], []
    process.connect("readyReadStandardOutput()", lambda: lines.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code: ends.append(code))
    process.start("PythonSlicer", ["-c", "print('hello'); raise SystemExit(3)"])
    app.wait_until(lambda: ends)
    assert (b"".join(lines).strip(), ends) == (b"hello", [3])
    with pytest.raises(TimeoutError):
        app.wait_until(lambda: False, 0.02)


def test_slice_view_shows_the_volume_and_its_legend(image, tmp_path):
    view = app.slice_view("Red")
    empty = view.grab()
    slicer.util.setSliceViewerLayers(background=image, fit=True)
    plain = view.grab(tmp_path / "red.png")
    assert qt.QImage(str(tmp_path / "red.png")).width() == plain.shape[1]
    assert plain[240, 100, 0] != plain[240, 540, 0]
    assert (plain != empty).mean() > 0.2
    view.logic.ResizeSliceNode(100, 100)
    assert view.pixels().shape == plain.shape == (480, 640, 3)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(image)
    legend.SetVisibility(True)
    assert (view.grab() != plain).any() == app.has_opengl
    assert (view.pixels()[100:-100, 200:-200] == plain[100:-100, 200:-200]).all()


def test_volume_file_is_read_and_shown(image, tmp_path):
    assert slicer.util.saveNode(image, str(tmp_path / "ramp.nrrd"))
    loaded = slicer.util.loadVolume(tmp_path / "ramp.nrrd")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(image))
    assert app.slice_view("Green").composite.GetBackgroundVolumeID() == loaded.GetID()


def test_panel_picture(module, tmp_path):
    app.grab_panel(module, tmp_path / "panel.png")
    picture = qt.QImage(str(tmp_path / "panel.png"))
    colors = {
        picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)
    }
    assert len(colors) > 10


def test_closed_module_is_gone(tmp_path, module):
    folder = tmp_path / "Other"
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Other.ui").write_text(form(WIDGETS))
    (folder / "Other.py").write_text(SOURCE.replace("Scaler", "Other"))
    other = app.load_module(folder / "Other.py")
    widget = other.widget
    assert widget.node.gain == 2
    assert len(widget.Observations) == 2
    other.close()
    assert (widget.node, widget.Observations) == (None, [])
    with pytest.raises(RuntimeError, match="deleted"):
        print(other.panel.visible)
    assert not hasattr(slicer.modules, "other")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "after")
