"""Cases from a trained posterior and its own simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.metrics.coverage import coverage_interval
from monai_inn.metrics.detection import auroc, bootstrap_interval
from monai_inn.problems.application import shuffled_channels
from monai_inn.seeding import seeded
from monai_inn.training.measure import valid_simulations
from monai_inn.validation.cases import Cases

if TYPE_CHECKING:
    from monai_inn.inferers import FittedPosterior

__all__ = ["simulated_cases"]

_ROWS = 250
_FALSE_ALARMS = (0.01, 0.05, 0.1)


@torch.no_grad()
def simulated_cases(
    fitted: FittedPosterior,
    n: int = 4000,
    samples: int = 255,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Cases:
    """Simulate observations, sample their posteriors, simulate a draw of each again.

    Args:
        fitted: the trained posterior.
        n: number of simulations.
        samples: posterior samples for each; with one less than a power of two, bins of ranks are equal.
        seed: seed of simulations and samples. Seeds of training are far from any that one counts up to.
        progress: called with the share that is done.

    Raises:
        ValueError: if ``n`` or ``samples`` are too small, as ``Cases`` says.
    """
    problem = fitted.problem
    if n < 1 or samples < 1:
        raise ValueError(f"n = {n} simulations, samples = {samples}: give positive numbers.")
    truth, y = valid_simulations(problem, n, seed)
    draws, log_prob = [], []
    parts = list(zip(y.split(_ROWS), truth.split(_ROWS), strict=True))
    with seeded(seed):
        for done, (part, theta) in enumerate(parts, 1):
            q = fitted.posterior(part)
            draws.append(q.sample((samples,)).cpu())
            log_prob.append(q.log_prob(theta.to(fitted.device)).cpu())
            progress(done / len(parts))
    drawn = torch.cat(draws, 1)
    measured = problem.features(y)
    residuals = None
    if problem.can_simulate:
        residuals = tuple(
            (measured - problem.features(problem.simulate_again(theta, y))).nan_to_num(0.0)
            for theta in (drawn[0], truth)
        )
    return Cases(
        drawn,
        truth,
        problem.parameters,
        source={"kind": "simulations", "problem": problem.name, "configuration": problem.to_config()},
        targets=problem.targets,
        log_prob=torch.cat(log_prob),
        residuals=residuals,  # type: ignore[arg-type]
        trust=_trust(fitted, y),
    )


def _trust(fitted: FittedPosterior, y: Tensor) -> dict[str, Any]:
    """False alarms of the guard on the simulations, and how well it finds shuffled channels."""
    scores = fitted.waic(y)
    shuffled = fitted.waic(shuffled_channels(y))
    alarms = []
    for rate in _FALSE_ALARMS:
        hits = int(fitted.guard.is_out(scores, rate).sum())
        low, high = coverage_interval(hits, len(y))
        alarms.append({"nominal": rate, "measured": hits / len(y), "low": low, "high": high})
    low, high = bootstrap_interval(auroc, shuffled, scores, n=200)
    return {
        "false_alarms": alarms,
        "shuffled_channels": {"auroc": auroc(shuffled, scores), "low": low, "high": high},
    }
