"""Reads the `.ui` files of Qt Designer that name widgets of CTK and Slicer."""

from __future__ import annotations

from typing import ClassVar
from xml.etree import ElementTree

from PySide6.QtCore import QBuffer, QIODevice, QObject
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QWidget

from .pythonqt import split_signature

__all__ = ["UiLoader"]
_SEPARATOR = "Line"  # Qt Designer's word for a QFrame; QUiLoader knows it but does not list it


class UiLoader(QUiLoader):
    """QUiLoader with the stand-ins, and with the connections whose arguments are VTK classes."""

    stand_ins: ClassVar[dict[str, type[QWidget]]] = {}

    def createWidget(self, className: str, parent: QWidget | None = None, name: str = "") -> QWidget:
        stand_in = self.stand_ins.get(className)
        if stand_in is None:
            return super().createWidget(className, parent, name)
        widget = stand_in(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: QIODevice, parent: QWidget | None = None) -> QWidget:
        """The top widget.

        Raises:
            NotImplementedError: the file names a widget class that neither Qt nor this package has.
            LookupError: a connection names a widget or a slot that does not exist.
        """
        form = ElementTree.fromstring(bytes(device.readAll()))
        known = {*self.availableWidgets(), *self.stand_ins, _SEPARATOR}
        for unknown in sorted({item.get("class", "") for item in form.iter("widget")} - known):
            raise NotImplementedError(f"no stand-in for {unknown}")
        # QUiLoader warns of signatures it does not know and drops them, so they are made here, by name.
        connections = form.find("connections")
        if connections is not None:
            form.remove(connections)
        buffer = QBuffer()
        buffer.setData(ElementTree.tostring(form))
        buffer.open(QIODevice.OpenModeFlag.ReadOnly)
        top = super().load(buffer, parent)
        for connection in connections if connections is not None else ():
            self._connect(top, connection)
        return top

    def _connect(self, top: QWidget, connection: ElementTree.Element) -> None:
        part = {item.tag: item.text or "" for item in connection}
        sender, receiver = (self._find(top, part[role]) for role in ("sender", "receiver"))
        slot = split_signature(part["slot"])[0]
        if not hasattr(receiver, slot):
            raise LookupError(f"connection to a slot that {part['receiver']} lacks: {part['slot']}")
        sender.connect(part["signal"], getattr(receiver, slot))

    @staticmethod
    def _find(top: QWidget, name: str) -> QObject:
        found = top if top.name == name else top.findChild(QObject, name)
        if found is None:
            raise LookupError(f"connection with a widget that does not exist: {name}")
        return found
