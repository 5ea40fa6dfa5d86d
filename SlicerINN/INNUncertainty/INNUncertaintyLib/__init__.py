"""The parts of the module INN Uncertainty that are not its panel."""

from .boxes import fill, select
from .bundles import Bundle, bundles_of, holds_bundles
from .child import Child
from .display_panel import verdict
from .images import number_of_bands, write_image
from .inference import Inference
from .module_panel import ModulePanel
from .packages import REQUIREMENTS, install, is_installed, python_path
from .panels import Panels
from .parameters import Kind, PanelState
from .sample_data import register_sample_data

__all__ = [
    "REQUIREMENTS",
    "Bundle",
    "Child",
    "Inference",
    "Kind",
    "ModulePanel",
    "PanelState",
    "Panels",
    "bundles_of",
    "fill",
    "holds_bundles",
    "install",
    "is_installed",
    "number_of_bands",
    "python_path",
    "register_sample_data",
    "select",
    "verdict",
    "write_image",
]
