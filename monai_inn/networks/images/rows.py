"""Flow of images in the form of rows, as networks of inverse problems take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.heads import class_index
from monai_inn.networks.images.distribution import ImageDistribution
from monai_inn.networks.images.field import FieldDistribution
from monai_inn.networks.images.flow import ImageFlow
from monai_inn.networks.images.given import DenseStart
from monai_inn.networks.images.moments import SPECTRUM_ROWS
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.parts import Encoder, Part, arguments, register

__all__ = ["FieldEncoder", "FieldFlow"]

_SPECTRUM_VALUES = SPECTRUM_ROWS << 10  # larger images are fewer
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
                f"{sizes[0]} unknown and {sizes[1]} observed values are not images of size {size}."
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

    def initialise(self, draw: Callable[[int], tuple[Tensor, Tensor]], most: int) -> None:
        """Fit the Gaussian start, and the discriminant of the classes.

        Args:
            draw: from a number to a batch of unknown and observed rows, ``(N, D)`` and ``(N, F)``.
            most: rows that may be drawn.
        """
        spectrum = min(SPECTRUM_ROWS, _SPECTRUM_VALUES // math.prod(self.image.size))
        enough = most if self.has_class else min(spectrum, most)

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
