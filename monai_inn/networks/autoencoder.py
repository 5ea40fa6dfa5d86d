"""Autoencoder whose decoder is the inverse of its encoder, and which starts as principal components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.couplings import Context, Subnet
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.parts import Part, arguments, register

__all__ = ["InvertibleAutoencoder"]

_LEAST_SHARE = 1e-6  # of the mean variance: keeps directions invertible in which the data do not vary
_MOST_NOISE = 0.99  # of a code's variance


@register
class InvertibleAutoencoder(Part):
    """Autoencoder made of one invertible map: an image's code are the leading of its coordinates.

    Coordinates are principal components. Blocks of couplings add a function of the rest to the kept ones, and
    a function of the kept ones to the rest. The decoder sets the rest to zero and goes back. All coordinates
    together give the image back exactly, whatever the weights are.

    New couplings add nothing, so that ``initialise`` alone makes an autoencoder by principal components. In
    the variational version (``bound``) the code is standard normal and pixels have Gaussian noise; the start
    is then probabilistic principal components.

    Args:
        size: shape of one image or vector; its product is ``D``, whose square must fit into memory.
        kept: coordinates ``k`` that are trained to hold the image.
        coupled: leading coordinates, at least ``k``, that couplings transform; the others stay linear. All by
            default.
        num_blocks: blocks of two couplings.
        hidden_channels: widths of the subnets' hidden layers.
        seed: seed of the initial weights.

    Raises:
        ValueError: if sizes do not fit together.

    Example:
        >>> import torch
        >>> net = InvertibleAutoencoder((8, 8), kept=4)
        >>> net.initialise(torch.rand(100, 8, 8, generator=torch.Generator().manual_seed(0)))
        >>> code = net.encode(torch.zeros(3, 8, 8))
        >>> code.shape, net.decode(code).shape, net.sample(2).shape
        (torch.Size([3, 4]), torch.Size([3, 8, 8]), torch.Size([2, 8, 8]))

    Source: Nguyen et al., Training invertible neural networks as autoencoders, 2019; Tipping and Bishop,
    Probabilistic principal component analysis, 1999, equations 7 and 8; Dinh et al., NICE, 2015.
    """

    kind: ClassVar[str] = "autoencoder"
    mean: Tensor
    axes: Tensor
    scale: Tensor

    def __init__(
        self,
        size: Sequence[int],
        kept: int,
        coupled: int | None = None,
        num_blocks: int = 3,
        hidden_channels: Sequence[int] = (128,),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        self.size, self.kept, channels = tuple(size), kept, math.prod(size)
        coupled = channels if coupled is None else coupled
        if not 1 <= kept <= coupled <= channels:
            raise ValueError(
                f"kept = {kept}, coupled = {coupled}: a bottleneck has at least one coordinate, and an image "
                f"of size {self.size} has {channels}; give 1 ≤ kept ≤ coupled ≤ {channels}."
            )
        self._split = [kept, coupled - kept, channels - coupled]
        generator = torch.Generator().manual_seed(seed)
        self.subnets = nn.ModuleList(
            Subnet(seen, 0, hidden_channels, moved, 1, generator)
            for _ in range(num_blocks if coupled > kept else 0)
            for seen, moved in ((coupled - kept, kept), (kept, coupled - kept))
        )
        for subnet in self.subnets:
            nn.init.zeros_(subnet.weights[-1])  # type: ignore[index, union-attr]
            nn.init.zeros_(subnet.biases[-1])  # type: ignore[index, union-attr]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("axes", torch.eye(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.log_noise = nn.Parameter(torch.zeros(()))  # logarithm of the variance of a pixel's noise
        self.noise_logit = nn.Parameter(torch.zeros(kept))  # of the share of noise in a code's variance

    @torch.no_grad()
    def initialise(self, data: Tensor) -> None:
        """Set the principal components of data ``(N, *size)``.

        Raises:
            ValueError: if the shape is another, there are fewer than two rows, they are not finite, or equal.
        """
        rows = self._rows(data).double()
        covariance = torch.atleast_2d(torch.cov(rows.T, correction=0))
        if not 0 < covariance.trace() < math.inf:
            raise ValueError(
                f"{len(rows)} rows of data with a total variance of {float(covariance.trace()):.3g}; give at "
                "least two that differ, without NaN."
            )
        variance, axes = torch.linalg.eigh(covariance)
        self.mean.copy_(rows.mean(0))
        variance = variance.flip(0).clamp_min(_LEAST_SHARE * variance.mean())
        k = self.kept
        noise = variance[k:].mean() if k < len(variance) else variance[-1] * _LEAST_SHARE
        share = (noise / variance[:k]).clamp(_LEAST_SHARE, _MOST_NOISE)
        self.axes.copy_(axes.flip(1))
        self.scale.copy_(noise.sqrt())
        self.scale[:k] = variance[:k].sqrt()
        self.log_noise.copy_(noise.log())
        self.noise_logit.copy_(torch.logit(share))

    @property
    def units(self) -> Tensor:
        """Length of each coordinate in units of the data, ``(D,)``: it makes noisy codes standard normal."""
        kept, others = self.scale.tensor_split([self.kept])
        return torch.cat([kept * (1 - self.noise_logit.sigmoid()).sqrt(), others])

    def coordinates(self, data: Tensor) -> Tensor:
        """Return all coordinates ``(…, D)`` of data ``(…, *size)``, those of the code first."""
        rows = self._rows(data)
        with full_precision(rows.device):
            parts = ((rows - self.mean) @ self.axes / self.units).split(self._split, 1)
        kept, rest, linear = parts
        for to_kept, to_rest in self._blocks():
            kept = kept + _columns(to_kept, rest)
            rest = rest + _columns(to_rest, kept)
        return torch.cat([kept, rest, linear], 1).view(*data.shape[: data.ndim - len(self.size)], -1)

    def encode(self, data: Tensor, k: int | None = None) -> Tensor:
        """Return the code ``(…, k)`` of data ``(…, *size)``, by default with the ``kept`` coordinates.

        Raises:
            ValueError: if the shape is another, or ``k`` is not from 1 to ``D``.
        """
        k = self.kept if k is None else k
        if not 1 <= k <= len(self.scale):
            raise ValueError(
                f"k = {k}; data of size {self.size} have from 1 to {len(self.scale)} coordinates."
            )
        return self.coordinates(data)[..., :k]

    def decode(self, code: Tensor) -> Tensor:
        """Return the data ``(…, *size)`` of codes ``(…, k)`` with any ``k`` up to ``D``; the rest is zero.

        Raises:
            ValueError: if a code has more than ``D`` numbers.
        """
        missing = len(self.scale) - code.shape[-1]
        if missing < 0:
            raise ValueError(f"codes have {code.shape[-1]} numbers, at most {len(self.scale)} are expected.")
        whole = nn.functional.pad(code.reshape(-1, code.shape[-1]), (0, missing))
        kept, rest, linear = whole.split(self._split, 1)
        for to_kept, to_rest in reversed(self._blocks()):
            rest = rest - _columns(to_rest, kept)
            kept = kept - _columns(to_kept, rest)
        with full_precision(code.device):
            rows = torch.cat([kept, rest, linear], 1) * self.units @ self.axes.T + self.mean
        return rows.view(*code.shape[:-1], *self.size)

    def residual(self, data: Tensor) -> Tensor:
        """Return the length ``(…)`` of what no code holds, in units of the data: high for unusual data.

        Before any training it is the error of principal components.
        """
        return (self.coordinates(data)[..., self.kept :] * self.scale[self.kept :]).norm(dim=-1)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return data ``(n, *size)`` of standard normal codes, which look like the data after ``bound``."""
        generator = torch.Generator().manual_seed(seed)
        return self.decode(torch.randn(n, self.kept, generator=generator).to(self.mean))

    def bound(self, data: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return both parts of a lower bound of the log density of data ``(N, *size)``, in nats, ``(N,)``.

        With codes that have standard normal prior and pixels that have Gaussian noise around the decoded
        image, the posterior of a code is taken to be normal around its coordinates, shrunk towards zero. For
        Gaussian data the bound of the start is exact.

        Args:
            data: images or vectors.
            noise: standard normal numbers ``(N, kept)``.

        Returns:
            Log likelihood of the data given a sample of that posterior, and the posterior's divergence from
            the prior, which is what the code costs.

        Source: Kingma and Welling, Auto-encoding variational Bayes, 2014, equation 10.
        """
        share = self.noise_logit.sigmoid()
        mean = (1 - share) * self.encode(data)
        decoded = self.decode(mean + share.sqrt() * noise)
        squared = (decoded - data).flatten(1).square().sum(1)
        level = self.log_noise + math.log(2 * math.pi)
        fit = -0.5 * (len(self.scale) * level + squared * torch.exp(-self.log_noise))
        return fit, 0.5 * (mean.square() + share - 1 - share.log()).sum(1)

    def _rows(self, data: Tensor) -> Tensor:
        """Data as rows ``(N, D)``."""
        if data.shape[max(data.ndim - len(self.size), 0) :] != self.size:
            raise ValueError(f"data have the shape {tuple(data.shape)}, expected (…, {self.size}).")
        return data.reshape(-1, len(self.scale)).to(self.mean)

    def _blocks(self) -> list[tuple[nn.Module, nn.Module]]:
        """The two subnets of every block."""
        return list(zip(self.subnets[::2], self.subnets[1::2], strict=True))


def _columns(subnet: nn.Module, rows: Tensor) -> Tensor:
    """Apply a subnet, which takes channels first, to rows ``(N, channels)``."""
    return subnet(rows.T.unsqueeze(0), Context(None)).squeeze(0).T  # type: ignore[no-any-return]
