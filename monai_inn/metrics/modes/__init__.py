"""Modes of a posterior: found, matched with known solutions, and scored as detected objects."""

from monai_inn.metrics.modes.detection import Mode, find_modes, find_modes_batch
from monai_inn.metrics.modes.matching import match, mode_distance
from monai_inn.metrics.modes.scores import mode_scores
from monai_inn.metrics.modes.space import ModeSpace, Pose

__all__ = [
    "Mode",
    "ModeSpace",
    "Pose",
    "find_modes",
    "find_modes_batch",
    "match",
    "mode_distance",
    "mode_scores",
]
