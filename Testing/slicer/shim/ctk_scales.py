"""Stand-ins for the widgets of the Common Toolkit that select numbers."""

# ruff: noqa: N801, N815 -- the names are Slicer's

from __future__ import annotations

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

__all__ = ["ctkRangeWidget", "ctkSliderWidget"]
_POSITIONS = 1000  # of the handle of a slider


class _Scale(QWidget):
    """Limits, step and decimals of a widget that selects numbers; `_limits_changed` hears of changes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high, self._step, self._decimals = 0.0, 99.0, 1.0, 2
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)

    def _add_spin_box(self) -> QDoubleSpinBox:
        box = QDoubleSpinBox(self)
        self._row.addWidget(box)
        return box

    def _set_up(self, *boxes: QDoubleSpinBox) -> None:
        for box in boxes:
            box.blockSignals(True)
            box.setDecimals(self._decimals)
            box.setSingleStep(self._step)
            box.setRange(self._low, self._high)
            box.blockSignals(False)

    def _limits_changed(self) -> None:
        raise NotImplementedError

    def setRange(self, low: float, high: float) -> None:
        self._low, self._high = float(low), float(max(low, high))
        self._limits_changed()

    def setMinimum(self, value: float) -> None:
        self.setRange(value, max(value, self._high))

    def setMaximum(self, value: float) -> None:
        self.setRange(min(value, self._low), value)

    def setSingleStep(self, value: float) -> None:
        self._step = value
        self._limits_changed()

    def setDecimals(self, value: int) -> None:
        self._decimals = value
        self._limits_changed()

    minimum = Property(float, lambda self: self._low, setMinimum)
    maximum = Property(float, lambda self: self._high, setMaximum)
    singleStep = Property(float, lambda self: self._step, setSingleStep)
    decimals = Property(int, lambda self: self._decimals, setDecimals)


class ctkSliderWidget(_Scale):
    """Slider and spin box that show the same number."""

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value = 0.0
        self._tracking = True
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, _POSITIONS)
        self._row.addWidget(self._slider, 1)
        self._box = self._add_spin_box()
        self._limits_changed()
        self._slider.valueChanged.connect(self._dragged)
        self._slider.sliderReleased.connect(lambda: self._dragged(self._slider.value))
        self._box.valueChanged.connect(self.setValue)

    def _limits_changed(self) -> None:
        self._set_up(self._box)
        self.setValue(self._value)
        self._show_value()

    def _dragged(self, position: int) -> None:
        if self._slider.sliderDown and not self._tracking:
            return
        steps = position / _POSITIONS * (self._high - self._low) / self._step
        self.setValue(self._low + round(steps) * self._step)

    def _show_value(self) -> None:
        length = self._high - self._low or 1.0
        position = round((self._value - self._low) / length * _POSITIONS)
        for widget, value in ((self._slider, position), (self._box, self._value)):
            widget.blockSignals(True)
            widget.setValue(value)
            widget.blockSignals(False)

    def setValue(self, value: float) -> None:
        value = min(max(float(value), self._low), self._high)
        if value != self._value:
            self._value = value
            self._show_value()
            self.valueChanged.emit(value)

    def setTracking(self, tracking: bool) -> None:
        self._tracking = tracking

    value = Property(float, lambda self: self._value, setValue)
    tracking = Property(bool, lambda self: self._tracking, setTracking)
    suffix = Property(str, lambda self: self._box.suffix, lambda self, text: self._box.setSuffix(text))
    prefix = Property(str, lambda self: self._box.prefix, lambda self, text: self._box.setPrefix(text))


class ctkRangeWidget(_Scale):
    """Two spin boxes, and between them a bar that shows the interval."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values = self._low, self._high
        self._from = self._add_spin_box()
        self._row.addStretch(1)
        self._to = self._add_spin_box()
        self._limits_changed()
        self._from.valueChanged.connect(self.setMinimumValue)
        self._to.valueChanged.connect(self.setMaximumValue)

    def _limits_changed(self) -> None:
        self._set_up(self._from, self._to)
        self.setValues(*self._values)
        self._show_values()

    def _show_values(self) -> None:
        for box, value in zip((self._from, self._to), self._values, strict=True):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        self.update()

    def setValues(self, low: float, high: float) -> None:
        old = self._values
        low, high = sorted(min(max(float(value), self._low), self._high) for value in (low, high))
        if (low, high) == old:
            return
        self._values = low, high
        self._show_values()
        if low != old[0]:
            self.minimumValueChanged.emit(low)
        if high != old[1]:
            self.maximumValueChanged.emit(high)
        self.valuesChanged.emit(low, high)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._values[0]), value)

    def paintEvent(self, event: QPaintEvent) -> None:
        left, right = self._from.geometry.right() + 8, self._to.geometry.left() - 8
        scale = (right - left) / (self._high - self._low or 1.0)
        start, end = (round(left + (value - self._low) * scale) for value in self._values)
        painter, middle = QPainter(self), self.height // 2
        painter.fillRect(left, middle - 2, right - left, 4, self.palette.color(QPalette.ColorRole.Mid))
        painter.fillRect(
            start, middle - 4, max(end - start, 2), 8, self.palette.color(QPalette.ColorRole.Highlight)
        )

    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)
