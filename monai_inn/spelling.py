"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'infer'?)`` of the known name that is most like a given one; else nothing."""
    folded = {text.lower(): text for text in known}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return f" (did you mean {folded[found[0]]!r}?)" if found else ""
