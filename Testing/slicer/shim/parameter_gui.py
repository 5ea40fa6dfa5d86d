"""Which widget can show which type of parameter: the table of Slicer's developer guide, no more.

Slicer compares the exact class of the widget; a combination that is missing there raises here as well.
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6 import QtWidgets

from .ctk_scales import ctkRangeWidget, ctkSliderWidget
from .ctk_widgets import ctkCheckBox, ctkComboBox, ctkDoubleSpinBox, ctkPathLineEdit
from .mrml_widgets import qMRMLNodeComboBox
from .parameter_types import (
    Choice,
    Decimals,
    FloatRange,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
)

if TYPE_CHECKING:
    from .parameter_node import Parameter

__all__ = ["Connector", "connector_for"]


@dataclass
class Connector:
    """How to read and write the value of a widget, and the signal of its changes (none: it only shows)."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    changed: Any


def _property(widget: QtWidgets.QWidget, name: str, changed: Any) -> Connector:
    return Connector(lambda: getattr(widget, name), lambda value: setattr(widget, name, value), changed)


def _number(widget: QtWidgets.QWidget, parameter: Parameter) -> Connector:
    whole = parameter.kind is int
    bounds = parameter.note(WithinRange)
    low = bounds or parameter.note(Minimum)
    high = bounds or parameter.note(Maximum)
    if isinstance(widget, QtWidgets.QSlider | ctkSliderWidget) and not (low and high):
        raise RuntimeError(f"a slider for {parameter.name} needs WithinRange, or Minimum and Maximum")
    _set_steps(widget, parameter)
    limit = 2**31 if whole else float("inf")
    widget.setMinimum(low.minimum if low else -limit)
    widget.setMaximum(high.maximum if high else limit - whole)
    return _property(widget, "value", widget.valueChanged)


def _set_steps(widget: QtWidgets.QWidget, parameter: Parameter) -> None:
    for kind, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
        note = parameter.note(kind)
        if note is not None:
            setattr(widget, name, note.value)


def _range(widget: ctkRangeWidget, parameter: Parameter) -> Connector:
    bounds = parameter.note(RangeBounds)
    if bounds is None:
        raise RuntimeError(f"a range widget for {parameter.name} needs RangeBounds")
    _set_steps(widget, parameter)
    widget.setRange(bounds.minimum, bounds.maximum)
    return Connector(
        lambda: FloatRange(widget.minimumValue, widget.maximumValue),
        lambda value: widget.setValues(value.minimum, value.maximum),
        widget.valuesChanged,
    )


def _choice(widget: QtWidgets.QComboBox, parameter: Parameter) -> Connector:
    if issubclass(parameter.kind, enum.Enum):
        values = list(parameter.kind)
        label = getattr(parameter.kind, "label", lambda member: member.name)
    else:
        note = parameter.note(Choice)
        if note is None:
            raise RuntimeError(f"a combo box for {parameter.name} needs Choice")
        values, label = list(note.choices), str
    widget.clear()
    widget.addItems([label(value) for value in values])
    return Connector(
        lambda: values[widget.currentIndex],
        lambda value: widget.setCurrentIndex(values.index(value)),
        widget.currentIndexChanged,
    )


def _button(widget: QtWidgets.QPushButton, parameter: Parameter) -> Connector:
    widget.setCheckable(True)
    return _property(widget, "checked", widget.toggled)


def _text(widget: QtWidgets.QTextEdit, parameter: Parameter) -> Connector:
    return Connector(widget.toPlainText, widget.setPlainText, widget.textChanged)


def _path(widget: ctkPathLineEdit, parameter: Parameter) -> Connector:
    return Connector(
        lambda: pathlib.Path(widget.currentPath),
        lambda value: widget.setCurrentPath(str(value)),
        widget.currentPathChanged,
    )


def _node(widget: qMRMLNodeComboBox, parameter: Parameter) -> Connector:
    widget.nodeTypes = parameter.node_types
    return Connector(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)


_TABLE: dict[tuple[type, type], Callable[[Any, Parameter], Connector]] = {
    (QtWidgets.QCheckBox, bool): _button,
    (ctkCheckBox, bool): _button,
    (QtWidgets.QPushButton, bool): _button,
    (QtWidgets.QSlider, int): _number,
    (QtWidgets.QSpinBox, int): _number,
    (QtWidgets.QDoubleSpinBox, float): _number,
    (ctkDoubleSpinBox, float): _number,
    (ctkSliderWidget, float): _number,
    (ctkRangeWidget, FloatRange): _range,
    (QtWidgets.QLineEdit, str): lambda widget, _: _property(widget, "text", widget.textChanged),
    (QtWidgets.QTextEdit, str): _text,
    (QtWidgets.QLabel, str): lambda widget, _: _property(widget, "text", None),
    (ctkPathLineEdit, pathlib.Path): _path,
}
for _combo_box in (QtWidgets.QComboBox, ctkComboBox):
    _TABLE |= {(_combo_box, kind): _choice for kind in (int, float, str, bool, enum.Enum)}


def connector_for(widget: QtWidgets.QWidget, parameter: Parameter) -> Connector:
    """The connector of a widget and a parameter.

    Raises:
        RuntimeError: Slicer has none, or the annotation lacks what the widget needs.
    """
    if parameter.node_types and type(widget) is qMRMLNodeComboBox:
        return _node(widget, parameter)
    kind = parameter.kind
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        kind = enum.Enum
    make = _TABLE.get((type(widget), kind))
    if make is None:
        raise RuntimeError(f"{type(widget).__name__} cannot show {parameter.name} of type {parameter.kind}")
    return make(widget, parameter)
