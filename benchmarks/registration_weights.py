"""Is a learned posterior over four to six pose parameters right, where no grid is affordable?

Importance sampling that starts from the network's draws (`registration.poses.weights`) gives the evidence and
KL(exact ‖ learned). Tempered sequential Monte Carlo, which knows nothing of the network, must find the same
evidence, means and widths. `--bundle` is what `monai-inn fit registration` wrote.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from registration_measure import CALIBRATION, SAMPLES, SEED, SUCCESS_MM, one_xray_seconds, posterior_samples
from torch import Tensor

import monai_inn as mi
from monai_inn.applications.registration.poses.inference import infer_pose
from monai_inn.applications.registration.poses.weights import Reweighted, reweight
from monai_inn.fitted import FittedPosterior
from monai_inn.metrics import calibration_error, calibration_noise_floor
from monai_inn.metrics.modes import Mode
from monai_inn.metrics.scores import registration_error
from monai_inn.problems import PoseRegistration

PARTICLES = 1000


def compare_with_tempering(
    problem: PoseRegistration, y: Tensor, weighed: Reweighted, network: Tensor
) -> dict[str, Any]:
    """Evidence, means and widths of sequential Monte Carlo, and those of the weights and of the network.

    Means and widths are in exact standard deviations. Angles of a full turn are left out: they may have
    several modes, whose mean says nothing.
    """
    began = time.perf_counter()
    found = problem.tempered(y, PARTICLES, seed=0)
    seconds = time.perf_counter() - began
    kept = torch.isinf(problem.space.period)
    exact = found.samples[:, kept]
    result = {"seconds": seconds, "log_evidence_off": weighed.log_evidence - found.log_evidence}
    for name, samples in (("weights", weighed.posterior.samples), ("network", network)):
        own = samples[:, kept].double()
        result[f"{name}_mean_off_in_sd"] = ((own.mean(0) - exact.mean(0)) / exact.std(0)).abs().tolist()
        result[f"{name}_width_ratio"] = (own.std(0) / exact.std(0)).tolist()
    return result


def measure(fitted: FittedPosterior, xrays: int, tempered: int) -> dict[str, Any]:
    """Weights of `xrays` held-out X-rays, tempering on the first few, calibration on more."""
    problem = fitted.problem
    assert isinstance(problem, PoseRegistration)
    theta, y = problem.simulate(CALIBRATION, SEED)
    kl, share, seconds, errors, checks, refused = [], [], [], [], [], 0
    for case in range(xrays):
        answer = infer_pose(fitted, y[case], SAMPLES, case)
        began = time.perf_counter()
        try:
            weighed = reweight(fitted, y[case], SAMPLES, case)
        except ValueError as error:
            refused += 1
            print(error, flush=True)
            continue
        seconds.append(time.perf_counter() - began)
        kl.append(weighed.kl)
        share.append(weighed.effective / weighed.proposals)
        truth = problem.cameras(theta[case].double())
        errors.append([_best(problem, a.modes, truth) for a in (answer, weighed.posterior)])
        if case < tempered:
            checks.append(compare_with_tempering(problem, y[case], weighed, answer.samples))
            print(json.dumps(checks[-1]), flush=True)
    error = calibration_error(posterior_samples(fitted, y), problem.space.to_latent(theta))
    flat = [[case[k] for case in errors] for k in (0, 1)]
    return {
        "xrays": xrays,
        "refused": refused,
        "kl_nats": {"median": statistics.median(kl), "mean": statistics.mean(kl)},
        "effective_share": {"median": statistics.median(share), "least": min(share)},
        "best_mode_in_plane_mm": {
            name: {"median": statistics.median(mm), "success": sum(e <= SUCCESS_MM for e in mm) / len(mm)}
            for name, mm in zip(("network", "weights"), flat, strict=True)
        },
        "calibration_error": dict(zip(problem.space.names, error.tolist(), strict=True)),
        "calibration_noise_floor_95": calibration_noise_floor(CALIBRATION).upper,
        "seconds": one_xray_seconds(fitted, y) | {"reweighting_median": statistics.median(seconds)},
        "tempering": checks,
    }


def _best(problem: PoseRegistration, modes: list[Mode], truth: Tensor) -> float:
    """In-plane mTRE of the best mode, mm: what a single X-ray tells; most of the rest is along the beam."""
    cameras = problem.cameras(torch.stack([mode.parameters for mode in modes]).double())
    return float(registration_error(cameras, truth, problem.landmarks, in_plane=True).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle of a registration")
    parser.add_argument("--xrays", type=int, default=100, help="held-out X-rays that are weighed (100)")
    parser.add_argument("--tempered", type=int, default=3, help="of which tempering is run on so many (3)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    result = measure(mi.load(options.bundle), options.xrays, options.tempered)
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
