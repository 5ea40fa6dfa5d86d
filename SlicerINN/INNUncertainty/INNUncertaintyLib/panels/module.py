"""What the panels of both modules do alike: the state of a scene, a child process, boxes, the self test."""

import math
import sys
import time
from contextlib import contextmanager

import qt
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

__all__ = ["ModulePanel", "SelfTest", "describe", "fill", "fill_table", "quiet", "select"]


@contextmanager
def quiet(*widgets):
    """While the block runs, widgets do not say that they change."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, was in zip(widgets, before, strict=True):
            widget.blockSignals(was)


def fill(box, items):
    """Offer texts with their values, and keep what is selected."""
    if items == [(box.itemText(n), box.itemData(n)) for n in range(box.count)]:
        return
    with quiet(box):
        kept = box.currentData
        box.clear()
        for text, value in items:
            box.addItem(text, value)
    if box.findData(kept) >= 0:
        select(box, kept)


def select(box, value):
    """Select the item of a value; nothing if it is not offered."""
    with quiet(box):
        box.setCurrentIndex(box.findData(value))


def fill_table(table, heads, rows):
    """Fill a table anew.

    Args:
        table: the widget, which does not say that it changes.
        heads: what stands over each column, and what that means.
        rows: texts, a list of one for each column.
    """
    with quiet(table):
        table.clear()
        table.setColumnCount(len(heads))
        table.setRowCount(len(rows))
        table.verticalHeader().setVisible(False)
        for column, (text, about) in enumerate(heads):
            head = qt.QTableWidgetItem(text.replace(" ", "\n"))
            head.setToolTip(about)
            table.setHorizontalHeaderItem(column, head)
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                cell = qt.QTableWidgetItem(text)
                if column:
                    cell.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(row, column, cell)
        table.resizeColumnsToContents()


_POLL_MS = 50


def _in_words(seconds):
    if seconds < 90:
        return _("{n} s").format(n=math.ceil(seconds / 5) * 5 if seconds > 10 else math.ceil(seconds))
    return _("{n} min").format(n=math.ceil(seconds / 60))


def describe(module, title, category, about):
    """Say what Slicer shows of a module before it is opened."""
    module.title, module.helpText = title, about
    module.categories = [translate("qSlicerAbstractCoreModule", category)]
    module.contributors = ["The monai_inn developers"]
    module.acknowledgementText = _("Research only. Not a medical device; not for diagnosis or treatment.")


class SelfTest(ScriptedLoadableModuleTest):
    """The test of a module that users can run; ``logic`` is the class of its logic."""

    _PATIENCE_S = 600

    def setUp(self):
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all tests."""
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            getattr(self, name)()

    def finish(self, logic):
        """Wait for what a logic has started; returns the run that came."""
        run, end = None, time.monotonic() + self._PATIENCE_S
        while run is None:
            assert time.monotonic() < end, "no result in time"
            run = logic.poll()
            slicer.app.processEvents()
            time.sleep(_POLL_MS / 1000)
        return run

    def test_missing_input_is_refused(self):
        """Without input nothing starts."""
        logic = self.logic()
        with self.assertRaises(ValueError):
            logic.start(logic.getParameterNode())


class ModulePanel(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel of a module, which has ``initializeParameterNode``, ``onPoll`` and the like."""

    libraries = ("INNUncertaintyLib", "INNDisplayLib")
    logic = _state = _tag = None
    _child = None  # whose log is shown
    _missing = ""  # what keeps the main button from being pressed

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup_module(self, name, logic):
        """Load the panel of a module, and listen to the scene."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = logic
        self.ui.progressBar.visible = self.ui.logSection.visible = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.onPoll)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)

    def onReload(self):
        """Read the support libraries anew as well, which Python keeps."""
        for name in [name for name in sys.modules if name.split(".")[0] in self.libraries]:
            del sys.modules[name]
        super().onReload()

    # State: one parameter node a scene; the panel without it shows nothing.

    def enter(self):
        """The module is opened."""
        self.initializeParameterNode()

    def exit(self):
        """Another module is opened; what runs goes on."""
        self._set_state(None)

    def onSceneEndClose(self, caller, event):
        """A new scene, if the module is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def _set_state(self, state):
        if self._state is not None:
            self._state.disconnectGui(self._tag)
            self.removeObserver(self._state, vtk.vtkCommand.ModifiedEvent, self.onStateChanged)
        self._state = state
        if state is not None:
            self.enter_state(state)
            self._tag = state.connectGui(self.ui)
            self.addObserver(state, vtk.vtkCommand.ModifiedEvent, self.onStateChanged)
            self.show_state(state)

    def enter_state(self, state):
        """A state comes: bring controls up to date that are not connected to it by their names."""

    def show_state(self, state):
        """Bring panel and views up to date with a new state."""
        self.onStateChanged()

    # A child process that runs.

    def _show_progress(self, child):
        self.ui.progressBar.visible = True
        self.ui.progressBar.value = round(1000 * child.share)
        text = _("{share:.0%}, {what}").format(share=child.share, what=child.text)
        if child.left_s is not None:
            text = _("{progress}, about {time} left").format(progress=text, time=_in_words(child.left_s))
        self.ui.statusLabel.text = text
        self._show_log()

    def _listen(self, work):
        """Show the log of this work from now on, if there is any."""
        if work is not None:
            self._child = work.child

    def _show_log(self):
        log = self._child.log if self._child is not None else ""
        self.ui.logSection.visible = bool(log)
        if log != self.ui.logText.plainText:
            self.ui.logText.plainText = log
            bar = self.ui.logText.verticalScrollBar()
            bar.setValue(bar.maximum)  # what came last

    def _start_or_cancel(self, work, failure, start=None):
        """Start the work of the panel, or cancel what runs."""
        if work is not None:
            self.logic.cancel()
            self._show_idle(_("Canceled; nothing was changed."))
            return
        with slicer.util.tryWithErrorDisplay(failure):
            (start or self.logic.start)(self._state)
            self._timer.start()
            self.ui.statusLabel.text = _("Starting...")
            self.onStateChanged()

    def _show_error(self, error, title):
        self._show_idle(str(error))
        slicer.util.errorDisplay(str(error), windowTitle=title)

    def _show_idle(self, text):
        self.onStateChanged()
        self._show_log()
        self.ui.progressBar.value, self.ui.progressBar.visible = 0, False
        self.ui.statusLabel.text = text

    def _offer(self, button, text, tip, missing, is_running):
        """Let the main button be pressed if nothing is missing, or to cancel what runs."""
        button.text = _("Cancel") if is_running else text
        button.enabled = is_running or not missing
        button.toolTip = missing or tip
        if missing != self._missing and not is_running:
            self.ui.statusLabel.text = missing
        self._missing = missing
