"""What inverse problems mean to people: one folder each, and no other room knows their names.

A folder says in its ``__init__`` what it offers, each as the name of a module that is imported when needed:

- ``PROBLEMS``: classes of problems by name, ``"module:Class"``,
- ``COMMANDS``: a module whose ``add(commands)`` adds verbs to the command line,
- ``RESULTS``: modules that show a result in the viewer, by the file that holds its record: they have
  ``read_result(folder, display)`` and ``open_result(server, result, name)``,
- ``DEMO``: a module whose ``run(folder, out, …)`` yields what ``monai-inn demo`` makes.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any

__all__ = ["folders", "offered"]


@functools.cache
def folders() -> tuple[ModuleType, ...]:
    """Return the packages of all applications, in order of their names."""
    found = sorted(entry.name for entry in pkgutil.iter_modules(__path__) if entry.ispkg)
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in found)


def offered(what: str) -> list[Any]:
    """Return what the applications offer under a name, such as ``"COMMANDS"``."""
    return [getattr(folder, what) for folder in folders() if hasattr(folder, what)]
