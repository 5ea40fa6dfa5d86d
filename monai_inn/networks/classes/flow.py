"""The generative classifier as the flow of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from monai_inn.networks.classes.density import ClassDensity
from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.flows.distributions import FlowDistribution
from monai_inn.networks.flows.heads import CategoryLine, class_index
from monai_inn.networks.flows.leading import log_normal, normal_score, turn_of
from monai_inn.networks.flows.stacks import Stack
from monai_inn.networks.parts import Part, arguments, register

__all__ = ["ClassFlow"]

_START_ROWS = 20_000


@register
class ClassFlow(Part):
    """Posterior of a class by Bayes' rule, ``p(k | y) ∝ w_k p(y | k)``, with a flow of the observation.

    The same flow gives ``log p(y)``, from which trust comes. What it was trained for says ``beta``: 0 is the
    likelihood of observations, large values are the class alone, see ``training.information_bottleneck``.

    The buffers ``held_out_terms (n, K)`` and ``held_out_labels (n,)`` hold what ``ClassDensity.class_terms``
    says of held-out observations and their classes, for sets of classes with known coverage; ``ordinary
    (1, n, J)`` holds WAIC and the scores of ``misfit`` of the same.

    Args:
        in_channels: 1, the class.
        condition_channels: features ``F`` of an observation.
        groups: ``[1]``.
        periodic: must be empty.
        categories: ``[(0, K)]``.
        components: principal components that the couplings see; 0 to see all features.
        num_blocks: coupling blocks; 0 for a linear discriminant.
        hidden_channels: widths of the hidden layers of every subnet.
        coupling: ``"affine"`` or ``"spline"``.
        clamp: bound of the affine log-scale.
        num_bins: bins of the spline.
        beta: weight of the class in the training, at least 0.
        num_held_out: held-out observations that are kept.
        seed: seed of the initial weights.

    Raises:
        ValueError: if it is asked for more than one class, or ``beta`` is negative.

    Source: Ardizzone et al., Training normalizing flows with the information bottleneck for competitive
    generative classification, 2020.
    """

    kind: ClassVar[str] = "classes"
    step_rows = 2**20
    families: tuple[int, ...] = ()

    held_out_terms: Tensor
    held_out_labels: Tensor
    ordinary: Tensor

    def __init__(
        self,
        in_channels: int,
        condition_channels: int,
        groups: Sequence[int] | None = None,
        periodic: Sequence[int] = (),
        categories: Sequence[Sequence[int]] = (),
        components: int = 0,
        num_blocks: int = 4,
        hidden_channels: Sequence[int] = (64, 64),
        coupling: str = "affine",
        clamp: float = 0.7,
        num_bins: int = 8,
        beta: float = 1.0,
        num_held_out: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = arguments(locals()) | {
            "groups": [1],
            "categories": [list(entry) for entry in categories],
        }
        if in_channels != 1 or len(categories) != 1 or periodic:
            raise ValueError(
                f"{in_channels} unknown numbers, categories = {categories}: a generative classifier has one "
                "unknown, the class."
            )
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta = {beta}; give a finite number, at least 0.")
        self.beta, self.classes = beta, int(categories[0][1])
        density = ClassDensity(
            condition_channels, self.classes, components, num_blocks, hidden_channels, coupling, clamp,
            num_bins, seed,
        )  # fmt: skip
        self.stack = _ClassStack(density)
        scores = 1 + 2 * self._values(torch.zeros(1, condition_channels)).shape[1]
        self.register_buffer("held_out_terms", torch.zeros(num_held_out, self.classes))
        self.register_buffer("held_out_labels", torch.zeros(num_held_out))  # as files hold numbers
        self.register_buffer("ordinary", torch.zeros(1, num_held_out, scores))

    @property
    def density(self) -> ClassDensity:
        """The density of observations given the class."""
        return self.stack.density

    def forward(self, condition: Tensor) -> FlowDistribution:
        """Return the posterior of the class, in the flow's space, given observations ``(*batch, F)``."""
        return FlowDistribution(self.stack, condition)

    def initialise(self, draw: Callable[[int], tuple[Tensor, Tensor]], most: int) -> None:
        """Fit the closed form.

        Args:
            draw: from a number to a batch of classes in the flow's space ``(N, 1)`` and observations.
            most: rows that may be drawn.
        """
        labels, features, rows = list[Tensor](), list[Tensor](), 0
        while rows < min(_START_ROWS, most):
            values, condition = draw(len(labels))
            labels.append(self.label_of(values))
            features.append(condition)
            rows += len(values)
        self.density.fit(torch.cat(features), torch.cat(labels))

    def label_of(self, values: Tensor) -> Tensor:
        """Return the classes ``(…)`` of values in the flow's space, ``(…, 1)``."""
        return class_index(torch.special.ndtr(values[..., 0]), self.classes)

    @torch.no_grad()
    def misfit(self, features: Tensor) -> Tensor:
        """Return scores of observations ``(N, F)``, HIGH = out of the ordinary, ``(N, J)``.

        Each of some quantities may be higher or lower than usual: ``−log p(y)``, the length of the latent
        from its class, the size of groups of components and of what lies beyond them.
        """
        values = self._values(features)
        return torch.cat([values, -values], 1)

    def _values(self, features: Tensor) -> Tensor:
        density = self.density
        z, log_det = density.latent(features)
        terms = density.class_terms(z) + density.log_shares
        square = z.square().sum(1)
        from_class = torch.cdist(z, density.means).amin(1)
        nll = 0.5 * square - log_det - terms.logsumexp(1)
        return torch.cat([torch.stack([nll, from_class], 1), density.bands(features)], 1)

    @torch.no_grad()
    def hold_out(self, features: Tensor, values: Tensor, score: Tensor) -> None:
        """Keep what is said of held-out observations.

        Args:
            features: observations ``(n, F)``, as many as there is room for.
            values: their classes in the flow's space, ``(n, 1)``.
            score: their WAIC, ``(n,)``.
        """
        self.held_out_terms.copy_(self.density.class_terms(self.density.latent(features)[0]))
        self.held_out_labels.copy_(self.label_of(values))
        self.ordinary.copy_(torch.cat([score.unsqueeze(1), self.misfit(features)], 1))


class _ClassStack(Stack):
    """Line of a class in the place of a ``FlowStack``; the condition is the observation itself."""

    members, groups = 1, (1,)

    def __init__(self, density: ClassDensity) -> None:
        super().__init__()
        self.density = density

    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Classes to latents, ``(1, 1, rows)``, and the log-determinant ``(1, rows)``."""
        share, change = self._line(context).forward(turn_of(x[:, 0]))
        return self._scored(share, x, change)

    def inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        share, change = self._line(context).inverse(turn_of(z[:, 0]))
        return self._scored(share, z, change)

    def widest(self, channels: int) -> int:
        """Channels of the widest activation."""
        del channels
        return self.density.num_features

    def _line(self, context: Context) -> CategoryLine:
        assert context.condition is not None
        logits = self.density.logits(context.condition[0].T).T.unsqueeze(0)
        return CategoryLine(logits.repeat_interleave(context.repeats, -1))

    @staticmethod
    def _scored(share: Tensor, before: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        after = normal_score(share)
        return after.unsqueeze(1), change + log_normal(before[:, 0]) - log_normal(after)
