"""A small scripted module, as text: one widget of each kind, each with its parameter."""

from __future__ import annotations

__all__ = ["SOURCE", "WIDGETS", "form"]

SOURCE = """
import enum
import pathlib
from typing import Annotated, Optional

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, FloatRange, RangeBounds, WithinRange
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class Scaler(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Scaler")
        parent.categories = ["Testing"]
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="Testing", sampleName="Ramp", uris="x")


class Mode(enum.Enum):
    MULTIPLY = "multiply"
    ADD = "add"

    def label(self):
        return _("Gain") if self is Mode.MULTIPLY else _("Offset")


@parameterNodeWrapper
class ScalerParameterNode:
    image: vtkMRMLScalarVolumeNode
    result: Optional[vtkMRMLScalarVolumeNode]
    gain: Annotated[float, WithinRange(0, 5)] = 2
    count: Annotated[int, WithinRange(1, 9)] = 3
    label: str = "scaled"
    channel: Annotated[str, Choice(["red", "green"])] = "green"
    mode: Mode
    isFast: bool = True
    window: Annotated[FloatRange, RangeBounds(0, 100), Default(FloatRange(10, 90))]
    folder: pathlib.Path
    history: list[str]


class ScalerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.node = self.tag = None
        self.visits = 0

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/Scaler.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.logic = ScalerLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onClosing)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.applyButton.toolTip = _("Scale the image")
        self.bind()

    def cleanup(self):
        self.removeObservers()
        self.unbind()

    def enter(self):
        self.visits += 1
        self.bind()

    def exit(self):
        self.unbind()

    def onClosing(self, caller, event):
        self.unbind()

    def onClosed(self, caller, event):
        if self.parent.isEntered:
            self.bind()

    def bind(self):
        if self.node is None:
            self.node = self.logic.getParameterNode()
            self.tag = self.node.connectGui(self.ui)

    def unbind(self):
        if self.node is not None:
            self.node.disconnectGui(self.tag)
            self.node = None

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Scaling failed."), waitCursor=True):
            self.logic.process(self.node)
            self.ui.statusLabel.text = "done"


class ScalerLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return ScalerParameterNode(super().getParameterNode())

    def process(self, node):
        if node.image is None:
            raise ValueError("No image is selected.")
        if node.result is not None and not slicer.util.confirmOkCancelDisplay("Overwrite?"):
            return
        if node.result is None:
            node.result = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", node.label)
        slicer.util.updateVolumeFromArray(node.result, slicer.util.arrayFromVolume(node.image) * node.gain)
        node.history.append(node.mode.name)


class ScalerTest(ScriptedLoadableModuleTest):
    def runTest(self):
        with slicer.util.tryWithErrorDisplay("Scaling failed."):
            ScalerLogic().process(ScalerLogic().getParameterNode())
"""

# Class of the widget, its name, its parameter, other properties.
WIDGETS = [
    ("qMRMLNodeComboBox", "imageSelector", "image", {"noneEnabled": "true", "addEnabled": "true"}),
    ("qMRMLNodeComboBox", "resultSelector", "result", {"noneEnabled": "true"}),
    ("ctkSliderWidget", "gainSlider", "gain", {}),
    ("QSpinBox", "countBox", "count", {}),
    ("QLineEdit", "labelLine", "label", {}),
    ("QComboBox", "channelBox", "channel", {}),
    ("QComboBox", "modeBox", "mode", {}),
    ("QCheckBox", "fastBox", "isFast", {}),
    ("ctkRangeWidget", "windowRange", "window", {}),
    ("ctkPathLineEdit", "folderLine", "folder", {}),
    ("QLabel", "statusLabel", "", {}),
    ("QProgressBar", "progressBar", "", {}),
    ("QPushButton", "applyButton", "", {}),
]


def form(widgets: list[tuple[str, str, str, dict[str, str]]]) -> str:
    """The `.ui` file of a module: all widgets in one collapsible button, each selector told of the scene."""
    items, connections = "", ""
    for kind, name, parameter, options in widgets:
        properties = "".join(f'<property name="{k}"><bool>{v}</bool></property>' for k, v in options.items())
        if parameter:
            bound = f"<string>{parameter}</string>"
            properties += f'<property name="SlicerParameterName" stdset="0">{bound}</property>'
        if kind == "qMRMLNodeComboBox":
            connections += (
                "<connection><sender>Scaler</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>"
                f"<receiver>{name}</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
            )
        items += f'<item><widget class="{kind}" name="{name}">{properties}</widget></item>'
    return (
        '<ui version="4.0"><class>Scaler</class><widget class="qMRMLWidget" name="Scaler">'
        '<layout class="QVBoxLayout" name="outer"><item><widget class="ctkCollapsibleButton" name="inputs">'
        '<property name="text"><string>Inputs</string></property>'
        f'<layout class="QVBoxLayout" name="inner">{items}</layout></widget></item></layout></widget>'
        f"<connections>{connections}</connections></ui>"
    )
