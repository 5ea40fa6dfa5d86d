"""What all metrics of posterior samples ask of their input, and how angles are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = [
    "angles",
    "case_slices",
    "check_cases",
    "check_mask",
    "check_scale",
    "check_share",
    "embed",
    "unwrap",
]

# Angles may be a turn off (−π…π or 0…2π); values that span more turns than this are in another unit.
_MOST_PERIODS = 3.0


def check_cases(
    samples: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    period: Tensor | None = None,
    least_samples: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return the counted cases of posterior samples and truth.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        least_samples: samples per case that the caller needs.

    Returns:
        Samples ``(S, M, D)`` and truth ``(M, D)`` of the ``M`` cases that count.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the shapes do not belong together, a counted value is NaN or infinite, there are too
            few samples, or angles span so many turns that they must be in another unit than their period.
    """
    if samples.ndim != 3 or truth.ndim != 2 or samples.shape[1:] != truth.shape or samples.shape[0] < 1:
        raise ValueError(
            f"samples have shape {tuple(samples.shape)} and truth {tuple(truth.shape)}, expected "
            "(samples, cases, parameters) and (cases, parameters) with equal cases and parameters."
        )
    check_sample_count(samples.shape[0], least_samples)
    if mask is not None:
        check_mask(mask, len(truth))
        samples, truth = samples[:, mask], truth[mask]
    _check_finite(samples, truth)
    if period is not None:
        _check_period(samples, truth, period)
    return samples, truth


def check_sample_count(samples: int, least: int) -> None:
    """Raise a ``ValueError`` if there are fewer posterior samples of a case than are needed."""
    if samples < least:
        raise ValueError(f"{samples} posterior sample(s) per case; draw at least {least} to measure this.")


def check_mask(mask: Tensor, cases: int) -> Tensor:
    """Return a mask of cases, ``(N,)``.

    Raises:
        TypeError: if it is not boolean.
        ValueError: if there is not one entry per case.
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}, expected a boolean tensor that is true for cases to count.")
    if mask.shape != (cases,):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected one entry per case, {(cases,)}.")
    return mask


def check_share(**shares: float) -> None:
    """Say which of the named numbers does not lie between 0 and 1.

    Raises:
        ValueError: if one does not.
    """
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} = {value}; give a number between 0 and 1.")


def check_levels(level: Sequence[float] | Tensor | None, is_rising: bool = False) -> Tensor:
    """Return levels of coverage, float64 on the processor, 1…99 % by default, or say what is wrong."""
    if level is None:
        level = torch.arange(1, 100, dtype=torch.float64) / 100
    level = torch.as_tensor(level, dtype=torch.float64).flatten().cpu()
    if not bool(((level > 0) & (level < 1)).all()) or (is_rising and bool((level.diff() <= 0).any())):
        which = "rising numbers" if is_rising else "numbers"
        raise ValueError(f"levels are {level.tolist()}, expected {which} inside (0, 1), such as 0.9.")
    return level


def check_scale(scale: Tensor, num_parameters: int, name: str) -> Tensor:
    """Return positive units ``(D,)`` in float64, or say which parameter has none."""
    scale = torch.as_tensor(scale, dtype=torch.float64)
    if scale.shape != (num_parameters,):
        raise ValueError(
            f"{name} has shape {tuple(scale.shape)}, expected one number per parameter, {(num_parameters,)}."
        )
    wrong = torch.nonzero(~((scale > 0) & scale.isfinite())).flatten().tolist()
    if wrong:
        raise ValueError(
            f"{name} of parameter {wrong[0]} is {float(scale[wrong[0]])}, expected a positive number; "
            "leave parameters out that do not vary."
        )
    return scale


def case_slices(samples: Tensor, values: int = 2**22) -> Iterator[slice]:
    """Cut the cases of ``(S, N, D)`` into slices of about so many values, to bound memory or fit a cache."""
    size = max(1, values // max(1, samples.shape[0] * samples.shape[2]))
    for start in range(0, samples.shape[1], size):
        yield slice(start, start + size)


def angles(period: Tensor | None) -> list[int]:
    """Return the numbers of the parameters that are angles: those with a finite period ``(D,)``."""
    return [] if period is None else torch.nonzero(period.isfinite()).flatten().tolist()


def unwrap(samples: Tensor, truth: Tensor, period: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cut every circle opposite the circular mean of truth and samples together, as ranks need.

    Truth and samples of an exact posterior are exchangeable, and the cut treats them alike: ranks and
    coverage after it are exact. Parameters with an infinite period stay as they are.

    Args:
        samples: shape ``(S, N, D)``.
        truth: shape ``(N, D)``.
        period: shape ``(D,)``; ``None`` for no angles.

    Returns:
        Samples and truth, those of angles within half a turn of the mean.
    """
    if period is None or not angles(period):
        return samples, truth
    samples, truth = samples.clone(), truth.clone()
    for d in angles(period):
        turn = float(period[d])
        angle = torch.cat([samples[..., d], truth[None, :, d]]) * (2 * math.pi / turn)
        mean = torch.atan2(angle.sin().mean(0), angle.cos().mean(0)) * (turn / (2 * math.pi))
        for values in (samples, truth):
            values[..., d] = torch.remainder(values[..., d] - mean + turn / 2, turn) + mean - turn / 2
    return samples, truth


def embed(values: Tensor, period: Tensor | None) -> Tensor:
    """Put angles on circles of the right circumference, so that Euclidean distances respect the turn.

    Args:
        values: shape ``(…, D)``.
        period: shape ``(D,)``; ``None`` for no angles.

    Returns:
        Shape ``(…, D + number of angles)``: the linear parameters, then cosines, then sines.
    """
    if period is None or not angles(period):
        return values
    is_angle = period.isfinite().to(values.device)
    radius = (period[period.isfinite()].double() / (2 * math.pi)).to(values)
    angle = values[..., is_angle] / radius
    return torch.cat([values[..., ~is_angle], radius * angle.cos(), radius * angle.sin()], -1)


def _check_finite(samples: Tensor, truth: Tensor) -> None:
    # The extremes are finite if all values are, and need no array of the samples' size.
    if all(bool(torch.stack(v.aminmax()).isfinite().all()) for v in (samples, truth) if v.numel()):
        return
    broken = int((~(samples.isfinite().all(0) & truth.isfinite())).any(-1).sum())
    raise ValueError(
        f"{broken} of {truth.shape[0]} cases hold NaN or infinite values; leave them out (in Python: mask=)."
    )


def _check_period(samples: Tensor, truth: Tensor, period: Tensor) -> None:
    if period.shape != truth.shape[-1:] or not bool((period > 0).all()):
        raise ValueError(
            f"period is {period.tolist()}, expected a positive number per parameter ({truth.shape[-1]}), "
            "inf for those that are not angles."
        )
    for d in angles(period):
        for name, values in (("truth", truth[:, d]), ("samples", samples[..., d])):
            span = float(values.max() - values.min()) if values.numel() else 0.0
            if span > _MOST_PERIODS * float(period[d]):
                raise ValueError(
                    f"{name} of parameter {d} spans {span:.4g}, but a turn is {float(period[d]):.4g}: degrees"
                    " where radians are expected? Convert them, or give the period in their unit."
                )
