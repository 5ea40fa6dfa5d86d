"""The parts of the module INN Uncertainty that are not its panel."""

from .bundles import Bundle, bundles_of, holds_bundles
from .child import Child
from .display_panel import DisplayPanel, InspectionPanel, verdict
from .files_panel import ExportPanel, LoadingPanel
from .inference import Inference, number_of_bands, register_sample_data, write_image
from .module_panel import ModulePanel, SelfTest, describe, fill, select
from .packages import REQUIREMENTS, install, is_installed, python_path
from .parameters import Kind, PanelState

__all__ = [
    "REQUIREMENTS",
    "Bundle",
    "Child",
    "DisplayPanel",
    "ExportPanel",
    "Inference",
    "InspectionPanel",
    "Kind",
    "LoadingPanel",
    "ModulePanel",
    "PanelState",
    "SelfTest",
    "bundles_of",
    "describe",
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
