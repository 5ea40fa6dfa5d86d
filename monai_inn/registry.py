"""Classes that are known by a name: ours, those of installed packages, those registered in this process."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from monai_inn.spelling import nearest

__all__ = ["Registry", "UnknownNameError", "installed_version", "package_of"]

T = TypeVar("T", bound=type)


class UnknownNameError(ValueError):
    """A name that nobody offers; ``word`` says of what, ``name`` which."""

    def __init__(self, message: str, word: str, name: str) -> None:
        super().__init__(message)
        self.word, self.name = word, name


class Registry(Generic[T]):
    """Classes by name. One of an installed package is imported when it is asked for, and never sooner.

    Args:
        base: class that all of them are derived from.
        attribute: class attribute that holds the name.
        group: entry points by which an installed package offers some.
        word: what one is called, for messages.
        ours: called when first needed; returns ours by name, as ``"module:Class"``.
    """

    def __init__(
        self, base: type, attribute: str, group: str, word: str, ours: Callable[[], Mapping[str, str]]
    ) -> None:
        self.base, self.attribute, self.group, self.word, self.ours = base, attribute, group, word, ours
        self.known: dict[str, T] = {}

    def register(self, cls: T) -> T:
        """Make a class known, see ``Registry``. May be used as a decorator.

        A class that is defined again, as in a notebook, replaces the former.

        Raises:
            TypeError: if it is not derived from the base class, or has no name.
            ValueError: if another class has that name.
        """
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise TypeError(f"{cls!r} cannot be registered; give a class derived from {self.base.__name__}.")
        name = getattr(cls, self.attribute, None)
        if not isinstance(name, str) or not name:
            raise TypeError(
                f"{cls.__name__} has no name; set the class attribute {self.attribute}, e.g. 'relaxation'."
            )
        others = self._offers().get(name, set())
        if name in self.known:
            others = others | {_where(self.known[name])}
        if others and _where(cls) not in others:
            raise ValueError(
                f"{_where(cls)} cannot be registered as {name!r}, which is the name of a {self.word} of "
                f"{', '.join(sorted(others))}; choose another name."
            )
        self.known[name] = cls
        return cls

    def names(self) -> tuple[str, ...]:
        """Return all names; nothing is imported."""
        return tuple(sorted(self.known.keys() | self._offers().keys()))

    def find(self, name: str) -> T:
        """Return the class of that name.

        Raises:
            UnknownNameError: if there is none; the message lists those that exist.
            ValueError: if a package offers something else under that name, or several offer it.
        """
        if name not in self.known:
            self._load(name)
        return self.known[name]

    def _offers(self) -> dict[str, set[str]]:
        """What is offered by name, as ``"module:Class"``."""
        offers = {name: {value} for name, value in self.ours().items()}
        for entry in importlib.metadata.entry_points(group=self.group):
            offers.setdefault(entry.name, set()).add(entry.value)
        return offers

    def _load(self, name: str) -> None:
        offers = self._offers().get(name, set())
        if not offers:
            known = ", ".join(self.names())
            hint = nearest(name, self.names())
            message = f"unknown {self.word} {name!r}{hint}; choose one of {known}."
            raise UnknownNameError(message, self.word, name)
        if len(offers) > 1:
            raise ValueError(
                f"two packages offer a {self.word} {name!r}: {', '.join(sorted(offers))}; uninstall one of "
                "them."
            )
        (value,) = offers
        found: Any = importlib.metadata.EntryPoint(name, value, self.group).load()
        is_fit = isinstance(found, type) and issubclass(found, self.base)
        if not is_fit or getattr(found, self.attribute, None) != name:
            raise ValueError(
                f"the entry point {name} = {value} is not a subclass of {self.base.__name__} with that name; "
                "correct it in the package that offers it."
            )
        self.known[name] = found


def package_of(cls: type) -> dict[str, str] | None:
    """Return name and version of the installed package that a class is from; ``None`` for a script's."""
    package = cls.__module__.partition(".")[0]
    is_ours = package == __name__.partition(".")[0]
    distribution = package if is_ours else next(iter(_distributions().get(package, ())), None)
    version = None if distribution is None else installed_version(distribution)
    return {"name": str(distribution), "version": version} if version else None  # ours in a bare checkout


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; ``None`` of one that is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache  # it takes half a second to look through all installed packages
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _where(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
