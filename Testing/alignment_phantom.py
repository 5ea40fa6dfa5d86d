"""A spine of like vertebrae, and small images of it whose level is in doubt."""

from __future__ import annotations

import torch

from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.volumes import Volume

PERIOD, SPACING = 30.0, 3.0


def placed(shape, centre) -> Volume:
    """An empty volume about a point, RAS in mm."""
    affine = torch.diag(torch.tensor([-SPACING, -SPACING, SPACING, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor(centre) - affine[:3, :3] @ ((torch.tensor(shape).double() - 1) / 2)
    return Volume(torch.zeros(shape), affine)


def anatomy(points: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Vertebrae of some heights above another, with a process to the back and one rib each, ``(N,)``."""
    x, y, z = points.unbind(1)
    total = 0.002 * y
    for k, size in enumerate(sizes.tolist()):
        up = z - PERIOD * (k - (len(sizes) - 1) / 2)
        total = total + size * torch.exp(-0.5 * ((x / 9) ** 2 + (y / 8) ** 2 + (up / 7) ** 2))
        total = total + 0.6 * torch.exp(-0.5 * (((x - 4) / 4) ** 2 + ((y + 16) / 6) ** 2 + (up / 5) ** 2))
    return total


def pair(seed: int, theta: torch.Tensor, noise: float, unlike: float = 0.05, shape=(10, 12, 12)):
    """A fixed image of five vertebrae, and a moving one that ``theta`` takes to the middle one."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 1 + unlike * torch.randn(5, generator=generator)
    fixed = placed((18, 18, 54), (5.0, -3.0, 2.0))
    fixed = fixed._replace(values=anatomy(fixed.points(), sizes).float().reshape(fixed.values.shape))
    moving = placed(shape, (-theta[3:]).tolist())
    matrix = Motions.of(theta[None]).matrix(moving.centre)[0]
    seen = anatomy(moving.points() @ matrix[:3, :3].T + matrix[:3, 3], sizes).float().reshape(shape)
    return fixed, moving._replace(values=2 * seen + noise * torch.randn(shape, generator=generator) - 1)
