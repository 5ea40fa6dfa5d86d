"""Maps of a result: stored, laid over their image, read at a voxel, measured and compared."""

from .change import *
from .curves import *
from .inspection import *
from .measuring import *
from .overlay import *
from .pictures import *
from .storing import *
