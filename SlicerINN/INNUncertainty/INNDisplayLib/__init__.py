"""Showing posteriors in MRML scenes: nodes, layers, legends, read-outs, plots. No Qt.

Used by the module in 3D Slicer, by the web viewer, and by the tests. Each folder imports only from those
named before it: numbers, scene, results, poses, classes, plan, maps.

Each file says in ``__all__`` what it offers.

Where there is no scene, as under `monai-inn compare`, there are numbers alone.
"""

from .numbers import *

try:
    import slicer.util  # noqa: F401
except ImportError:
    pass
else:
    from .classes import *
    from .maps import *
    from .plan import *
    from .poses import *
    from .results import *
    from .scene import *
