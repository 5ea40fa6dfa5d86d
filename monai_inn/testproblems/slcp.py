"""Simple likelihood, complex posterior: four points of a Gaussian whose covariance is hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_inn.problems import InverseProblem, Observation, Parameter
from monai_inn.problems.exact.references import ReferencePosterior, rejection_sample, sample_table
from monai_inn.problems.known import split_parameters

__all__ = ["SimpleLikelihood"]

_BOUND = 3.0
_POINTS = 4
# Added to both variances by the source, where it keeps covariances definite.
_LEAST_VARIANCE = 1e-6
# Four points with mean zero and covariance one: m + L u has mean m and covariance L Lᵀ.
_CORNERS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0))
_NODES = 1 << 13


class SimpleLikelihood(InverseProblem):
    """Mean and covariance of a Gaussian in the plane, from four points drawn from it.

    The standard deviations are ``x3²`` and ``x4²`` and the correlation is ``tanh x5``: the likelihood is
    Gaussian, but the posterior has four mirrored modes and a sharp, curved support ("SLCP").

    The noise is not added to the noise-free observation, it depends on its covariance. ``forward`` returns
    four points whose mean and covariance are exactly those of the Gaussian, ``noise`` draws four new ones.

    Source: Papamakarios et al., Sequential neural likelihood, 2019, with the constants of Lueckmann et al.,
    Benchmarking simulation-based inference, 2021.
    """

    name = "slcp"
    observation = Observation.pixel(*(f"point_{k + 1}_{axis}" for k in range(_POINTS) for axis in ("u", "v")))
    parameters = (
        Parameter("x1", "1", -_BOUND, _BOUND, "mean of u"),
        Parameter("x2", "1", -_BOUND, _BOUND, "mean of v"),
        Parameter("x3", "1", -_BOUND, _BOUND, "signed root of the standard deviation of u"),
        Parameter("x4", "1", -_BOUND, _BOUND, "signed root of the standard deviation of v"),
        Parameter("x5", "1", -_BOUND, _BOUND, "inverse hyperbolic tangent of the correlation"),
    )
    targets = tuple(p.name for p in parameters)

    def forward(self, theta: Tensor) -> Tensor:
        """Return four points with the mean and covariance of parameters ``(…, 5)``, shape ``(…, 8)``."""
        x1, x2, x3, x4, x5 = split_parameters(theta, self.space)
        vu, vv, uv = _covariance(x3, x4, x5)
        zero = torch.zeros_like(vu)
        lower = (uv / vu.sqrt(), (vv - uv.square() / vu).sqrt())
        factor = torch.stack([torch.stack([vu.sqrt(), zero], -1), torch.stack(lower, -1)], -2)
        corners = torch.tensor(_CORNERS, dtype=factor.dtype, device=factor.device)
        points = torch.stack([x1, x2], -1).unsqueeze(-2) + corners @ factor.transpose(-1, -2)
        return points.flatten(-2).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw four points from the Gaussian whose mean and covariance the four points ``(…, 8)`` have."""
        points = y.unflatten(-1, (_POINTS, 2))
        mean = points.mean(-2, keepdim=True)
        corners = torch.tensor(_CORNERS, dtype=y.dtype, device=y.device)
        factor = (points - mean).transpose(-1, -2) @ corners / _POINTS
        white = torch.randn(points.shape, generator=generator, dtype=y.dtype, device=y.device)
        return (mean + white @ factor.transpose(-1, -2)).flatten(-2)

    def reference_posterior(self, y: Tensor) -> ReferencePosterior:
        """Return the exact posterior of points ``(…, 8)``, of which samples exist but no density.

        Samples are independent: rejection on the covariance with a bound in closed form, then the means,
        which are Gaussian given the covariance, rejected outside of their bounds.
        """
        return ReferencePosterior(y, len(self.parameters), self._draw_posterior)

    def _draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 5)`` given one observation ``(8,)``."""
        points = y.unflatten(-1, (_POINTS, 2))
        mean = points.mean(0)
        scatter = (points - mean).T @ (points - mean)
        x = torch.linspace(0, _BOUND, _NODES, dtype=torch.float64)
        tables = [_log_proposal(x, square_sum) for square_sum in scatter.diagonal()]
        signed = torch.linspace(-_BOUND, _BOUND, 2 * _NODES, dtype=torch.float64)
        correlations = _bound(scatter, signed)

        def propose(m: int) -> Tensor:
            x3, x4 = (sample_table(x, table, m) for table in tables)
            x5 = sample_table(signed, correlations, m)
            vu, vv, uv = _covariance(x3, x4, x5)
            white = torch.randn(m, 2, dtype=torch.float64) / math.sqrt(_POINTS)
            x1 = mean[0] + vu.sqrt() * white[:, 0]
            x2 = mean[1] + uv / vu.sqrt() * white[:, 0] + (vv - uv.square() / vu).sqrt() * white[:, 1]
            return torch.stack([x1, x2, x3, x4, x5], 1)

        def log_accept(rows: Tensor) -> Tensor:
            x3, x4, x5 = rows[:, 2:].unbind(1)
            proposed = _log_proposal(x3, scatter[0, 0]) + _log_proposal(x4, scatter[1, 1])
            level = _log_likelihood(scatter, *_covariance(x3, x4, x5)) - proposed - _bound(scatter, x5)
            return torch.where((rows[:, :2].abs() <= _BOUND).all(1), level, -torch.inf)

        kept = rejection_sample(propose, log_accept, n)
        kept[:, 2:4] *= torch.randint(2, (n, 2)) * 2 - 1
        return kept


def _covariance(x3: Tensor, x4: Tensor, x5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Variances of u and of v and their covariance."""
    return (
        x3**4 + _LEAST_VARIANCE,
        x4**4 + _LEAST_VARIANCE,
        x5.tanh() * x3.square() * x4.square(),
    )


def _log_likelihood(scatter: Tensor, vu: Tensor, vv: Tensor, uv: Tensor) -> Tensor:
    """Log likelihood of the covariance, the mean integrated out over the plane, less constants."""
    determinant = vu * vv - uv.square()
    trace = (scatter[0, 0] * vv - 2 * scatter[0, 1] * uv + scatter[1, 1] * vu) / determinant
    return -0.5 * (_POINTS - 1) * determinant.log() - 0.5 * trace


def _log_proposal(x: Tensor, square_sum: Tensor) -> Tensor:
    """Log density of the proposals of a root of a standard deviation, not normalised.

    It is the likelihood of one coordinate alone to the power ½: wide enough that the likelihood of both
    over the product of two stays bounded for every correlation.
    """
    variance = x**4 + _LEAST_VARIANCE
    return 0.5 * (-0.5 * (_POINTS - 1) * variance.log() - 0.5 * square_sum / variance)


def _bound(scatter: Tensor, x5: Tensor) -> Tensor:
    """Largest log ratio of the likelihood and the proposals over all variances, for each ``x5 (m,)``.

    For correlation ρ and data with correlation r it is attained where both variances are equally far from
    the data, and is a constant less 3/2 of ``log((ρ − r)² + 1 − r²)``. The variance that is added to both
    brings ρ nearer to zero than ``tanh x5``, so that any value in between has to be allowed for.
    """
    size = (scatter[0, 0] * scatter[1, 1]).clamp_min(1e-60)
    r = (scatter[0, 1] / size.sqrt()).clamp(-1, 1)
    limit = x5.tanh()
    nearest = torch.minimum(torch.maximum(r, limit.clamp_max(0)), limit.clamp_min(0))
    distance = (nearest - r).square() + 1 - r.square()
    half = 0.5 * (_POINTS - 1)
    return -0.5 * half * size.log() - half - half * (distance / (_POINTS - 1)).log()
