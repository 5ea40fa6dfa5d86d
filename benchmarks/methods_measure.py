"""What is measured of each method on each problem."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from methods_base import Method, Pool
from methods_problems import Case, Truth
from torch import Tensor

from monai_inn.metrics.calibration.error import calibration_error, calibration_noise_floor
from monai_inn.metrics.calibration.tarp import tarp
from monai_inn.metrics.resimulation import resimulation_error
from monai_inn.metrics.scores import crps, energy_score, log_score
from monai_inn.metrics.two_sample import c2st, mmd
from monai_inn.problems import InverseProblem

Report = dict[str, Any]

_SEED = 505
_COMPARED = 20  # observations whose samples are compared with exact ones point by point
_RESIMULATED = 64  # samples of each observation that go through the forward model
_NOISE_DRAWS = 100
_TIMED = (100, 1000)  # observations and samples
_LEAST_MASS = 0.1


def measure(method: Method, case: Case, pool: Pool, truth: Truth, samples: int) -> Report:
    """All figures of a trained method, JSON-ready."""
    torch.manual_seed(_SEED)
    drawn = method.sample(truth.y, samples).float()
    began = time.process_time()
    method.sample(truth.y[: _TIMED[0]], _TIMED[1])
    seconds = time.process_time() - began
    scale = pool.space.inverse(pool.simulations.latent[:50_000]).double().std(0)
    floor = calibration_noise_floor(len(truth.y))
    joint = tarp(drawn, truth.theta)
    report: Report = {
        "sample_seconds": seconds,
        "calibration_error": float(calibration_error(drawn, truth.theta).mean()),
        "calibration_noise_floor": floor.mean,
        "tarp_distance": joint.statistic,
        "tarp_noise_floor": 1.36 / math.sqrt(len(truth.y)),
        "energy_score": float(energy_score(drawn, truth.theta, scale).mean()),
        "crps_prior_sd": float((crps(drawn, truth.theta) / scale).mean()),
        "resimulation": resimulation(pool.problem, drawn[:_RESIMULATED], truth),
        "log_score": log_score_of(method, truth),
        "nll_gap": nll_gap(method, truth),
        "branches": None,
        "c2st": None,
        "mmd_squared": None,
    }
    if truth.exact is not None:
        report |= against_exact(drawn, truth.exact, scale)
        if case.branch is not None:
            found, wanted = (case.branch(pool.problem, theta) for theta in (drawn, truth.exact))
            report["branches"] = branches(found, wanted)
    return report


def against_exact(drawn: Tensor, exact: Tensor, scale: Tensor) -> Report:
    """Two-sample figures of single observations."""
    cases = range(min(_COMPARED, drawn.shape[1]))
    accuracy = [c2st(drawn[:, n], exact[:, n], permutations=19).accuracy for n in cases]
    squared = [mmd(drawn[:, n], exact[:, n], scale=scale).squared for n in cases]
    return {"c2st": _with_median(accuracy), "mmd_squared": _with_median(squared)}


def _with_median(values: list[float]) -> Report:
    return {"median": float(torch.tensor(values).quantile(0.5)), "values": values}


def branches(found: Tensor, wanted: Tensor) -> Report:
    """Share of observations with two branches that both hold half of their mass or more; error of the masses.

    Args:
        found: branch of each sample, boolean, ``(S, N)``.
        wanted: the same of exact samples; observations with a tenth of them on either branch count.
    """
    mass, exact = found.double().mean(0), wanted.double().mean(0)
    counted = torch.minimum(exact, 1 - exact) >= _LEAST_MASS
    both = (mass >= 0.5 * exact) & (1 - mass >= 0.5 * (1 - exact))
    return {
        "found": float(both[counted].double().mean()),
        "mass_error": float((mass - exact).abs().mean()),
        "counted": int(counted.sum()),
    }


def log_score_of(method: Method, truth: Truth) -> Report | None:
    """Negative log density of the true parameters in nats, physical units; lower is better."""
    found = method.log_prob(truth.theta[None], truth.y)
    if found is None:
        return None
    score = log_score(found[0])
    return {"nats": score.mean, "standard_error": score.standard_error}


def nll_gap(method: Method, truth: Truth) -> Report | None:
    """Kullback-Leibler divergence of the method from the exact posterior, mean over observations, in nats."""
    if truth.exact is None or truth.log_prob is None:
        return None
    found = method.log_prob(truth.exact[: len(truth.log_prob)], truth.y)
    if found is None:
        return None
    gap = (truth.log_prob.double() - found.double()).mean(0)
    return {"nats": float(gap.mean()), "standard_error": float(gap.std() / math.sqrt(len(gap)))}


def resimulation(problem: InverseProblem, drawn: Tensor, truth: Truth) -> Report:
    """Resimulation error in units of that of the truth, mean and median over samples and observations.

    In the features, for what they leave out (the brightness of a spectrum) no posterior can know. The truth's
    error comes from many noisy copies, which also takes out the bias of an estimated noise.
    """
    clean, observed = problem.forward(drawn), problem.features(truth.y)
    error = resimulation_error(problem.features(clean), observed, _feature_noise(problem, clean))
    clean, generator = problem.forward(truth.theta), torch.Generator().manual_seed(_SEED)
    sd, features = _feature_noise(problem, clean), problem.features(clean)[None]
    copies = [problem.features(problem.noise(clean, generator)) for _ in range(_RESIMULATED)]
    own = torch.cat([resimulation_error(features, copy, sd) for copy in copies])
    return {
        "mean": float(error.mean() / own.mean()),
        "median": float(error.quantile(0.5) / own.quantile(0.5)),
    }


def _feature_noise(problem: InverseProblem, clean: Tensor) -> Tensor:
    """Standard deviation of the features' noise at noise-free observations ``(…, C)``, shape ``(…, F)``."""
    generator, without = torch.Generator().manual_seed(_SEED + 1), problem.features(clean)
    square = torch.zeros_like(without)
    for _ in range(_NOISE_DRAWS):
        square += (problem.features(problem.noise(clean, generator)) - without).square()
    return (square / _NOISE_DRAWS).sqrt()
