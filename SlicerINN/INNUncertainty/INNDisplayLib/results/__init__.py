"""Results of monai-inn, read, and their nodes in a scene."""

from .frames import *
from .made import *
from .parametric_maps import *
from .result import *
from .run import *
from .sequences import *
