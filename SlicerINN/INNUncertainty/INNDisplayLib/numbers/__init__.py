"""What stored quantiles and maps tell: numbers alone, which need no scene and no Slicer."""

from .decisions import *
from .differences import *
from .posteriors import *
from .trajectories import *
from .volumes import *
