"""Reading the folder that `monai-inn register` leaves: plausible poses, their images, and their worth."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results.result import MapFile, RecordKind, ResultError
from ..translating import tr as _

__all__ = ["AIM_FILE", "POSES_FILE", "DetectorImage", "Pose", "PoseResult", "PoseSamples", "read_poses"]

POSES_FILE, BONE_FILE = "registration.json", "bone.nii.gz"
AIM_FILE = "aim/aim.json"
"""What `monai-inn aim` has left in the folder of a registration, if it was told to."""


def _again() -> str:
    return _("Find the poses again.")


_KIND = RecordKind(
    POSES_FILE, "monai-inn register", _again,
    (
        "ambiguity", "bundle", "command", "detector", "differences", "format_version", "intended_use",
        "modes", "parameters", "target_ras_mm", "trust", "xray",
    ),
)  # fmt: skip
_RIGID = 1e-4

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DetectorImage:
    """An image in the detector's plane.

    Args:
        values: shape ``(1, rows, columns)``, line integrals of attenuation relative to the brightest.
        matrix: index to camera coordinates in mm, ``(4, 4)``.
    """

    values: NDArray[np.float32]
    matrix: Array


@dataclass(frozen=True)
class Pose:
    """One plausible pose of the C-arm.

    Args:
        record: its entry in ``registration.json``.
        camera_to_world: rigid matrix from camera coordinates to the CT's RAS, mm, determinant +1.
    """

    record: dict[str, Any]
    camera_to_world: Array

    @property
    def number(self) -> int:
        """Its number; 1 is the heaviest."""
        return int(self.record["number"])

    @property
    def mass(self) -> float:
        """Its share of the posterior."""
        return float(self.record["mass"])

    def value(self, name: str) -> float:
        """One of its six parameters, in degrees or mm."""
        return float(self.record["pose"][name])

    @property
    def similarity(self) -> float:
        """Normalized cross-correlation of the X-ray and the simulated one."""
        return float(self.record["similarity"]["ncc"])


@dataclass(frozen=True)
class PoseSamples:
    """Posterior samples of the pose.

    Args:
        camera_to_world: shape ``(S, 4, 4)``.
        mode: number of the pose that each belongs to, 0 for none, shape ``(S,)``.
    """

    camera_to_world: Array
    mode: NDArray[np.int64]


@dataclass(frozen=True)
class PoseResult:
    """What registration left in a folder.

    Args:
        folder: where it lies.
        record: content of its ``registration.json``.
        poses: the plausible poses, the heaviest first.
    """

    folder: Path
    record: dict[str, Any]
    poses: tuple[Pose, ...]

    @property
    def is_trusted(self) -> bool:
        """Whether the X-ray is like those that the network was trained for."""
        return bool(self.record["trust"]["is_trusted"])

    @property
    def target(self) -> Array:
        """The target point in the CT, RAS in mm."""
        return np.asarray(self.record["target_ras_mm"], float)

    def pose(self, number: int) -> Pose:
        """The pose of a number.

        Raises:
            ValueError: if there is none.
        """
        for pose in self.poses:
            if pose.number == number:
                return pose
        text = _("There is no pose {number}; the result has {poses}.")
        raise ValueError(text.format(number=number, poses=len(self.poses)))

    def xray(self) -> DetectorImage:
        """Read the X-ray."""
        return self._image("xray.nii.gz")

    def drr(self, pose: Pose) -> DetectorImage:
        """Read the simulated X-ray of a pose."""
        return self._image(pose.record["files"]["drr"])

    def bone(self) -> tuple[Array, Array] | None:
        """Read the CT's bone: attenuation ``(K, J, I)`` in 1/mm, index to RAS in mm; ``None`` without it."""
        path = self.folder / BONE_FILE
        if not path.is_file():
            return None
        values, matrix = MapFile(path, "", "", "1", (), _again).load()
        if values.ndim != 3:
            text = _("{path}: is not a volume; the file is damaged. {again}")
            raise ResultError(text.format(path=path, again=_again()))
        return values, matrix

    def samples(self) -> PoseSamples:
        """Read the posterior samples.

        Raises:
            ResultError: if they are damaged.
        """
        path = self.folder / "samples.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                camera = np.asarray(stored["camera_to_world"], float)
                mode = np.asarray(stored["mode"], np.int64)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            text = _("{path}: cannot be read; the file is damaged. {again}")
            raise ResultError(text.format(path=path, again=_again())) from error
        if mode.ndim != 1 or camera.shape != (len(mode), 4, 4) or not np.isfinite(camera).all():
            text = _("{path}: holds no poses; the file is damaged. {again}")
            raise ResultError(text.format(path=path, again=_again()))
        return PoseSamples(camera, mode)

    def _image(self, name: str) -> DetectorImage:
        path = self.folder / Path(name).name
        values, matrix = MapFile(path, "", "", "1", (), _again).load()
        detector = self.record["detector"]
        shape = (1, detector["rows"], detector["columns"])
        if values.shape != shape:
            text = _(
                "{path}: has {columns} x {rows} pixels, the detector {across} x {down}; copy the folder as a "
                "whole."
            )
            rows, columns = values.shape[-2:]
            raise ResultError(
                text.format(path=path, columns=columns, rows=rows, across=shape[2], down=shape[1])
            )
        return DetectorImage(values.astype(np.float32), matrix)


def read_poses(folder: Path | str) -> PoseResult:
    """Read a result folder; its images and samples are read when asked for.

    Raises:
        ResultError: if it is none, is damaged, or was written by a release that this one does not know.
    """
    result = parse_poses(Path(folder), _KIND.read(folder))
    drrs = [Path(pose.record["files"]["drr"]).name for pose in result.poses]
    further = [name for name in (BONE_FILE, AIM_FILE) if (result.folder / name).exists()]
    _KIND.check_files(result.folder, ["xray.nii.gz", "samples.npz", *drrs, *further])
    return result


def parse_poses(folder: Path, record: Any) -> PoseResult:
    """Check the record of a registration, and say where its files should be."""
    _KIND.check(folder, record)
    try:
        names = [row["name"] for row in record["parameters"]]
        poses = tuple(_pose(entry, names) for entry in record["modes"])
        record["trust"]["is_trusted"], record["trust"]["statement"], record["ambiguity"]["statement"]
        detector = record["detector"]
        detector["rows"], detector["columns"], detector["source_detector_mm"], detector["beam"]
        target = np.asarray(record["target_ras_mm"], float)
        if target.shape != (3,) or not np.isfinite(target).all():
            raise ValueError(_("the target is not a point"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _KIND.damaged(folder, error) from error
    if not poses:
        text = _("{folder}: the registration holds no pose. {again}")
        raise ResultError(text.format(folder=folder, again=_again()))
    return PoseResult(folder, record, poses)


def _pose(entry: dict[str, Any], names: list[str]) -> Pose:
    """A pose with what is shown of it.

    Raises:
        ValueError: if its matrix is not a rotation and shift, or a number is missing.
    """
    matrix = np.asarray(entry["camera_to_world"], float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(_("camera_to_world is not a matrix"))
    rotation = matrix[:3, :3]
    is_rotation = np.abs(rotation.T @ rotation - np.eye(3)).max() < _RIGID and np.linalg.det(rotation) > 0
    if not is_rotation or not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise ValueError(_("camera_to_world is not a rigid motion"))
    pose = Pose(entry, matrix)
    shown = [pose.mass, pose.similarity, *(pose.value(name) for name in names)]
    shown += [float(entry["spread"][name]) for name in names]
    shown += [float(entry["mtre_mm"][end]) for end in ("median", "low", "high")]
    if (top := entry.get("refined")) is not None:
        shown += [float(top[part][name]) for part in ("pose", "sd") for name in names]
        shown.append(float(top["log_likelihood_gain"]))
    if not np.isfinite(shown).all() or pose.number < 1 or "drr" not in entry["files"]:
        raise ValueError(_("a pose is incomplete"))
    return pose
