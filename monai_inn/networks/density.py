"""The density of the observations themselves, from which trust comes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.encoders.whitening import LEADING, Components, Whitening
from monai_inn.networks.flows.flows import FlowEnsemble
from monai_inn.networks.parts import arguments

__all__ = ["ObservationDensity"]


class ObservationDensity(nn.Module):
    """Ensemble of flows over whitened features of an observation.

    Of many features it sees leading principal components and how much lies beyond. What was not measured
    takes the mean of what was, so that it neither adds nor takes trust.

    Args:
        num_features: density features ``K`` of an observation, after an encoder's summary.
        members: flows in the ensemble.
        num_blocks: coupling blocks of each of them.
        hidden_channels: hidden layers of their subnets.
        components: principal components that stand for more features; 0 to see all features.
        may_miss: whether features may be NaN.
        seed: seed of the initial weights.
        num_bins: bins of the flows' splines.
    """

    centre: Tensor

    def __init__(
        self,
        num_features: int,
        members: int = 5,
        num_blocks: int = 2,
        hidden_channels: Sequence[int] = (64, 64),
        components: int = 0,
        may_miss: bool = False,
        seed: int = 0,
        num_bins: int = 8,
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        leading = min(LEADING, components)
        self.components = Components(num_features, components, leading) if components else None
        channels = leading + 1 if components else num_features
        self.whitening = Whitening(channels)
        self.may_miss = may_miss
        if may_miss:
            self.register_buffer("centre", torch.zeros(num_features))
        self.ensemble = FlowEnsemble(
            members,
            in_channels=channels,
            num_blocks=num_blocks,
            hidden_channels=hidden_channels,
            # Affine couplings grow without bound off the data, and members then disagree about anything.
            coupling="spline",
            num_bins=num_bins,
            mixing="rotation",
            seed=seed,
        )

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set the fixed maps from features ``(N, K)``."""
        if self.may_miss:
            self.centre.copy_(features.nanmean(0).nan_to_num(0.0))
        if self.components is not None:
            whole = self._whole(features)
            self.components.fit(whole, whole)
        self.whitening.fit(self._seen(features))

    def channels(self, features: Tensor) -> Tensor:
        """Return what the flows are over, whitened, of features ``(…, K)``."""
        return self.whitening(self._seen(features))  # type: ignore[no-any-return]

    def log_prob(self, features: Tensor) -> Tensor:
        """Log density in nats of features ``(…, K)`` under every member, shape ``(M, …)``."""
        return self.ensemble().log_prob(self.channels(features)) + self.whitening.log_det  # type: ignore[no-any-return]

    def _whole(self, features: Tensor) -> Tensor:
        return torch.where(features.isnan(), self.centre, features) if self.may_miss else features

    def _seen(self, features: Tensor) -> Tensor:
        whole = self._whole(features)
        return whole if self.components is None else self.components.summary(whole)
