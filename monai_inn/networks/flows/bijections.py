"""Invertible layers of a coupling flow, channels first: values have shape ``(members, channels, rows)``.

Channels come before rows so that halves are views and every matrix product is ``weight @ values``, which is
the faster order on a CPU. The leading axis holds the members of an ensemble; a single flow has one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_inn.networks.flows import splines
from monai_inn.networks.kernels.chunks import full_precision, is_traced

__all__ = ["AffineTransform", "Mixing", "SplineTransform", "member_linear"]


def member_linear(bias: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Return ``weight @ x + bias`` for every member.

    Args:
        bias: shape ``(M, out, rows)`` or ``(M, out, 1)``.
        weight: shape ``(M, out, in)``.
        x: shape ``(M, in, rows)``.
    """
    # A plain product is faster than a batch of one, and adding in place is faster than addmm, which first
    # writes the broadcast bias out. Squeezing, unlike indexing, costs nothing in the backward pass.
    if weight.shape[0] == 1:
        return torch.mm(weight.squeeze(0), x.squeeze(0)).unsqueeze(0).add_(bias)
    return torch.bmm(weight, x).add_(bias)


class Mixing(nn.Module):
    """ActNorm followed by a fixed orthogonal matrix: ``y = Q (e^g (x − b))``.

    ``initialise`` sets ``g`` and ``b`` from a first batch so that ``y`` starts with zero mean and unit
    variance (Kingma and Dhariwal, Glow, 2018); ``Q`` is drawn once and never trained.

    Args:
        channels: number of channels.
        members: number of ensemble members.
        generator: source of the matrix.
        kind: ``"permutation"`` keeps the axes apart, for parameters that the data inform to very different
            degrees (after 900 steps of oximetry 0.2 nats better); ``"rotation"`` mixes them.
    """

    log_scale: Tensor
    shift: Tensor
    rotation: Tensor

    def __init__(
        self, channels: int, members: int, generator: torch.Generator, kind: str = "rotation"
    ) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(members, channels, 1))
        self.shift = nn.Parameter(torch.zeros(members, channels, 1))
        if kind == "permutation":
            orders = [torch.randperm(channels, generator=generator) for _ in range(members)]
            matrix = torch.stack([torch.eye(channels)[order] for order in orders])
        else:
            gaussian = torch.randn(members, channels, channels, generator=generator, dtype=torch.float64)
            matrix = torch.linalg.qr(gaussian)[0].float()
        self.register_buffer("rotation", matrix)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set scale and shift from a batch ``(M, channels, rows)``."""
        self.shift.copy_(x.mean(-1, keepdim=True))
        self.log_scale.copy_(-x.std(-1, keepdim=True).clamp_min(1e-3).log())

    def orthogonal(self, dtype: torch.dtype) -> Tensor:
        """The rotation, orthogonal to the precision of ``dtype``: one Newton step mends a rounded buffer."""
        q = self.rotation.to(dtype)
        return 1.5 * q - 0.5 * q @ (q.transpose(1, 2) @ q)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed value and its log-determinant, shapes ``(M, channels, rows)`` and ``(M, 1)``."""
        with full_precision(x.device):
            y = self.orthogonal(x.dtype) @ (self.log_scale.exp() * (x - self.shift))
        return y, self.log_scale.sum(1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Undo ``forward``; the log-determinant is that of the inverse."""
        with full_precision(y.device):
            matrix = torch.exp(-self.log_scale) * self.orthogonal(y.dtype).transpose(1, 2)
            x = member_linear(self.shift, matrix, y)
        return x, -self.log_scale.sum(1)


class AffineTransform:
    """Element-wise ``y = x e^s + t`` with a soft clamp on ``s``.

    Args:
        clamp: bound of ``|s|``.
        activation: ``"tanh"`` or ``"atan"``, the form of the clamp.
    """

    parameters_per_channel = 2
    is_wide = False

    def __init__(self, clamp: float = 2.0, activation: str = "tanh") -> None:
        if activation not in ("tanh", "atan"):
            raise ValueError(f'clamp activation is {activation!r}, expected "tanh" or "atan".')
        self.clamp, self.activation = clamp, activation

    def _scale_shift(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        s, t = raw.chunk(2, 1)
        # 0.636 (not 2/π) is the factor of the public cINN code, kept so that its weights load exactly.
        s = torch.tanh(s) if self.activation == "tanh" else 0.636 * torch.atan(s)
        return self.clamp * s, t

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Transform ``x (M, channels, rows)`` by ``raw (M, 2 channels, rows)``; log-det ``(M, rows)``."""
        s, t = self._scale_shift(raw)
        return x * s.exp() + t, s.sum(1)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        s, t = self._scale_shift(raw)
        return (y - t) * torch.exp(-s), -s.sum(1)

    def forward_(self, x: Tensor, raw: Tensor) -> Tensor:
        """``forward`` in place for ``x (channels, rows)``; log-det ``(rows,)``; ``raw`` is overwritten."""
        s, t = self._scale_shift_(raw, 1)
        log_det = s.sum(0)
        x.mul_(s.exp_()).add_(t)
        return log_det

    def inverse_(self, y: Tensor, raw: Tensor) -> None:
        """Undo ``forward_``, without the log-determinant."""
        s, t = self._scale_shift_(raw, -1)
        y.sub_(t).mul_(s.exp_())

    def _scale_shift_(self, raw: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        s, t = raw.chunk(2)
        factor = self.clamp if self.activation == "tanh" else 0.636 * self.clamp
        s = s.tanh_() if self.activation == "tanh" else s.atan_()
        return s.mul_(sign * factor), t


class SplineTransform:
    """Element-wise monotone rational-quadratic spline on ``[−bound, bound]``, identity outside.

    Source: Durkan et al., Neural Spline Flows, 2019, equations 4–8.

    Args:
        bins: number of pieces.
        bound: half width of the square in which the spline acts.
    """

    is_wide = True  # its parameters are so many that they should not leave the cache

    def __init__(self, bins: int = 8, bound: float = 5.0) -> None:
        if bins < 2:
            raise ValueError(f"a spline needs at least 2 bins, got {bins}.")
        self.grid = splines.Grid(bins, bound)
        self.parameters_per_channel = 3 * bins - 1

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Transform ``x (M, channels, rows)`` by ``raw (M, (3 bins − 1) channels, rows)``.

        A single channel may come with ``raw`` of one row, which then holds for all of its rows.
        """
        if is_traced():
            return self._apply(x, raw, is_inverse=False)
        return splines.spline_forward(x, raw, self.grid)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        has_gradient = torch.is_grad_enabled() and (y.requires_grad or raw.requires_grad)
        if has_gradient or is_traced():
            return self._apply(y, raw, is_inverse=True)
        return splines.spline_inverse(y, raw, self.grid)

    def forward_(self, x: Tensor, raw: Tensor) -> Tensor:
        """``forward`` in place for ``x (channels, rows)``; log-det ``(rows,)``; ``raw`` is overwritten."""
        return splines.spline_forward_(x, raw, self.grid)

    def inverse_(self, y: Tensor, raw: Tensor) -> None:
        """Undo ``forward_``, without the log-determinant; ``raw`` is overwritten."""
        splines.spline_inverse_(y, raw, self.grid)

    def _knots(self, raw: Tensor) -> Tensor:
        """Cumulative positions of the ``bins − 1`` inner knots, axis 1, without the two ends."""
        share = splines.MINIMUM + (1 - splines.MINIMUM * self.grid.bins) * torch.softmax(raw, 1)
        return 2 * self.grid.bound * share[:, :-1].cumsum(1) - self.grid.bound

    def _apply(self, value: Tensor, raw: Tensor, *, is_inverse: bool) -> tuple[Tensor, Tensor]:
        """Both directions in operations that autograd and exports can follow."""
        members, channels, rows = value.shape
        k = self.grid.bins
        raw = raw.expand(-1, -1, rows).view(members, 3 * k - 1, channels, rows)
        edge = raw.new_full((members, 1, channels, rows), self.grid.bound)
        knots_x = torch.cat([-edge, self._knots(raw[:, :k]), edge], 1)
        knots_y = torch.cat([-edge, self._knots(raw[:, k : 2 * k]), edge], 1)
        inside = value.abs() < self.grid.bound
        v = torch.where(inside, value, torch.zeros_like(value)).unsqueeze(1)
        knots = knots_y if is_inverse else knots_x
        index = (v >= knots[:, 1:-1]).sum(1, keepdim=True)
        x0, x1 = knots_x.gather(1, index), knots_x.gather(1, index + 1)
        y0, y1 = knots_y.gather(1, index), knots_y.gather(1, index + 1)
        slope0, slope1 = self._slopes(raw[:, 2 * k :], index)
        width, height = x1 - x0, y1 - y0
        mean_slope = height / width
        bend = slope0 + slope1 - 2 * mean_slope
        xi = (v - y0) / height if is_inverse else (v - x0) / width
        if is_inverse:
            xi = splines.solve_bin(xi, mean_slope, slope0, bend)
        xi_rest = xi * (1 - xi)
        denominator = mean_slope + bend * xi_rest
        top = slope1 * xi.square() + 2 * mean_slope * xi_rest + slope0 * (1 - xi).square()
        log_det = 2 * mean_slope.log() + top.log() - 2 * denominator.log()
        if is_inverse:
            result, log_det = x0 + xi * width, -log_det
        else:
            result = y0 + height * (mean_slope * xi.square() + slope0 * xi_rest) / denominator
        result = torch.where(inside, result.squeeze(1), value)
        return result, torch.where(inside, log_det.squeeze(1), torch.zeros_like(value)).sum(1)

    def _slopes(self, raw: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes at both ends of the bin; softplus is taken of the two that are needed, not of all."""
        ends = raw.new_full(raw[:, :1].shape, splines.OFFSET)
        padded = torch.cat([ends, raw + splines.OFFSET, ends], 1)
        left, right = padded.gather(1, index), padded.gather(1, index + 1)
        return F.softplus(left) + splines.MINIMUM, F.softplus(right) + splines.MINIMUM
