"""What an archive may answer but what was asked for, and trying again with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

__all__ = ["ATTEMPTS", "ArchiveError", "LostError", "insist", "listed", "reason_of"]

ATTEMPTS = 5
_FIRST_WAIT_S = 1.0
_NAMED = 8  # of many, in a message

T = TypeVar("T")


class ArchiveError(RuntimeError):
    """An archive cannot do what was asked; the message names it and says what to do."""


class LostError(ArchiveError):
    """The archive was not reached, or not heard to the end; trying again may help."""


def insist(
    remaining: Callable[[], Collection[T]],
    step: Callable[[Collection[T]], object],
    complaint: Callable[[Collection[T]], str],
) -> None:
    """Repeat a step until nothing remains, with growing pauses.

    Args:
        remaining: what is still to be done.
        step: does some or all of it.
        complaint: says what is missing, for the message, if a step ends without an error and without effect.

    Raises:
        LostError: if ``ATTEMPTS`` steps one after the other have brought nothing.
    """
    failures = 0
    while todo := remaining():
        lost: LostError | None = None
        try:
            step(todo)
        except LostError as error:
            lost = error
        left = remaining()
        failures = failures + 1 if len(left) == len(todo) else 0
        if failures == ATTEMPTS:
            message = f"{str(lost or complaint(left)).rstrip('.')} (given up after {ATTEMPTS} attempts)."
            raise LostError(message) from lost
        if left:
            pause(_FIRST_WAIT_S * 2**failures)


def pause(seconds: float) -> None:
    """Wait, before the network is tried again."""
    time.sleep(seconds)


def listed(texts: Collection[str]) -> str:
    """Return the first of many texts, for a message."""
    return ", ".join(list(texts)[:_NAMED]) + (", …" if len(texts) > _NAMED else "")


def reason_of(status: int) -> str:
    """Return what a status of the storage service means, with its number."""
    from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

    words = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", ""))[1]
    return f"{words or 'status'} 0x{status:04X}"
