"""How well a motion explains the moving image: its grey values are a smooth curve of the fixed image's.

With ``B(θ)`` linear splines (hats) of the fixed image's grey values at the moved voxels, the moving image is
``y = B β + e``, whatever the modality; the coefficients ``β`` have a wide normal prior and are integrated out
in closed form. The error ``e`` is a stationary random field: its cosines are independent, and their variance
depends on the frequency alone (Whittle's likelihood), as in 2D/3D registration. So a smooth error, as of
shading or a bias field, counts for one voxel and not for the thousands that it covers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.whitening import cosines
from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.volumes import Volume

__all__ = ["FEW_KNOTS", "LEAST_OVERLAP", "MANY_KNOTS", "Comparison", "Curve", "Match"]

LEAST_OVERLAP = 0.5
"""Share of the moving image that must lie inside the fixed one."""

FEW_KNOTS = (0.02, 0.6, 0.75, 0.97, 0.998)
"""Shares of the fixed image's voxels below the knots of a curve for the search."""

MANY_KNOTS = tuple(0.002 + 0.996 * k / 23 for k in range(24))
"""Likewise, of a curve that follows any contrast and reaches dense bone."""

_KNOTS = (0.02, 0.2, 0.4, 0.6, 0.75, 0.9, 0.97, 0.998)
_APART = 0.03  # of the range of the knots
_WIDE = 10.0  # standard deviation of a coefficient, in those of the moving image
_BANDS, _BELIEF = 12, 30.0  # of frequency; coefficients that the density so far counts as
_WHITE, _SMOOTH, _LENGTH_MM = 0.3, 0.3, 15.0  # errors assumed at first, in standard deviations of the image
_BLOCKS = 4  # along each axis
_AT_A_TIME = 3_000_000  # numbers


class Curve(NamedTuple):
    """Linear splines of grey values; constant beyond the outer knots.

    Attributes:
        knots: ascending, shape ``(K,)``.
    """

    knots: Tensor

    @classmethod
    def of(cls, values: Tensor, shares: Sequence[float] = _KNOTS, apart: float = _APART) -> Curve:
        """Return knots with some shares of the values below them, at least a share of their range apart."""
        some = values.flatten()[:: max(1, values.numel() // 1_000_000)]
        knots = some.quantile(torch.tensor(shares).to(some))
        least = apart * (knots[-1] - knots[0])
        kept = [knots[0]]
        for knot in knots[1:]:
            if knot - kept[-1] > least:
                kept.append(knot)
        return cls(torch.stack(kept) if len(kept) > 1 else torch.stack([some.min(), some.max()]))

    def hats(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the ``K`` hats at grey values of any shape; they sum to one."""
        below = torch.ones_like(x)
        for low, high in itertools.pairwise(self.knots.tolist()):
            above = ((x - low) / (high - low)).clamp(0, 1)
            yield below - above
            below = above
        yield below


class Match(NamedTuple):
    """How well some motions explain the moving image.

    Attributes:
        theta: motions, shape ``(B, 6)``, degrees and mm, float64.
        log_likelihood: nats, up to a constant of the comparison, shape ``(B,)``; ``-inf`` outside.
        white: whitened residual, shape ``(B, N)``; empty unless slopes were asked for, as the next.
        slopes: of the whitened model in the parameters, the curve kept, shape ``(B, 6, N)``.
    """

    theta: Tensor
    log_likelihood: Tensor
    white: Tensor
    slopes: Tensor

    def at(self, index: Tensor) -> Match:
        """Return some of them."""
        return Match(*(part[index] for part in self))


class Comparison:
    """Fixed and moving image at one resolution.

    Args:
        fixed: the larger image.
        moving: the smaller one.
        hats: of the curve, on the fixed image's voxels, shape ``(hats, I, J, K)``.
        centre: point that the moving image turns about, RAS in mm, shape ``(3,)``.
        density: variance of each cosine of the error, shape of the moving image; a guess by default.
    """

    def __init__(
        self, fixed: Volume, moving: Volume, hats: Tensor, centre: Tensor, density: Tensor | None = None
    ) -> None:
        self.fixed, self.moving, self.centre = fixed, moving, centre
        # Hats of a voxel lie side by side in memory: they are read in half the time.
        self.hats = hats.movedim(0, -1).contiguous().movedim(-1, 0)
        device = hats.device
        self._to_index = torch.linalg.inv(fixed.affine)
        self._most = torch.tensor(fixed.values.shape, device=device) - 1  # index of the last voxel
        self._away = (moving.points() - centre).float().to(device)
        self._y = ((moving.values - moving.values.mean()) / moving.values.std()).to(device)
        self._cosines = [cosines(n).to(device) for n in moving.values.shape]
        self.density = (self._assumed() if density is None else density).to(device)
        self._scale = self.density.rsqrt()
        self._white_y = self._whitened(self._y.reshape(1, 1, -1))[0, 0]

    def with_density(self, density: Tensor) -> Comparison:
        """Return the same comparison with another density of errors."""
        return Comparison(self.fixed, self.moving, self.hats, self.centre, density)

    @torch.no_grad()
    def __call__(self, theta: Tensor, slopes: bool = False) -> Match:
        """Return how well motions ``(B, 6)`` match; whitened residuals and slopes if asked for."""
        columns = len(self.hats) + (8 if slopes else 2)
        rows = max(1, _AT_A_TIME // (self._y.numel() * columns))
        parts = [self._matched(part, slopes) for part in theta.double().split(rows)]
        return Match(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def sampled(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the hats at the moved voxels.

        Args:
            theta: motions, shape ``(B, 6)``.

        Returns:
            Hats ``(B, K, N)``, whether each voxel lies inside the fixed image, ``(B, N)``, and the voxels'
            places in a cube of ± 1, ``(B, N, 1, 1, 3)``, for derivatives if gradients are enabled.
        """
        device = self._away.device
        motions = Motions.of(theta)
        to_index = self._to_index[:3, :3]
        turned = (to_index @ motions.rotation).to(device)
        shifted = (motions.shift + self.centre) @ to_index.T + self._to_index[:3, 3]
        index = self._away @ turned.float().transpose(1, 2) + shifted.unsqueeze(1).float().to(device)
        inside = ((index >= -0.5) & (index <= self._most + 0.5)).all(2)
        unit = (2 * index / self._most - 1).flip(2)[:, :, None, None].requires_grad_(torch.is_grad_enabled())
        hats = torch.nn.functional.grid_sample(
            self.hats.expand(len(theta), -1, -1, -1, -1), unit, padding_mode="border", align_corners=True
        )[..., 0, 0]
        return hats, inside, unit

    def _matched(self, theta: Tensor, slopes: bool) -> Match:
        with torch.set_grad_enabled(slopes):
            graph, inside, unit = self.sampled(theta)
        hats = graph.detach()
        window = inside.to(hats).unsqueeze(1)
        # Voxels outside have a mean of their own, so that leaving the fixed image explains nothing.
        a = self._whitened(torch.cat([hats * window, 1 - window], 1))
        gram = (a @ a.transpose(1, 2)).double()
        gram += torch.eye(a.shape[1], device=a.device).double() / _WIDE**2
        lower = torch.linalg.cholesky(gram)
        beta = torch.cholesky_solve((a @ self._white_y).double().unsqueeze(2), lower).squeeze(2)
        own = beta.to(a).unsqueeze(1)
        residual = self._white_y - (own @ a).squeeze(1)
        loss = residual.double().square().sum(1) + beta.square().sum(1) / _WIDE**2
        log_det = 2 * (lower.diagonal(dim1=1, dim2=2).log() + math.log(_WIDE)).sum(1)
        enough = window.mean((1, 2)) >= LEAST_OVERLAP
        log_likelihood = torch.where(enough, -0.5 * (loss + log_det), -torch.inf).cpu()
        if not slopes:
            empty = hats.new_zeros(len(theta), 0)
            return Match(theta, log_likelihood, empty, empty)
        weight = own[:, 0, :-1, None].expand_as(graph)
        uphill = torch.autograd.grad(graph, unit, weight)[0][:, :, 0, 0].flip(2)
        slope = self._whitened(self._by_parameter(theta, uphill) * window)
        # What the curve takes up of a motion does not count (variable projection).
        taken = torch.cholesky_solve((a @ slope.transpose(1, 2)).double(), lower).to(a)
        return Match(theta, log_likelihood, residual, slope - taken.transpose(1, 2) @ a)

    def _by_parameter(self, theta: Tensor, uphill: Tensor) -> Tensor:
        """Slopes ``(B, 6, N)`` in the parameters, from those in the places in the cube, ``(B, N, 3)``."""
        to_index = self._to_index[:3, :3]
        by_angle = (to_index @ Motions.of(theta).slopes).to(self._away)  # (B, 3, 3, 3): index per degree
        uphill = 2 * uphill / self._most
        turning = torch.einsum("bnc,bacn->ban", uphill, by_angle @ self._away.T)
        return torch.cat([turning, (uphill @ to_index.to(uphill)).transpose(1, 2)], 1)

    def _whitened(self, images: Tensor) -> Tensor:
        """White coefficients ``(B, C, N)`` of images of as many voxels."""
        return (self._transformed(images) * self._scale).flatten(2)

    def _transformed(self, images: Tensor) -> Tensor:
        first, second, third = self._cosines
        grid = images.unflatten(2, self._y.shape) @ third.T
        grid = second @ grid
        return (first @ grid.flatten(3)).unflatten(3, grid.shape[3:])

    def _pixels(self, white: Tensor) -> Tensor:
        """White coefficients ``(C, N)`` as images of voxels, still white."""
        first, second, third = (c.T for c in self._cosines)
        grid = second @ (white.unflatten(1, self._y.shape) @ third.T)
        return (first @ grid.flatten(2)).unflatten(2, grid.shape[2:])

    def _frequency(self) -> Tensor:
        """Cycles per mm of each cosine."""
        axes = [
            torch.arange(n) / (2 * n * step)
            for n, step in zip(self._y.shape, self.moving.spacing_mm.tolist(), strict=True)
        ]
        a, b, c = (axis.square() for axis in axes)
        return (a[:, None, None] + b[:, None] + c).sqrt()

    def _assumed(self) -> Tensor:
        voxel = float(self.moving.spacing_mm.prod())
        volume = (2 * math.pi) ** 1.5 * _LENGTH_MM**3 / voxel
        at = self._frequency()
        falling = torch.exp(-2 * (math.pi * _LENGTH_MM * at).square())
        return (_WHITE**2 + _SMOOTH**2 * volume * falling).float()

    def estimated_density(self, theta: Tensor) -> Tensor:
        """Return the density that the residual of one motion ``(6,)`` shows, by bands of frequency."""
        white = self(theta[None], slopes=True).white[0]
        at = self._frequency().flatten()
        lowest = 1.5 / (2 * float(self.moving.size_mm.max()))
        edges = torch.logspace(math.log10(lowest), math.log10(float(at.max()) * 1.001), _BANDS)
        band = torch.bucketize(at, edges)
        count = torch.bincount(band, minlength=_BANDS + 1).float()
        power = torch.bincount(band, white.cpu().square(), minlength=_BANDS + 1)
        place = torch.bincount(band, at.clamp_min(lowest / 2).log(), minlength=_BANDS + 1) / count.clamp_min(
            1
        )
        filled = count > 0
        ratio = ((power + _BELIEF * power.sum() / count.sum()) / (count + _BELIEF))[filled].log()
        smooth = np.interp(at.clamp_min(lowest / 2).log().numpy(), place[filled].numpy(), ratio.numpy())
        factor = torch.from_numpy(smooth).exp().reshape(self.density.shape)
        return self.density * factor.to(self.density)

    def dependence(self, theta: Tensor) -> float:
        """Return by what the log likelihood is too steep at one motion ``(6,)``, at least 1.

        What stays unexplained gathers along edges, where it pulls at the motion. How far, the sums of the
        scores over blocks of the image tell: ``tr(H⁻¹ J) / 6`` with their covariance ``J`` and the curvature
        ``H``, which is 1 if the errors are what the likelihood says.

        Source: Pauli, Racugno and Ventura, Bayesian composite marginal likelihoods, 2011.
        """
        match = self(theta[None], slopes=True)
        scores = self._pixels(match.slopes[0]) * self._pixels(match.white[0][None])
        sums = torch.nn.functional.adaptive_avg_pool3d(scores, _BLOCKS).flatten(1).double()
        sums = (sums - sums.mean(1, keepdim=True)) * (scores[0].numel() / _BLOCKS**3)
        slopes = match.slopes[0].double()
        ratio = torch.linalg.solve(slopes @ slopes.T + 1e-9 * torch.eye(6).to(slopes), sums @ sums.T)
        return max(1.0, float(ratio.trace()) / 6)

    @torch.no_grad()
    def explained(self, theta: Tensor) -> float:
        """Return the share of the moving image's variance that is explained at a motion ``(6,)``."""
        hats, inside, _ = self.sampled(theta[None])
        seen = inside[0]
        basis = hats[0].T[seen].double()
        y = self._y.flatten()[seen].double()
        gram = basis.T @ basis + 1e-6 * torch.eye(basis.shape[1], device=basis.device)
        left = y - basis @ torch.linalg.solve(gram, basis.T @ y)
        return 1 - float(left.var() / y.var())
