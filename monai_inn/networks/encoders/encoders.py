"""From features to the condition of a flow, and from the condition to a preview."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.encoders.templates import Templates
from monai_inn.networks.encoders.whitening import LEADING, Components, Whitening
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.kernels.products import Linear
from monai_inn.networks.parts import Encoder, arguments, register

__all__ = ["ConditionEncoder", "ImageEncoder", "QuantileHead", "VectorEncoder"]


@register
class VectorEncoder(Encoder):
    """Encoder of a few numbers: whitened, then a residual network.

    If some may be missing it sees them standardised one by one, and which were measured.
    Leading features may be kept: the condition begins with them as they are, and the network sees the rest.

    Args:
        num_features: number of features ``F``.
        may_miss: whether features may be NaN.
        out_channels: what the network adds to the condition.
        width: width of the residual network.
        num_blocks: its residual blocks.
        kept: leading features that are kept.
    """

    kind = "vector"

    def __init__(
        self,
        num_features: int,
        out_channels: int = 32,
        width: int = 128,
        num_blocks: int = 2,
        may_miss: bool = False,
        kept: int = 0,
    ) -> None:
        super().__init__()
        given = arguments(locals())
        self.config = given if kept else {n: v for n, v in given.items() if n != "kept"}
        self.kept = kept
        self.whitening = Whitening(num_features - kept)
        self.may_miss = may_miss
        seen = (num_features - kept) * (1 + may_miss)
        self.network = ConditionEncoder(seen, out_channels, width, num_blocks)
        self.out_channels = kept + out_channels

    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Set the whitening from features ``(N, F)``."""
        if self.may_miss:
            self.whitening.standardise(features[..., self.kept :])
        else:
            self.whitening.fit(features[..., self.kept :])

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(…, F)`` to a condition ``(…, kept + out_channels)``."""
        kept, features = features[..., : self.kept], features[..., self.kept :]
        seen = self.whitening(features.nan_to_num() if self.may_miss else features)
        if self.may_miss:
            measured = features.isfinite()
            seen = torch.cat([torch.where(measured, seen, 0.0), measured.to(seen)], -1)
        learned = self.network(seen)
        return torch.cat([kept, learned], -1) if self.kept else learned


@register
class ImageEncoder(Encoder):
    """Encoder of whole images with white noise: principal components, and how templates fit.

    Args:
        num_features: number of pixels ``F``.
        num_parameters: parameters ``D`` of an image.
        components: principal components that it sees.
        templates: images of known parameters that it is told the fit of; 0 for none.
        periodic: parameters that are angles on a full circle.
        out_channels: channels of the condition.
        width: width of the residual network.
        num_blocks: its residual blocks.
    """

    kind = "image"

    def __init__(
        self,
        num_features: int,
        num_parameters: int,
        components: int = 256,
        templates: int = 0,
        periodic: Sequence[int] = (),
        out_channels: int = 96,
        width: int = 128,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        self.components = Components(num_features, components, min(LEADING, components))
        self.templates = Templates(components, templates, num_parameters, periodic) if templates else None
        seen = components + (self.templates.out_channels if self.templates else 0)
        self.network = ConditionEncoder(seen, out_channels, width, num_blocks)
        self.out_channels = out_channels

    @property
    def num_known(self) -> int:
        """Number of templates."""
        return 0 if self.templates is None else len(self.templates.offset)

    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Set components and templates.

        Raises:
            ValueError: if the encoder has templates and is not given as many, or the reverse.
        """
        given = 0 if known is None else len(known[0])
        if given != self.num_known:
            raise ValueError(
                f"a network of {self.num_known:,} templates was given {given or 'none'}; give as many "
                "as it has."
            )
        self.components.fit(features, clean)
        if self.templates is not None and known is not None:
            self.templates.fit(self.components, features, *known)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(…, F)`` to a condition ``(…, out_channels)``."""
        seen = self.components(features)
        if self.templates is not None:
            seen = torch.cat([seen, self.templates(seen)], -1)
        return self.network(seen)  # type: ignore[no-any-return]

    def summary(self, features: Tensor) -> Tensor:
        """Return leading components and what lies beyond all of them, ``(…, leading + 1)``."""
        return self.components.summary(features)


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
            nn.Sequential(
                nn.LayerNorm(width), Linear(width, width), nn.SiLU(inplace=True), Linear(width, width)
            )
            for _ in range(num_blocks)
        )
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.SiLU(inplace=True), Linear(width, out_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map whitened features ``(…, F)`` to a condition ``(…, out_channels)``."""
        with full_precision(features.device, trained=self):
            hidden = self.inlet(features)
            for block in self.blocks:
                hidden = block(hidden).add_(hidden)  # in memory that it has, which saves a tenth
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
