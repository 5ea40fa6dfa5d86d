"""How Slicer writes the parameters of a module as text into a node.

The keys and texts are Slicer's: a scene that is saved here opens there, and the other way round.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any

import slicer

from .parameter_types import FloatRange

__all__ = ["Storage", "storage_of"]
_ScriptedNode = slicer.vtkMRMLScriptedModuleNode


class Storage:
    """One value in one parameter of the node: number, text, truth, path or member of an Enum."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def default(self) -> Any:
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def check(self, value: object) -> None:
        if value is None:
            raise ValueError("the value must not be None")
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"{value!r} must be of type {self.kind.__name__}")

    def is_in(self, node: _ScriptedNode, key: str) -> bool:
        return node.HasParameter(key)

    def write(self, node: _ScriptedNode, key: str, value: Any) -> None:
        node.SetParameter(key, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: _ScriptedNode, key: str) -> Any:
        text = node.GetParameter(key)
        if issubclass(self.kind, enum.Enum):
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)

    def remove(self, node: _ScriptedNode, key: str) -> None:
        node.UnsetParameter(key)


class _None(Storage):
    """The empty alternative of an Optional."""

    def __init__(self) -> None:
        super().__init__(type(None))

    def check(self, value: object) -> None:
        if value is not None:
            raise TypeError(f"{value!r} must be None")

    def write(self, node: _ScriptedNode, key: str, value: None) -> None:
        node.SetParameter(key, "True")

    def read(self, node: _ScriptedNode, key: str) -> None:
        return None


class _Node(Storage):
    """A reference; the empty parameter of the same name tells an unset reference from an unknown one."""

    def default(self) -> None:
        return None

    def check(self, value: object) -> None:
        if value is not None:
            super().check(value)

    def write(self, node: _ScriptedNode, key: str, value: slicer.vtkMRMLNode | None) -> None:
        node.SetParameter(key, "")
        node.SetNodeReferenceID(key, value.GetID() if value is not None else None)

    def read(self, node: _ScriptedNode, key: str) -> slicer.vtkMRMLNode | None:
        return node.GetNodeReference(key)

    def remove(self, node: _ScriptedNode, key: str) -> None:
        node.UnsetParameter(key)
        node.RemoveNodeReferenceIDs(key)


class _Range(Storage):
    def __init__(self) -> None:
        super().__init__(FloatRange)

    def is_in(self, node: _ScriptedNode, key: str) -> bool:
        return node.HasParameter(f"{key}.minimum")

    def write(self, node: _ScriptedNode, key: str, value: FloatRange) -> None:
        node.SetParameter(f"{key}.minimum", str(value.minimum))
        node.SetParameter(f"{key}.maximum", str(value.maximum))

    def read(self, node: _ScriptedNode, key: str) -> FloatRange:
        return FloatRange(*(float(node.GetParameter(f"{key}.{end}")) for end in ("minimum", "maximum")))

    def remove(self, node: _ScriptedNode, key: str) -> None:
        for end in ("minimum", "maximum"):
            node.UnsetParameter(f"{key}.{end}")


class _StoredList(MutableSequence):
    """A list whose changes go straight into the node."""

    def __init__(self, items: list, save: typing.Callable[[list], None]) -> None:
        self._items, self._save = items, save

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._items[index] = value
        self._save(self._items)

    def __delitem__(self, index: int) -> None:
        del self._items[index]
        self._save(self._items)

    def insert(self, index: int, value: Any) -> None:
        self._items.insert(index, value)
        self._save(self._items)

    def __iter__(self) -> Iterator:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == list(other) if isinstance(other, list | _StoredList) else NotImplemented

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self._items)


class _List(Storage):
    def __init__(self, item: Storage) -> None:
        super().__init__(list)
        self.item = item

    def check(self, value: object) -> None:
        for item in value:
            self.item.check(item)

    def is_in(self, node: _ScriptedNode, key: str) -> bool:
        return node.HasParameter(f"{key}.len")

    def write(self, node: _ScriptedNode, key: str, value: Iterable) -> None:
        items = list(value)
        self.check(items)
        self.remove(node, key)
        node.SetParameter(f"{key}.len", str(len(items)))
        for index, item in enumerate(items):
            self.item.write(node, f"{key}.{index}", item)

    def read(self, node: _ScriptedNode, key: str) -> _StoredList:
        items = [self.item.read(node, f"{key}.{index}") for index in range(self._length(node, key))]
        return _StoredList(items, lambda changed: self.write(node, key, changed))

    def remove(self, node: _ScriptedNode, key: str) -> None:
        for index in range(self._length(node, key)):
            self.item.remove(node, f"{key}.{index}")
        node.UnsetParameter(f"{key}.len")

    @staticmethod
    def _length(node: _ScriptedNode, key: str) -> int:
        return int(node.GetParameter(f"{key}.len") or 0)


class _Union(Storage):
    """One of several types: stored under `name.0`, `name.1` … by the place of its type in the annotation."""

    def __init__(self, members: list[Storage]) -> None:
        super().__init__(object)
        self.members = members

    def default(self) -> Any:
        return None if isinstance(self.members[-1], _None) else self.members[0].default()

    def _place(self, value: object) -> int:
        for place, member in enumerate(self.members):
            if isinstance(value, member.kind):
                return place
        raise TypeError(f"{value!r} must be one of {[member.kind.__name__ for member in self.members]}")

    def check(self, value: object) -> None:
        self._place(value)

    def is_in(self, node: _ScriptedNode, key: str) -> bool:
        return any(member.is_in(node, f"{key}.{place}") for place, member in enumerate(self.members))

    def write(self, node: _ScriptedNode, key: str, value: Any) -> None:
        self.remove(node, key)
        place = self._place(value)
        self.members[place].write(node, f"{key}.{place}", value)

    def read(self, node: _ScriptedNode, key: str) -> Any:
        for place, member in enumerate(self.members):
            if member.is_in(node, f"{key}.{place}"):
                return member.read(node, f"{key}.{place}")
        raise KeyError(key)

    def remove(self, node: _ScriptedNode, key: str) -> None:
        for place, member in enumerate(self.members):
            member.remove(node, f"{key}.{place}")


def storage_of(kind: Any) -> Storage:
    """How values of an annotation (without `Annotated`) are stored.

    Raises:
        TypeError: Slicer cannot store this type. `X | None` is such a type: Slicer wants `Optional[X]`.
    """
    if kind is type(None):
        return _None()
    if typing.get_origin(kind) is typing.Union:
        return _Union([storage_of(member) for member in typing.get_args(kind)])
    if typing.get_origin(kind) is list:
        return _List(storage_of(typing.get_args(kind)[0]))
    if kind is FloatRange:
        return _Range()
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return _Node(kind)
    if kind in (int, float, str, bool, pathlib.Path) or (
        isinstance(kind, type) and issubclass(kind, enum.Enum)
    ):
        return Storage(kind)
    raise TypeError(f"Slicer cannot store a parameter of type {kind}")
