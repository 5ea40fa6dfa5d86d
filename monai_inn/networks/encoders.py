"""What stands in front of a flow: whitening of the features, the condition encoder, the preview head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.products import Linear

__all__ = ["ConditionEncoder", "QuantileHead", "Whitening"]


class Whitening(nn.Module):
    """Fixed affine map that gives features zero mean and unit covariance: ``(x − m) Wᵀ``.

    Fitted once on simulated observations; part of the network's state, so that a bundle carries it.

    Args:
        channels: number of features ``F``.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("matrix", torch.eye(channels))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set mean and matrix from features ``(N, F)``.

        Raises:
            ValueError: if the features are singular, because a density over them would not exist.
        """
        x = features.double()
        mean, covariance = x.mean(0), torch.atleast_2d(torch.cov(x.T))
        variance, axes = torch.linalg.eigh(covariance)
        if not torch.isfinite(variance).all() or variance[0] <= 1e-12 * variance[-1]:
            raise ValueError(
                f"the features are singular (variances from {variance[0]:.1e} to {variance[-1]:.1e}); "
                "drop the redundant dimension, for normalised spectra by the isometric log-ratio, or add the "
                "measurement's noise."
            )
        self.mean.copy_(mean)
        self.matrix.copy_((axes / variance.sqrt()).T)

    @property
    def log_det(self) -> Tensor:
        """``log |d whitened / d features|`` in nats."""
        return torch.linalg.slogdet(self.matrix.double())[1].float()

    def forward(self, features: Tensor) -> Tensor:
        """Whiten features ``(…, F)``."""
        return (features - self.mean) @ self.matrix.T


class ConditionEncoder(nn.Module):
    """Residual fully connected network, from whitened features to the condition of a flow.

    Args:
        in_channels: number of features.
        out_channels: channels of the condition.
        width: channels of the residual stream.
        num_blocks: residual blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 128, num_blocks: int = 2) -> None:
        super().__init__()
        self.inlet = Linear(in_channels, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, width))
            for _ in range(num_blocks)
        )
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), Linear(width, out_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map whitened features ``(…, F)`` to a condition ``(…, out_channels)``."""
        hidden = self.inlet(features)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.outlet(hidden)


class QuantileHead(nn.Module):
    """One-pass answer for live previews: marginal posterior quantiles straight from the condition.

    Quantiles are built as a median plus positive steps, so that they can never cross.

    Args:
        in_channels: channels of the condition.
        num_parameters: parameters ``D`` with a preview.
        levels: increasing quantile levels, symmetric about .5.
        width: channels of its residual network.
        num_blocks: residual blocks of it.
    """

    levels: Tensor

    def __init__(
        self,
        in_channels: int,
        num_parameters: int,
        levels: Sequence[float] = (0.025, 0.16, 0.5, 0.84, 0.975),
        width: int = 128,
        num_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.register_buffer("levels", torch.tensor(levels))
        self.net = ConditionEncoder(in_channels, num_parameters * len(levels), width, num_blocks)

    def forward(self, condition: Tensor) -> Tensor:
        """Map a condition ``(…, F)`` to quantiles ``(…, D, levels)`` in the flow's space."""
        raw = self.net(condition).unflatten(-1, (self.num_parameters, -1))
        middle = raw.shape[-1] // 2
        step = nn.functional.softplus(raw)
        below = step[..., :middle].flip(-1).cumsum(-1).flip(-1)
        above = step[..., middle + 1 :].cumsum(-1)
        median = raw[..., middle : middle + 1]
        return torch.cat([median - below, median, median + above], -1)
