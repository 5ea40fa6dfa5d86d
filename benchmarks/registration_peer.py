"""The peer: registration from many starts by gradient descent on image similarity, as toolkits do.

Renderer and similarity (correlation of image gradients) are nanodrr's; Adam on the free parameters from
starts spread over a turn. The pose of the best similarity is its answer, distinct end points are its modes.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
from nanodrr.metrics import GradientNormalizedCrossCorrelation2d
from torch import Tensor

from monai_inn.applications.registration.poses.inference import pose_space
from monai_inn.metrics.scores import registration_error
from monai_inn.problems import PoseRegistration

SEED, STARTS, STEPS, RATE_DEGREES = 77, 8, 60, 2.0
SUCCESS_MM = 5.0


def measure_peer(problem: PoseRegistration, xrays: int) -> dict[str, Any]:
    """Register the first `xrays` X-rays of the same held-out set."""
    theta, y = problem.simulate(xrays, SEED)
    space, errors, best, counts, seconds = pose_space(problem), [], [], [], []
    for truth, image in zip(theta, y, strict=True):
        began = time.perf_counter()
        ends, score = register(problem, image)
        seconds.append(time.perf_counter() - began)
        camera = problem.cameras(truth.double())
        error = registration_error(problem.cameras(ends.double()), camera, problem.landmarks)
        errors.append(float(error[score.argmax()]))
        best.append(float(error.min()))
        counts.append(_distinct(ends, space))
    return {
        "xrays": xrays,
        "mtre_mm": {
            "best_score_median": statistics.median(errors),
            "best_score_success": sum(e <= SUCCESS_MM for e in errors) / xrays,
            "best_of_all_ends_success": sum(e <= SUCCESS_MM for e in best) / xrays,
        },
        "distinct_ends": statistics.mean(counts),
        "seconds_per_xray": statistics.median(seconds),
    }


def register(
    problem: PoseRegistration, image: Tensor, count: int = STARTS, steps: int = STEPS, slower: bool = False
) -> tuple[Tensor, Tensor]:
    """End points `(count, D)` and their similarities `(count,)`; steps may become slower along a cosine."""
    similarity = GradientNormalizedCrossCorrelation2d()
    low, high = problem.space.low.float(), problem.space.high.float()
    starts = (low + high).div(2).expand(count, -1).clone()
    starts[:, 0] = low[0] + (high[0] - low[0]) * (torch.arange(count) + 0.5) / count
    moving = torch.nn.Parameter(starts)
    optimiser = torch.optim.Adam([moving], RATE_DEGREES)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps) if slower else 1.0
    )
    fixed = image.reshape(1, 1, *problem.observation.size).expand(count, -1, -1, -1)
    for _ in range(steps):
        optimiser.zero_grad()
        score = similarity(fixed, problem.render(moving).unsqueeze(1))
        (-score.sum()).backward()
        optimiser.step()
        rate.step()
    with torch.no_grad():
        return moving.detach(), similarity(fixed, problem.render(moving).unsqueeze(1))


def _distinct(ends: Tensor, space: Any) -> int:
    """End points more than 5 degrees apart."""
    kept: list[Tensor] = []
    for end in ends:
        if all(float(space.distance(end, other)) > 1 for other in kept):
            kept.append(end)
    return len(kept)
