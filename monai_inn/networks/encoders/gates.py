"""An encoder that keeps of an observation what means the same everywhere, and says what that is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_inn.networks.encoders.encoders import VectorEncoder
from monai_inn.networks.parts import arguments, register

__all__ = ["GatedEncoder"]

_START, _PACE = 0.2, 10.0  # gates begin almost open, and move ten times as fast as other weights
_REACH = 1.2  # beyond 0 and 1, so that gates reach both


@register
class GatedEncoder(VectorEncoder):
    """Encoder of a few numbers, each standardised and multiplied by a gate between 0 and 1.

    It is trained so that what it lets through means the same for all classes of one parameter, the sites, see
    ``training.invariance``. In the training another observation fills what a gate holds back, so that later
    layers cannot undo it.

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
        self.logits = nn.Parameter(torch.full((num_features,), _START))

    @property
    def gates(self) -> Tensor:
        """How far each feature is let through, from 0 to 1, ``(F,)``."""
        share = _REACH * (_PACE * self.logits).sigmoid() - (_REACH - 1) / 2
        # The gradient is that of the share itself, or a gate that is open or closed would stay so.
        return share + (share.clamp(0.0, 1.0) - share).detach()

    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Set the standardisation from features ``(N, F)``; rotated features would share their gates."""
        self.whitening.standardise(features)

    def forward(self, features: Tensor, others: Tensor | None = None) -> Tensor:
        """Map features ``(…, F)`` to a condition ``(…, out_channels)``.

        Args:
            features: features of observations.
            others: features of others, same shape, a share ``1 − gate`` of which is mixed in.
        """
        gates = self.gates
        seen = gates * self._standardised(features)
        if others is not None:
            seen = seen + (1 - gates) * self._standardised(others)
        if self.may_miss:
            measured = features.isfinite()
            seen = torch.cat([torch.where(measured, seen, 0.0), measured.to(seen)], -1)
        return self.network(seen)  # type: ignore[no-any-return]

    def _standardised(self, features: Tensor) -> Tensor:
        """The same in standard deviations from the mean; what is missing takes the mean."""
        whole = torch.where(features.isnan(), self.whitening.mean, features) if self.may_miss else features
        return self.whitening(whole)  # type: ignore[no-any-return]
