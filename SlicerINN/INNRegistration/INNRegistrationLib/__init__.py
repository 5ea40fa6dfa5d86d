"""The parts of the module INN Registration that are not its panel.

Each file says in ``__all__`` what it offers.
"""

from .aim_panel import *
from .aiming import *
from .panels import *
from .parameters import *
from .patients import *
from .registering import *
from .sample_data import *
