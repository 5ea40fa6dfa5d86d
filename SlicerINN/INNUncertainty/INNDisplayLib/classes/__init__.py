"""Classified images, and what speaks for each class."""

from .result import *
from .scene import *
from .words import *
