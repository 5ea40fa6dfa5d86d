"""Flow of images in the form of rows, as networks of inverse problems take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from monai_inn.networks.flows.distributions import shape_of_samples
from monai_inn.networks.flows.heads import CategoryLine, class_index
from monai_inn.networks.flows.leading import log_normal, normal_score, turn_of
from monai_inn.networks.images.distribution import ImageDistribution
from monai_inn.networks.images.flow import ImageFlow
from monai_inn.networks.images.given import DenseStart
from monai_inn.networks.images.start import SPECTRUM_ROWS
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.parts import Encoder, Part, arguments, register
from monai_inn.problems.base import SampleShape

__all__ = ["FieldDistribution", "FieldEncoder", "FieldFlow"]

_SPECTRUM_VALUES = SPECTRUM_ROWS << 10  # larger images are fewer
_CLASS_ROWS = 100_000  # images behind the mean of a class
_TIMES = 4  # that a simulation is drawn, more of which hardly tells more
_STEP_VALUES = 1 << 16  # of a step's images


@register
class FieldEncoder(Encoder):
    """Observed images as they are: a flow of images makes its own features of them.

    Args:
        num_features: values ``F`` of an observation.
    """

    kind = "field"

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.config = arguments(locals())
        self.out_channels = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Return the features ``(…, F)``."""
        return features


@register
class FieldFlow(Part):
    """Density of flattened images, and of a class before them, given flattened images.

    Rows hold the channels of one place beside each other. The class comes first, if there is one: its
    probability is a linear discriminant of the observation, corrected by what a network sees.

    Args:
        in_channels: length ``D`` of the unknown rows.
        condition_channels: length ``F`` of the observed ones.
        size: spatial size of the images.
        groups: sizes of channel groups; the class is a group of its own, or all is one group.
        periodic: must be empty: an image holds no angles.
        categories: ``[(0, K)]`` if the first number is one of ``K`` classes.
        seed: seed of the initial weights.
        **image: further arguments of ``ImageFlow``.

    Raises:
        ValueError: if sizes do not fit together.
    """

    kind: ClassVar[str] = "image_flow"
    bias: Tensor
    template: Tensor

    def __init__(
        self,
        in_channels: int,
        condition_channels: int,
        size: Sequence[int],
        groups: Sequence[int] | None = None,
        periodic: Sequence[int] = (),
        categories: Sequence[Sequence[int]] = (),
        seed: int = 0,
        **image: Any,
    ) -> None:
        super().__init__()
        self.has_class, places = bool(categories), math.prod(size)
        self.config = {
            "in_channels": in_channels,
            "condition_channels": condition_channels,
            "size": list(size),
            "groups": list(groups or [in_channels]),
            "categories": [list(entry) for entry in categories],
            "seed": seed,
            **image,
        }
        expected = [1, in_channels - 1] if self.has_class else [in_channels]
        leads = [channel for channel, _ in categories]
        if self.config["groups"] != expected or periodic or leads not in ([], [0]):
            raise ValueError(
                f"groups = {groups}, periodic = {periodic}, categories = {categories}: a flow of images has "
                "one group, or a class and the image."
            )
        sizes = (in_channels - self.has_class, condition_channels)
        if any(number % places for number in sizes):
            raise ValueError(
                f"{sizes[0]} unknown and {sizes[1]} observed values are no images of size {size}."
            )
        classes = categories[0][1] if categories else 0
        unknown, observed = (number // places for number in sizes)
        self.image = ImageFlow(len(size), unknown, observed, size, classes=classes, seed=seed, **image)
        if classes:
            self.register_buffer("template", torch.zeros(classes, observed, *size))
            self.register_buffer("bias", torch.zeros(classes))
            self.correction = nn.Linear(self.image.pyramid.out_channels[-1], classes)
            nn.init.zeros_(self.correction.weight)
            nn.init.zeros_(self.correction.bias)

    @property
    def step_rows(self) -> int:
        """Images in a step of a training, at most."""
        return max(4, _STEP_VALUES // math.prod(self.image.size))

    def forward(self, condition: Tensor) -> FieldDistribution:
        """Return the distribution of rows ``(D,)`` given observations ``(*batch, F)``."""
        return FieldDistribution(self, condition)

    def initialise(self, draw: Callable[[int], tuple[Tensor, Tensor]], simulations: int) -> None:
        """Fit the Gaussian start, and the discriminant of the classes.

        Args:
            draw: from a number to a batch of unknown and observed rows, ``(N, D)`` and ``(N, F)``, some of
                the simulations with fresh noise.
            simulations: how many there are.
        """
        spectrum = min(SPECTRUM_ROWS, _SPECTRUM_VALUES // math.prod(self.image.size))
        enough = min(max(spectrum, _CLASS_ROWS * self.image.classes), _TIMES * simulations)

        def pairs() -> Any:
            rows = number = 0
            while rows < enough:
                values, condition = draw(number)
                label = self.label_of(values) if self.has_class else None
                yield self.images(values[:, self.has_class :]), self.images(condition), label
                rows, number = rows + len(values), number + 1

        means = self.image.initialise(pairs())
        if means is not None and self.has_class:
            self.template.copy_(means.template)
            self.bias.copy_(means.bias)

    def set_covariance(self, covariance: Tensor | None) -> None:
        """Tell a start that is dense the posterior covariance ``(D, D)`` of rows; nothing of others.

        Raises:
            ValueError: if it needs one of another shape.
        """
        start = self.image.start
        if not isinstance(start, DenseStart):
            return
        if covariance is None:
            raise ValueError("start = 'dense' needs a covariance; set the problem's posterior_covariance.")
        start.check(covariance)
        for _ in range(2):  # from the order of rows to that of images, along either axis
            covariance = self.images(covariance).flatten(1).T
        start.set(covariance)

    def label_of(self, values: Tensor) -> Tensor:
        """Return the classes ``(…)`` of rows ``(…, D)`` or of their first number, ``(…, 1)``."""
        return class_index(torch.special.ndtr(values[..., 0]), self.image.classes)

    def logits(self, condition: Tensor, q: ImageDistribution) -> Tensor:
        """Return log probabilities of the classes, up to a constant, ``(N, K)``, of rows ``(N, F)``."""
        with full_precision(condition.device):
            linear = self.images(condition).flatten(1) @ self.template.flatten(1).T
        return linear + self.bias + self.correction(q.seen.summary)  # type: ignore[no-any-return]

    def images(self, rows: Tensor) -> Tensor:
        """Return the images ``(…, channels, *size)`` of rows."""
        size = self.image.size
        return rows.unflatten(-1, (*size, -1)).movedim(-1, -len(size) - 1)

    def rows(self, images: Tensor) -> Tensor:
        """Return the rows of images; undoes ``images``."""
        size = self.image.size
        return images.movedim(-len(size) - 1, -1).flatten(-len(size) - 1)


class FieldDistribution(Distribution):
    """Density over flattened images, a class first if there is one; log densities are in nats.

    Args:
        flow: the flow.
        condition: observed rows ``(*batch, F)``.
        channels: leading numbers that the density is over; all, or the class alone.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: FieldFlow, condition: Tensor, channels: int | None = None) -> None:
        self._flow, self._condition = flow, condition
        whole = flow.config["in_channels"]
        self._channels = whole if channels is None else channels
        if self._channels not in (whole, 1 if flow.has_class else whole):
            raise ValueError(f"the marginal of {channels} numbers is not available; see image().coarse().")
        super().__init__(condition.shape[:-1], torch.Size([self._channels]), validate_args=False)
        self._rows = condition.reshape(-1, condition.shape[-1])

    def leading(self, channels: int) -> FieldDistribution:
        """Return the exact marginal of the class alone, or of everything."""
        return FieldDistribution(self._flow, self._condition, channels)

    def image(self, label: int | None = None) -> ImageDistribution:
        """Return the distribution of images ``(C, *size)``, given a class if the flow has classes."""
        flow, condition = self._flow, self._flow.images(self._condition)
        if label is None:
            return flow.image(condition)
        return flow.image(condition, torch.full(self.batch_shape, label, device=condition.device))

    @property
    def class_probability(self) -> Tensor:
        """Probability of each class, ``(*batch, K)``."""
        return self._line(1).probability[0].T.reshape(*self.batch_shape, -1)

    def expand(self, batch_shape: SampleShape, _instance: object = None) -> FieldDistribution:
        """Return the same density with the batch expanded, as ``torch.Tensor.expand`` does."""
        expanded = self._condition.expand(*batch_shape, self._condition.shape[-1])
        return FieldDistribution(self._flow, expanded, self._channels)

    def with_base(self, base: object) -> FieldDistribution:
        """Refuse another base: images have a standard normal one.

        Raises:
            ValueError: always.
        """
        raise ValueError("the posterior of an image cannot be recalibrated by its latents.")

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw rows ``(*sample_shape, *batch, D)``; gradients flow through those of images."""
        shape = shape_of_samples(sample_shape)
        latent = self._rows.new_empty(shape.numel(), len(self._rows), self._channels).normal_()
        return self.push(latent).reshape(*shape, *self.batch_shape, self._channels)

    def push(self, latent: Tensor) -> Tensor:
        """Return the rows ``(S, N, D)`` of standard normal latents ``(S, N or 1, D)``."""
        flow = self._flow
        latent = latent.to(self._rows).expand(-1, len(self._rows), -1)
        if not flow.has_class:
            return flow.rows(self._images.push(latent))
        share, _ = self._line(len(latent)).inverse(turn_of(latent[..., 0]))
        which = normal_score(share).unsqueeze(-1)
        if self._channels == 1:
            return which
        images = self._images.push(latent[..., 1:], flow.label_of(which))
        return torch.cat([which, flow.rows(images)], -1)

    def push_with_log_prob(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``push`` does, and the log densities of these samples in nats."""
        rows = self.push(latent)
        return rows, self._densities(rows)[1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of values that broadcast with ``(…, *batch, D)``."""
        return self._ask(lambda rows: self._densities(rows)[1], value, ())

    def latent(self, value: Tensor) -> Tensor:
        """Return the standard normal latents of values that broadcast with ``(…, *batch, D)``."""
        return self._ask(lambda rows: self._densities(rows)[0], value, (self._channels,))

    def _ask(self, question: Callable[[Tensor], Tensor], value: Tensor, event: tuple[int, ...]) -> Tensor:
        if value.shape[-1] != self._channels:
            raise ValueError(
                f"values have {value.shape[-1]} numbers on the last axis, expected {self._channels}."
            )
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        extra = len(shape) - len(self.batch_shape)
        if shape[extra:] != self.batch_shape:
            return self.expand(shape[extra:])._ask(question, value, event)
        rows = value.to(self._rows).expand(*shape, -1).reshape(-1, len(self._rows), self._channels)
        return question(rows).reshape((*shape, *event))

    def _densities(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(S, N, D)`` and log densities ``(S, N)`` of rows ``(S, N, D)``."""
        flow = self._flow
        if not flow.has_class:
            return self._images.latent_with_log_prob(flow.images(rows))
        which = rows[..., 0]
        share, log_det = self._line(len(rows)).forward(turn_of(which))
        z = normal_score(share)
        log_prob = log_det + log_normal(which)
        if self._channels == 1:
            return z.unsqueeze(-1), log_prob
        images = flow.images(rows[..., 1:])
        latent, density = self._images.latent_with_log_prob(images, flow.label_of(rows))
        return torch.cat([z.unsqueeze(-1), latent], -1), log_prob + density

    @cached_property
    def _images(self) -> ImageDistribution:
        """Distribution of images of all rows, made once; of the first class where none is told."""
        return FieldDistribution(self._flow, self._rows).image(0 if self._flow.has_class else None)

    def _line(self, samples: int) -> CategoryLine:
        logits = self._flow.logits(self._rows, self._images)
        return CategoryLine(logits.T.expand(samples, -1, -1))
