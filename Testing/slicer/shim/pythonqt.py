"""PythonQt's way of writing Qt, given to the PySide6 classes in place.

* Every Q_PROPERTY is an attribute: `button.text`, `slider.value = 3`; `.name` is the object name.
* `button.connect("clicked(bool)", slot)` takes the C++ signature as a string and passes no more arguments
  than the slot accepts.
* A misspelled attribute or signal raises, where PySide6 would silently store it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QMetaObject, QObject

__all__ = ["adopt", "split_signature"]

# Qt calls these two itself, as virtual methods: they have to stay methods.
_VIRTUAL = {"sizeHint", "minimumSizeHint"}
# PySide6 declares signals with these; PythonQt has no such thing, so a module must not come to rely on them.
_NOT_IN_PYTHONQT = {"Signal", "Slot", "Property"}
_MOST_ARGUMENTS = 3

_connections: dict[tuple[int, str, Callable], tuple[Any, Callable]] = {}


def split_signature(signature: str) -> tuple[str, int]:
    """Name and number of arguments of `"name(type,type)"`."""
    match = re.fullmatch(r"(\w+)\((.*)\)", _normalized(signature))
    if match is None:
        raise ValueError(f"not the signature of a signal or slot: {signature!r}")
    return match[1], match[2].count(",") + 1 if match[2] else 0


def _normalized(signature: str) -> str:
    return bytes(QMetaObject.normalizedSignature(signature)).decode()


def _number_accepted(slot: Callable) -> int:
    """How many positional arguments a slot takes."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):  # built into C++: takes what comes
        return _MOST_ARGUMENTS
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return _MOST_ARGUMENTS
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(parameter.kind in positional for parameter in parameters)


def _with_arity(slot: Callable, count: int) -> Callable:
    """A function of exactly `count` arguments: PySide6 reads the number off it to choose the overload."""
    return (lambda: slot(), lambda a: slot(a), lambda a, b: slot(a, b), lambda a, b, c: slot(a, b, c))[count]


def _key(sender: QObject, signature: str, slot: Callable) -> tuple[int, str, Callable]:
    return shiboken6.getCppPointer(sender)[0], _normalized(signature), slot


def _connect(self: QObject, signature: str, *target: Any) -> bool:
    """`connect(signal, slot)` or `connect(signal, receiver, "slot()")`."""
    name, count = split_signature(signature)
    # The stand-ins declare their signals in Python, where a MRML node is any object.
    known = re.sub(r"vtk\w+\*", "PyObject", _normalized(signature))
    if self.metaObject().indexOfSignal(known) < 0:
        raise ValueError(f"signal '{signature}' does not exist on {type(self).__name__}")
    slot = target[0] if len(target) == 1 else getattr(target[0], split_signature(target[1])[0])
    adapter = _with_arity(slot, min(count, _number_accepted(slot), _MOST_ARGUMENTS))
    signal = getattr(self, name)
    signal.connect(adapter)
    _connections[_key(self, signature, slot)] = signal, adapter
    return True


def _disconnect(self: QObject, signature: str, slot: Callable) -> bool:
    signal, adapter = _connections.pop(_key(self, signature, slot), (None, None))
    return signal is not None and bool(signal.disconnect(adapter))


_own_methods = {"connect": _connect, "disconnect": _disconnect}


def _looking_first_here(original: Callable[[QObject, str], Any]) -> Callable[[QObject, str], Any]:
    # PySide6 answers `connect` in `__getattribute__`, so a class attribute of that name would never be seen.
    def lookup(self: QObject, name: str) -> Any:
        return MethodType(_own_methods[name], self) if name in _own_methods else original(self, name)

    return lookup


def _assign(self: QObject, name: str, value: object) -> None:
    cls = type(self)
    is_widget_of_slicer = cls.__module__.startswith("PySide6.") or cls.__name__.startswith(("ctk", "qMRML"))
    if is_widget_of_slicer and not name.startswith("_") and not hasattr(cls, name):
        raise AttributeError(f"{cls.__name__} has no attribute '{name}'")
    # Python forbids to call PySide6's own `__setattr__` from here, so its three cases are spelled out.
    described = inspect.getattr_static(cls, name, None)
    if isinstance(described, QtCore.Property):
        self.setProperty(name, value)
    elif hasattr(type(described), "__set__"):
        type(described).__set__(described, self, value)
    else:
        vars(self)[name] = value


class _Attribute:
    """A Q_PROPERTY of an object; the class keeps its method of that name, such as `QTimer.singleShot`."""

    def __init__(self, name: str, method: object) -> None:
        self._name, self._method = name, method

    def __get__(self, instance: QObject | None, owner: type) -> Any:
        return self._method if instance is None else instance.property(self._name)

    def __set__(self, instance: QObject, value: object) -> None:
        if not instance.setProperty(self._name, value):
            raise TypeError(f"{type(instance).__name__}.{self._name} cannot be set to {value!r}")


def _take_over(cls: type[QObject]) -> None:
    # Some classes of PySide6 have their own copies of these and would not ask QObject's.
    if "__getattribute__" in vars(cls):
        cls.__getattribute__ = _looking_first_here(cls.__getattribute__)
    if "__setattr__" in vars(cls):
        cls.__setattr__ = _assign


def _show_properties(cls: type[QObject]) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in _VIRTUAL:
            setattr(cls, name, _Attribute(name, getattr(cls, name, None)))


def adopt() -> ModuleType:
    """Change PySide6 and return the flat module `qt`, which is then importable."""
    qt = ModuleType("qt", __doc__)
    for source in (QtCore, QtGui, QtWidgets):
        # PySide6 makes its types when they are first asked for: vars() would miss most of them.
        names = [n for n in dir(source) if not n.startswith("_") and n not in _NOT_IN_PYTHONQT]
        public = {name: getattr(source, name) for name in names}
        vars(qt).update(public)
        for value in public.values():
            if isinstance(value, type) and issubclass(value, QObject):
                _show_properties(value)
                _take_over(value)
    QObject.name = property(
        lambda self: self.property("objectName"), lambda self, name: self.setObjectName(name)
    )
    QObject.className = lambda self: self.metaObject().className()
    QObject.delete = lambda self: self.deleteLater()
    sys.modules["qt"] = qt
    return qt
