"""Which problems there are: ours, those of installed packages, and those registered in this process."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from monai_inn.problems.base import InverseProblem
from monai_inn.registry import Registry

__all__ = ["ENTRY_POINTS", "PROBLEMS", "create", "find", "names", "ours", "register", "restored"]

ENTRY_POINTS = "monai_inn.problems"
"""Group of entry points by which an installed package offers its problems."""


@functools.cache
def ours() -> dict[str, str]:
    """Return our problems by name, as ``"module:Class"``; every folder of ours says which it holds."""
    found = {"simulated": "monai_inn.problems.simulated:Simulated"}
    found |= importlib.import_module("monai_inn.testproblems").PROBLEMS
    for folder in importlib.import_module("monai_inn.applications").folders():
        found |= getattr(folder, "PROBLEMS", {})
    return found


PROBLEMS: Registry[type[InverseProblem]] = Registry(InverseProblem, "name", ENTRY_POINTS, "problem", ours)
register, names, find = PROBLEMS.register, PROBLEMS.names, PROBLEMS.find


def create(name: str, **config: Any) -> InverseProblem:
    """Return the problem of that name, built with its keyword arguments.

    Raises:
        UnknownNameError: if there is no such problem; the message lists those that exist.
        ValueError: if an argument without a default is missing, an installed package offers something else
            under that name, or several offer it.
    """
    kind = find(name)
    kind.require(config)
    return kind(**config)


def restored(name: str, config: Mapping[str, Any]) -> InverseProblem:
    """Return the problem of ``to_config`` and ``tensors``, of this or a former release.

    Errors are those of ``create``.
    """
    return find(name).from_config(config)
