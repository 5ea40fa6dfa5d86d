"""Pose of a patient in front of a C-arm, from an X-ray and the CT."""

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.applications.registration.bundle import PatientTrainer
    from monai_inn.applications.registration.xrays.matching import match_detector
    from monai_inn.applications.registration.xrays.reading import READABLE_XRAYS, Xray, read_xray

__all__ = ["READABLE_XRAYS", "PatientTrainer", "Xray", "match_detector", "read_xray"]

PROBLEMS = {"registration": f"{__name__}.problem:PoseRegistration"}
COMMANDS = f"{__name__}.commands"
RESULTS = {"registration.json": f"{__name__}.viewer.opening"}
DEMO = f"{__name__}.demo"

_HOMES = {
    "PatientTrainer": "bundle",
    "READABLE_XRAYS": "xrays.reading",
    "Xray": "xrays.reading",
    "match_detector": "xrays.matching",
    "read_xray": "xrays.reading",
}

# Looking for commands must not cost an import of torch.
__getattr__ = lazy_attributes(__name__, _HOMES)
