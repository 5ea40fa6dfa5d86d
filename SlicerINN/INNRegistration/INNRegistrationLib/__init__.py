"""The parts of the module INN Registration that are not its panel.

Each file says in ``__all__`` what it offers.
"""

from .panels import *
from .parameters import *
from .registering import *
