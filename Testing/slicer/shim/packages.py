"""Stand-in for `slicer.packaging`: notes what would have been installed, and installs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from packaging.requirements import Requirement

__all__ = ["Packages", "PipCall"]
_Requirements = str | Requirement | Iterable[str | Requirement]


class PipCall(NamedTuple):
    function: str
    requirements: list[str]


class Packages:
    """Every call, and the names of the packages that shall seem to be missing."""

    def __init__(self, ask: Callable[[str], bool]) -> None:
        self.calls: list[PipCall] = []
        self.missing: set[str] = set()
        self._ask = ask

    def module(self) -> ModuleType:
        """The module `slicer.packaging`."""
        module = ModuleType("slicer.packaging", __doc__)
        module.pip_check, module.pip_ensure = self.pip_check, self.pip_ensure
        module.pip_install, module.pip_uninstall = self.pip_install, self.pip_uninstall
        module.load_requirements = self.load_requirements
        return module

    def pip_check(self, requirements: _Requirements) -> bool:
        self._note("pip_check", requirements)
        return not self._missing(requirements)

    def pip_ensure(self, requirements: _Requirements, requester: str | None = None, **_: object) -> None:
        """Ask before installing, like Slicer; a refusal is a RuntimeError."""
        self._note("pip_ensure", requirements)
        missing = self._missing(requirements)
        if missing and not self._ask(f"{requester} requires {', '.join(sorted(missing))}. Install?"):
            raise RuntimeError("User declined package installation")
        self.missing -= missing

    def pip_install(self, requirements: _Requirements, **_: object) -> None:
        self._note("pip_install", requirements)
        self.missing -= self._missing(requirements)

    def pip_uninstall(self, requirements: _Requirements, **_: object) -> None:
        self._note("pip_uninstall", requirements)

    @staticmethod
    def load_requirements(path: str | Path) -> list[Requirement]:
        lines = (line.strip() for line in Path(path).read_text().splitlines())
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]

    def _note(self, function: str, requirements: _Requirements) -> None:
        self.calls.append(PipCall(function, _as_list(requirements)))

    def _missing(self, requirements: _Requirements) -> set[str]:
        return {Requirement(text).name for text in _as_list(requirements)} & self.missing


def _as_list(requirements: _Requirements) -> list[str]:
    if isinstance(requirements, str):
        return requirements.split() if ";" not in requirements else [requirements]
    return (
        [str(requirements)] if isinstance(requirements, Requirement) else [str(item) for item in requirements]
    )
