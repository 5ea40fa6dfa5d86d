"""Flow of whole images given images."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.bijections import AffineTransform, SplineTransform
from monai_inn.networks.flows.stacks import check_kinds
from monai_inn.networks.images.couplings import Couplings, Pyramid
from monai_inn.networks.images.distribution import ImageDistribution
from monai_inn.networks.images.given import DenseStart, GivenStart
from monai_inn.networks.images.haar import coarse
from monai_inn.networks.images.levels import Level, whiten
from monai_inn.networks.images.moments import ClassMeans
from monai_inn.networks.images.start import GaussianStart
from monai_inn.networks.parts import arguments
from monai_inn.seeding import seeded

__all__ = ["ImageFlow", "Seen"]


class Seen(NamedTuple):
    """What a flow makes of observations, once for all of their samples.

    Attributes:
        mean: mean of the start, ``(N, C, *size)``, without that of a class.
        levels: of the start's covariance, finest first.
        summary: mean of the coarsest features, ``(N, width)``.
        shared: of each level, coarsest first, what the first layers of its couplings make of its features.
    """

    mean: Tensor
    levels: list[Level]
    summary: Tensor
    shared: list[list[Tensor]]


class ImageFlow(nn.Module):
    """Density of images or volumes given images, coarse before fine.

    The image minus its Gaussian posterior mean is whitened (``GaussianStart``) into the details of its Haar
    levels, each given the coarse image, and couplings transform the white details given that image and the
    observation. New couplings are the identity, so that an untrained flow is the Gaussian posterior.

    Calling the flow with observations ``(*batch, F, *size)`` gives a distribution over images
    ``(C, *size)``, whose ``coarse(levels)`` is the exact distribution of the image's block means.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels ``C`` of the unknown images.
        condition_channels: channels ``F`` of the observations.
        size: spatial size of both; divisible by ``2^levels``, and at least 16 along each axis.
        levels: Haar levels, at most four.
        num_blocks: blocks of couplings at each level; 0 for the Gaussian posterior alone.
        hidden_channels: width of the couplings' subnets.
        features: channels of the observation's features at the full size and after each of four halvings.
        coupling: ``"affine"`` or ``"spline"``.
        num_bins: bins of the spline.
        clamp: bound of the affine log-scale.
        start: ``"fitted"`` for an estimated Gaussian posterior (``GaussianStart``), ``"given"`` for one that
            each observation holds (``GivenStart``), ``"dense"`` for one whose mean each observation holds and
            whose covariance is set (``DenseStart``).
        classes: classes of images, of which one is given; 0 for none.
        seed: seed of the initial weights and rotations.

    Raises:
        ValueError: if sizes do not fit together.

    Example:
        >>> import torch
        >>> flow = ImageFlow(2, in_channels=1, condition_channels=2, size=(16, 16), levels=2)
        >>> q = flow(torch.zeros(3, 2, 16, 16))
        >>> q.sample((5,)).shape, q.log_prob(torch.zeros(3, 1, 16, 16)).shape
        (torch.Size([5, 3, 1, 16, 16]), torch.Size([3]))
        >>> q.coarse(1).sample((5,)).shape
        torch.Size([5, 3, 1, 8, 8])

    Source: Yu, Derpanis and Brubaker, Wavelet Flow, 2020; Ardizzone et al., Guided image generation with
    conditional invertible neural networks, 2019.
    """

    scale: Tensor
    spread: Tensor

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        condition_channels: int = 1,
        size: Sequence[int] = (32, 32),
        levels: int = 3,
        num_blocks: int = 2,
        hidden_channels: int = 32,
        features: Sequence[int] = (16, 16, 32, 32, 32),
        coupling: str = "affine",
        *,
        start: str = "fitted",
        num_bins: int = 8,
        clamp: float = 2.0,
        classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        self.spatial_dims, self.size, self.levels = spatial_dims, tuple(size), levels
        self.in_channels, self.condition_channels, self.classes = in_channels, condition_channels, classes
        self._check(coupling, start)
        transform = AffineTransform(clamp) if coupling == "affine" else SplineTransform(num_bins)
        generator = torch.Generator().manual_seed(seed)
        with seeded(seed):
            sizes = (in_channels, condition_channels, self.size, levels)
            self.start: GaussianStart | GivenStart | DenseStart
            if start == "fitted":
                self.start = GaussianStart(*sizes, classes)
            else:
                self.start = GivenStart(*sizes) if start == "given" else DenseStart(*sizes)
            seen_channels = in_channels + self.start.seen_channels
            self.pyramid = Pyramid(spatial_dims, seen_channels, features, levels)
            self.couplings = nn.ModuleList()
            for level in reversed(range(levels)):  # coarsest first
                is_coarsest = level == levels - 1
                bands = 2**spatial_dims - (not is_coarsest)
                seen = classes + (0 if is_coarsest else in_channels)
                widths = (bands * in_channels, seen, self.pyramid.out_channels[level], hidden_channels)
                self.couplings.append(Couplings(spatial_dims, *widths, num_blocks, transform, generator))
        self.register_buffer("scale", torch.ones(2, seen_channels))
        self.register_buffer("spread", torch.ones(levels))  # of the latents, coarsest first; see ``widen``

    def _check(self, coupling: str, start: str) -> None:
        check_kinds(coupling, "rotation")
        if start not in ("fitted", "given", "dense") or (start != "fitted" and self.classes):
            raise ValueError(f"start = {start!r}; give 'fitted', or without classes 'given' or 'dense'.")
        if self.spatial_dims not in (2, 3) or len(self.size) != self.spatial_dims:
            raise ValueError(
                f"spatial_dims = {self.spatial_dims} with size = {self.size}; give 2 or 3, and as many sizes."
            )
        if not 1 <= self.levels <= 4:
            raise ValueError(f"levels = {self.levels}; give 1 to 4.")
        if any(n % 2**self.levels or n < 16 for n in self.size):
            raise ValueError(
                f"images of size {self.size} cannot be halved {self.levels} times; pad them to multiples of "
                f"{2**self.levels}, at least 16."
            )

    def forward(self, condition: Tensor, label: Tensor | None = None) -> ImageDistribution:
        """Return the distribution of images given observations.

        Args:
            condition: observations ``(*batch, F, *size)``.
            label: class of each, integers ``(*batch,)``; needed if, and only if, the flow has classes.

        Raises:
            ValueError: if shapes do not fit.
        """
        expected = (self.condition_channels, *self.size)
        if condition.shape[-len(expected) :] != expected:
            raise ValueError(
                f"observations have the shape {tuple(condition.shape)}, expected (…, {expected})."
            )
        if (label is None) != (self.classes == 0):
            raise ValueError(
                f"this flow has {self.classes or 'no'} classes; "
                + ("give the class of each image." if self.classes else "leave the label out.")
            )
        return ImageDistribution(self, condition, label)

    @torch.no_grad()
    def initialise(self, pairs: Iterable[tuple[Tensor, Tensor, Tensor | None]]) -> ClassMeans | None:
        """Fit the Gaussian posterior to pairs of images; see ``GaussianStart.fit``."""
        pairs = iter(pairs)
        first = next(pairs)
        means = self.start.fit(itertools.chain([first], pairs))
        seen = torch.cat([self.start.of(first[1]), self.start.seen(first[1])], 1)
        axes = (0, *range(2, seen.ndim))
        self.scale.copy_(torch.stack([seen.mean(axes), seen.std(axes).clamp_min(1e-6)]))
        return means

    @torch.no_grad()
    def resized(self, size: Sequence[int]) -> ImageFlow:
        """Return the flow for images of another size, of the same pixels.

        Couplings are convolutions and stay as they are; of the start see ``GaussianStart.resized``.

        Raises:
            ValueError: if the size does not fit, or the start is of one size.
        """
        flow = ImageFlow(**{**self.config, "size": tuple(size)}).to(self.scale)
        kept = {n: value for n, value in self.state_dict().items() if not n.startswith("start.")}
        flow.load_state_dict(kept, strict=False)
        flow.start = self.start.resized(size)
        return flow.train(self.training)

    @torch.no_grad()
    def widen(self, factors: Sequence[float]) -> None:
        """Multiply the spread of each level's latents, coarsest first: a recalibration on held-out images."""
        self.spread.mul_(torch.as_tensor(factors).to(self.spread))

    def see(self, observation: Tensor) -> Seen:
        """Return what samples of observations ``(N, F, *size)`` share."""
        mean = self.start.of(observation)
        shift, sd = (row.view(-1, *[1] * self.spatial_dims) for row in self.scale)
        features = self.pyramid((torch.cat([mean, self.start.seen(observation)], 1) - shift) / sd)
        shared = [part.shared(f) for part, f in zip(self._parts, features[::-1], strict=True)]
        levels = self.start.levels_of(observation)
        return Seen(mean, levels, features[-1].flatten(2).mean(2), shared)

    def to_latent(
        self, image: Tensor, seen: Seen, label: Tensor | None, coarser: int
    ) -> tuple[list[Tensor], Tensor]:
        """Return the latents of every level, coarsest first, and the log-determinant.

        Args:
            image: coarse images after ``coarser`` levels, ``(S · N, C, …)``, observation by observation
                fastest.
            seen: what ``see`` returned for ``N`` observations.
            label: classes ``(S · N,)``.
            coarser: levels that are left out.
        """
        residual = image - self._mean(seen, label, len(image), coarser)
        white, coarse_images, log_det = whiten(seen.levels[coarser:], residual)
        latents, total = [], log_det.repeat(len(image) // len(log_det))
        for level, details in enumerate(white):
            beside = self._beside(coarse_images[level - 1] if level else None, label, details)
            latent, change = self._parts[level](details, beside, seen.shared[level])
            latents.append(latent / self.spread[level])
            total = total + change - self.spread[level].log() * latent[0].numel()
        return latents, total

    def of_latent(self, latents: Sequence[Tensor], seen: Seen, label: Tensor | None, coarser: int) -> Tensor:
        """Return the images of latents; undoes ``to_latent``."""
        residual: Tensor | None = None
        for level, latent in enumerate(latents):
            gaussian = seen.levels[self.levels - 1 - level]
            known = None if residual is None else gaussian.of_unit_variance(residual)
            beside = self._beside(known, label, latent)
            white = self._parts[level].inverse(latent * self.spread[level], beside, seen.shared[level])
            residual = gaussian.colour(white, residual)
        assert residual is not None
        return residual + self._mean(seen, label, len(residual), coarser)

    def latent_shapes(self, coarser: int) -> list[tuple[int, ...]]:
        """Return the shape of each level's latents, coarsest first."""
        shapes = []
        for level in reversed(range(coarser, self.levels)):
            bands = 2**self.spatial_dims - (level < self.levels - 1)
            shapes.append((bands * self.in_channels, *(n // 2 ** (level + 1) for n in self.size)))
        return shapes

    @property
    def _parts(self) -> list[Couplings]:
        """Couplings of every level, coarsest first."""
        return cast("list[Couplings]", list(self.couplings))

    def _mean(self, seen: Seen, label: Tensor | None, rows: int, coarser: int) -> Tensor:
        mean = coarse(seen.mean, self.spatial_dims, coarser)
        offset = coarse(self.start.mean, self.spatial_dims, coarser)
        whole = mean.repeat(rows // len(mean), *[1] * (mean.ndim - 1))
        return whole + (offset if label is None else offset[label])

    def _beside(self, coarse_image: Tensor | None, label: Tensor | None, like: Tensor) -> Tensor | None:
        """What the couplings of a level see of the sample: its coarse image and its class."""
        parts = [] if coarse_image is None else [coarse_image]
        if label is not None:
            classes = nn.functional.one_hot(label, self.classes).to(like)
            column = classes.view(*classes.shape, *[1] * self.spatial_dims)
            parts.append(column.expand(-1, -1, *like.shape[2:]))
        return torch.cat(parts, 1) if parts else None
