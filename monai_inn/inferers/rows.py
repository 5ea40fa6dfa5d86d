"""What a problem with its trained network says of rows of observations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import chi
from torch import Tensor

from monai_inn.inferers.circles import Circles
from monai_inn.inferers.trust.card_warnings import card_warnings
from monai_inn.inferers.trust.verdicts import Explained, misfit_scores
from monai_inn.metrics.classes import ClassSets
from monai_inn.metrics.detection.ood import ConformalThreshold, waic
from monai_inn.networks import ParameterPosterior, PosteriorNetwork
from monai_inn.networks.device import device_of
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.problems import InverseProblem

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RowPosterior"]


class RowPosterior:
    """A trained posterior: distributions of the parameters behind observations, and whether to trust them.

    Args:
        problem: the inverse problem.
        network: its trained network.
        card: what was measured at the end of training, JSON-ready; becomes the bundle's model card.
    """

    def __init__(self, problem: InverseProblem, network: PosteriorNetwork, card: Mapping[str, Any]) -> None:
        self.problem, self.network, self.card = problem, network.eval(), dict(card)

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.network.parameters())
        return f"{type(self).__name__}({self.problem!r}, {weights:,} weights)"

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, see ``device_of``.

        Raises:
            ValueError: if there is no such device.
            RuntimeError: if a CUDA device is asked for and there is none.
        """
        self.network.to(device_of(device))
        return self

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.network.ood_scores.device

    @property
    def warnings(self) -> list[str]:
        """What must be said wherever answers of this network are shown, see ``card_warnings``."""
        shown = self.problem.shown[: len(self.problem.targets)]
        return card_warnings(self.card, dict.fromkeys(p.whole for p in shown))

    @property
    def guard(self) -> ConformalThreshold:
        """Thresholds on WAIC with known false-alarm rates."""
        return ConformalThreshold(self.network.ood_scores)

    def posterior(self, observation: Tensor) -> ParameterPosterior:
        """Return the joint posterior of all parameters for observations ``(*batch, C)``, physical units.

        Here and below observations are tensors, arrays of NumPy or lists.

        Raises:
            ValueError: if the last axis is not that of the channels.
        """
        base = self.network.posterior(self._features(observation))
        return ParameterPosterior(base, self.problem.space)

    def target_posterior(self, observation: Tensor) -> ParameterPosterior:
        """Return the exact marginal posterior of ``problem.targets``, much faster than the joint one."""
        targets = self.problem.targets
        base = self.network.posterior(self._features(observation)).leading(len(targets))
        return ParameterPosterior(base, self.problem.space.subset(targets))

    @property
    def tells_class(self) -> bool:
        """Whether the one unknown is a class."""
        return len(self.problem.parameters) == 1 and bool(self.problem.parameters[0].categories)

    @torch.no_grad()
    def class_probability(self, observation: Tensor) -> Tensor:
        """Return the probability of each class, ``(*batch, K)``, given observations ``(*batch, C)``.

        Raises:
            ValueError: if what is unknown is not one class.
        """
        if not self.tells_class:
            raise ValueError(f"the problem {self.problem.name!r} has other unknowns than one class.")
        part = self.network.classifier
        if part is not None:  # in all its digits, as of the held-out ones that sets are made from
            condition = self.network.condition(self._features(observation))
            rows = part.density.logits(condition.reshape(-1, condition.shape[-1])).softmax(-1)
            return rows.reshape(*condition.shape[:-1], -1)
        q = self.posterior(observation)
        middle = torch.arange(len(self.problem.parameters[0].categories), device=self.device) + 0.5
        values = middle.view(-1, *[1] * len(q.batch_shape), 1)
        return q.log_prob(values).movedim(0, -1).softmax(-1)

    @property
    def class_sets(self) -> ClassSets | None:
        """Sets of classes with known coverage from held-out observations, if the network has kept some."""
        part = self.network.classifier
        if part is None:
            return None
        return ClassSets(
            part.density.class_logits(part.held_out_terms).softmax(1), part.held_out_labels.long()
        )

    def region_radius(self, level: float) -> float:
        """Return the latent radius of the joint region of the targets that holds the truth with ``level``.

        Of a recalibrated posterior it is a conformal quantile of the radii of ``n`` held-out simulations: a
        further exchangeable truth lies inside with a probability between ``level`` and
        ``level + 1 / (n + 1)``. It is infinite where ``n`` is too small for the level. Without recalibration
        it is what holds if the posterior is exact.

        Raises:
            ValueError: if the level is not inside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level = {level} is not a probability; give e.g. 0.95.")
        radii = self.network.region_radii
        if radii is None:
            return float(chi.ppf(level, len(self.problem.targets)))
        rank = math.ceil((len(radii) + 1) * level - 1e-9)
        return float(radii[rank - 1]) if rank <= len(radii) else math.inf

    @torch.no_grad()
    def is_inside(self, theta: Tensor, observation: Tensor, level: float = 0.95) -> Tensor:
        """Whether targets lie in the joint region of ``level`` that an observation leaves.

        Args:
            theta: values of ``problem.targets``, physical units, broadcasts with ``(…, *batch, D)``.
            observation: shape ``(*batch, C)``.
            level: probability of the region, see ``region_radius``.

        Returns:
            Boolean, shape ``(…, *batch)``; false outside the parameters' bounds.

        Raises:
            ValueError: if the level is not inside (0, 1), or shapes do not fit.
        """
        radius, q = self.region_radius(level), self.target_posterior(observation)
        value = torch.as_tensor(theta).to(self.device, torch.float32)
        latent = q.base.latent(q.space.to_latent(value))
        return (latent.norm(dim=-1) <= radius) & q.space.contains(value)

    @torch.no_grad()
    def density_log_prob(self, observation: Tensor) -> Tensor:
        """Log density in nats of the features of observations ``(…, C)`` under every member, ``(M, …)``."""
        observation = self._checked(observation)
        with full_precision(observation.device):
            return self.network.observation_log_prob(self.problem.density_features(observation))

    def waic(self, observation: Tensor) -> Tensor:
        """Return WAIC in nats of observations ``(…, C)``, shape ``(…)``; HIGH = out of distribution."""
        return waic(self.density_log_prob(observation))

    def misfit(self, observation: Tensor) -> Tensor:
        """Return how much of observations ``(…, C)`` is not explained, HIGH = out, ``(…, J)``.

        The first score is WAIC; the others are those of the test of explanation, if the network has one.
        """
        rows = self._checked(observation)
        with torch.no_grad(), full_precision(rows.device):
            scores, _ = misfit_scores(self.problem, self.network, rows.reshape(-1, rows.shape[-1]))
        return scores.reshape(*rows.shape[:-1], scores.shape[-1])

    def is_explained(self, observation: Tensor, false_alarm: float = 0.05) -> Tensor:
        """Whether observations ``(…, C)`` are explained, boolean, ``(…)``, as the map ``ood`` says."""
        return self._verdict("ood", observation, false_alarm) < 0.5

    def p_value(self, observation: Tensor) -> Tensor:
        """Return p-values of observations ``(…, C)``, small = not explained, ``(…)``, as the map ``p_value``.

        All scores of ``misfit`` count together.
        """
        return self._verdict("p_value", observation)

    def _verdict(self, name: str, observation: Tensor, false_alarm: float = 0.05) -> Tensor:
        rows = self._checked(observation)
        with torch.no_grad(), full_precision(rows.device):
            columns = Explained(self.problem, self.network, false_alarm)(rows.reshape(-1, rows.shape[-1]))
        return columns[name].reshape(rows.shape[:-1])

    def posterior_width(self, observation: Tensor, samples: int = 64) -> Tensor:
        """Return the posterior standard deviation over the prior's, mean over the targets, shape ``(…)``."""
        targets = len(self.problem.targets)
        with torch.no_grad():
            latent = self.network.posterior(self._features(observation)).leading(targets).sample((samples,))
        rows = latent.reshape(samples, -1, targets)
        cut = Circles(rows, self.problem.space.subset(self.problem.targets)).cut(rows)
        return cut.std(0).mean(-1).reshape(latent.shape[1:-1])

    def _features(self, observation: Tensor) -> Tensor:
        observation = self._checked(observation)
        with full_precision(observation.device):
            return self.problem.features(observation)

    def _checked(self, observation: Tensor) -> Tensor:
        observation, channels = torch.as_tensor(observation), len(self.problem.observation)
        if observation.shape[-1:] != (channels,):
            raise ValueError(
                f"observations have shape {tuple(observation.shape)}, expected {channels} channels on the "
                "last axis."
            )
        # Networks make tensors like their input, which a MetaTensor with its geometry is not meant for. A
        # plain tensor stays as it is: torch.compile cannot follow as_subclass.
        plain = observation if type(observation) is Tensor else observation.as_subclass(Tensor)
        return plain.to(self.device, torch.float32)
