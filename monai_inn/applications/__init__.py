"""What inverse problems mean to people: one folder each, and no other room knows their names.

A folder says in its ``__init__`` what it offers, each as the name of a module that is imported when needed:

- ``PROBLEMS``: classes of problems by name, ``"module:Class"``,
- ``COMMANDS``: a module whose ``add(verb)`` adds verbs to the command line,
- ``RESULTS``: modules that show a result in the viewer, by the file that holds its record. They have
  ``read_result(folder, display)``, which returns an object with that ``record``, and
  ``open_result(server, result, name)``,
- ``DEMO``: a module whose ``run(folder, out, …)`` yields what ``monai-inn demo`` makes.

A package of somebody else offers the same by an entry point ``monai_inn.applications`` that names a light
module of it; its problems have entry points of their own, ``monai_inn.problems``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
import sys
from types import ModuleType
from typing import Any

__all__ = ["folders", "installed", "offered"]

_ENTRY_POINTS = "monai_inn.applications"


@functools.cache
def folders() -> tuple[ModuleType, ...]:
    """Return the packages of our applications, in order of their names."""
    found = sorted(entry.name for entry in pkgutil.iter_modules(__path__) if entry.ispkg)
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in found)


@functools.cache
def installed() -> tuple[ModuleType, ...]:
    """Return what installed packages offer, in order of their names, as far as it can be imported."""
    found = []
    for entry in sorted(importlib.metadata.entry_points(group=_ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            found.append(entry.load())
        except Exception as error:  # anything may happen in another package, which must not stop ours
            said = " ".join(f"{type(error).__name__}: {error}".split())
            print(
                f"monai-inn: WARNING: the application {entry.name} = {entry.value} of another package cannot "
                f"be imported ({said}); its verbs and results are missing. Update or uninstall that package.",
                file=sys.stderr,
            )
    return tuple(found)


def offered(what: str) -> list[Any]:
    """Return what all applications offer under a name, such as ``"COMMANDS"``."""
    return [getattr(folder, what) for folder in (*folders(), *installed()) if hasattr(folder, what)]
