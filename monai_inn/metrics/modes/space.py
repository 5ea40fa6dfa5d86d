"""How far apart two solutions are, in units of what the application tolerates: numbers, angles, poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

__all__ = ["ModeSpace", "Pose"]

# A rotation vector longer than this many turns is in degrees.
_MOST_TURNS = 3.0


class Pose(NamedTuple):
    """Columns of a parameter vector that move a rigid body; either part may be empty.

    Attributes:
        rotation: 3 columns of a rotation vector in radians, or 4 of a quaternion, real part first.
        translation: columns whose joint Euclidean length counts, such as 3 in mm.
    """

    rotation: tuple[int, ...] = ()
    translation: tuple[int, ...] = ()


class ModeSpace:
    """Distance between parameter vectors in units of a clinical tolerance: at most 1 is close enough.

    Every parameter (every angle, rotation, translation) has a tolerance of its own, and the distance is the
    *largest* of the deviations in these units, not their root sum of squares: "within 5° and 5 mm" means
    both, and a further parameter must not make the demands on the others harder.

    Args:
        scale: tolerance of each parameter in its own unit, shape ``(D,)``, positive. The columns of a
            rotation all hold its tolerance in degrees, those of a translation its tolerance in their unit.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        poses: columns that are rotations and translations of rigid bodies.

    Raises:
        ValueError: if a tolerance is missing or not positive, a period is not positive, or the columns of a
            pose do not exist, are shared, of the wrong number, periodic, or of different tolerances.

    Example:
        >>> space = ModeSpace([0.05, 10.0], period=[math.inf, 360.0])
        >>> space.distance(torch.tensor([0.60, 355.0]), torch.tensor([0.62, 3.0]))
        tensor(0.8000, dtype=torch.float64)
    """

    def __init__(
        self,
        scale: Tensor | Sequence[float],
        period: Tensor | Sequence[float] | None = None,
        poses: Sequence[Pose] = (),
    ) -> None:
        self.scale = torch.as_tensor(scale, dtype=torch.float64).detach().cpu()
        if self.scale.ndim != 1 or not self.scale.numel():
            raise ValueError(
                f"scale has shape {tuple(self.scale.shape)}, expected one tolerance per parameter, (D,)."
            )
        if not bool((self.scale.isfinite() & (self.scale > 0)).all()):
            raise ValueError(
                f"scale is {self.scale.tolist()}; give every parameter a positive, finite tolerance."
            )
        infinite = torch.full_like(self.scale, torch.inf)
        self.period = infinite if period is None else torch.as_tensor(period, dtype=torch.float64).cpu()
        if self.period.shape != self.scale.shape or not bool((self.period > 0).all()):
            raise ValueError(
                f"period is {self.period.tolist()}, expected a positive number per parameter ({len(self)}), "
                "inf for those that are not angles."
            )
        self.poses = tuple(Pose(*pose) for pose in poses)
        self._check_poses()
        self.pose_columns = frozenset(column for pose in self.poses for part in pose for column in part)
        # A quaternion has four numbers and three degrees of freedom.
        self.dimension = len(self) - sum(len(pose.rotation) == 4 for pose in self.poses)
        rest = [column for column in range(len(self)) if column not in self.pose_columns]
        self._linear = [column for column in rest if math.isinf(self.period[column])]
        self._lines = self._linear + [column for pose in self.poses for column in pose.translation]
        self._angles = [column for column in rest if not math.isinf(self.period[column])]

    def __len__(self) -> int:
        return self.scale.shape[0]

    def __repr__(self) -> str:
        return f"ModeSpace({len(self)} parameters, {len(self._angles)} angles, {len(self.poses)} poses)"

    def check(self, values: Tensor, name: str) -> Tensor:
        """Return parameters ``(…, D)`` as float64 on the CPU.

        Raises:
            ValueError: if the last axis is not one entry per parameter, a value is NaN or infinite, a
                rotation is longer than three turns, or a quaternion is zero.
        """
        values = torch.as_tensor(values).detach().cpu().double()
        if values.ndim == 0 or values.shape[-1] != len(self):
            raise ValueError(
                f"{name} have shape {tuple(values.shape)}, but there are tolerances for {len(self)} "
                "parameters; the last axis must hold them."
            )
        broken = int((~values.isfinite()).sum())
        if broken:
            raise ValueError(
                f"{name}: {broken} of {values.numel()} values are NaN or infinite; leave them out."
            )
        for pose in self.poses:
            length = values[..., list(pose.rotation)].norm(dim=-1)
            if len(pose.rotation) == 3 and bool((length > _MOST_TURNS * 2 * math.pi).any()):
                raise ValueError(
                    f"{name}: a rotation vector is {float(length.max()):.4g} long, which is more than "
                    f"{_MOST_TURNS:g} turns; give radians, not degrees."
                )
            if len(pose.rotation) == 4 and bool((length < 1e-6).any()):
                raise ValueError(f"{name}: a quaternion is zero; give unit quaternions, real part first.")
        return values

    def difference(self, first: Tensor, second: Tensor) -> Tensor:
        """Return ``first − second`` per parameter, ``(…, D)``, by the shorter way round for angles.

        Rotation vectors give the vector of the rotation from ``second`` to ``first``; quaternions are
        subtracted after their signs are made to agree.
        """
        result = first - second
        for column in self._angles:
            turn = float(self.period[column])
            result[..., column] = torch.remainder(result[..., column] + turn / 2, turn) - turn / 2
        for pose in self.poses:
            columns = list(pose.rotation)
            if len(columns) == 3:
                result[..., columns] = self._relative(first, second, pose)
            elif len(columns) == 4:
                p, q = torch.broadcast_tensors(first[..., columns], second[..., columns])
                p, q = p / p.norm(dim=-1, keepdim=True), q / q.norm(dim=-1, keepdim=True)
                result[..., columns] = torch.where((p * q).sum(-1, keepdim=True) < 0, -p, p) - q
        return result

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the largest deviation in units of the tolerance, ``(…, D)`` twice → ``(…)``, float64."""
        first, second = first.double(), second.double()
        difference = self.difference(first, second)
        terms = [difference[..., c].abs() / self.scale[c] for c in self._linear + self._angles]
        for pose in self.poses:
            if pose.rotation:
                angle = self._relative(first, second, pose).norm(dim=-1)
                terms.append(torch.rad2deg(angle) / self.scale[pose.rotation[0]])
            if pose.translation:
                length = difference[..., list(pose.translation)].norm(dim=-1)
                terms.append(length / self.scale[pose.translation[0]])
        return torch.stack(terms).amax(0)

    def embed(self, values: Tensor) -> Tensor:
        """Map parameters ``(…, D)`` to a Euclidean space ``(…, E)`` in which small distances keep their size.

        Angles become points on circles and rotations their matrices, so that nothing jumps where a turn is
        complete, and a quaternion and its negative are the same point.
        """
        parts = [self._straight(values)]
        if self._angles:
            radius = self.period[self._angles] / (2 * math.pi)
            angle, size = values[..., self._angles] / radius, radius / self.scale[self._angles]
            parts += [size * angle.cos(), size * angle.sin()]
        return torch.cat(parts + self._matrices(values), -1)

    def unroll(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding ``(…, C)`` with arcs in place of circles, and each column's turn ``(C,)``."""
        scale, angles = self.scale[self._angles], self._angles
        arcs = values[..., angles] / scale
        columns = torch.cat([self._straight(values), *self._matrices(values), arcs], -1)
        turns = torch.full((columns.shape[-1],), torch.inf, dtype=torch.float64)
        turns[columns.shape[-1] - len(angles) :] = self.period[angles] / scale
        return columns, turns

    def restore(self, embedded: Tensor) -> Tensor:
        """Return the parameters ``(…, D)`` with embeddings nearest to points ``(…, E)``, such as means."""
        result = torch.zeros(*embedded.shape[:-1], len(self), dtype=torch.float64)
        result[..., self._lines] = embedded[..., : len(self._lines)] * self.scale[self._lines]
        start, count = len(self._lines), len(self._angles)
        cos, sin = embedded[..., start : start + count], embedded[..., start + count : start + 2 * count]
        radius = self.period[self._angles] / (2 * math.pi)
        result[..., self._angles] = torch.atan2(sin, cos) * radius
        start += 2 * count
        for pose in self.poses:
            if pose.rotation:
                matrix = embedded[..., start : start + 9].reshape(-1, 3, 3)
                u, _, v = torch.linalg.svd(matrix)
                u[..., -1] *= torch.linalg.det(u @ v)[:, None]
                rotation = Rotation.from_matrix((u @ v).numpy())
                is_vector = len(pose.rotation) == 3
                values = rotation.as_rotvec() if is_vector else np.roll(rotation.as_quat(), 1, axis=-1)
                result[..., list(pose.rotation)] = torch.as_tensor(values).reshape(
                    *embedded.shape[:-1], len(pose.rotation)
                )
                start += 9
        return result

    def middle(self, first: Tensor, second: Tensor, share: float = 0.5) -> Tensor:
        """Return points between two parameter vectors ``(…, D)``, at ``share`` of the way to the second."""
        return self.align(self.restore((1 - share) * self.embed(first) + share * self.embed(second)), first)

    def align(self, values: Tensor, anchor: Tensor) -> Tensor:
        """Return the same points ``(…, D)``, angles in the turn and quaternions of the sign of ``anchor``."""
        result = values.clone()
        for column in self._angles:
            turn = float(self.period[column])
            low = anchor[..., column] - turn / 2
            result[..., column] = torch.remainder(values[..., column] - low, turn) + low
        for pose in self.poses:
            if len(pose.rotation) == 4:
                columns = list(pose.rotation)
                product = (values[..., columns] * anchor[..., columns]).sum(-1, keepdim=True)
                result[..., columns] = torch.where(product < 0, -values[..., columns], values[..., columns])
        return result

    def _straight(self, values: Tensor) -> Tensor:
        """Numbers and translations in units of their tolerance, ``(…, C)``."""
        return values[..., self._lines] / self.scale[self._lines]

    def _matrices(self, values: Tensor) -> list[Tensor]:
        """Matrices ``(…, 9)`` of the rotations, scaled so that small distances keep their size."""
        matrices = []
        for pose in self.poses:
            if pose.rotation:
                # ‖R − R'‖ = √8 sin(θ/2), which is √2 θ for small angles.
                factor = math.degrees(1) / (math.sqrt(2) * float(self.scale[pose.rotation[0]]))
                matrix = self._rotation(values, pose).as_matrix().reshape(*values.shape[:-1], 9)
                matrices.append(factor * torch.as_tensor(matrix))
        return matrices

    def _relative(self, first: Tensor, second: Tensor, pose: Pose) -> Tensor:
        """Vector of the rotation from second to first, radians, ``(…, 3)``."""
        first, second = torch.broadcast_tensors(first, second)
        turn = self._rotation(second, pose).inv() * self._rotation(first, pose)
        return torch.as_tensor(turn.as_rotvec()).reshape(*first.shape[:-1], 3)

    @staticmethod
    def _rotation(values: Tensor, pose: Pose) -> Rotation:
        columns = values[..., list(pose.rotation)].reshape(-1, len(pose.rotation)).numpy()
        if len(pose.rotation) == 3:
            return Rotation.from_rotvec(columns)
        return Rotation.from_quat(np.roll(columns, -1, axis=1))

    def _check_poses(self) -> None:
        used: list[int] = []
        for pose in self.poses:
            if len(pose.rotation) not in (0, 3, 4):
                raise ValueError(
                    f"a rotation has {len(pose.rotation)} columns, expected 3 (rotation vector) or 4 "
                    "(quaternion)."
                )
            for part in (pose.rotation, pose.translation):
                if any(not 0 <= column < len(self) or column in used for column in part):
                    raise ValueError(
                        f"pose columns {part} must exist among {len(self)} parameters and belong to one part "
                        "of one pose only."
                    )
                used.extend(part)
                columns = list(part)
                if part and len(set(self.scale[columns].tolist())) > 1:
                    raise ValueError(
                        f"columns {part} of one rotation or translation have tolerances "
                        f"{self.scale[columns].tolist()}; give all of them the same one."
                    )
                if bool(self.period[columns].isfinite().any()):
                    raise ValueError(f"columns {part} belong to a pose; leave their period at inf.")
        if len(used) != len(set(used)):
            raise ValueError(f"pose columns {used} repeat; every column belongs to one part of one pose.")
