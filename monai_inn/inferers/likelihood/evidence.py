"""How probable each of several models is for an observation: Bayes' rule, with their evidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monai_inn.inferers.likelihood.importance import weighed_draws
from monai_inn.inferers.likelihood.reweighting import LEAST_EFFECTIVE, SharedNuisances, some_nuisances
from monai_inn.networks.kernels.chunks import on_all_threads
from monai_inn.problems import InverseProblem

if TYPE_CHECKING:
    from monai_inn.inferers.rows import RowPosterior

__all__ = ["model_probability", "require_rivals"]

_DRAWS, _MOST_ROUNDS = 1024, 16
_AT_A_TIME = 16  # observations: some seconds
_LEAST = 30  # draws that must count: with fewer the evidence was too small, and others wrongly certain
_MOST_ERROR = 0.05  # standard error of a probability that is still told


@torch.no_grad()
def model_probability(fitted: RowPosterior, y: Tensor, seed: int = 0) -> Tensor:
    """Return the probabilities ``(n, K)`` of the models that a problem knows, given observations ``(n, C)``.

    The evidence of a model is the mean of its likelihood over the prior of its parameters. It comes from
    importance sampling that starts at this prior: the network is needed only where pixels share something
    that tells of nuisances, to draw these. The ratio of two probabilities is the ratio of the evidences,
    where the models are equally likely beforehand.

    Args:
        fitted: posterior of a problem that has ``rivals``.
        y: observations that can be inferred.
        seed: seed of all draws.

    Returns:
        Shape ``(n, K)``, float32, in the order of the classes of ``rivals``; NaN where fewer than 30
        draws count for a model, or a probability has a standard error above .05.

    Raises:
        ValueError: see ``require_rivals``.
    """
    rivals, y = require_rivals(fitted.problem), y.cpu()
    nuisances = SharedNuisances(fitted.problem, fitted.network, seed)
    nuisances.prepare(y)

    def weigh(rows: Tensor) -> Tensor:
        shared = nuisances.of(rows)
        drawn = None if shared is None else [one for one in shared if one is not None]  # all are prepared
        models = len(rivals.parameters[0].categories)
        log_evidence, variance = torch.zeros(2, len(rows), models, dtype=torch.float64)
        left = torch.arange(len(rows))  # those of which each model so far has enough draws
        for model in range(models):
            if not len(left):
                break
            some = None if drawn is None else [drawn[n] for n in left.tolist()]
            found = _log_evidence(rivals, model, rows[left], some, seed)
            log_evidence[left, model], variance[left, model] = found.unbind(-1)
            left = left[found[:, 1] <= 1 / _LEAST]
        share = log_evidence.softmax(1).unsqueeze(1)
        slope = share.mT * (torch.eye(models) - share)  # of each probability by each log evidence
        error = (slope.square() @ variance.unsqueeze(-1)).squeeze(-1).sqrt()
        known = left[(error[left] <= _MOST_ERROR).all(1)]
        result = torch.full((len(rows), models), torch.nan)
        result[known] = share[known, 0].float()
        return result

    return torch.cat([*on_all_threads(weigh, y.split(_AT_A_TIME), y.device)])


def require_rivals(problem: InverseProblem) -> InverseProblem:
    """Return the problem with all its models, one of which is a class.

    Raises:
        ValueError: if it has one model alone, or no likelihood.
    """
    rivals = problem.rivals
    if rivals is None or not rivals.has_likelihood:
        raise ValueError(
            f"the problem {problem.name!r} knows no several models with a likelihood by which they could be "
            "weighed; leave out evidence, or write its rivals."
        )
    return rivals


def _log_evidence(
    rivals: InverseProblem, model: int, y: Tensor, nuisances: list[Tensor] | None, seed: int
) -> Tensor:
    """Log evidence in nats of one model for observations ``(n, C)``, and its variance, ``(n, 2)``."""
    space, fixed = rivals.space, 1 if nuisances is None else 1 + len(rivals.parameters) - len(rivals.targets)
    free = space.subset(space.names[1 : 1 + len(space) - fixed])
    others = space.subset(space.names[1 + len(free) :])

    def evaluate(latents: Tensor, which: Tensor, number: int) -> tuple[Tensor, ...]:
        columns = [torch.full_like(latents[..., :1], model + 0.5), free.inverse(latents)]
        if nuisances is not None:
            shared = some_nuisances(nuisances, which, len(latents), number)
            columns.append(others.inverse(shared))
        theta = torch.cat(columns, -1).float()
        return (rivals.log_likelihoods(theta, y[which]).double(),)

    found = weighed_draws(
        evaluate,
        len(y),
        len(free),
        draws=_DRAWS,
        wanted=LEAST_EFFECTIVE,
        most_rounds=_MOST_ROUNDS,
        seed=seed,
    )
    rows = [(one.log_evidence, 1 / one.effective if one.effective else math.inf) for one in found]
    return torch.tensor(rows, dtype=torch.float64)
