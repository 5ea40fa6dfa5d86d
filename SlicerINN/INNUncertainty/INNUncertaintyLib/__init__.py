"""The parts of the module INN Uncertainty that are not its panel.

Each file says in ``__all__`` what it offers.
"""

from .bundles import *
from .child import *
from .classifying import *
from .images import *
from .imaging import *
from .inference import *
from .job import *
from .opening import *
from .panels.background import *
from .panels.beside import *
from .panels.change import *
from .panels.classes import *
from .panels.display import *
from .panels.files import *
from .panels.frames import *
from .panels.inference import *
from .panels.inspection import *
from .panels.legend_bar import *
from .panels.module import *
from .panels.plan import *
from .panels.plots import *
from .panels.volumes import *
from .parameters import *
from .sample_data import *
from .worker import *
