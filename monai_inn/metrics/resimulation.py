"""Resimulation: do posterior samples, pushed through the forward model, give the observation back?"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chi2, kstest, t
from torch import Tensor

from monai_inn.metrics.cases import check_mask

__all__ = ["ResimulationTest", "resimulation_error", "resimulation_test"]


class ResimulationTest(NamedTuple):
    """Law of the resimulation error ρ, compared with that of an exact posterior.

    Attributes:
        mean: mean of ρ over samples and cases, exactly 1 in expectation. Above: too wide or wrong. Below:
            collapsed towards the best fit.
        mean_interval: interval of the mean over independent cases.
        median: median of ρ over samples and cases, which a few wild samples do not move.
        expected_median: median of χ² with as many degrees of freedom as channels, per channel.
        statistic: Kolmogorov-Smirnov distance between ``C ρ`` of one sample per case and χ² with ``C``
            degrees of freedom.
        p_value: its p-value; exact for independent cases and Gaussian noise independent between channels.
    """

    mean: float
    mean_interval: tuple[float, float]
    median: float
    expected_median: float
    statistic: float
    p_value: float


def resimulation_error(
    resimulated: Tensor, observation: Tensor, noise_sd: float | Tensor, mask: Tensor | None = None
) -> Tensor:
    """Return ``ρ = ‖s(x) − y‖² / (C σ²)`` of every posterior sample.

    Truth and a sample of the exact posterior are exchangeable, so the residual of the sample has the law of
    the noise itself. It is blind to missing modes and wrong masses: any ``x`` that explains ``y`` will do.

    Args:
        resimulated: noise-free observations of posterior samples, shape ``(S, N, C)``.
        observation: what was measured, shape ``(N, C)``, same units.
        noise_sd: standard deviation σ of the noise, same units: one number, or shape ``(C,)``, ``(N, C)`` or
            ``(S, N, C)``. Noise that depends on the signal must be that at ``resimulated``, estimated for
            instance by ``problem.noise(resimulated.expand(200, -1, -1, -1)).std(0)``.
        mask: cases to count, boolean, shape ``(N,)``.

    Returns:
        Shape ``(S, number of true in mask)``, float64.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the shapes do not belong together, a counted value is NaN or infinite, or a noise sd
            is not positive.

    Source: Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019, section 4.2.
    """
    shape = resimulated.shape
    if len(shape) != 3 or observation.shape != shape[1:] or shape[0] < 1 or shape[2] < 1:
        raise ValueError(
            f"resimulated has shape {tuple(shape)} and observation {tuple(observation.shape)}, expected "
            "(samples, cases, channels) and (cases, channels) with equal cases and channels."
        )
    sd = torch.as_tensor(noise_sd, dtype=torch.float64, device=resimulated.device)
    if sd.shape not in (torch.Size(), shape[2:], shape[1:], shape):
        raise ValueError(
            f"noise_sd has shape {tuple(sd.shape)}, expected a number, {tuple(shape[2:])}, "
            f"{tuple(shape[1:])} or {tuple(shape)}."
        )
    every = torch.ones(shape[1], dtype=torch.bool, device=resimulated.device)
    counted = every if mask is None else check_mask(mask, shape[1])
    if sd.ndim >= 2:
        sd = sd[..., counted, :]
    if not bool(((sd > 0) & sd.isfinite()).all()):
        raise ValueError("noise_sd holds values that are not positive; a channel without noise has no ρ.")
    y = observation[counted].double()
    rows = []
    for s, clean in enumerate(resimulated):
        residual = (clean[counted].double() - y) / (sd[s] if sd.ndim == 3 else sd)
        rows.append(residual.square().mean(-1))
    error = torch.stack(rows)
    broken = int((~error.isfinite()).any(0).sum())
    if broken:
        raise ValueError(
            f"{broken} of {y.shape[0]} cases hold NaN or infinite values; leave them out with mask=, or look "
            "for posterior samples that the forward model cannot take."
        )
    return error


def resimulation_test(
    error: Tensor, num_channels: int, seed: int = 0, confidence: float = 0.95
) -> ResimulationTest:
    """Compare resimulation errors with the law that they have under an exact posterior.

    Args:
        error: output of ``resimulation_error``, shape ``(S, N)``, over independent observations.
        num_channels: number ``C`` of channels behind each error.
        seed: seed of the sample that each case gives to the test of the law. The same sample index for all
            cases would not do, since samples of one index may share their latent.
        confidence: probability of the interval of the mean, which takes cases as independent and their
            errors as near enough to normal in the mean.

    Raises:
        ValueError: if the shape is wrong, there are fewer than two cases, an error is NaN, infinite or
            negative, or the confidence is not between 0 and 1.
    """
    if error.ndim != 2 or error.shape[0] < 1 or error.shape[1] < 2:
        raise ValueError(
            f"error has shape {tuple(error.shape)}, expected (samples, cases) with two cases or more."
        )
    if num_channels < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"num_channels = {num_channels}, confidence = {confidence}; expected a positive number of "
            "channels and a probability inside (0, 1)."
        )
    error = error.detach().cpu().double()
    if not bool(((error >= 0) & error.isfinite()).all()):
        raise ValueError("error holds values that are negative, NaN or infinite; leave those cases out.")
    num_samples, cases = error.shape
    per_case = error.mean(0)
    mean = float(per_case.mean())
    half = float(t.ppf(0.5 + confidence / 2, cases - 1)) * float(per_case.std()) / math.sqrt(cases)
    index = torch.randint(num_samples, (1, cases), generator=torch.Generator().manual_seed(seed))
    law = kstest(num_channels * error.gather(0, index)[0].numpy(), chi2(num_channels).cdf)
    return ResimulationTest(
        mean,
        (mean - half, mean + half),
        float(np.median(error.numpy())),
        float(chi2.median(num_channels)) / num_channels,
        float(law.statistic),
        float(law.pvalue),
    )
