"""How far a learned posterior over poses is from the exact one on a grid."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.poses.inference import infer_pose, pose_space
from monai_inn.applications.registration.poses.weights import reweight
from monai_inn.fitted import FittedPosterior
from monai_inn.metrics import calibration_error, calibration_noise_floor
from monai_inn.metrics.modes import Mode, find_modes, mode_distance
from monai_inn.metrics.scores import registration_error
from monai_inn.problems import PoseRegistration

SEED, SAMPLES, DRAWS, CALIBRATION = 77, 1000, 255, 4000
HEAVY, SUCCESS_MM = 0.1, 5.0


def measure_posterior(fitted: FittedPosterior, xrays: int, reweighted: int = 0) -> dict[str, Any]:
    """Compare with the grid on `xrays` held-out X-rays, and calibrate on more.

    Modes count if they hold a tenth of the mass, and are found if the other posterior has any mode within 5
    degrees. Modes of the exact posterior come from as many of its samples as the learned one has, by the same
    detector; a second draw of exact samples against the first is the ceiling. The first `reweighted` X-rays
    are also answered by the likelihood, with the network's draws as proposals.
    """
    problem = fitted.problem
    assert isinstance(problem, PoseRegistration)
    theta, y = problem.simulate(CALIBRATION, SEED)
    grid = problem.grid()
    cell = float(grid.step.log().sum())
    space, tolerance = problem.space, pose_space(problem)
    torch.manual_seed(SEED)
    kl, entropy, pairs, ceiling, weighed, errors, multimodal = [], [], [], [], [], [], 0
    for case in range(xrays):
        exact = grid.log_mass(y[case : case + 1])[0]
        with torch.no_grad():
            ours = fitted.posterior(y[case]).log_prob(grid.centre.float()).double() + cell
        kl.append(float((exact.exp() * (exact - ours)).sum()))
        entropy.append(float(-(exact.exp() * exact).sum()) + cell)
        drawn = [find_modes(cell_samples(grid.centre, grid.step, exact), tolerance) for _ in range(2)]
        found = infer_pose(fitted, y[case], SAMPLES, case).modes
        multimodal += sum(mode.mass >= HEAVY for mode in drawn[0]) > 1
        pairs.append(_counts(found, drawn[0], tolerance))
        ceiling.append(_counts(drawn[1], drawn[0], tolerance))
        if case < reweighted:
            modes = reweight(fitted, y[case], SAMPLES, case).posterior.modes
            weighed.append(_counts(modes, drawn[0], tolerance))
        truth = problem.cameras(theta[case].double())
        each = registration_error(
            problem.cameras(torch.stack([m.parameters for m in found])), truth, problem.landmarks
        )
        errors.append((float(each[0]), float(each.min())))
    samples = posterior_samples(fitted, y)
    error = calibration_error(samples, space.to_latent(theta))
    heaviest, best = (sorted(column) for column in zip(*errors, strict=True))
    return {
        "xrays": xrays,
        "kl_nats": {"median": statistics.median(kl), "mean": statistics.mean(kl)},
        "entropy_nats": statistics.mean(entropy),
        "multimodal_share": multimodal / xrays,
        "modes": _rates(pairs),
        "modes_ceiling": _rates(ceiling),
        "modes_reweighted": _rates(weighed) if weighed else None,
        "mtre_mm": {
            "heaviest_mode_median": statistics.median(heaviest),
            "heaviest_mode_success": sum(e <= SUCCESS_MM for e in heaviest) / xrays,
            "best_mode_median": statistics.median(best),
            "best_mode_success": sum(e <= SUCCESS_MM for e in best) / xrays,
        },
        "calibration_error": dict(zip(space.names, error.tolist(), strict=True)),
        "calibration_noise_floor_95": calibration_noise_floor(CALIBRATION).upper,
        "seconds": one_xray_seconds(fitted, y),
    }


def cell_samples(centre: Tensor, step: Tensor, log_mass: Tensor) -> Tensor:
    """Samples of a density that is constant on each cell."""
    index = torch.multinomial(log_mass.exp(), SAMPLES, replacement=True)
    return centre[index] + step * (torch.rand(SAMPLES, len(step), dtype=torch.float64) - 0.5)


def _counts(found: list[Mode], exact: list[Mode], space: Any) -> tuple[int, int, int, int]:
    """Heavy exact modes, those found, heavy modes found, those that are right."""
    distance = mode_distance(found, torch.stack([mode.parameters for mode in exact]), space)
    heavy = torch.tensor([mode.mass >= HEAVY for mode in exact])
    ours = torch.tensor([mode.mass >= HEAVY for mode in found])
    is_found, is_right = (distance <= 1).any(0), (distance <= 1).any(1)
    return int(heavy.sum()), int((heavy & is_found).sum()), int(ours.sum()), int((ours & is_right).sum())


def _rates(counts: list[tuple[int, int, int, int]]) -> dict[str, float]:
    exact, hit, ours, right = (sum(column) for column in zip(*counts, strict=True))
    return {"recall": hit / exact, "precision": right / ours, "exact_modes": exact}


def posterior_samples(fitted: FittedPosterior, y: Tensor) -> Tensor:
    """Posterior draws in the flow's space, shape `(DRAWS, N, D)`."""
    with torch.no_grad():
        return torch.cat([fitted.posterior(part).base.sample((DRAWS,)) for part in y.split(500)], 1)


def one_xray_seconds(fitted: FittedPosterior, y: Tensor) -> dict[str, float]:
    """Wall time of one X-ray, 1,000 samples with densities and modes, median of 20."""
    times = []
    for case in range(22):
        began = time.perf_counter()
        infer_pose(fitted, y[case], SAMPLES, case)
        times.append(time.perf_counter() - began)
    return {"one_xray_median": statistics.median(times[2:]), "one_xray_worst": max(times[2:])}
