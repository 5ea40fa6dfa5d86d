"""Registrations: plausible poses, how far they spread, and what they mean for a plan."""

from .aim import *
from .result import *
from .run import *
from .scene import *
from .spread import *
from .views import *
from .words import *
