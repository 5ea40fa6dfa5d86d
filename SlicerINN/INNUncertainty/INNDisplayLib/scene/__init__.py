"""What every result needs in a scene: marked nodes, colors, meshes, legends, charts."""

from .appearance import *
from .charts import *
from .colors import *
from .legend import *
from .marks import *
from .meshes import *
from .patterns import *
