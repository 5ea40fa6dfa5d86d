"""Classification: finished images with their classes are the simulations, the class is what is unknown."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from monai_inn.applications.classification.application import ImageClasses
from monai_inn.applications.classification.collections import Collection, made_up
from monai_inn.applications.classification.variations import VARIANTS, as_by_another_device, moved
from monai_inn.problems import InverseProblem, Observation, Parameter
from monai_inn.problems.configured import checksum
from monai_inn.problems.drawing import BLOCK
from monai_inn.seeding import stream

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior
    from monai_inn.networks.classes.density import ClassDensity

__all__ = ["LabelledImages", "classifier_of"]

_PARTS = ("training", "held_out", "thresholds", "measured")
_NOISE = 2.5  # grey levels of 255, added in training: no density is finer than that
_MOST_COMPONENTS = 64


class LabelledImages(InverseProblem):
    """The class of an image, given images whose classes are known.

    Values of images are grey levels from 0 to 255. Images of one group, such as those of a patient, are in
    one part of the data only: training, stopping it, thresholds, measuring.

    Args:
        classes: names of the classes, at least two.
        size: spatial size of an image, two or three axes.
        channels: names of its channels, ``("grey",)`` or ``("red", "green", "blue")``.
        changes: how images of the training are varied: ``"shift"`` by one pixel, ``"turn"`` by right angles
            and in a mirror, or ``"none"``.
        other_devices: whether contrast, brightness, sharpness and noise of training images vary as between
            devices.
        beta: weight of the class in the training, see ``training.information_bottleneck``.
        collection: the images. A bundle holds those that it was measured on.
        images: values of these, whole numbers, ``(n, *size, C)``.
        labels: their classes, ``(n,)``.

    Raises:
        ValueError: if there is one class only, a class without images in some part, or ``beta`` is negative.
    """

    name: ClassVar[str] = "labelled_images"
    can_simulate = False
    has_noise = True
    storage_dtype = torch.uint8

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        size: Sequence[int] = (16, 16),
        channels: Sequence[str] = ("grey",),
        changes: str = "shift",
        other_devices: bool = True,
        beta: float = 1.0,
        collection: Collection | None = None,
        images: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        if classes is None:
            collection = made_up(tuple(size))
            classes = collection.classes
        self.classes, self.size, self.beta = tuple(classes), tuple(size), beta
        self.changes, self.other_devices = changes, other_devices
        if len(self.classes) < 2:
            raise ValueError(f"the classes are {', '.join(self.classes)}; a classifier needs at least two.")
        if changes not in VARIANTS:
            raise ValueError(f"changes = {changes!r}; give one of {', '.join(VARIANTS)}.")
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta = {beta}; give a finite number, at least 0.")
        if changes == "turn" and len(set(self.size)) > 1:
            raise ValueError(f"images of size {self.size} cannot be turned; give sides of equal length.")
        number = float(len(self.classes))
        self.parameters = (
            Parameter("class", "1", 0.0, number, "class of the image", categories=self.classes),
        )
        self.targets = ("class",)
        self.observation = Observation.image(self.size, *channels)
        self._parts = {} if collection is None else self._parts_of(collection)
        if images is not None and labels is not None:
            self._parts = {"measured": (images.flatten(1).byte(), labels.long())}
        self._seeds: dict[int, str] = {}

    def _parts_of(self, collection: Collection) -> dict[str, tuple[Tensor, Tensor]]:
        """Images as rows, and classes, of each part."""
        parts = {}
        for number, name in enumerate(_PARTS):
            chosen = collection.part == number
            labels = collection.labels[chosen]
            count = torch.bincount(labels, minlength=len(self.classes)).tolist()
            if min(count) < 2:
                few = ", ".join(f"{n} {c}" for n, c in zip(count, self.classes, strict=True))
                raise ValueError(
                    f"the part for {name.replace('_', ' ')} holds {few}; give more images of each class, or "
                    "of more groups."
                )
            parts[name] = (collection.images[chosen].flatten(1), labels)
        return parts

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add images, size and weight of the class."""
        parser.add_argument(
            "--images", metavar="NPZ|FOLDER",
            help="arrays `images`, `labels` and maybe `groups`, `classes`, or those of MedMNIST; or a folder "
            "of one folder a class, or one with --labels",
        )  # fmt: skip
        parser.add_argument("--labels", metavar="CSV", help="columns file, class and maybe group")
        parser.add_argument(
            "--size", type=int, nargs="+", default=[28], metavar="PIXELS",
            help="pixels of a side that images of files get, or of each axis: three of volumes (28)",
        )  # fmt: skip
        parser.add_argument("--changes", default="shift", choices=(*VARIANTS,),
                            help="variations of training images (shift)")  # fmt: skip
        parser.add_argument(
            "--one-device", action="store_true",
            help="do not vary contrast, brightness, sharpness and noise of training images",
        )  # fmt: skip
        parser.add_argument(
            "--beta", type=float, default=1.0, help="weight of the class against the density (1)"
        )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> LabelledImages:
        """Return the problem of the images that were named."""
        if options.images is None:
            raise ValueError("a classifier learns from images whose classes are known; give --images.")
        from monai_inn.applications.classification.reading import read_collection

        size = options.size if len(options.size) > 1 else options.size[0]
        found = read_collection(options.images, options.labels, size)
        return cls.of_collection(
            found, changes=options.changes, other_devices=not options.one_device, beta=options.beta
        )

    @classmethod
    def of_collection(cls, collection: Collection, **options: Any) -> LabelledImages:
        """Return the problem of images with classes; ``options`` are further arguments."""
        *size, count = collection.images.shape[1:]
        channels = ("grey",) if count == 1 else ("red", "green", "blue")
        return cls(collection.classes, size, channels, collection=collection, **options)

    @property
    def application(self) -> ImageClasses:
        """What people see."""
        return ImageClasses(self)

    @property
    def flow(self) -> Mapping[str, Any]:  # type: ignore[override]
        """A generative classifier."""
        rows = len(self._parts["training"][1]) if "training" in self._parts else 0
        # Half as many directions as images, so that each is known.
        most = min(_MOST_COMPONENTS, len(self.observation) // 4, max(rows // 4, 1))
        return {"kind": "classes", "components": most, "beta": self.beta}

    def split(self, training: int, held_out: int, thresholds: int, measured: int) -> None:
        """Say which seed stands for which part; any other one is that of the images measured on."""
        self._seeds = dict(zip((training, held_out, thresholds, measured), _PARTS, strict=True))

    def available(self, seed: int) -> int | None:
        """How many images there are under a seed, those varied for the training counted each."""
        return len(self._part(seed)[1]) * (self._variants if self._is_training(seed) else 1)

    def simulate_clean(self, n: int, seed: int = 0, first_block: int = 0) -> tuple[Tensor, Tensor]:
        """Return ``n`` of the images and their classes, from block ``first_block`` on.

        Raises:
            ValueError: if there are not as many.
        """
        images, labels = self._part(seed)
        first, most = first_block * BLOCK, self.available(seed) or 0
        if not 0 < n <= most - first:
            raise ValueError(
                f"n = {n} images asked for from {first} on, and there are {most}; ask for fewer."
            )
        order = torch.randperm(most, generator=stream(seed, 0, "order"))[first : first + n]
        rows, variant = order % len(labels), order // len(labels)
        y = images[rows].float()
        for number in variant.unique().tolist():
            chosen = variant == number
            y[chosen] = moved(self._as_images(y[chosen]), self.changes, number).flatten(1)
        inside = torch.rand(most, generator=stream(seed, 0, "inside the class"))[first : first + n]
        return (labels[rows] + inside.clamp(1e-3, 1 - 1e-3)).unsqueeze(1), y

    def simulate(self, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return images as they are: noise is added in the training alone."""
        return self.simulate_clean(n, seed)

    def forward(self, theta: Tensor) -> Tensor:
        """Raise a ``ValueError``: what a class looks like is known from images alone."""
        raise ValueError("classes are known by images that were taken; there is no forward model.")

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return images ``(…, C)`` for the training: as other devices have them, not in whole levels."""
        if self.other_devices:
            rows = y.reshape(-1, y.shape[-1])
            y = as_by_another_device(self._as_images(rows), generator).reshape(y.shape)
        between = torch.rand(y.shape, generator=generator, dtype=y.dtype) - 0.5
        return y + between.to(y) + _NOISE * torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y)

    def features(self, y: Tensor) -> Tensor:
        """Return grey levels from 0 to 1."""
        return y / 255

    @property
    def _variants(self) -> int:
        return VARIANTS[self.changes](len(self.size))

    def _as_images(self, rows: Tensor) -> Tensor:
        return rows.unflatten(1, (*self.size, -1))

    def _is_training(self, seed: int) -> bool:
        return self._seeds.get(seed) == "training"

    def _part(self, seed: int) -> tuple[Tensor, Tensor]:
        if self._parts and not self._seeds:  # no training has divided them yet
            images, labels = zip(*self._parts.values(), strict=True)
            return torch.cat(images), torch.cat(labels)
        name = self._seeds.get(seed, "measured")
        if name not in self._parts:
            raise ValueError(
                "a bundle holds only the images that it was measured on; give images with --images to train."
            )
        return self._parts[name]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The images measured on, so that a bundle can be validated anywhere."""
        if "measured" not in self._parts:
            return {}
        images, labels = self._parts["measured"]
        return {"images": images.float(), "labels": labels.float()}

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this problem from every other, its images included."""
        return super().identity | {"parts": {name: checksum(part[0]) for name, part in self._parts.items()}}

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments without the images."""
        return {
            "classes": list(self.classes),
            "size": list(self.size),
            "channels": list(self.observation.names),
            "changes": self.changes,
            "other_devices": self.other_devices,
            "beta": self.beta,
        }


def classifier_of(fitted: FittedPosterior) -> tuple[LabelledImages, ClassDensity]:
    """Return the problem of a posterior of images with classes, and its density in each class.

    Raises:
        ValueError: if it is that of another problem.
    """
    problem, flow = fitted.problem, fitted.network.classifier
    if not isinstance(problem, LabelledImages) or flow is None:
        raise ValueError(f"a bundle of {problem.name!r} was given, expected one that classifies images.")
    return problem, flow.density
