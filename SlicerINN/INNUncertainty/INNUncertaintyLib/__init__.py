"""The parts of the module INN Uncertainty that are not its panel.

Each file says in ``__all__`` what it offers.
"""

from .beside import *
from .bundles import *
from .child import *
from .display_panel import *
from .files_panel import *
from .inference import *
from .inspection_panel import *
from .job import *
from .legend_bar import *
from .module_panel import *
from .parameters import *
from .plots import *
