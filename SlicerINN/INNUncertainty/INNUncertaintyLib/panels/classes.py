"""The part of the panel that shows classified images: probabilities, trust, and what speaks for a class."""

from pathlib import PureWindowsPath

import slicer.util
from INNDisplayLib import (
    class_alarm,
    class_odds,
    class_p_value,
    class_runs,
    class_sets,
    class_shares,
    classes_found,
    clear_views,
    evidence_legend,
    hide_contours,
    likeliest,
    runs,
    show_class_image,
    show_only_regions,
)
from slicer.i18n import tr as _

from .inspection import FRAME
from .legend_bar import BAR, legend_picture
from .module import fill, fill_table, quiet, select

__all__ = ["ClassesPanel", "classes_of", "show_classes", "shown_classes", "take_classes"]


def classes_of(state):
    """The classification of the panel: the chosen one, or the latest; ``None`` if there is none."""
    found = class_runs(slicer.mrmlScene)
    return next((run for run in found if run.key == state.classes), found[-1] if found else None)


def shown_classes(state):
    """The classification that the views show, always where there are no maps; ``None`` if they show maps."""
    return classes_of(state) if state.showClasses or not runs(slicer.mrmlScene) else None


def _look(run, state):
    """Number of the image that is shown, and the two classes whose evidence is."""
    record = run.record
    number = min(state.classImage, len(record["images"]) - 1)
    pair = [state.classFor, state.classAgainst]
    if pair[0] == pair[1] or not {*pair} <= {*record["classes"]}:
        pair = likeliest(record["images"][number])
    return number, *pair


def show_classes(state, has_legend):
    """Show the image of the panel with its evidence in all slice views; what is drawn of maps goes."""
    run, scene = classes_of(state), slicer.mrmlScene
    for other in runs(scene):
        hide_contours(other)
    show_only_regions(scene, None)
    show_class_image(run, *_look(run, state), state.evidenceOpacity, has_legend)


def take_classes(state, run):
    """Let the panel show a classification, in place of maps."""
    with slicer.util.NodeModify(state):
        state.classes, state.showClasses, state.classImage = run.key, True, 0
        state.classFor = state.classAgainst = ""


def _heads(record):
    """Heads of the table of images, and what they mean."""
    return [
        (_("Image"), _("File, and the class it is put into")),
        *((f"{name} [%]", _("Probability of {name}").format(name=name)) for name in record["classes"]),
        (_("p-value"), _("Share of usual images that are as strange; ⚠: not explained, of no class")),
    ]


def _row(record, entry):
    """An image as a row under these heads."""
    sign = "⚠ " if entry["is_of_no_class"] else ""
    shares = [f"{100 * entry['probability'][name]:.1f}" for name in record["classes"]]
    return [PureWindowsPath(entry["image"]).name, *shares, f"{sign}{entry['p_value']:.2g}"]


class ClassesPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and its other parts."""

    def setup_part(self):
        """Listen; the section is hidden until there is a classification."""
        ui = self.ui
        ui.classesSection.visible = False
        self._class_tabled = self._class_shown = None  # classifications in table and views
        self._evidence_before = 0.6  # opacity when the evidence was last seen
        ui.classesBox.connect("currentIndexChanged(int)", self.onClasses)
        ui.classTable.connect("currentCellChanged(int,int,int,int)", self.onClassImage)
        ui.classForBox.connect("currentIndexChanged(int)", self.onClassPair)
        ui.classAgainstBox.connect("currentIndexChanged(int)", self.onClassPair)

    def onClasses(self, index):
        """Another classification was chosen."""
        chosen = self.ui.classesBox.currentData
        take_classes(self._state, next(r for r in class_runs(slicer.mrmlScene) if r.key == chosen))

    def onClassImage(self, row):
        """Another image was chosen, by the mouse or the arrow keys: its two most probable classes."""
        if self._state is not None and row >= 0:
            with slicer.util.NodeModify(self._state):
                self._state.classImage, self._state.showClasses = row, True
                self._state.classFor = self._state.classAgainst = ""

    def onClassPair(self, index):
        """Other classes were chosen; of one class against itself there is no evidence."""
        first, second = self.ui.classForBox.currentData, self.ui.classAgainstBox.currentData
        if first == second:
            names = classes_of(self._state).record["classes"]
            second = next(name for name in names if name != first)
        with slicer.util.NodeModify(self._state):
            self._state.classFor, self._state.classAgainst = first, second

    def toggle_evidence(self):
        """Take the evidence off or on; whether a classification is shown."""
        state = self._state
        if shown_classes(state) is None:
            return False
        shown = state.evidenceOpacity
        state.evidenceOpacity = 0.0 if shown else self._evidence_before
        self._evidence_before = shown or self._evidence_before
        return True

    def show_classification(self, state):
        """Bring section and views up to date."""
        run, shown = classes_of(state), shown_classes(state)
        self.ui.classesSection.visible = run is not None
        if run is not None:
            self._fill_classes(run, state)
        before, self._class_shown = self._class_shown, shown
        if shown is not None:
            self.logic.show(state, has_legend=False)
            self.say_validation(self.logic.bundle(shown.record["bundle"]))
            if shown != before:
                self._give_way(True)
                self.ui.statusLabel.text = classes_found(shown.record)
                slicer.util.resetSliceViews()
        elif before is not None:
            clear_views(before)
            self._give_way(self.logic.run(state) is None)
            self.onRunsChanged()  # maps come back

    def _give_way(self, has_classes):
        """Fold what is not for classes, or open it again: screens are low."""
        self.ui.inputsSection.collapsed = True
        self.ui.displaySection.collapsed = self.ui.probeSection.collapsed = has_classes

    def _fill_classes(self, run, state):
        ui, record = self.ui, run.record
        number, first, second = _look(run, state)
        entry = record["images"][number]
        fill(ui.classesBox, [(each.name, each.key) for each in class_runs(slicer.mrmlScene)])
        select(ui.classesBox, run.key)
        ui.showClassesCheck.visible = bool(runs(slicer.mrmlScene))
        with quiet(ui.classTable):
            if self._class_tabled != run:
                self._class_tabled = run
                fill_table(ui.classTable, _heads(record), [_row(record, e) for e in record["images"]])
            ui.classTable.setCurrentCell(number, max(ui.classTable.currentColumn(), 0))
        names = record["classes"]
        fill(ui.classForBox, [(name, name) for name in names])
        fill(ui.classAgainstBox, [(name, name) for name in names if name != first])
        select(ui.classForBox, first)
        select(ui.classAgainstBox, second)
        legend = evidence_legend(run, number, first, second, BAR[2])
        ui.evidenceTitle.text = legend.title
        ui.evidenceLegend.setPixmap(legend_picture(legend))
        self._say_classes(record, entry, run.evidence(number, first, second).sum(dtype=float), first, second)

    def _say_classes(self, record, entry, nats, first, second):
        """What is said of an image; that its class must not be used with a sign and a frame besides."""
        settings, is_alarm = record["settings"], entry["is_of_no_class"]
        alarm = class_alarm(entry, settings["false_alarm"])
        warning = _("⚠ [///] NOT EXPLAINED. {alarm}").format(alarm=alarm) if is_alarm else ""
        parts = [
            warning or class_p_value(entry),
            *entry["notes"],
            class_sets(entry, settings["coverage"]),
            class_odds(float(nats), first, second),
            class_shares(record),
            *record["warnings"],
        ]
        self.ui.classCard.styleSheet = f"QTextBrowser {{ {FRAME} }}" if is_alarm else ""
        self.ui.classCard.plainText = "\n".join(parts)
