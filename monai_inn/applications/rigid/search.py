"""Where the moving image may lie in the fixed one: how well a grey-value curve fits at every shift."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.applications.rigid.likelihood import LEAST_OVERLAP, Curve
from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.volumes import Volume

__all__ = ["Bounds", "candidates", "turns"]

_STEP_DEGREES = 10.0
_APART = 2  # voxels of the search, between two candidates
_RIDGE = 1e-3
_HALF = 0.5
_SMOOTH_MM = 16.0


class Bounds:
    """Uniform prior of the six parameters: a box, and the moving image's centre inside the fixed image.

    Args:
        low: shape ``(6,)``, degrees and mm.
        high: same shape.
        fixed: the fixed image.
        centre: of the moving image, RAS in mm, shape ``(3,)``.
    """

    def __init__(self, low: Tensor, high: Tensor, fixed: Volume, centre: Tensor) -> None:
        inverse = torch.linalg.inv(fixed.affine)
        corners = fixed.corners() - centre
        self.low, self.high = low.double().clone(), high.double().clone()
        self.low[3:] = torch.maximum(self.low[3:], corners.min(0).values)
        self.high[3:] = torch.minimum(self.high[3:], corners.max(0).values)
        self._to_index, self._start = inverse[:3, :3], inverse[:3, :3] @ centre + inverse[:3, 3]
        self._most = torch.tensor(fixed.values.shape).double() - 1

    def inside(self, theta: Tensor) -> Tensor:
        """Return rows ``(B, 6)`` moved into the box."""
        return torch.minimum(torch.maximum(theta, self.low), self.high)

    def contain(self, theta: Tensor) -> Tensor:
        """Return whether the prior allows rows ``(B, 6)``."""
        index = theta[:, 3:] @ self._to_index.T + self._start
        is_inside = ((index >= -_HALF) & (index <= self._most + _HALF)).all(1)
        return is_inside & ((theta >= self.low) & (theta <= self.high)).all(1)


def turns(bounds: Bounds) -> Tensor:
    """Return rotations ``(N, 3)`` in degrees that no other rotation in the bounds is far from."""
    axes = []
    for low, high in zip(bounds.low[:3].tolist(), bounds.high[:3].tolist(), strict=True):
        count = max(1, round((high - low) / _STEP_DEGREES))
        axes.append(low + (high - low) / count * (torch.arange(count).double() + 0.5))
    return torch.cartesian_prod(*axes)


@torch.no_grad()
def candidates(
    fixed: Volume,
    moving: Volume,
    curve: Curve,
    bounds: Bounds,
    rotations: Tensor,
    centre: Tensor,
    count: int,
    edges: bool,
) -> Tensor:
    """Return the motions ``(K, 6)`` that explain most of the moving image, no two shifts close together.

    Edges tell most where shading changes the grey values of a large image, grey values in a small one, which
    hardly has an inside.

    Args:
        fixed: the larger image, on a grid of cubes.
        moving: the smaller one, on cubes of the same side.
        curve: knots of the grey-value curve.
        bounds: prior.
        rotations: those to try, shape ``(N, 3)``, degrees.
        centre: point that the moving image turns about, RAS in mm.
        count: most of them.
        edges: whether edges are compared, or grey values.
    """
    half = int(float(moving.size_mm.norm() / fixed.spacing_mm.min()) / 2) + 1
    padded = [n + 2 * half for n in fixed.values.shape]
    spectra = _spectra(fixed, curve, padded, edges)
    y = (moving.values - moving.values.mean()) / moving.values.std()
    y = (_edges(Volume(y, moving.affine)) if edges else y).to(fixed.values.device)
    best = torch.full(fixed.values.shape, -torch.inf, device=fixed.values.device)
    which = torch.zeros_like(best, dtype=torch.int64)
    for number, rotation in enumerate(rotations):
        turned = _turned(fixed, Volume(y, moving.affine), rotation, half)
        score = _explained(spectra, *turned, padded, fixed.values.shape)
        which = torch.where(score > best, number, which)
        best = torch.maximum(score, best)
    best, which = best.cpu(), which.cpu()
    index = torch.cartesian_prod(*(torch.arange(n).double() for n in best.shape))
    shift = index @ fixed.affine[:3, :3].T + fixed.affine[:3, 3] - centre
    theta = torch.cat([rotations[which.flatten()], shift], 1)
    # A candidate may lie one voxel outside of narrow bounds.
    slack = torch.cat([torch.full((3,), 1e-6), fixed.spacing_mm.max().repeat(3)]).double()
    near = ((theta >= bounds.low - slack) & (theta <= bounds.high + slack)).all(1)
    best = best.flatten().masked_fill(~near, -torch.inf).reshape(best.shape)
    wide = 2 * _APART + 1
    peaks = torch.nn.functional.max_pool3d(best[None, None], wide, 1, _APART)[0, 0] == best
    score = torch.where(peaks & best.isfinite(), best, -torch.inf).flatten()
    top = score.topk(min(count, int(score.isfinite().sum())))
    return bounds.inside(theta[top.indices])


def _edges(volume: Volume) -> Tensor:
    """Values without what changes over centimetres, as shading and bias fields do."""
    return volume.values - volume.resampled(float(volume.spacing_mm[0]), _SMOOTH_MM).values


def _spectra(fixed: Volume, curve: Curve, padded: list[int], edges: bool) -> Tensor:
    """Spectra of a constant, of the hats or of their edges, and of the products of each two."""
    # Hats sum to one: the constant stands for one of them.
    hats = torch.stack(list(curve.hats(fixed.values))[1:])
    if edges:
        hats = torch.stack([_edges(Volume(hat.cpu(), fixed.affine)) for hat in hats]).to(hats)
    hats = torch.cat([torch.ones_like(hats[:1]), hats])
    row, column = torch.tril_indices(len(hats), len(hats))
    return torch.fft.rfftn(torch.cat([hats, hats[row] * hats[column]]), padded, dim=(1, 2, 3))


def _turned(fixed: Volume, moving: Volume, rotation: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """The turned moving image about its centre on the fixed image's grid, and where it is."""
    turned = Motions.of(torch.cat([rotation, torch.zeros(3)]).double()[None]).rotation[0]
    to_moving = torch.linalg.inv(moving.affine[:3, :3]) @ turned.T @ fixed.affine[:3, :3]
    at = torch.arange(-half, half + 1).double()
    most = torch.tensor(moving.values.shape) - 1
    index = torch.cartesian_prod(at, at, at) @ to_moving.T + most / 2
    inside = ((index >= -_HALF) & (index <= most + _HALF)).all(1)
    unit = (2 * index / most - 1).float().flip(1).reshape(1, *[len(at)] * 3, 3).to(moving.values)
    found = torch.nn.functional.grid_sample(
        moving.values[None, None], unit, padding_mode="border", align_corners=True
    )[0, 0]
    window = inside.reshape(found.shape).to(found)
    return found * window, window


def _explained(spectra: Tensor, y: Tensor, window: Tensor, padded: list[int], shape: torch.Size) -> Tensor:
    """Log likelihood that the curve gains with the moving centre on each voxel, ``(I, J, K)``."""
    half = (len(y) - 1) // 2
    n = int((2 * len(spectra) + 2.25) ** 0.5 - 1.5)
    kernels = torch.fft.rfftn(torch.stack([y, window, y.square()]), padded, dim=(1, 2, 3)).conj()

    def correlated(spectrum: Tensor) -> Tensor:
        full = torch.fft.irfftn(spectrum, padded, dim=(1, 2, 3))
        rolled = torch.roll(full, (half,) * 3, (1, 2, 3))
        return rolled[:, : shape[0], : shape[1], : shape[2]]

    right = correlated(spectra[:n] * kernels[0])
    gram = correlated(spectra[n:] * kernels[1])
    power = correlated(spectra[:1] * kernels[2])[0]
    count = gram[0].clamp_min(1.0)
    mean = right[0].square() / count
    taken = _solved(gram, right, _RIDGE * float(window.sum()))
    share = (taken - mean) / (power - mean).clamp_min(1e-3)
    gain = -count * torch.log1p(-share.clamp(0, 0.999))
    return torch.where(count >= LEAST_OVERLAP * window.sum(), gain, -torch.inf)


def _solved(gram: Tensor, right: Tensor, ridge: float) -> Tensor:
    """``rᵀ A⁻¹ r`` by elimination; the first axis holds the lower triangle of ``A``, or ``r``."""
    n = len(right)
    a = {
        (i, j): gram[i * (i + 1) // 2 + j] + (ridge if i == j else 0.0)
        for i in range(n)
        for j in range(i + 1)
    }
    r = list(right)
    result = torch.zeros_like(r[0])
    for k in range(n):
        pivot = a[k, k].clamp_min(ridge)
        result = result + r[k].square() / pivot
        for i in range(k + 1, n):
            factor = a[i, k] / pivot
            r[i] = r[i] - factor * r[k]
            for j in range(k + 1, i + 1):
                a[i, j] = a[i, j] - factor * a[j, k]
    return result
