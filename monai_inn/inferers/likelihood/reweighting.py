"""Posteriors of pixels by the likelihood itself, with the network's as the proposal."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monai_inn.inferers.likelihood.importance import Weighed, weighed_draws
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.kernels.chunks import single_thread
from monai_inn.problems import InverseProblem
from monai_inn.problems.exact.tempering import tempered_samples

if TYPE_CHECKING:
    from monai_inn.inferers.rows import RowPosterior

__all__ = ["LEAST_EFFECTIVE", "Reweighting", "kl_from_exact", "weigh_posteriors"]

LEAST_EFFECTIVE = 100
"""Draws that must count for the posterior of a single observation to be known."""

# Independent draws that tell as much of a median as one of a Sobol sequence, see ``shared_latents``.
_AS_GOOD = 4
_MOST_ROUNDS, _FEW_ROUNDS = 16, 4
_NUISANCES = 1000
_MOST_MEMORY = 0.5  # of where the particles of Monte Carlo were before their last moves
_AT_A_TIME = 1024  # draws whose likelihood is computed together


class SharedNuisances:
    """Nuisances that are told by something that all pixels share: drawn once from what that tells.

    Args:
        problem: the inverse problem.
        network: its network, which the drawing starts from.
        seed: seed of all draws.
    """

    def __init__(self, problem: InverseProblem, network: PosteriorNetwork, seed: int) -> None:
        # Problems simulate where their tables lie, and generators draw for the processor alone.
        is_there = network.ood_scores.device.type == "cpu"
        self.network = network if is_there else copy.deepcopy(network).cpu()
        self.problem, self.seed = problem, seed
        self._drawn: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def prepare(self, observation: Tensor) -> None:
        """Draw what the pixels of observations ``(n, C)`` share, once for each that differs in it."""
        observation = observation.cpu()
        shared = self.problem.shared(observation)
        if shared is None:
            return
        with single_thread(observation.device):
            for row, y in zip(shared, observation, strict=True):
                if (key := _key(row)) not in self._drawn:
                    start = self.network.posterior(self.problem.features(y.unsqueeze(0)))
                    self._drawn[key] = self.problem.draw_nuisances(y, _NUISANCES, self.seed, start)

    def of(self, y: Tensor) -> list[Tensor | None] | None:
        """Nuisances of each pixel, ``None`` for those that were not prepared; ``None`` if none are shared."""
        shared = self.problem.shared(y)
        return None if shared is None else [self._drawn.get(_key(row)) for row in shared]


def some_nuisances(drawn: list[Tensor], which: Tensor, draws: int, number: int) -> Tensor:
    """Return nuisances ``(draws, n, K)`` of pixels of these numbers ``(n,)`` for the draws of a round."""
    chosen = (number * draws + torch.arange(draws)) % _NUISANCES
    return torch.stack([drawn[n][chosen] for n in which.tolist()], 1)


class Reweighting:
    """Importance sampling in the latents of a network's posterior makes good what training has left undone.

    Draws of the network count by prior · likelihood / density. Further rounds are drawn where the likelihood
    is, until four draws count for each sample that is asked for. Where nuisances are told by something that
    all pixels share, they are drawn once from what that tells; the network draws the targets alone. Few of
    these draws count for a pixel that tells more of the nuisances than what is shared does: if there is time,
    tempered Monte Carlo moves draws of all parameters there.

    What is wrong with the model of the noise stays wrong, and so does a mode of which no draw knows.

    Args:
        problem: the inverse problem.
        network: its network.
        samples: posterior samples that a pixel is worth.
        seed: seed of all draws.
        has_time: whether a pixel may take ten seconds or more.

    Raises:
        ValueError: if the problem has no likelihood, or an observation is not a pixel.
    """

    def __init__(
        self,
        problem: InverseProblem,
        network: PosteriorNetwork,
        samples: int,
        seed: int,
        has_time: bool = False,
    ) -> None:
        if not problem.has_likelihood:
            raise ValueError(
                f"the problem {problem.name!r} has no likelihood by which draws could be weighed; leave out "
                "reweight, or write its log_likelihood."
            )
        problem.require_maps()
        self.nuisances = SharedNuisances(problem, network, seed)
        self.network = self.nuisances.network
        self.problem, self.number, self.seed = problem, _AS_GOOD * samples, seed
        self.has_time = has_time

    @torch.no_grad()
    def __call__(self, observation: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples of all parameters and how large a share of the draws counts.

        Args:
            observation: pixels that were prepared, ``(n, C)``.
            features: what ``problem.features`` says of them.

        Returns:
            Samples in the flow's space, targets first, ``(4 S, n, D)``, and shares ``(n,)``; NaN and 0 where
            neither enough draws count nor Monte Carlo arrives.
        """
        y = observation.cpu()
        nuisances = self.nuisances.of(y)
        rows = torch.arange(len(y))
        if nuisances is not None:
            rows = torch.tensor([each is not None for each in nuisances]).nonzero().flatten()
        samples = torch.full((self.number, len(y), len(self.problem.space)), torch.nan)
        shares = torch.zeros(len(y))
        if len(rows):
            drawn = None if nuisances is None else [nuisances[n] for n in rows.tolist()]
            condition = self.network.condition(features.cpu()[rows])
            found = self._weigh(y[rows], condition, drawn)
            for n, own, weighed in zip(rows.tolist(), condition, found, strict=True):
                exact = None
                if weighed.effective >= self.number:  # with fewer, intervals are too narrow
                    exact = _resampled(weighed.columns[1], weighed.share, self.number)
                elif drawn is not None and self.has_time:
                    exact = self._moved(y[n], own)
                if exact is not None:
                    samples[:, n] = exact
                    shares[n] = weighed.effective / len(weighed.share)
        return samples.to(observation), shares.to(observation)

    def _moved(self, y: Tensor, condition: Tensor) -> Tensor | None:
        """Samples of one pixel ``(C,)`` by tempered Monte Carlo from the network; ``None`` if it is stuck."""
        problem, space, q = self.problem, self.problem.space, self.network.given(condition)

        def log_ratio(latent: Tensor) -> Tensor:
            value, log_density = q.push_with_log_prob(latent.float().unsqueeze(1))
            theta = space.inverse(value.flatten(1))
            log_prior = problem.prior.log_prob(theta) - space.forward(theta)[1]
            ratio = log_prior + problem.log_likelihood(theta, y) - log_density.flatten()
            return ratio.nan_to_num(nan=-torch.inf, neginf=-torch.inf)

        try:
            found = tempered_samples(log_ratio, len(space), self.number, self.seed)
        except ValueError:  # no draw of the network can explain the pixel
            return None
        is_there = found.memory <= _MOST_MEMORY
        return q.push(found.samples.float().unsqueeze(1)).flatten(1) if is_there else None

    def _weigh(self, y: Tensor, condition: Tensor, nuisances: list[Tensor] | None) -> list[Weighed]:
        """Draws of each pixel of observations ``(n, C)``."""
        problem, space, targets = self.problem, self.problem.space, len(self.problem.targets)

        def evaluate(latents: Tensor, which: Tensor, number: int) -> tuple[Tensor, ...]:
            q = self.network.given(condition[which])
            q = q if nuisances is None else q.leading(targets)
            value, log_density = q.push_with_log_prob(latents.float())
            whole, log_density = value, log_density.double()
            if nuisances is not None:
                others = some_nuisances(nuisances, which, len(value), number)
                whole = torch.cat([value, others.to(value)], -1)
            theta = space.inverse(whole)
            log_prior = problem.prior.log_prob(theta) - space.forward(theta)[1]
            if nuisances is not None:
                # They are independent of the targets, whose prior is left.
                log_prior = log_prior + 0.5 * others.square().sum(-1)
            ratio = log_prior.double() + problem.log_likelihoods(theta, y[which]).double() - log_density
            return ratio, whole

        return weighed_draws(
            evaluate,
            len(y),
            targets if nuisances is not None else len(space),
            draws=self.number,
            wanted=self.number,
            most_rounds=_MOST_ROUNDS,
            seed=self.seed,
        )


@torch.no_grad()
def weigh_posteriors(
    fitted: RowPosterior, y: Tensor, draws: int, seed: int, most_rounds: int = _MOST_ROUNDS
) -> list[Weighed]:
    """Draw from the posterior of all parameters of observations ``(n, C)`` by the likelihood itself.

    Rounds of so many draws go on until as many of them count; the arguments are those of ``weighed_draws``.

    Returns:
        For each observation draws, whose columns are the log density of prior times likelihood over that of
        the network, the log density of prior times likelihood, and the parameters.
    """
    problem, y = fitted.problem, y.cpu()

    def evaluate(latents: Tensor, which: Tensor, number: int) -> tuple[Tensor, ...]:
        drawn, log_density = fitted.posterior(y[which]).push_with_log_prob(latents.float().to(fitted.device))
        theta = drawn.cpu()
        likelihood = [problem.log_likelihoods(part, y[which]) for part in theta.split(_AT_A_TIME)]
        joint = (problem.prior.log_prob(theta) + torch.cat(likelihood)).double()
        return joint - log_density.cpu(), joint, theta

    return weighed_draws(
        evaluate,
        len(y),
        len(problem.parameters),
        draws=draws,
        wanted=draws,
        most_rounds=most_rounds,
        seed=seed,
    )


def kl_from_exact(fitted: RowPosterior, y: Tensor, draws: int = LEAST_EFFECTIVE, seed: int = 0) -> Tensor:
    """Return by how many nats the network's posterior of each observation ``(n, C)`` is off, ``(n,)``.

    The Kullback–Leibler divergence of the exact posterior from that of the network; NaN where too few draws
    of the network lead to the exact one.

    Raises:
        ValueError: if the problem has no likelihood.
    """
    if not fitted.problem.has_likelihood:
        raise ValueError(f"the problem {fitted.problem.name!r} has no likelihood to compare with.")
    found = weigh_posteriors(fitted, y, draws, seed, most_rounds=_FEW_ROUNDS)
    off = [float(one.share @ one.columns[0]) - one.log_evidence for one in found]
    reached = torch.tensor([one.effective >= LEAST_EFFECTIVE for one in found])
    return torch.where(reached, torch.tensor(off), torch.nan)


def _resampled(values: Tensor, share: Tensor, number: int) -> Tensor:
    """Rows ``(number, D)`` of values ``(n, D)``, each as often as its share says, but for less than one."""
    edges = share.cumsum(0)
    comb = (torch.arange(number, dtype=torch.float64) + 0.5) / number * edges[-1]
    return values[torch.searchsorted(edges, comb).clamp_max(len(values) - 1)]


def _key(shared: Tensor) -> bytes:
    return shared.numpy().tobytes()
