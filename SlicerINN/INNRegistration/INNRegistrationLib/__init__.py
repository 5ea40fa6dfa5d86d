"""The parts of the module INN Registration that are not its panel."""

from .layout import show_ct, show_layout
from .panels import InputsPanel, PosesPanel
from .parameters import ComparisonKind, RegistrationState
from .registering import NEEDED, REQUIREMENTS, Registering, missing_input

__all__ = [
    "NEEDED",
    "REQUIREMENTS",
    "ComparisonKind",
    "InputsPanel",
    "PosesPanel",
    "Registering",
    "RegistrationState",
    "missing_input",
    "show_ct",
    "show_layout",
]
