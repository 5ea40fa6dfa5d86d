"""Message boxes that are written down and answered instead of shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from PySide6.QtWidgets import QMessageBox, QWidget

__all__ = ["Message", "MessageBox"]

_Button = QMessageBox.StandardButton
_Icon = QMessageBox.Icon
_KINDS = {
    _Icon.NoIcon: "plain",
    _Icon.Information: "information",
    _Icon.Warning: "warning",
    _Icon.Critical: "error",
    _Icon.Question: "question",
}
_AGREE = (_Button.Ok, _Button.Yes, _Button.Retry, _Button.Save, _Button.Open)
_REFUSE = (_Button.Cancel, _Button.No, _Button.Close, _Button.Abort, _Button.Discard, _Button.Ignore)


class Message(NamedTuple):
    """A message box that a person would have seen."""

    kind: str  # "information", "warning", "error", "question" or "plain"
    text: str
    details: str


class MessageBox(QMessageBox):
    """QMessageBox and ctkMessageBox in one; waiting for a click would stop the test for ever."""

    messages: ClassVar[list[Message]] = []
    answers: ClassVar[deque[bool]] = deque()

    def exec(self) -> QMessageBox.StandardButton:
        """Record the message and take the next answer; a box with a single button has only one."""
        self.messages.append(Message(_KINDS[self.icon], self.text, self.detailedText))
        agree = [button for button in _AGREE if self.button(button) is not None]
        refuse = [button for button in _REFUSE if self.button(button) is not None]
        if not agree or not refuse:
            return (agree + refuse + [_Button.Ok])[0]
        return agree[0] if self.next_answer() else refuse[0]

    exec_ = exec

    @classmethod
    def next_answer(cls) -> bool:
        """Yes, unless the test has queued something else."""
        return cls.answers.popleft() if cls.answers else True


def _shown_at_once(icon: QMessageBox.Icon, default: QMessageBox.StandardButton) -> Callable:
    def show(
        parent: QWidget | None,
        title: str,
        text: str,
        buttons: QMessageBox.StandardButton = default,
        *_: object,
    ) -> QMessageBox.StandardButton:
        box = MessageBox(parent)
        box.icon, box.text, box.windowTitle = icon, text, title
        box.setStandardButtons(buttons)
        return box.exec()

    return staticmethod(show)


MessageBox.information = _shown_at_once(_Icon.Information, _Button.Ok)
MessageBox.warning = _shown_at_once(_Icon.Warning, _Button.Ok)
MessageBox.critical = _shown_at_once(_Icon.Critical, _Button.Ok)
MessageBox.question = _shown_at_once(_Icon.Question, _Button.Yes | _Button.No)
