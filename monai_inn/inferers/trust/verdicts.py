"""What is said about an observation: whether the model explains it, and whether it says anything."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from monai_inn.inferers.trust.resimulated import deviation_names, is_resimulated, resimulated_scores
from monai_inn.metrics.detection.combined import CombinedThreshold, JointThreshold
from monai_inn.metrics.detection.ood import ConformalThreshold, waic
from monai_inn.networks import PosteriorNetwork
from monai_inn.problems import InverseProblem
from monai_inn.problems.priors import own_draws
from monai_inn.problems.valid import valid_simulations

__all__ = ["UNINFORMATIVE", "Explained", "PriorMass", "mass_of_draws", "misfit_scores", "reasons"]

UNINFORMATIVE = 0.8
"""Prior probability inside an interval, over its posterior probability, from which it says nothing."""

_ORDINARY, _ORDINARY_SEED = 2000, 0x5EED_0004  # simulations that nobody has trained or measured on
_UNLIKE = "unlike the training data as a whole"


def reasons(problem: InverseProblem, network: PosteriorNetwork) -> tuple[str, ...]:
    """Return what the numbers of the map ``reason`` mean; the first is that there is none."""
    texts = ["explained", _UNLIKE]
    if network.test is not None:
        families = problem.application.deviations().values()
        texts += [problem.application.unexplained, *(label for family in families for label in family)]
    if is_resimulated(problem, network):
        texts += deviation_names(problem)
    return tuple(texts)


class PriorMass:
    """Prior probability of intervals of a problem's targets, from draws where the prior is one of its own.

    Args:
        problem: the inverse problem.
    """

    def __init__(self, problem: InverseProblem) -> None:
        self._space = problem.space.subset(problem.targets)
        self._draws, draws = None, own_draws(problem)
        if draws is not None:
            targets = draws[:, : len(self._space)]
            # Ends of intervals of angles may lie a turn further. Others have no turn: nothing lies there.
            turns = self._space.period.to(targets)
            self._draws = torch.cat([targets - turns, targets, targets + turns]).sort(0).values

    def __call__(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the probability between the ends of intervals in physical units, ``(n, D)`` each."""
        if self._draws is not None:
            return 3 * mass_of_draws(self._draws.to(low), low, high)
        below = torch.special.ndtr(self._space.to_latent(torch.stack([low, high])))
        turn = self._space.period.to(low)
        return torch.where(turn.isfinite(), (high - low) / turn, below[1] - below[0])


def mass_of_draws(draws: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the share of sorted draws ``(m, K)`` between the ends of intervals ``(n, K)``, same shape."""
    columns = draws.T.contiguous()
    first = torch.searchsorted(columns, low.T.contiguous())
    after = torch.searchsorted(columns, high.T.contiguous(), right=True)
    return ((after - first) / len(draws)).T


def misfit_scores(
    problem: InverseProblem, network: PosteriorNetwork, observation: Tensor, resimulates: bool = True
) -> tuple[Tensor, Tensor]:
    """Return scores of observations ``(n, C)``, HIGH = out of the ordinary, and the strongest deviations.

    Returns:
        WAIC in nats, and the scores of the test of explanation or of a density of classes if the network has
        one, or of ``resimulated_scores`` if these are wanted and the problem has them, ``(n, J)``; the number
        of the strongest deviation of each of the latter, ``(n, J − 1)``.
    """
    # A density that overflows is as low as can be: such a pixel is out of distribution.
    log_prob = network.observation_log_prob(problem.density_features(observation))
    score = waic(log_prob.nan_to_num(nan=-torch.inf, neginf=-torch.inf)).unsqueeze(1)
    if network.classifier is not None:
        own = network.classifier.misfit(network.condition(problem.features(observation)))
        scores = torch.cat([score, own.nan_to_num(nan=torch.inf)], 1)
        return scores, torch.zeros_like(own, dtype=torch.int64)
    if network.explanation is None:
        left = score[:, :0]
        if resimulates and is_resimulated(problem, network):
            left = resimulated_scores(problem, network, observation).nan_to_num(nan=torch.inf)
        return torch.cat([score, left], 1), torch.zeros_like(left, dtype=torch.int64)
    noise = problem.noise_level(observation)
    misfit = network.explanation(problem.explained_features(observation), noise)
    return torch.cat([score, misfit.scores.nan_to_num(nan=torch.inf)], 1), misfit.strongest


class Explained:
    """Whether observations are explained, by the thresholds of a network.

    Args:
        problem: the inverse problem.
        network: its network.
        false_alarm: share of ordinary observations that may be called not explained.
        resimulates: whether series may be simulated again, see ``resimulated_scores``.
    """

    def __init__(
        self,
        problem: InverseProblem,
        network: PosteriorNetwork,
        false_alarm: float,
        resimulates: bool = True,
    ) -> None:
        self.problem, self.network, self.false_alarm = problem, network, false_alarm
        self._resimulates = resimulates and is_resimulated(problem, network)
        part = network.test
        self._alone = ConformalThreshold(network.ood_scores)
        self._combined: CombinedThreshold | JointThreshold | None = None
        if network.classifier is not None:
            self._combined = JointThreshold(network.classifier.ordinary[0])
        elif network.explanation is not None:
            self._combined = CombinedThreshold(network.explanation.populations())
        elif self._resimulates:
            self._combined = _of_simulations(problem, network, network.ood_scores.device)
        families = () if part is None else part.families
        # Of one finder: the number in ``reasons`` of its energy, then of the first deviation of each family.
        self._starts = [2, *(3 + sum(families[:i]) for i in range(len(families)))]
        if self._resimulates:
            self._starts = [*range(2, 2 + len(deviation_names(problem)))]

    def __call__(self, observation: Tensor) -> dict[str, Tensor]:
        """Return the columns ``waic``, ``p_value``, ``ood`` and ``reason`` of observations ``(n, C)``."""
        score, p_value, reason = self.p_values(observation)
        if self._combined is None:
            is_out = self._alone.is_out(score, self.false_alarm)
        else:
            is_out = ~(p_value > self.false_alarm)
        columns = {"waic": score, "ood": is_out, "p_value": p_value}
        columns["reason"] = torch.where(is_out, reason, 0.0)
        return {name: column.unsqueeze(1).float() for name, column in columns.items()}

    def p_values(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return WAIC in nats, p-values, and what would be the reason, of observations ``(n, C)``."""
        scores, strongest = misfit_scores(self.problem, self.network, observation, self._resimulates)
        if self._combined is None:
            p_value = self._alone.p_value(scores[:, 0])
            return scores[:, 0], p_value, torch.ones_like(p_value)
        p_value, leading = self._combined(scores)
        return scores[:, 0], p_value, self._reason(leading, strongest)

    def _reason(self, leading: Tensor, strongest: Tensor) -> Tensor:
        """Number in ``reasons`` of the leading score, and in a family of its strongest deviation."""
        starts = leading.new_tensor(self._starts)
        kind = (leading - 1).clamp_min(0)
        place = starts[kind % len(starts)] + strongest.gather(1, kind.unsqueeze(1)).squeeze(1)
        return torch.where(leading == 0, 1, place).float()


# Not stored: a recalibrated network, or another version of its problem, has other scores.
@functools.lru_cache(maxsize=4)
@torch.no_grad()
def _of_simulations(
    problem: InverseProblem, network: PosteriorNetwork, device: torch.device
) -> CombinedThreshold:
    """Thresholds of a network whose problem is simulated again, from as many simulations as WAIC has."""
    number = min(_ORDINARY, len(network.ood_scores))
    _, y = valid_simulations(problem, number, _ORDINARY_SEED)
    scores, _ = misfit_scores(problem, network, y.to(device))
    return CombinedThreshold([scores.unsqueeze(0)])
