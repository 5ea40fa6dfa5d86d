"""Convolutional couplings of one Haar level, and the features of the observation that they see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn

from monai_inn.networks.flows.bijections import AffineTransform, Mixing, SplineTransform
from monai_inn.networks.kernels.chunks import full_precision

__all__ = ["Couplings", "Pyramid"]


class Pyramid(nn.Module):
    """Features of an observation at half the size, a quarter and so on, from MONAI's ``BasicUNet``.

    Nothing is normalised by the image itself, which would hide its brightness.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the observation.
        features: channels at the full size and after each of four halvings.
        levels: how many sizes are asked for, at most four.
    """

    def __init__(self, spatial_dims: int, in_channels: int, features: Sequence[int], levels: int) -> None:
        super().__init__()
        widths = (*features, features[0])
        # One output channel that nothing uses, so as to take the network as it is.
        net = BasicUNet(spatial_dims, in_channels, 1, widths, norm=None, upsample="nontrainable")  # type: ignore[arg-type]
        self.conv_0 = net.conv_0
        self.down = nn.ModuleList([net.down_1, net.down_2, net.down_3, net.down_4])
        self.up = nn.ModuleList([net.upcat_4, net.upcat_3, net.upcat_2])
        self.out_channels = [features[1], features[2], features[3], features[4]][:levels]

    def forward(self, observation: Tensor) -> list[Tensor]:
        """Return features ``(N, width, *size / 2^level)``, finest level first."""
        sizes = [self.conv_0(observation)]
        for down in self.down:
            sizes.append(down(sizes[-1]))
        features = [sizes[-1]]
        for up, across in zip(self.up, (sizes[3], sizes[2], sizes[1]), strict=True):
            features.append(up(features[-1], across))
        return features[::-1][: len(self.out_channels)]


class Couplings(nn.Module):
    """Blocks of one level: a fixed rotation of the channels, then each half transformed given the other half.

    A new one is a rotation, which leaves white channels white.

    Args:
        spatial_dims: 2 or 3.
        channels: channels that are transformed.
        seen: channels of the coarse image and the class, which differ from sample to sample.
        condition: channels of the observation's features, which all samples share.
        hidden: width of the subnets.
        num_blocks: blocks of two couplings.
        transform: element-wise transform.
        generator: source of the rotations.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        seen: int,
        condition: int,
        hidden: int,
        num_blocks: int,
        transform: AffineTransform | SplineTransform,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.transform, self.first = transform, channels // 2
        self.rotations = nn.ModuleList(Mixing(channels, 1, generator) for _ in range(num_blocks))
        for rotation in self.rotations:
            rotation.requires_grad_(False)  # the channels are white already
        halves = (self.first, channels - self.first)
        self.subnets = nn.ModuleList(
            _Subnet(spatial_dims, side, seen, condition, hidden, other * transform.parameters_per_channel)
            for _ in range(num_blocks)
            for side, other in (halves, halves[::-1])
        )

    def shared(self, features: Tensor) -> list[Tensor]:
        """Return what the first layers make of an observation's features, once for all of its samples."""
        return [subnet.condition(features) for subnet in self.subnets]  # type: ignore[operator, union-attr]

    def forward(self, x: Tensor, seen: Tensor | None, shared: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Data to latent: ``(S · N, channels, …)``, and the log-determinant ``(S · N,)``."""
        log_det = x.new_zeros(len(x))
        for block, rotation in enumerate(self.rotations):
            first, second = self._rotated(x, rotation).tensor_split([self.first], 1)
            second, change = self._moved(2 * block, first, second, seen, shared, is_inverse=False)
            first, further = self._moved(2 * block + 1, second, first, seen, shared, is_inverse=False)
            x, log_det = torch.cat([first, second], 1), log_det + change + further
        return x, log_det

    def inverse(self, z: Tensor, seen: Tensor | None, shared: list[Tensor]) -> Tensor:
        """Latent to data."""
        for block in reversed(range(len(self.rotations))):
            first, second = z.tensor_split([self.first], 1)
            first, _ = self._moved(2 * block + 1, second, first, seen, shared, is_inverse=True)
            second, _ = self._moved(2 * block, first, second, seen, shared, is_inverse=True)
            z = self._rotated(torch.cat([first, second], 1), self.rotations[block], is_inverse=True)
        return z

    def _moved(
        self,
        subnet: int,
        side: Tensor,
        other: Tensor,
        seen: Tensor | None,
        shared: list[Tensor],
        *,
        is_inverse: bool,
    ) -> tuple[Tensor, Tensor]:
        raw = self.subnets[subnet](side if seen is None else torch.cat([side, seen], 1), shared[subnet])
        change = self.transform.inverse if is_inverse else self.transform.forward
        moved, log_det = change(other.flatten(2), raw.flatten(2))
        return moved.view_as(other), log_det.sum(1)

    @staticmethod
    def _rotated(x: Tensor, rotation: nn.Module, *, is_inverse: bool = False) -> Tensor:
        with full_precision(x.device):
            matrix = rotation.orthogonal(x.dtype).squeeze(0)  # type: ignore[operator]
            return ((matrix.T if is_inverse else matrix) @ x.flatten(2)).view_as(x)


class _Subnet(nn.Module):
    """Two convolutions of 3 pixels around one of 1, whose output starts at zero."""

    def __init__(
        self, spatial_dims: int, side: int, seen: int, condition: int, hidden: int, out_channels: int
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.own = conv(side + seen, hidden, 3, padding=1, bias=False)
        self.condition = conv(condition, hidden, 3, padding=1)
        self.middle = conv(hidden, hidden, 1)
        self.out = conv(hidden, out_channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, own: Tensor, shared: Tensor) -> Tensor:
        hidden = self.own(own)
        hidden = (hidden.unflatten(0, (-1, len(shared))) + shared).flatten(0, 1)
        hidden = nn.functional.silu(self.middle(nn.functional.silu(hidden)))
        return self.out(hidden).to(own.dtype)  # type: ignore[no-any-return]
