"""Geometry of a C-arm: where the X-ray source and the detector are, seen from the patient.

World coordinates are the patient's, RAS, mm: x to the right, y anterior, z superior, as in NIfTI files and in
3D Slicer. ITK and DICOM have LPS; ``itk_matrix`` is the one place that goes from one to the other.

Camera coordinates are right-handed: the source is the origin, x runs along the columns and y along the rows
of the image as the *source* sees it, z along the beam. A pose is the rigid matrix from camera to world.
Displays show many X-rays from the other side, as if the patient were looked at from the front; that mirrors
the image, never the matrix, so that every pose has the determinant +1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "POSE",
    "RANGES",
    "WIDE_RANGES",
    "Detector",
    "camera_to_world",
    "gantry_motion",
    "geodesic_degrees",
    "itk_matrix",
    "mirrored",
    "pose_of",
]

POSE: Mapping[str, tuple[str, str]] = {
    "lao": ("deg", "detector turned to the patient's left (LAO); right (RAO) is negative"),
    "cra": ("deg", "detector turned to the head (CRA); to the feet (CAU) is negative"),
    "roll": ("deg", "detector turned about the beam, clockwise as the source sees it"),
    "right": ("mm", "target moved to the right in the image, at the isocentre"),
    "down": ("mm", "target moved down in the image, at the isocentre"),
    "away": ("mm", "target moved along the beam, away from the source"),
}
"""Names, units and meanings of the six pose parameters, in the order of their last axis."""

RANGES: Mapping[str, tuple[float, float]] = {
    "lao": (-180.0, 180.0),
    "cra": (-30.0, 30.0),
    "roll": (-15.0, 15.0),
    "right": (-20.0, 20.0),
    "down": (-20.0, 20.0),
    "away": (-50.0, 50.0),
}
"""What a C-arm reaches around a patient on its table, degrees and mm: default of every free parameter."""

WIDE_RANGES: Mapping[str, tuple[float, float]] = {
    **RANGES,
    "right": (-60.0, 60.0),
    "down": (-60.0, 60.0),
    "away": (-80.0, 80.0),
}
"""The same where nobody has said what the isocentre is near to: default straight from a CT."""

# Columns: camera x, y, z in RAS where the source is anterior and the patient upright in the image.
_ANTERIOR_SOURCE = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))


@dataclass(frozen=True)
class Detector:
    """Image size and distances of an X-ray system.

    Args:
        rows: height of the image in pixels.
        columns: width of the image in pixels.
        spacing_mm: side of a pixel, on the detector.
        source_detector_mm: distance from the source to the detector.
        source_isocentre_mm: distance from the source to the isocentre, where the target is without shifts.
        beam: ``"cone"``, or ``"parallel"`` for rays that all run along the beam.
        view: ``"detector"`` if columns run as displays show them, the patient looked at from the detector;
            ``"source"`` if they run as the source sees them, which is its mirror image.

    Raises:
        ValueError: if a size or distance is not positive, the isocentre is not in front of the detector, or
            beam or view are unknown.
    """

    rows: int = 64
    columns: int = 64
    spacing_mm: float = 3.2
    source_detector_mm: float = 1020.0
    source_isocentre_mm: float = 850.0
    beam: str = "cone"
    view: str = "detector"

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "spacing_mm", "source_detector_mm", "source_isocentre_mm"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"detector: {name} = {value}; give a positive number.")
        if self.source_isocentre_mm >= self.source_detector_mm:
            raise ValueError(
                f"detector: the isocentre is {self.source_isocentre_mm:g} mm from the source, the detector "
                f"{self.source_detector_mm:g} mm; give a detector that is farther away."
            )
        if self.beam not in ("cone", "parallel"):
            raise ValueError(f'detector: beam is {self.beam!r}, expected "cone" or "parallel".')
        if self.view not in ("detector", "source"):
            raise ValueError(f'detector: view is {self.view!r}, expected "detector" or "source".')

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the isocentre."""
        return self.source_detector_mm / self.source_isocentre_mm if self.beam == "cone" else 1.0

    @property
    def spacing_at_isocentre_mm(self) -> float:
        """Side of a pixel where the target is."""
        return self.spacing_mm / self.magnification

    @property
    def handedness(self) -> float:
        """+1 if image columns run along the camera's x axis, −1 if against it."""
        return 1.0 if self.view == "source" else -1.0

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON-ready."""
        return asdict(self)


def camera_to_world(pose: Tensor, detector: Detector, target: Tensor) -> Tensor:
    """Return the rigid matrices of poses, from camera to world coordinates, determinant +1.

    Args:
        pose: parameters in the order and the units of ``POSE``, shape ``(…, 6)``. All zero: source behind
            the patient, detector in front (postero-anterior), the target on the central ray.
        detector: distances and view.
        target: point that the angles turn about and the shifts move, RAS in mm, shape ``(3,)``.

    Returns:
        Shape ``(…, 4, 4)``, in the precision of ``pose``.

    Raises:
        ValueError: if the last axis does not hold six numbers.
    """
    if pose.shape[-1:] != (len(POSE),):
        raise ValueError(f"pose has shape {tuple(pose.shape)}, expected (…, 6): {', '.join(POSE)}.")
    lao, cra, roll, right, down, away = pose.unbind(-1)
    base = pose.new_tensor(_ANTERIOR_SOURCE)
    # The source goes where the detector does not: turned by half a circle, and down when the detector is up.
    rotation = _about(2, lao + 180) @ _about(0, -cra) @ base @ _about(2, roll)
    at = torch.stack([detector.handedness * right, down, away + detector.source_isocentre_mm], -1)
    source = target.to(pose) - (rotation @ at.unsqueeze(-1)).squeeze(-1)
    top = torch.cat([rotation, source.unsqueeze(-1)], -1)
    bottom = pose.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*pose.shape[:-1], 1, 4)
    return torch.cat([top, bottom], -2)


def pose_of(camera: Tensor, detector: Detector, target: Tensor) -> Tensor:
    """Return the pose parameters ``(…, 6)`` of rigid matrices ``(…, 4, 4)``; undoes ``camera_to_world``.

    Angles are within ±180 degrees, ``cra`` within ±90.
    """
    rotation, source = camera[..., :3, :3], camera[..., :3, 3]
    beam = rotation[..., 2]
    lao = torch.rad2deg(torch.atan2(-beam[..., 0], beam[..., 1]))
    cra = torch.rad2deg(torch.asin(beam[..., 2].clamp(-1, 1)))
    level = _about(2, lao + 180) @ _about(0, -cra) @ camera.new_tensor(_ANTERIOR_SOURCE)
    along = (level.transpose(-1, -2) @ rotation)[..., 0]
    roll = torch.rad2deg(torch.atan2(along[..., 1], along[..., 0]))
    at = (rotation.transpose(-1, -2) @ (target.to(camera) - source).unsqueeze(-1)).squeeze(-1)
    right, away = detector.handedness * at[..., 0], at[..., 2] - detector.source_isocentre_mm
    return torch.stack([lao, cra, roll, right, at[..., 1], away], -1)


def mirrored(pose: Tensor, detector: Detector) -> Tensor:
    """Return the poses ``(…, 6)`` from which a patient who is his own mirror image looks alike.

    A parallel beam sees the same in the same place from the other side of the mirror image.
    """
    camera = camera_to_world(pose, detector, torch.zeros(3))
    signs = torch.outer(pose.new_tensor([-1.0, 1.0, 1.0]), pose.new_tensor([1.0, 1.0, -1.0]))
    angles = camera.clone()
    angles[..., :3, :3] *= signs
    return torch.cat([pose_of(angles, detector, torch.zeros(3))[..., :3], pose[..., 3:]], -1)


def pose_difference(pose: Tensor, other: Tensor) -> Tensor:
    """Return what one pose is more than another, ``(…, 6)`` or longer, ``lao`` within half a turn."""
    more = pose - other
    lao = torch.remainder(more[..., :1] + 180, 360) - 180
    return torch.cat([lao, more[..., 1:]], -1)


def gantry_motion(first: tuple[float, float], second: tuple[float, float], detector: Detector) -> Tensor:
    """Return how the camera moves when the C-arm turns about its isocentre.

    Args:
        first: ``lao`` and ``cra`` in degrees that the gantry shows before.
        second: the same after.
        detector: distances of the C-arm.

    Returns:
        From coordinates of the second camera to those of the first, shape ``(4, 4)``, float64: whatever the
        patient's pose, ``camera_2 = camera_1 @ motion``.
    """
    shown = torch.tensor([[*first, 0, 0, 0, 0], [*second, 0, 0, 0, 0]], dtype=torch.float64)
    before, after = camera_to_world(shown, detector, torch.zeros(3))
    return torch.linalg.inv(before) @ after


def _about(axis: int, degrees: Tensor) -> Tensor:
    """Rotation matrices ``(…, 3, 3)`` about a coordinate axis, right-handed."""
    angle = torch.deg2rad(degrees)
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    entries = {
        0: (one, zero, zero, zero, c, -s, zero, s, c),
        2: (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def itk_matrix(camera: Tensor) -> Tensor:
    """Return what an ITK transform file holds so that 3D Slicer places the C-arm into the CT's scene.

    Files are in LPS and map points of the parent to those of the node, so ``L M⁻¹ L``: points of the CT, in
    LPS, to camera coordinates with x and y reversed. Slicer shows it as the transform to parent ``M``.

    Args:
        camera: rigid matrices from camera to world (RAS), shape ``(…, 4, 4)``.

    Raises:
        ValueError: if a matrix is not a rotation and shift, as one of determinant −1 is.
    """
    rotation = camera[..., :3, :3].double()
    unity = torch.eye(3, dtype=torch.float64, device=camera.device)
    error = (rotation.transpose(-1, -2) @ rotation - unity).abs().amax()
    if error > 1e-4 or bool((torch.linalg.det(rotation) < 0).any()):
        raise ValueError(
            "a pose is not a rigid motion (its matrix must be a rotation of determinant +1); an image that "
            'is mirrored is said by the detector\'s view, not by the pose: use view="source" or "detector".'
        )
    flip = torch.diag(camera.new_tensor([-1.0, -1.0, 1.0, 1.0]))
    return flip @ torch.linalg.inv(camera) @ flip


def geodesic_degrees(first: Tensor, second: Tensor) -> Tensor:
    """Return the angle in degrees by which rotations ``(…, 3, 3)`` or poses ``(…, 4, 4)`` differ."""
    difference = (first[..., :3, :3] - second[..., :3, :3]).double()
    chord = difference.square().sum((-1, -2)).sqrt() / (2 * math.sqrt(2))
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1.0))).to(first)
