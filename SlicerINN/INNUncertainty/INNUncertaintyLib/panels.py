"""All parts of the panel together."""

from .display_panel import DisplayPanel
from .export_panel import ExportPanel
from .inspection_panel import InspectionPanel
from .loading_panel import LoadingPanel

__all__ = ["Panels"]


class Panels(LoadingPanel, DisplayPanel, InspectionPanel, ExportPanel):
    """Mixed into the module's widget."""

    def setup_panels(self):
        """Let each part listen to its controls."""
        self.setup_loading()
        self.setup_display()
        self.setup_inspection()
        self.setup_export()

    def close_panels(self):
        """End what runs behind them."""
        self.close_loading()
        self.close_export()
