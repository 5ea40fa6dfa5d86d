"""The part of the panel that says which map is shown and how."""

import qt
import slicer.util
import vtk
from INNDisplayLib import (
    Appearance,
    Overlay,
    change_text,
    drawn_text,
    legend_of,
    nothing_to_see,
    number_of_samples,
    pictures,
    runs,
    turn_to,
)
from slicer.i18n import tr as _

from ..bundles import calibration_line
from ..parameters import Kind
from .beside import put_beside
from .legend_bar import BAR, legend_picture
from .module import fill, quiet, select

__all__ = ["DisplayPanel", "appearance_of", "verdict"]


def verdict(run):
    """How much of the image may be trusted, and what is doubtful, in words."""
    found = run.result.record["summary"]
    share = found["share_untrusted"]
    if share is None:
        return _("No voxel could be used.")
    silent = ", ".join(
        f"{run.parameter(name).label} {row['share_uninformative']:.1%}"
        for name, row in found.get("trusted_pixels", {}).items()
        if row.get("share_uninformative")
    )
    text = _(
        "{valid:,} of {all:,} voxels usable (others: grid); {share:.1%} of them not explained, out of "
        "distribution (stripes). "
    ).format(valid=found["valid_pixels"], all=found["pixels"], share=share)
    text += _("Not informative: {parts} (dots).").format(parts=silent or _("none"))
    said = [run.synthetic, text, *map(str, run.result.record.get("warnings", []))]
    return " ".join(filter(None, said))


def appearance_of(run, state):
    """What the panel asks for, in the words of the display library."""
    parameter = run.parameter(state.parameter).name
    return Appearance(
        kind=state.kind.value,
        parameter=parameter,
        opacity=state.opacity,
        hide_below=state.hideBelow / 100,
        graded=state.graded,
        threshold=state.threshold,
        sample=min(state.sample, max(1, number_of_samples(run, parameter))) - 1,
        other=state.other,
        pictures=(state.picture,) if state.picture in pictures(run) else (),
        map_beside=state.mapBeside,
    )


class DisplayPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and ``onStateChanged``."""

    def setup_part(self):
        """Fill what never changes, and listen."""
        ui = self.ui
        fill(ui.kindBox, [(kind.label(), kind.value) for kind in Kind])
        ui.runBox.connect("currentIndexChanged(int)", self.onRun)
        ui.kindBox.connect("currentIndexChanged(int)", self.onKind)
        ui.pictureBox.connect("currentIndexChanged(int)", self.onPicture)
        ui.parameterBox.connect("currentIndexChanged(int)", self.onParameter)
        ui.otherBox.connect("currentIndexChanged(int)", self.onOther)
        ui.sampleSlider.connect("valueChanged(int)", self.onSample)
        ui.thresholdSlider.connect("valueChanged(double)", self.onThreshold)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndImportEvent, self.onSceneImported)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self._shown_before = Kind.WIDTH
        self._views_before = None  # while image and map stand beside each other
        self._has_result = None
        self._shortcut = qt.QShortcut(qt.QKeySequence("U"), slicer.util.mainWindow())
        self._shortcut.connect("activated()", self.onToggle)

    def onRun(self, index):
        """A result was chosen."""
        self._state.run = self.ui.runBox.currentData
        turn_to(self.logic.run(self._state))
        self.onRunsChanged()

    def onKind(self, index):
        """A kind of map was chosen."""
        self._state.kind = Kind(self.ui.kindBox.currentData)

    def onPicture(self, index):
        """Another image was chosen to lie below the map."""
        self._state.picture = self.ui.pictureBox.currentData

    def onParameter(self, index):
        """A parameter was chosen; a threshold means nothing to another one."""
        known = self.logic.run(self._state).parameters
        self._take(next(p for p in known if p.name == self.ui.parameterBox.currentData))

    def onOther(self, index):
        """Another result was chosen to compare with."""
        self._state.other = self.ui.otherBox.currentData

    def onSample(self, value):
        """Another sample."""
        self._state.sample = value

    def onThreshold(self, value):
        """Another threshold."""
        self._state.threshold = value

    def onToggle(self):
        """Image alone, or what was shown before."""
        if self._state is None or self.toggle_evidence():
            return
        shown = self._state.kind
        self._state.kind = self._shown_before if shown is Kind.OFF else Kind.OFF
        if shown is not Kind.OFF:
            self._shown_before = shown

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        """A result may have gone."""
        if node is not None and node.GetAttribute("INN.map") in ("record", "classification"):
            self.onRunsChanged()

    def onRunsChanged(self, caller=None, event=None):
        """There are other results in the scene, or another one is shown."""
        if self._state is None:
            return
        fill(self.ui.runBox, [(run.name, run.key) for run in runs(slicer.mrmlScene)])
        self.observe_frames()
        run = self.logic.run(self._state)
        others = [(r.name, r.key) for r in runs(slicer.mrmlScene) if r != run]
        fill(self.ui.otherBox, others)
        if self._state.other not in [key for _name, key in others]:
            self._state.other = others[0][1] if others else ""
        known = run.parameters if run is not None else ()
        fill(self.ui.parameterBox, [(p.label, p.name) for p in known])
        if known and self._state.parameter not in [p.name for p in known]:
            self._take(known[0])
        self._make_room(run is not None)
        self.onStateChanged()

    def _make_room(self, has_result):
        """Open what there is to do next, when the first result comes or the last goes: screens are low."""
        if has_result != self._has_result:
            self._has_result = has_result
            self.ui.inputsSection.collapsed = has_result
            self.ui.displaySection.collapsed = self.ui.probeSection.collapsed = not has_result

    def _take(self, shown):
        with slicer.util.NodeModify(self._state):
            self._state.parameter = shown.name
            self._state.threshold = (shown.low + shown.high) / 2

    def show_run(self, run, state):
        """Bring the controls up to date, with the numbers behind them in units."""
        ui, shown = self.ui, run.parameter(state.parameter)
        select(ui.runBox, run.key)
        select(ui.kindBox, state.kind.value)
        names = pictures(run)
        fill(ui.pictureBox, [(name, name) for name in names])
        below = state.picture if state.picture in names else "".join(names[:1])
        select(ui.pictureBox, below)
        self._show_rows(state, below, bool(names))
        select(ui.parameterBox, shown.name)
        select(ui.otherBox, state.other)
        ui.otherBox.enabled = ui.changeButton.enabled = bool(state.other)
        number = number_of_samples(run, shown.name)
        sample = appearance_of(run, state).sample + 1
        with quiet(ui.thresholdSlider, ui.sampleSlider):
            ui.thresholdSlider.minimum, ui.thresholdSlider.maximum = shown.low, shown.high
            ui.thresholdSlider.singleStep = (shown.high - shown.low) / 100
            ui.thresholdSlider.value = state.threshold
            ui.sampleSlider.maximum = max(1, number)
            ui.sampleSlider.value = sample
        ui.sampleSlider.enabled = number > 0 and "sample" in (state.kind.value, below)
        ui.sampleLabel.text = (
            _("sample {k} of {n}").format(k=sample, n=number) if number else _("no samples stored")
        )
        ui.thresholdLabel.text = _("Probability that {name} {side} {value}").format(
            name=shown.label,
            side=">" if state.kind is Kind.ABOVE else "<",
            value=shown.text(state.threshold),
        )
        ui.hideBelowLabel.text = self._scale_text(run, state)
        ui.parameterBox.toolTip = shown.description
        measured = calibration_line(run.result.record["bundle"].get("calibration"))
        ui.validationLabel.text = _("{name}: {line}").format(name=run.name, line=measured)

    def _show_rows(self, state, below, has_pictures):
        """Hide the controls that have nothing to do with what is shown."""
        ui, kind = self.ui, state.kind
        is_probability = kind in (Kind.PROBABILITY, Kind.ABOVE) or state.contours
        for row, is_needed in (
            ((ui.pictureBox, ui.pictureBoxCaption), has_pictures),
            ((ui.opacitySlider, ui.opacitySliderCaption), kind is not Kind.OFF and not state.mapBeside),
            ((ui.hideBelowSlider, ui.hideBelowSliderCaption, ui.hideBelowLabel), kind is not Kind.OFF),
            ((ui.gradedCheck,), kind is not Kind.OFF and not state.mapBeside),
            ((ui.thresholdSlider, ui.thresholdSliderCaption, ui.thresholdLabel), is_probability),
            ((ui.sampleSlider, ui.sampleSliderCaption, ui.sampleLabel), "sample" in (kind.value, below)),
            ((ui.otherBox, ui.otherBoxCaption, ui.changeButton), kind is Kind.DIFFERENCE),
        ):
            for control in row:
                control.visible = is_needed

    def show_views(self, run, state):
        """Draw the color scale of what the views show, and arrange the views."""
        legend = legend_of(Overlay(run), appearance_of(run, state), BAR[2])
        ui = self.ui
        ui.legendLabel.visible = ui.legendTitle.visible = legend is not None
        if legend is not None:
            ui.legendTitle.text = legend.title
            ui.legendLabel.setPixmap(legend_picture(legend))
        if state.mapBeside != (self._views_before is not None):
            before = put_beside(state.mapBeside, self._views_before)
            self._views_before = before if state.mapBeside else None

    def show_comparison(self, comparison):
        """Say in words what a comparison has found."""
        if comparison is not None:
            self.ui.compareLabel.text = comparison.text
        else:
            self.ui.compareLabel.text = change_text(self.logic.run(self._state), self._state.parameter)
        if self._state.kind is Kind.DIFFERENCE and comparison is None:
            self.ui.compareLabel.text = _("There is no other result to compare with.")
        self.ui.compareLabel.visible = bool(self.ui.compareLabel.text)

    def _scale_text(self, run, state):
        if state.kind is Kind.OFF:
            return ""
        missing = {
            Kind.PROBABILITY: run.layers(run.parameter(state.parameter).name) is None,
            Kind.ABOVE: not number_of_samples(run, run.parameter(state.parameter).name),
        }
        if missing.get(state.kind):
            return _("Not in this result: below a threshold needs quantiles, above it samples.")
        if state.kind is Kind.ADEQUACY and run.find("adequacy") is None:
            return _("Not in this result: set Simulations among the options, and apply again.")
        appearance = appearance_of(run, state)
        if nothing := nothing_to_see(run, appearance):
            return nothing
        overlay = Overlay(run)
        low, high = overlay.scale(appearance)
        return _("{drawn}; colors span {low:.3g} to {high:.3g}{unit}").format(
            drawn=drawn_text(overlay, appearance), low=low, high=high, unit=overlay.unit(appearance)
        )
