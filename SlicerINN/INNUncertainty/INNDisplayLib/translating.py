"""Texts that people read, in the language of the application; in the web viewer there is one language."""

from __future__ import annotations

import sys

__all__ = ["tr"]


def tr(text: str) -> str:
    """Return a text in the language of 3D Slicer, which finds it by the file of the caller.

    Args:
        text: a literal, or Slicer's translators do not find it.
    """
    try:
        from slicer.i18n import getContext, translate
    except ImportError:
        return text
    translated: str = translate(getContext(sys._getframe(1).f_code.co_filename), text)
    return translated
