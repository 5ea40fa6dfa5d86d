"""Invertible layers of a coupling flow, channels first: values have shape ``(members, channels, rows)``.

Channels come before rows so that halves are views and every matrix product is ``weight @ values``, which is
the faster order on a CPU. The leading axis holds the members of an ensemble; a single flow has one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        with torch.autocast(x.device.type, enabled=False):
            y = self.orthogonal(x.dtype) @ (self.log_scale.exp() * (x - self.shift))
        return y, self.log_scale.sum(1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Undo ``forward``; the log-determinant is that of the inverse."""
        with torch.autocast(y.device.type, enabled=False):
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

    def inverse_(self, y: Tensor, raw: Tensor) -> None:
        """Undo ``forward`` in place, without members and log-determinant; ``raw`` is overwritten."""
        s, t = raw.chunk(2)
        factor = self.clamp if self.activation == "tanh" else 0.636 * self.clamp
        s = s.tanh_() if self.activation == "tanh" else s.atan_()
        y.sub_(t).mul_(s.mul_(-factor).exp_())


class SplineTransform:
    """Element-wise monotone rational-quadratic spline on ``[−bound, bound]``, identity outside.

    Source: Durkan et al., Neural Spline Flows, 2019, equations 4–8.

    Args:
        bins: number of pieces.
        bound: half width of the square in which the spline acts.
    """

    minimum = 1e-3  # of bin width, bin height and slope, as in the source

    def __init__(self, bins: int = 8, bound: float = 5.0) -> None:
        if bins < 2:
            raise ValueError(f"a spline needs at least 2 bins, got {bins}.")
        self.bins, self.bound = bins, bound
        self.parameters_per_channel = 3 * bins - 1

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Transform ``x (M, channels, rows)`` by ``raw (M, (3 bins − 1) channels, rows)``."""
        return self._apply(x, raw, is_inverse=False)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        return self._apply(y, raw, is_inverse=True)

    def inverse_(self, y: Tensor, raw: Tensor) -> None:
        """Undo ``forward`` in place, without members and log-determinant; ``raw`` is overwritten."""
        k, bound = self.bins, self.bound
        values = y.reshape(-1)
        raw = raw.view(3 * k - 1, -1)
        inside = values.clamp(-bound, bound)
        knots_x, knots_y = self._knot_table(raw[: 2 * k].view(2, k, -1))
        # The sum of a float mask is vectorised, that of a boolean one is not.
        mask = torch.le(knots_y[1:k], inside, out=raw[: k - 1])
        index = mask.sum(0, keepdim=True).long()
        right = index + 1
        x0, y0 = knots_x.gather(0, index)[0], knots_y.gather(0, index)[0]
        width, height = knots_x.gather(0, right)[0].sub_(x0), knots_y.gather(0, right)[0].sub_(y0)
        offset = math.log(math.expm1(1 - self.minimum))
        knots_x[0], knots_x[k] = offset, offset  # the table is free now: it takes the slopes
        torch.add(raw[2 * k :], offset, out=knots_x[1:k])
        slope0 = F.softplus(knots_x.gather(0, index)[0]).add_(self.minimum)
        slope1 = F.softplus(knots_x.gather(0, right)[0]).add_(self.minimum)
        mean_slope, share = height / width, inside.sub_(y0).div_(height)
        bend = slope1.add_(slope0).sub_(mean_slope, alpha=2)
        moved = torch.addcmul(x0, _solve_bin(share, mean_slope, slope0, bend), width)
        y.copy_(torch.where(values.abs() < bound, moved, values).view_as(y))

    def _knot_table(self, raw: Tensor) -> Tensor:
        """All knots ``(2, bins + 1, n)`` of widths and heights ``(2, bins, n)``, which are overwritten."""
        k, bound = self.bins, self.bound
        raw.sub_(raw.amax(1, keepdim=True)).exp_()
        for j in range(1, k):  # a cumulative sum along a strided axis is slower than these additions
            raw[:, j].add_(raw[:, j - 1])
        scale = raw[:, k - 1 :].reciprocal().mul_((1 - self.minimum * k) * 2 * bound)
        table = raw.new_empty(2, k + 1, raw.shape[2])
        steps = torch.arange(1, k + 1, dtype=raw.dtype, device=raw.device)[None, :, None]
        torch.addcmul(2 * bound * self.minimum * steps - bound, raw, scale, out=table[:, 1:])
        table[:, 0], table[:, k] = -bound, bound
        return table

    def _knots(self, raw: Tensor) -> Tensor:
        """Cumulative positions of the ``bins − 1`` inner knots, axis 1, without the two ends."""
        share = self.minimum + (1 - self.minimum * self.bins) * torch.softmax(raw, 1)
        return 2 * self.bound * share[:, :-1].cumsum(1) - self.bound

    def _apply(self, value: Tensor, raw: Tensor, *, is_inverse: bool) -> tuple[Tensor, Tensor]:
        members, channels, rows = value.shape
        k = self.bins
        raw = raw.view(members, 3 * k - 1, channels, rows)
        edge = raw.new_full((members, 1, channels, rows), self.bound)
        knots_x = torch.cat([-edge, self._knots(raw[:, :k]), edge], 1)
        knots_y = torch.cat([-edge, self._knots(raw[:, k : 2 * k]), edge], 1)
        inside = value.abs() < self.bound
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
            xi = _solve_bin(xi, mean_slope, slope0, bend)
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
        # softplus(offset) + minimum = 1, so that parameters of zero give the identity.
        offset = math.log(math.expm1(1 - self.minimum))
        ends = raw.new_full(raw[:, :1].shape, offset)
        padded = torch.cat([ends, raw + offset, ends], 1)
        left, right = padded.gather(1, index), padded.gather(1, index + 1)
        return F.softplus(left) + self.minimum, F.softplus(right) + self.minimum


def _solve_bin(y: Tensor, mean_slope: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """Position in the bin whose height fraction is ``y``: the stable root of a quadratic."""
    a = mean_slope - slope + y * bend
    b = slope - y * bend
    c = -mean_slope * y
    discriminant = (b.square() - 4 * a * c).clamp_min(0)
    return 2 * c / (-b - discriminant.sqrt())
