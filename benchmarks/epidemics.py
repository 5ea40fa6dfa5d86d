"""Epidemics and ecology: are posteriors calibrated for any number of days, and those of the reference?

python benchmarks/epidemics.py --bundles FOLDER --json

Networks that are not in the folder are trained first, about a minute each.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor

import monai_inn
from monai_inn.fitted import FittedPosterior
from monai_inn.metrics import coverage, sbc_ranks, sbc_uniformity
from monai_inn.problems import Epidemic, InverseProblem, Outbreak, ReportedCases, Ricker
from monai_inn.testproblems.daily import Daily
from monai_inn.training import Recipe

STEPS = {"epidemic": 250, "outbreak": 200, "reported_cases": 500, "seir": 500, "ricker": 600}
LATENT_DAYS = 4.0  # of ``seir``: reported cases of an outbreak in which people become infectious later
SIZES = {
    "num_simulations": 2**16, "density_steps": 20, "preview_steps": 10, "preview_observations": 256,
    "held_out": 1024, "guard": 200, "measured": 300, "batch_size": 256,
}  # fmt: skip
NETWORK = {"encoder": {"width": 32, "layers": 2}, "flow": {"num_blocks": 2, "hidden_channels": (64, 64)}}
NUMBERS = {"epidemic": (1, 3, 6, 12, 20), "outbreak": (5, 10, 20, 40, 100)}
DAILY_NUMBERS = (5, 10, 20, 50)
DRAWS = 255
PROPOSALS = 1000
MOST_SCATTER = 1.5  # of a log likelihood that particles estimate, nats


def problems() -> dict[str, InverseProblem]:
    """Return the problems by name."""
    made = (Epidemic(most=20), Outbreak(), ReportedCases(most=60), Ricker(most=60))
    with_latency = ReportedCases(most=60, latent_days=LATENT_DAYS)
    return {problem.name: problem for problem in made} | {"seir": with_latency}


def trained(name: str, folder: Path) -> FittedPosterior:
    """Load the network of a problem from the folder, or train it and keep it there."""
    if not (folder / name).exists():
        recipe = Recipe(posterior_steps=STEPS[name], **SIZES)
        fitted = monai_inn.fit(problems()[name], recipe=recipe, members=2, network=NETWORK, seed=1)
        fitted.save(folder / name)
    return monai_inn.load(folder / name)


def first_counts(problem: InverseProblem, y: Tensor, number: int) -> Tensor:
    """Observations ``(…, C)`` without what comes after so many counts."""
    observation = problem.observation
    late = observation.parts(y).measured.any(-1).cumsum(-1) > number
    values = late.repeat_interleave(len(observation.names), -1)
    return torch.where(torch.cat([values, *[late] * len(observation.context)], -1), torch.nan, y)


def with_counts(problem: InverseProblem, n: int, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Simulate up to ``n`` observations of so many counts, the first ones of longer series."""
    theta, y = problem.simulate(12 * n + 2048, seed)
    there = problem.observation.parts(y).measured.any(-1).sum(-1)
    enough = (there >= number).nonzero().squeeze(1)[:n]
    return theta[enough], first_counts(problem, y[enough], number)


def ranks(fitted: FittedPosterior, theta: Tensor, y: Tensor) -> dict[str, Any]:
    """SBC and coverage of a network."""
    with torch.no_grad():
        drawn = torch.cat([fitted.posterior(part).sample((DRAWS,)) for part in y.split(250)], 1)
    p_value = sbc_uniformity(sbc_ranks(drawn, theta), DRAWS).p_value
    inside = coverage(drawn, theta, [0.5, 0.9]).coverage
    return {
        "cases": len(theta),
        "sbc_p": [round(float(p), 4) for p in p_value],
        "coverage_50": [round(float(c), 3) for c in inside[0]],
        "coverage_90": [round(float(c), 3) for c in inside[1]],
    }


def weighted(fitted: FittedPosterior, problem: InverseProblem, y: Tensor) -> tuple[Tensor, Tensor]:
    """Latent parameters ``(S, D)`` and weights ``(S,)`` of the reference posterior of one observation.

    Where the likelihood is known these are exact samples. Where particles estimate it, network and prior
    propose, and the estimates are weights, which are unbiased; the parameters are not limited to those that
    the network likes.
    """
    if not isinstance(problem, Daily):
        drawn = problem.reference_posterior(y.double()).sample((PROPOSALS,))
        return problem.space.to_latent(drawn), torch.full((PROPOSALS,), 1 / PROPOSALS).double()
    with torch.no_grad():
        q = fitted.posterior(y)
        theta = torch.cat([q.sample((PROPOSALS,)), problem.prior.sample((PROPOSALS // 4,))])
        prior = problem.prior.log_prob(theta)
        proposal = torch.logaddexp(q.log_prob(theta) + math.log(0.8), prior + math.log(0.2))
    log_weight = problem.log_likelihood(theta.double(), y.double()) + (prior - proposal).double()
    return problem.space.to_latent(theta.double()), log_weight.softmax(0)


def scatter(problem: Daily, theta: Tensor, y: Tensor) -> float:
    """Standard deviation of the estimated log likelihood at the true parameters, nats."""
    return float(problem.log_likelihood(theta.double().expand(16, -1), y.double()).std())


def against_reference(
    fitted: FittedPosterior, problem: InverseProblem, theta: Tensor, y: Tensor
) -> dict[str, Any]:
    """Means and widths of the network against the reference's, and ranks of the truth in the reference."""
    rows, places, effective, left_out, began = [], [], [], 0, time.process_time()
    for truth, one in zip(problem.space.to_latent(theta.double()), y, strict=True):
        if isinstance(problem, Daily) and scatter(problem, problem.space.inverse(truth), one) > MOST_SCATTER:
            left_out += 1
            continue
        latent, weight = weighted(fitted, problem, one)
        mean = weight @ latent
        sd = (weight @ (latent - mean).square()).sqrt()
        with torch.no_grad():
            learned = problem.space.to_latent(fitted.posterior(one).sample((PROPOSALS,)).double())
        rows.append(torch.stack([(learned.mean(0) - mean) / sd, learned.std(0) / sd]))
        places.append((weight[:, None] * (latent < truth)).sum(0))
        effective.append(float(1 / weight.square().sum()))
    shift, ratio = torch.stack(rows).unbind(1)
    uniform = [stats.kstest(column.numpy(), "uniform").pvalue for column in torch.stack(places, 1)]
    return {
        "observations": len(rows),
        "left_out": left_out,
        "least_effective": round(min(effective)),
        "median_shift_sd": _rounded(shift.abs().median(0).values),
        "median_width_ratio": _rounded(ratio.median(0).values),
        "reference_rank_p": [round(p, 3) for p in uniform],
        "seconds_each": round((time.process_time() - began) / max(1, len(rows)), 2),
    }


def tempered(fitted: FittedPosterior, problem: Daily, y: Tensor) -> dict[str, Any]:
    """Means and widths by tempered Monte Carlo, which knows no network, against those by importance."""
    latent, weight = weighted(fitted, problem, y)
    mean = weight @ latent
    sd = (weight @ (latent - mean).square()).sqrt()
    drawn = problem.space.to_latent(problem.reference_posterior(y.double()).sample((1000,)))
    return {"shift_sd": _rounded((drawn.mean(0) - mean) / sd), "width_ratio": _rounded(drawn.std(0) / sd)}


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 3) for value in values]


def main() -> None:
    """Print all as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--problems", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--exact", type=int, default=24)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result: dict[str, Any] = {}
    for name in given.problems:
        problem = problems()[name]
        torch.manual_seed(given.seed)
        fitted = trained(name, given.bundles)
        found: dict[str, Any] = {"parameters": list(problem.targets)}
        found["all"] = ranks(fitted, *problem.simulate(4 * given.cases, given.seed))
        for number in NUMBERS.get(name, DAILY_NUMBERS):
            theta, y = with_counts(problem, given.cases, number, given.seed + number)
            some = theta[: given.exact], y[: given.exact]
            found[f"{number} counts"] = ranks(fitted, theta, y) | {
                "reference": against_reference(fitted, problem, *some)
            }
        if isinstance(problem, Daily):
            _, y = with_counts(problem, 1, DAILY_NUMBERS[2], given.seed)
            found["tempered"] = tempered(fitted, problem, y[0])
        result[name] = found
    json.dump(result, sys.stdout, indent=None if given.json else 2)
    print()


if __name__ == "__main__":
    main()
