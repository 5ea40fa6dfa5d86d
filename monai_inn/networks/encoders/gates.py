"""An encoder that sees only those features of an observation that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.networks.encoders.encoders import VectorEncoder
from monai_inn.networks.parts import arguments, register

__all__ = ["GatedEncoder"]


@register
class GatedEncoder(VectorEncoder):
    """Encoder of a few numbers, each standardised, and with a gate that is open or closed.

    What a closed gate holds back takes its mean. The training finds which ones to close, so that what is let
    through means the same for all classes of one parameter, the sites; see ``objectives.invariance``.

    Args:
        num_features: number of features ``F``.
        over: name of the parameter whose classes are the sites.
        weight: of the dependence on sites in the loss.
        out_channels: channels of the condition.
        width: width of the residual network.
        num_blocks: its residual blocks.
        may_miss: whether features may be NaN.
    """

    kind = "gated"
    gates: Tensor
    """Which features are let through, 1, and which are not, 0, ``(F,)``."""

    def __init__(
        self,
        num_features: int,
        over: str,
        weight: float,
        out_channels: int = 32,
        width: int = 128,
        num_blocks: int = 2,
        may_miss: bool = False,
    ) -> None:
        super().__init__(num_features, out_channels, width, num_blocks, may_miss)
        self.config = arguments(locals())
        self.over, self.weight = over, weight
        self.register_buffer("gates", torch.ones(num_features))

    @torch.no_grad()
    def open_only(self, is_open: Sequence[bool]) -> None:
        """Open some gates, and close all others."""
        self.gates.copy_(torch.tensor(is_open))

    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Set the standardisation from features ``(N, F)``; rotated features would share their gates."""
        self.whitening.standardise(features)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(…, F)`` to a condition ``(…, out_channels)``."""
        return super().forward(torch.where(self.gates > 0, features, self.whitening.mean))
