"""What is measured on fresh simulations at the end of every training: calibration, likelihood, trust."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.classes import class_figures, class_summary, guard_score
from monai_inn.inferers.likelihood.reweighting import kl_from_exact
from monai_inn.inferers.summaries import quantiles, shared_latents, sorted_last
from monai_inn.metrics import (
    auroc,
    calibration_noise_floor,
    curve_of_counts,
    information_gain,
    pit,
    rank_counts,
    uniformity_of_counts,
)
from monai_inn.metrics.verdicts import Tolerance, deviations, rounded, status_of, verdict
from monai_inn.problems.parameters import ParameterSpace, some_pixels
from monai_inn.problems.valid import valid_simulations
from monai_inn.seeding import seeded
from monai_inn.training.objectives.sites import measure_sites

__all__ = ["measure", "measure_exactness", "measure_trust"]

_DRAWS = 255  # 256 possible ranks, divisible by every power-of-two number of bins
_FALSE_ALARM = 0.05
_INFORMATION_CASES, _INFORMATION_DRAWS = 1000, 512
_PREVIEW_ROWS, _PREVIEW_DRAWS = 500, 2048
# An image takes as long as a thousand pixels, and each has many: few images tell as much.
_IMAGES, _DRAWS_OF_IMAGES, _PIXELS = 256, 63, 64
# Observations whose posteriors the likelihood tells: each takes up to 400 further simulations.
_COMPARED, _SIMULATIONS_EACH = 16, 400


def measure(fitted: FittedPosterior, n: int, seed: int) -> dict[str, Any]:
    """Measure a fitted posterior on ``n`` fresh simulations, at most 256 of unknown images; JSON-ready.

    Returns:
        ``nll`` in nats (physical units), and for each parameter what ``validate`` says of it (cases, width,
        shift, status, verdict), calibration error, SBC p-value, contraction (1 − posterior over prior
        variance, in the flow's space); the noise floor for this ``n``; the information in bits, on up to
        1,000 of the simulations; of some of them, if the problem has a likelihood, the KL divergence of the
        exact posterior from the network's, nats; the measured false-alarm rate at 5 %, and of each corruption
        of the application the AUROC of WAIC, or of the p-value of a density of classes, and the share that
        is not explained; of a class accuracy, calibration and coverage of sets; the preview's deviation from
        the flow in posterior standard deviations; of a network with gates what
        ``measure_sites`` says. Figures of an unknown image are means over some of its pixels.
    """
    problem = fitted.problem
    groups = some_pixels(problem.parameters, _PIXELS)
    n, count = (min(n, _IMAGES), _DRAWS_OF_IMAGES) if problem.has_fields else (n, _DRAWS)
    theta, y = valid_simulations(problem, n, seed)
    draws, log_prob = [], []
    watched = [column for columns in groups.values() for column in columns]
    rows = 500 if not problem.has_fields else 16
    with seeded(seed):
        for part, truth in zip(y.split(rows), theta.split(rows), strict=True):
            with torch.no_grad():
                q = fitted.posterior(part)
                draws.append(q.base.sample((count,))[..., watched].cpu())
                log_prob.append(q.log_prob(truth.to(fitted.device)).cpu())
    samples, latent = torch.cat(draws, 1), problem.space.to_latent(theta)[:, watched]
    spread = samples.var(0).mean(0), latent.var(0)
    space = ParameterSpace([problem.parameters[column] for column in watched])
    places = pit(space.inverse(samples), theta[:, watched], period=space.period)
    counts = rank_counts((places * (count + 1)).long(), count)
    uniformity, judged = uniformity_of_counts(counts), deviations(places)
    error = curve_of_counts(counts).error
    per_parameter = {}
    for name, columns in groups.items():
        at = [watched.index(column) for column in columns]
        mean = _mean([judged[column] for column in at])
        status = status_of(mean, Tolerance())
        per_parameter[name] = {
            **mean,
            "status": status,
            "verdict": verdict(mean, status, Tolerance()),
            "calibration_error": round(float(error[at].mean()), 5),
            "sbc_p": float(uniformity.p_value[at].median()),
            # Of all pixels together: some, of the background, may be the same in all images.
            "contraction": round(1 - float(spread[0][at].sum() / spread[1][at].sum()), 4),
        }
    some = theta[:_INFORMATION_CASES], y[:_INFORMATION_CASES]
    gain = information_gain(fitted, simulations=some, samples=_INFORMATION_DRAWS, seed=seed)
    sites = measure_sites(fitted, theta, y, seed)
    return {
        "measured_on": {"simulations": len(theta), "seed": seed, "draws": count},
        "nll": round(float(-torch.cat(log_prob).mean()), 4),
        "parameters": per_parameter,
        "calibration_noise_floor_95": calibration_noise_floor(len(theta)).upper,
        "information": gain.summary(seed),
        **measure_exactness(fitted, y[: min(_COMPARED, n // _SIMULATIONS_EACH)], seed),
        "ood": measure_trust(fitted, y),
        **({"classes": class_summary(class_figures(fitted, theta, y, seed))} if fitted.tells_class else {}),
        **({"invariance": sites} if sites else {}),
    } | ({} if fitted.network.preview is None else {"preview": _preview_error(fitted, y)})


def measure_exactness(
    fitted: FittedPosterior, y: Tensor, seed: int
) -> dict[str, dict[str, float | int | None]]:
    """Return how far posteriors of observations ``(n, C)`` are from exact ones, if a likelihood tells."""
    problem = fitted.problem
    if (
        not len(y)
        or not problem.has_likelihood
        or problem.has_fields
        or fitted.tells_class
        or problem.shared(y) is not None
    ):
        return {}
    kl = kl_from_exact(fitted, y, seed=seed)
    known = kl[~kl.isnan()]
    median, largest = (float(known.median()), float(known.max())) if len(known) else (None, None)
    return {"kl_from_exact": {"cases": len(kl), "known": len(known), "median": median, "largest": largest}}


def _mean(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of some pixels as those of one parameter."""
    blocks = {
        name: {
            key: rounded(sum(row[name][key] for row in figures) / len(figures)) for key in figures[0][name]
        }
        for name in ("width", "shift")
    }
    return figures[0] | blocks


def measure_trust(fitted: FittedPosterior, y: Tensor) -> dict[str, float]:
    """Return false alarms on fresh simulations ``y (n, C)``, and how well corruptions of these are noticed.

    ``auroc_…`` is that of ``guard_score``, ``flagged_…`` the share that is not explained or, as maps say, not
    usable.
    """
    scores = guard_score(fitted, y)
    corrupted = fitted.problem.application.corruptions(y)

    def flagged(rows: Tensor) -> float:
        passes = fitted.is_explained(rows, _FALSE_ALARM) & fitted.problem.is_valid(rows).to(fitted.device)
        return round(float((~passes).float().mean()), 5)

    return {
        "false_alarm_nominal": _FALSE_ALARM,
        "false_alarm_measured": flagged(y),
        **{
            f"auroc_{what}": round(auroc(guard_score(fitted, rows), scores), 5)
            for what, rows in corrupted.items()
        },
        **{f"flagged_{what}": flagged(rows) for what, rows in corrupted.items()},
    }


def _preview_error(fitted: FittedPosterior, y: Tensor) -> dict[str, float]:
    """Deviation of the preview's median from the flow's, RMS in posterior standard deviations."""
    names = fitted.problem.targets
    latents = shared_latents(_PREVIEW_DRAWS, len(names), seed=1).to(fitted.device)
    with torch.no_grad():
        features = fitted.problem.features(y[:_PREVIEW_ROWS].to(fitted.device))
        samples = fitted.network.posterior(features).leading(len(names)).push(latents)
        quick = fitted.network.preview_quantiles(features)
    median = quantiles(sorted_last(samples), [0.5])[0]
    difference = (quick[..., quick.shape[-1] // 2] - median) / samples.std(0)
    return {name: round(float(difference[:, d].square().mean().sqrt()), 4) for d, name in enumerate(names)}
