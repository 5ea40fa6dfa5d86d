"""What a threshold divides and what a planned line meets."""

from .contour_labels import *
from .contours import *
from .line_reading import *
from .line_views import *
from .lines import *
from .regions import *
from .thresholds import *
