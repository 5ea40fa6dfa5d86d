"""Stand-in for `slicer.parameterNodeWrapper`: typed attributes over a vtkMRMLScriptedModuleNode."""

# ruff: noqa: N815 -- the names are Slicer's

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import slicer
import slicer.util
from PySide6.QtWidgets import QWidget

from .parameter_gui import Connector, connector_for
from .parameter_storage import storage_of
from .parameter_types import (
    Choice,
    Decimals,
    Default,
    FloatRange,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "FloatRange",
    "Maximum",
    "Minimum",
    "RangeBounds",
    "SingleStep",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
_BOUND = "SlicerParameterName"  # dynamic property of a widget in a .ui file


class Parameter:
    """One annotated attribute; its value lives in the node, as text."""

    def __init__(self, name: str, annotation: Any, owner: type) -> None:
        self.name, self.kind, self.notes = name, annotation, ()
        if typing.get_origin(annotation) is Annotated:
            self.kind, *self.notes = typing.get_args(annotation)
        self.storage = storage_of(self.kind)
        stated = self.note(Default)
        if hasattr(owner, name):
            self.default = getattr(owner, name)
        else:
            self.default = stated.value if stated else self.storage.default()

    @property
    def node_types(self) -> list[str]:
        """Classes of nodes that it may refer to; empty for a parameter that is not a node."""
        members = typing.get_args(self.kind) if typing.get_origin(self.kind) is typing.Union else (self.kind,)
        kinds = [kind for kind in members if kind is not type(None)]
        are_nodes = all(isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode) for kind in kinds)
        return [kind.__name__ for kind in kinds] if are_nodes else []

    def note(self, kind: type) -> Any:
        """The first annotation of a kind, or None."""
        return next((note for note in self.notes if isinstance(note, kind)), None)

    def __get__(self, wrapper: ParameterNode | None, owner: type) -> Any:
        return self if wrapper is None else self.storage.read(wrapper.parameterNode, self.name)

    def __set__(self, wrapper: ParameterNode, value: Any) -> None:
        self.write(wrapper.parameterNode, value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, value: Any) -> None:
        """Check a value and store it, with a single event of modification."""
        self.storage.check(value)
        for note in self.notes:
            if hasattr(note, "validate"):
                note.validate(value)
        with slicer.util.NodeModify(node):
            self.storage.write(node, self.name, value)


class _Binding:
    """Keeps widgets and a parameter node equal."""

    def __init__(self, wrapper: ParameterNode, connectors: dict[str, Connector]) -> None:
        self._wrapper, self._connectors = wrapper, connectors
        self._is_showing = False
        self._slots: list[tuple[Any, Callable]] = []
        # Slicer shows the node before it listens to the widgets: what a selector picked on its own is lost.
        self._show()
        for name, connector in connectors.items():
            if connector.changed is not None:
                slot = self._store_slot(name)
                connector.changed.connect(slot)
                self._slots.append((connector.changed, slot))
        self._tag = wrapper.AddObserver("ModifiedEvent", self._show)

    def _store_slot(self, name: str) -> Callable[..., None]:
        def store(*_: object) -> None:
            if not self._is_showing:
                setattr(self._wrapper, name, self._connectors[name].read())

        return store

    def _show(self, *_: object) -> None:
        if self._is_showing:
            return
        self._is_showing = True
        try:
            for name, connector in self._connectors.items():
                connector.write(getattr(self._wrapper, name))
        finally:
            self._is_showing = False

    def release(self) -> None:
        for signal, slot in self._slots:
            signal.disconnect(slot)
        self._wrapper.RemoveObserver(self._tag)


class ParameterNode:
    """What the decorator adds to a class."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._bindings: dict[int, _Binding] = {}
        for parameter in self.allParameters.values():
            if not parameter.storage.is_in(parameterNode, parameter.name):
                parameter.write(parameterNode, parameter.default)

    def connectParametersToGui(self, mapping: Mapping[str, QWidget]) -> int:
        """Bind parameters to widgets; the number that comes back unties them again."""
        for name in mapping:
            if name not in self.allParameters:
                raise ValueError(f"no parameter {name!r}; there are {sorted(self.allParameters)}")
        connectors = {
            name: connector_for(widget, self.allParameters[name]) for name, widget in mapping.items()
        }
        tag = max(self._bindings, default=0) + 1
        self._bindings[tag] = _Binding(self, connectors)
        return tag

    def connectGui(self, gui: QWidget | object) -> int:
        """Bind every widget that carries the property SlicerParameterName."""
        widgets = gui.findChildren(QWidget) if isinstance(gui, QWidget) else vars(gui).values()
        return self.connectParametersToGui({w.property(_BOUND): w for w in widgets if w.property(_BOUND)})

    def disconnectGui(self, tag: int | None) -> None:
        if tag in self._bindings:
            self._bindings.pop(tag).release()

    def getValue(self, name: str) -> Any:
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modifying: int) -> int:
        return self.parameterNode.EndModify(was_modifying)

    def AddObserver(self, event: int | str, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type | None = None) -> type:
    """Class decorator, with or without brackets."""
    if cls is None:
        return parameterNodeWrapper
    annotations = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: Parameter(name, annotation, cls) for name, annotation in annotations.items()}
    added = {name: member for name, member in vars(ParameterNode).items() if not name.startswith("__")}
    for name in added:
        if name in annotations or hasattr(cls, name):
            raise ValueError(f"'{name}' is a reserved name in a parameter node")
    for name, member in (added | parameters | {"allParameters": parameters}).items():
        setattr(cls, name, member)
    cls.__init__ = ParameterNode.__init__
    return cls


def isParameterNodeWrapper(candidate: object) -> bool:
    return hasattr(candidate, "allParameters")
