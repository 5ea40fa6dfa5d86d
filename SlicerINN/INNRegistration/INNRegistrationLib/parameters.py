"""What the panel remembers, saved with the scene."""

import enum
from typing import Annotated

from slicer import vtkMRMLDisplayableNode, vtkMRMLMarkupsNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

__all__ = ["Bone", "ComparisonKind", "RegistrationState"]


class Bone(enum.Enum):
    """How bone looks in the X-ray; values are those of the command."""

    FILE = ""
    DARK = "intensity"
    BRIGHT = "attenuation"

    def label(self) -> str:
        """Name in the panel."""
        return {Bone.FILE: _("as the file says"), Bone.DARK: _("dark"), Bone.BRIGHT: _("bright")}[self]


class ComparisonKind(enum.Enum):
    """How X-ray and DRR are compared; values are those of the display library."""

    BLEND = "blend"
    CHECKERBOARD = "checkerboard"
    DIFFERENCE = "difference"


@parameterNodeWrapper
class RegistrationState:
    """State of the panel."""

    bundle: str = ""
    xray: str = ""
    output: str = ""
    bone: Bone = Bone.FILE
    spacing: Annotated[float, WithinRange(0, 10)] = 0.0  # of pixels on the detector; 0 is what the file says
    isMirrored: bool = False
    isReweighted: bool = False
    isRefined: bool = False
    minutes: Annotated[float, WithinRange(1, 600)] = 20.0  # of a training
    ct: vtkMRMLScalarVolumeNode
    run: str = ""
    pose: int = 1
    comparison: ComparisonKind = ComparisonKind.BLEND
    share: Annotated[float, WithinRange(0, 1)] = 0.5
    fields: Annotated[int, WithinRange(2, 32)] = 8
    showUntrusted: bool = False
    plan: vtkMRMLMarkupsNode
    avoid: vtkMRMLDisplayableNode  # a segmentation or a label map
    radius: Annotated[float, WithinRange(0, 20)] = 0.0  # of the screw or needle
