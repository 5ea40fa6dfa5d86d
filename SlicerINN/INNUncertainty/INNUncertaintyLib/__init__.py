"""The parts of the module INN Uncertainty that are not its panel.

Each file says in ``__all__`` what it offers.
"""

from .background import *
from .beside import *
from .bundles import *
from .change_panel import *
from .child import *
from .classes_panel import *
from .classifying import *
from .display_panel import *
from .files_panel import *
from .frames_panel import *
from .images import *
from .inference import *
from .inference_panel import *
from .inspection_panel import *
from .job import *
from .legend_bar import *
from .module_panel import *
from .opening import *
from .parameters import *
from .plan_panel import *
from .plots import *
from .sample_data import *
from .worker import *
