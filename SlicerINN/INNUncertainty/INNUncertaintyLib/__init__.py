"""The parts of the module INN Uncertainty that are not its panel."""

from .boxes import fill, select
from .bundles import Bundle, bundles_of, holds_bundles
from .child import Child
from .display_panel import DisplayPanel, verdict
from .export_panel import ExportPanel
from .images import number_of_bands, write_image
from .inference import Inference
from .inspection_panel import InspectionPanel
from .packages import REQUIREMENTS, install, is_installed, python_path
from .parameters import Kind, PanelState
from .sample_data import register_sample_data

__all__ = [
    "REQUIREMENTS",
    "Bundle",
    "Child",
    "DisplayPanel",
    "ExportPanel",
    "Inference",
    "InspectionPanel",
    "Kind",
    "PanelState",
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
