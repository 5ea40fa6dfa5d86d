"""What the panel remembers, saved with the scene."""

import enum
from typing import Annotated, Union

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

__all__ = ["Kind", "PanelState"]


class Kind(enum.Enum):
    """What is laid over the image; values are those of the display library."""

    OFF = "off"
    WIDTH = "interval_width"
    PROBABILITY = "probability_below"
    ABOVE = "probability_above"
    MEDIAN = "median"
    SAMPLE = "sample"
    MODES = "mode_count"
    WAIC = "waic"
    ADEQUACY = "adequacy"
    DIFFERENCE = "difference"

    def label(self) -> str:
        """Name in the panel."""
        return {
            Kind.OFF: _("Image alone"),
            Kind.WIDTH: _("Interval width"),
            Kind.PROBABILITY: _("Probability below threshold"),
            Kind.ABOVE: _("Probability above threshold, from samples"),
            Kind.MEDIAN: _("Median"),
            Kind.SAMPLE: _("One posterior sample"),
            Kind.MODES: _("Number of modes"),
            Kind.WAIC: _("Distance from training data (WAIC)"),
            Kind.ADEQUACY: _("Adequacy of the model (p-value)"),
            Kind.DIFFERENCE: _("Difference to another result"),
        }[self]


@parameterNodeWrapper
class PanelState:
    """State of the panel."""

    # Connecting a selector gives it these classes, whatever its .ui file says.
    image: Union[vtkMRMLScalarVolumeNode, vtkMRMLSequenceNode, None]  # noqa: UP007
    volumes: list[vtkMRMLScalarVolumeNode] = []  # noqa: RUF012 (behind the first, of bundles that take some)
    file: str = ""  # in the place of an image
    bundle: str = ""
    bundleFolders: list[str] = []  # noqa: RUF012 (how Slicer declares parameters)
    samples: Annotated[int, WithinRange(8, 512)] = 64
    storedSamples: Annotated[int, WithinRange(0, 64)] = 8
    falseAlarm: Annotated[float, WithinRange(0.005, 0.5)] = 0.05
    adequacy: Annotated[int, WithinRange(0, 200)] = 0
    reweight: bool = False
    noiseSd: Annotated[float, WithinRange(0, 1e6)] = 0.0  # of bundles that take it; 0 if it is not given
    run: str = ""
    picture: str = ""
    kind: Kind = Kind.WIDTH
    parameter: str = ""
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    hideBelow: Annotated[float, WithinRange(0, 100)] = 0.0
    graded: bool = False
    mapBeside: bool = False
    threshold: float = 0.0
    sample: int = 1
    contours: bool = False
    other: str = ""
    probe: vtkMRMLMarkupsFiducialNode
    segmentation: vtkMRMLSegmentationNode
    regions: bool = False
    isAbove: bool = False
    certain: Annotated[float, WithinRange(50, 100)] = 95.0
    possible: Annotated[float, WithinRange(0.1, 50)] = 5.0
    smallestIsland: Annotated[float, WithinRange(0, 1e6)] = 0.0
    classes: str = ""
    showClasses: bool = False
    classImage: int = 0
    classFor: str = ""
    classAgainst: str = ""
    evidenceOpacity: Annotated[float, WithinRange(0, 1)] = 0.6
