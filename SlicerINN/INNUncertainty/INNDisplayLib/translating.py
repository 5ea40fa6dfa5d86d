"""Texts that people read, in the language of the application; in the web viewer there is one language."""

from __future__ import annotations

import sys
from functools import cache

__all__ = ["tr"]


def tr(text: str) -> str:
    """Return a text in the language of 3D Slicer, which finds it by the file of the caller.

    Args:
        text: a literal, or Slicer's translators do not find it.
    """
    try:
        from slicer.i18n import translate
    except ImportError:
        return text
    translated: str = translate(_context(sys._getframe(1).f_code.co_filename), text)
    return translated


@cache
def _context(file: str) -> str:
    """The name under which translations of a file's texts are found; a panel asks for thousands."""
    from slicer.i18n import getContext

    name: str = getContext(file)
    return name
