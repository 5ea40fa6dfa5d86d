"""What fresh simulations tell about a posterior: cases to validate, latents and levels of the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.stats import chi2, kstest, kstwobign
from torch import Tensor

from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.circles import Circles
from monai_inn.inferers.classes import class_figures, guard_score
from monai_inn.metrics import (
    auroc,
    bootstrap_interval,
    information_gain,
    pit,
)
from monai_inn.metrics.calibration.coverage import rate_of
from monai_inn.networks.flows.bases import AdjustedNormal, Adjustment
from monai_inn.problems.application import shuffled_channels
from monai_inn.problems.parameters import some_pixels
from monai_inn.problems.valid import fresh_simulations
from monai_inn.seeding import seeded
from monai_inn.validation.cases import Cases, check_counts

__all__ = [
    "fit_adjustment",
    "latent_p_value",
    "level_p_values",
    "simulated_cases",
    "truth_latents",
    "truth_levels",
]

_ROWS = 250
_IMAGES, _DRAWS_OF_IMAGES, _PIXELS, _ROWS_OF_IMAGES = 256, 63, 8, 8  # of each unknown image
_FALSE_ALARMS = (0.01, 0.05, 0.1)


@torch.no_grad()
def simulated_cases(
    fitted: FittedPosterior,
    n: int = 4000,
    samples: int = 255,
    *,
    simulations: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Cases:
    """Simulate observations, sample their posteriors, simulate a draw of each again.

    Of an unknown image some pixels stand for all, and at most 256 simulations and 63 samples are made.

    Args:
        fitted: the trained posterior.
        n: number of simulations.
        samples: posterior samples for each; with one less than a power of two, bins of ranks are equal.
        simulations: parameters ``(n, D)`` in physical units and observations ``(n, C)`` in their place.
        seed: seed of simulations and samples; those of a training with the same seed are others.
        progress: called with the share that is done.

    Raises:
        ValueError: if ``n`` or ``samples`` are too small, before anything is simulated.
    """
    problem, asked = fitted.problem, n
    check_counts(n if simulations is None else len(simulations[0]), samples)
    rows = _ROWS
    if problem.has_fields:
        n, samples, rows = min(n, _IMAGES), min(samples, _DRAWS_OF_IMAGES), _ROWS_OF_IMAGES
    watched = [i for columns in some_pixels(problem.parameters, _PIXELS).values() for i in columns]
    truth, y = fresh_simulations(problem, n, seed) if simulations is None else simulations
    draws, first, log_prob = [], [], []
    parts = list(zip(y.split(rows), truth.split(rows), strict=True))
    with seeded(seed):
        for done, (part, theta) in enumerate(parts, 1):
            q = fitted.posterior(part)
            whole = q.sample((samples,)).cpu()
            first.append(whole[0])
            draws.append(whole[..., watched])
            log_prob.append(q.log_prob(theta.to(fitted.device)).cpu())
            progress(done / len(parts))
    measured = problem.features(y)
    limit = "of an unknown image no more are drawn" if problem.has_fields else "the training has left no more"
    fewer = f"{asked:,} cases were asked for, {len(y):,} taken: {limit}."
    residuals = None
    if problem.can_simulate:
        residuals = tuple(
            (measured - problem.features(problem.simulate_again(theta, y))).nan_to_num(0.0)
            for theta in (torch.cat(first), truth)
        )
    shown = [problem.parameters[i] for i in watched]
    return Cases(
        torch.cat(draws, 1),
        truth[:, watched],
        tuple(shown),
        source={
            "kind": problem.application.unseen.removeprefix("fresh "),
            "problem": problem.name,
            "configuration": problem.to_config(),
            **({"note": fewer} if simulations is None and len(y) < asked else {}),
        },
        targets=tuple(p.name for p in shown if p.name in problem.targets),
        log_prob=torch.cat(log_prob),
        residuals=residuals,  # type: ignore[arg-type]
        trust=_trust(fitted, y),
        classes=class_figures(fitted, truth, y, seed) if fitted.tells_class else None,
        information=information_gain(fitted, simulations=(truth, y), seed=seed),
    )


def _trust(fitted: FittedPosterior, y: Tensor) -> dict[str, Any]:
    """False alarms of the guard on the simulations, and how well it finds shuffled channels."""
    scores = guard_score(fitted, y)
    shuffled = guard_score(fitted, shuffled_channels(y, fitted.problem.observation.num_values))
    alarms, is_classifier = [], fitted.network.classifier is not None
    for rate in _FALSE_ALARMS:
        is_out = -scores <= rate if is_classifier else fitted.guard.is_out(scores, rate)
        found = rate_of(int(is_out.sum()), len(y))
        alarms.append({"nominal": rate, "measured": found.pop("value"), **found})
    low, high = bootstrap_interval(auroc, shuffled, scores, n=200)
    return {
        "false_alarms": alarms,
        "shuffled_channels": {"auroc": auroc(shuffled, scores), "low": low, "high": high},
    }


_DRAWS = 1023
_KNOTS = (1, 2, 4, 8, 16, 32)
_FEWEST_IN_BIN = 50


@torch.no_grad()
def truth_latents(fitted: FittedPosterior, theta: Tensor, y: Tensor) -> list[Tensor]:
    """Return the latents of the truth; standard normal for an exact posterior, whatever the observation.

    Args:
        fitted: the trained posterior.
        theta: true parameters in physical units, shape ``(n, D)``.
        y: their observations, shape ``(n, C)``.

    Returns:
        One of shape ``(n, size)`` for every parameter group, float64, on the CPU.
    """
    latent = fitted.problem.space.to_latent(theta).to(fitted.device)
    parts = [
        fitted.posterior(rows).base.latent(value).double().cpu()
        for rows, value in zip(y.split(_ROWS), latent.split(_ROWS), strict=True)
    ]
    return list(torch.cat(parts).split(fitted.network.flow.config["groups"], -1))


@torch.no_grad()
def truth_levels(fitted: FittedPosterior, theta: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """Return at which quantile level of its posterior each target's truth lies; uniform for an exact one.

    Args:
        fitted: the trained posterior.
        theta: true parameters in physical units, shape ``(n, D)``.
        y: their observations, shape ``(n, C)``.
        seed: seed of the posterior samples, independent from case to case.

    Returns:
        Shape ``(n, targets)``, float64, strictly between 0 and 1, on the CPU.
    """
    space = fitted.problem.space.subset(fitted.problem.targets)
    latent = space.to_latent(theta[:, : len(space)])
    levels = []
    with seeded(seed):
        for part, (rows, truth) in enumerate(zip(y.split(_ROWS), latent.split(_ROWS), strict=True)):
            samples = fitted.target_posterior(rows).base.sample((_DRAWS,)).cpu()
            circles = Circles(samples, space)  # cut as where the levels will be used
            levels.append(pit(circles.cut(samples), circles.cut(truth[None])[0], seed=seed + part))
    return torch.cat(levels)


def latent_p_value(latent: Tensor, fitted_on: int | None = None) -> float:
    """Return the p-value of standard normal latents ``(n, size)`` (Kolmogorov, Bonferroni).

    Tested are the radius, which tells whether samples are spread as they should be, and every channel, which
    tells whether they lie where they should.

    Args:
        latent: latents of the truth, shape ``(n, size)``.
        fitted_on: number of other latents that the base was adjusted to, if it was. Their sampling error
            counts like that of a second sample (Smirnov).
    """
    n, size = latent.shape
    tests = [kstest(latent.square().sum(1).numpy(), chi2(size).cdf)]
    tests += [kstest(column.numpy(), "norm") for column in latent.unbind(1)]
    if fitted_on is None:
        p = min(test.pvalue for test in tests)
    else:
        statistic = max(test.statistic for test in tests)
        p = kstwobign.sf(statistic * math.sqrt(n * fitted_on / (n + fitted_on)))
    return min(1.0, len(tests) * float(p))


def level_p_values(levels: Tensor) -> list[float]:
    """Return the p-value of uniform levels ``(n, targets)`` for each target (Kolmogorov)."""
    return [float(kstest(column.numpy(), "uniform").pvalue) for column in levels.unbind(1)]


def fit_adjustment(latent: Tensor) -> Adjustment:
    """Return the simplest adjustment of a standard normal that fits the truth's latents of one group.

    In each of ``k`` equally filled bins of the radius the root mean square becomes that of a χ distribution;
    with one bin that is the most likely common factor. Before, channels may be standardised. Whether, and
    which ``k`` = 1, 2, 4, …, 32, the Akaike information criterion decides, so that a posterior that is
    simply too narrow costs one number.

    Args:
        latent: latents of the truth, shape ``(n, size)``.

    Raises:
        ValueError: if there are fewer than 50.
    """
    latent = latent.double()
    n, size = latent.shape
    if n < _FEWEST_IN_BIN:
        raise ValueError(f"{n} latents are too few for a fit; give at least {_FEWEST_IN_BIN}.")
    nothing = latent.new_zeros(size)
    best, best_score = None, -math.inf
    for shift, log_scale in ((nothing, nothing), (latent.mean(0), latent.std(0).log())):
        squared = ((latent - shift) * (-log_scale).exp()).square().sum(1).sort().values
        for bins in (k for k in _KNOTS if n // k >= _FEWEST_IN_BIN):
            fit = Adjustment(*(part.float() for part in (shift, log_scale, *_match(squared, size, bins))))
            base = AdjustedNormal([size], bins)
            base.set(0, fit)
            numbers = bins + (0 if shift is nothing else 2 * size)
            score = float(base.log_density(0, latent.T).sum()) - numbers
            if score > best_score:
                best, best_score = fit, score
    assert best is not None
    return best


def _match(squared: Tensor, size: int, bins: int) -> tuple[Tensor, Tensor]:
    """Knots ``(log radius, log factor)`` from that many bins of sorted squared radii."""
    edges = chi2.ppf([k / bins for k in range(bins + 1)], size)
    # The mean of r² over a bin: r² times the density of χ² is that of two more degrees of freedom.
    expected = torch.as_tensor(chi2.cdf(edges, size + 2)).diff() * size * bins
    found = torch.stack([part.mean() for part in squared.tensor_split(bins)])
    return expected.log() / 2, (found / expected).log() / 2
