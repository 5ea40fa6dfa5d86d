"""Inverse problems: prior, forward model and noise, and what all of them share.

The classes of ours are attributes of this package, too: ``problems.TwoMoons``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from monai_inn.problems.application import Application
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.derived import Derived
from monai_inn.problems.drawing import Prior
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter, ParameterSpace, labels
from monai_inn.problems.registry import create, names, ours, register
from monai_inn.problems.simulated import Simulated

if TYPE_CHECKING:
    from monai_inn.validation.contract import check_problem

__all__ = [
    "Application",
    "Derived",
    "InverseProblem",
    "Observation",
    "Parameter",
    "ParameterSpace",
    "Prior",
    "Simulated",
    "check_problem",
    "create",
    "labels",
    "names",
    "register",
]


def __getattr__(name: str) -> Any:
    """Return the class of a problem of ours, or ``check_problem``, which stands far above this package."""
    if name == "check_problem":
        return importlib.import_module("monai_inn.validation.contract").check_problem
    for place in ours().values():
        module, _, cls = place.partition(":")
        if cls == name:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(place.partition(":")[2] for place in ours().values())])
