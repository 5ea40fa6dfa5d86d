"""Which problems there are: ours, those of installed packages, and those registered in this process."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from monai_inn.problems.base import InverseProblem

__all__ = [
    "ENTRY_POINTS",
    "REGISTERED",
    "UnknownProblemError",
    "create",
    "find",
    "names",
    "package_of",
    "register",
]

ENTRY_POINTS = "monai_inn.problems"
"""Group of entry points by which an installed package offers its problems."""

REGISTERED: dict[str, type[InverseProblem]] = {}
"""Classes by name: ours, and those that were registered or loaded in this process."""


class UnknownProblemError(ValueError):
    """A problem that is neither ours, nor registered, nor of an installed package; ``name`` says which."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def register(problem: type[InverseProblem]) -> type[InverseProblem]:
    """Make a class of problems known under its ``name``, to be created, fitted, saved and loaded like ours.

    May be used as a decorator. A class that is defined again, as in a notebook, replaces the former.

    Raises:
        TypeError: if it is not a class of ``InverseProblem`` with a name.
        ValueError: if another class has that name.
    """
    if not (isinstance(problem, type) and issubclass(problem, InverseProblem)):
        raise TypeError(f"{problem!r} cannot be registered; give a class derived from InverseProblem.")
    name = getattr(problem, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"{problem.__name__} has no name; set the class attribute name, e.g. 'perfusion'.")
    known = REGISTERED.get(name)
    is_same = known is not None and _where(known) == _where(problem)
    if (known is not None and not is_same) or (known is None and name in _offered()):
        other = "an installed package" if known is None else _where(known)
        raise ValueError(
            f"{_where(problem)} cannot be registered as {name!r}, which is the name of a problem of {other}; "
            "choose another name."
        )
    REGISTERED[name] = problem
    return problem


def names() -> tuple[str, ...]:
    """Return the names of all problems, for ``create`` and the command line."""
    return tuple(sorted(REGISTERED.keys() | _offered().keys()))


def create(name: str, **config: Any) -> InverseProblem:
    """Return the problem of that name, built with its keyword arguments.

    Raises:
        UnknownProblemError: if there is no such problem; the message lists those that exist.
        ValueError: if an installed package offers something else under that name, or several offer it.
    """
    return find(name)(**config)


def find(name: str) -> type[InverseProblem]:
    """Return the class of the problem of that name.

    Raises:
        UnknownProblemError: if there is no such problem; the message lists those that exist.
        ValueError: if an installed package offers something else under that name, or several offer it.
    """
    if name not in REGISTERED:
        _load(name)
    return REGISTERED[name]


def package_of(problem: InverseProblem) -> dict[str, str] | None:
    """Return name and version of the installed package that a problem is from; ``None`` for a script's."""
    top = type(problem).__module__.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(top, ()):
        return {"name": distribution, "version": importlib.metadata.version(distribution)}
    return None


def _where(problem: type) -> str:
    return f"{problem.__module__}.{problem.__qualname__}"


def _offered() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """Entry points of installed packages by the name of the problem; nothing is imported."""
    offered: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        offered.setdefault(entry.name, []).append(entry)
    return offered


def _load(name: str) -> None:
    """Import the package that offers a problem, and register it."""
    entries = {entry.value: entry for entry in _offered().get(name, ())}
    if not entries:
        raise UnknownProblemError(f"unknown problem {name!r}; choose one of {', '.join(names())}.", name)
    if len(entries) > 1:
        raise ValueError(
            f"two packages offer a problem {name!r}: {', '.join(entries)}; uninstall one of them."
        )
    ((value, entry),) = entries.items()
    problem = entry.load()
    if not (isinstance(problem, type) and issubclass(problem, InverseProblem) and problem.name == name):
        raise ValueError(
            f"the entry point {name} = {value} is no class of InverseProblem with that name; correct it in "
            "the package that offers it."
        )
    REGISTERED[name] = problem
