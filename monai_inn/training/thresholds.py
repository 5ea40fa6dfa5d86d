"""Thresholds of trust, from held-out simulations and, where there are any, from measured observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_inn.metrics.detection.ood import waic
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.explanation import Explanation
from monai_inn.problems import InverseProblem
from monai_inn.problems.valid import valid_simulations

__all__ = ["explanation_sizes", "set_thresholds"]


def explanation_sizes(problem: InverseProblem, num_explained: int, num_ordinary: int) -> dict[str, object]:
    """Return the arguments of ``Explanation`` for a problem."""
    return {
        "num_explained": num_explained,
        "families": [len(family) for family in problem.application.deviations().values()],
        "num_ordinary": num_ordinary,
        "objects": len(problem.application.measured(1, 0)),
    }


@torch.no_grad()
def set_thresholds(
    net: PosteriorNetwork, problem: InverseProblem, seed: int, measured: Mapping[str, Tensor] | None = None
) -> None:
    """Score ordinary observations: simulations, and measured ones by thresholds that never saw their object.

    Args:
        net: network whose parts are trained.
        problem: the inverse problem.
        seed: seed of the simulations.
        measured: observations of several objects, as ``Application.measured`` returns them by default.
    """
    device = net.ood_scores.device
    theta, y = valid_simulations(problem, len(net.ood_scores), seed)
    simulated = _waic(net, problem, y)
    net.ood_scores.copy_(simulated.sort().values)
    if net.classifier is not None:
        condition = net.condition(problem.features(y).to(device))
        net.classifier.hold_out(condition, problem.space.to_latent(theta).to(device), simulated)
    part = net.explanation
    if part is None:
        return
    shapes = [shape for family in problem.application.deviations().values() for shape in family.values()]
    deviations = torch.stack(shapes).to(device) if shapes else part.shapes[0]
    if measured is None:
        measured = problem.application.measured(part.ordinary.shape[1], seed)
    objects = [rows.float() for rows in measured.values()]
    residual, noise = _left(part, problem, y, device)
    pairs = [_left(part, problem, rows, device) for rows in objects]

    def fit(others: Sequence[tuple[Tensor, Tensor]]) -> None:
        part.fit_residuals(residual, noise, [rows for rows, _ in others], deviations)

    def scores(of_waic: Tensor, residual: Tensor, noise: Tensor, count: int) -> Tensor:
        found = torch.cat([of_waic.unsqueeze(1), part.misfit(residual, noise).scores], 1)
        return found[torch.linspace(0, len(found) - 1, count).round().long()]

    part.measured = part.measured[: len(objects)]
    for index, rows in enumerate(objects):
        fit(pairs[:index] + pairs[index + 1 :])
        place = part.measured[index]
        place.copy_(scores(_waic(net, problem, rows), *pairs[index], len(place)))
    fit(pairs)
    part.ordinary[0].copy_(scores(simulated, residual, noise, part.ordinary.shape[1]))


def _left(
    part: Explanation, problem: InverseProblem, y: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the best parameters leave of observations ``(n, C)``, ``(finders, n, K)``, and their noise."""
    return part.residual(problem.explained_features(y).to(device)), problem.noise_level(y).to(device)


def _waic(net: PosteriorNetwork, problem: InverseProblem, y: Tensor) -> Tensor:
    return waic(net.observation_log_prob(problem.density_features(y).to(net.ood_scores.device)))
