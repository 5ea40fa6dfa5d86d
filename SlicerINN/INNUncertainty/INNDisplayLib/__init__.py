"""Showing posteriors in MRML scenes: nodes, layers, legends, read-outs, plots. No Qt.

Used by the module in 3D Slicer, by the web viewer, and by the tests.

Each file says in ``__all__`` what it offers.

Where there is no scene, as under `monai-inn compare`, there are numbers alone.
"""

from .differences import *

try:
    import slicer.util  # noqa: F401
except ImportError:
    pass
else:
    from .appearance import *
    from .change import *
    from .class_result import *
    from .class_scene import *
    from .class_words import *
    from .contour_labels import *
    from .contours import *
    from .curves import *
    from .decisions import *
    from .frames import *
    from .inspection import *
    from .legend import *
    from .line_reading import *
    from .line_views import *
    from .lines import *
    from .made import *
    from .marks import *
    from .measuring import *
    from .meshes import *
    from .overlay import *
    from .parametric_maps import *
    from .patterns import *
    from .pictures import *
    from .pose_aim import *
    from .pose_result import *
    from .pose_run import *
    from .pose_scene import *
    from .pose_spread import *
    from .pose_views import *
    from .pose_words import *
    from .posteriors import *
    from .regions import *
    from .result import *
    from .run import *
    from .sequences import *
    from .storing import *
    from .thresholds import *
    from .trajectories import *
    from .volumes import *
