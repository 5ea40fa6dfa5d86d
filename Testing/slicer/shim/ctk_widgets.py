"""Stand-ins for the widgets of the Common Toolkit: same names, properties, slots and signals.

The Qt classes have been changed by `pythonqt.adopt` when these run: `self.width` is a number, not a method.
"""

# ruff: noqa: N801, N815, N816 -- the names are Slicer's

from __future__ import annotations

from PySide6.QtCore import Property, QPoint, QRect, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

from .ctk_scales import ctkRangeWidget, ctkSliderWidget
from .message_box import MessageBox

__all__ = [
    "ctkCheckBox",
    "ctkCollapsibleButton",
    "ctkComboBox",
    "ctkDoubleSpinBox",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkPushButton",
    "ctkRangeWidget",
    "ctkSliderWidget",
]
_UNLIMITED = 16777215  # Qt's largest size of a widget


class ctkCheckBox(QCheckBox):
    pass


class ctkComboBox(QComboBox):
    pass


class ctkDoubleSpinBox(QDoubleSpinBox):
    pass


class ctkPushButton(QPushButton):
    pass


ctkMessageBox = MessageBox


class ctkCollapsibleButton(QAbstractButton):
    """A heading that folds away whatever lies in its own layout."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *text_and_parent: str | QWidget | None) -> None:
        super().__init__(next((item for item in text_and_parent if isinstance(item, QWidget)), None))
        self._folded: list[QWidget] = []
        self.setText(next((item for item in text_and_parent if isinstance(item, str)), ""))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._heading_height() + 2, 0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.toggled.connect(self._fold)

    def _heading_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _fold(self, is_open: bool) -> None:
        if is_open:
            self.setMaximumHeight(_UNLIMITED)
            for child in self._folded:
                child.setVisible(True)
            self._folded = []
        else:
            self._fold_children()
            self.setMaximumHeight(self._heading_height())
        self.contentsCollapsed.emit(not is_open)

    def _fold_children(self) -> None:
        # A child that the module itself has hidden must stay hidden when the heading opens again.
        shown = [child for child in self.children() if isinstance(child, QWidget) and not child.isHidden()]
        self._folded += shown
        for child in shown:
            child.setVisible(False)

    def showEvent(self, event: QShowEvent) -> None:
        # A `.ui` file sets `collapsed` before the children exist.
        if not self.checked:
            self._fold_children()
        super().showEvent(event)

    def hitButton(self, position: QPoint) -> bool:
        return position.y() <= self._heading_height()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, option = QPainter(self), QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width, self._heading_height())
        self.style().drawControl(QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        text = f"{'▾' if self.checked else '▸'}  {self.text}"
        painter.drawText(option.rect.adjusted(8, 0, -8, 0), Qt.AlignmentFlag.AlignVCenter, text)

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.checked, _set_collapsed)


class ctkPathLineEdit(QWidget):
    """Line with a path and a button to browse for one."""

    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line, browse = QLineEdit(self), QToolButton(self)
        browse.setText("…")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)
        row.addWidget(browse)
        self._line.textChanged.connect(self.currentPathChanged)
        browse.clicked.connect(self._browse)

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self)
        if path:
            self.setCurrentPath(path)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """There is no history; modules call this after each run."""

    currentPath = Property(str, lambda self: self._line.text, setCurrentPath)
