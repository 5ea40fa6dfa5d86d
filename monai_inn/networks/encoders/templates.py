"""Images whose parameters are known, against which an image is held: a coarse posterior for an encoder.

A network has to learn from examples where in a bank of images an image fits. That need not be learned: in
features whose noise is white, the log likelihood of a template is a product with it. A softmax over templates
drawn from the prior is importance sampling of the posterior, and means of harmonics of the parameters over it
tell which modes there are and how heavy they are, as far as the templates are dense enough. The network
refines that. How much it gains: docs/registration_methods.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.encoders.whitening import Components
from monai_inn.networks.kernels.chunks import full_precision

__all__ = ["Templates"]

_HARMONICS, _HARMONICS_OF_TURN = 12, 24
# A posterior narrower than the distance of templates would choose one. So its likelihood is tempered until
# this many have weight in the median image: few for the place, many for the surroundings.
_EFFECTIVE = (3.0, 30.0)
_BISECTIONS, _ROWS = 30, 2048


class Templates(nn.Module):
    """Means of harmonics of the parameters over templates, weighted by their tempered likelihoods.

    Args:
        components: principal components of an image.
        num_templates: number ``K`` of templates.
        num_parameters: parameters ``D`` of an image.
        periodic: those that are angles on a full circle.
    """

    points: Tensor
    scale: Tensor
    offset: Tensor
    latent: Tensor
    harmonics: Tensor
    powers: Tensor

    def __init__(
        self, components: int, num_templates: int, num_parameters: int, periodic: Sequence[int]
    ) -> None:
        super().__init__()
        self.periodic = tuple(periodic)
        turns = len(self.periodic)
        width = 2 * _HARMONICS_OF_TURN * turns + _HARMONICS * (num_parameters - turns)
        self.out_channels = width * len(_EFFECTIVE)
        self.register_buffer("points", torch.zeros(num_templates, components))
        self.register_buffer("scale", torch.ones(components))
        self.register_buffer("offset", torch.zeros(num_templates))
        self.register_buffer("latent", torch.zeros(num_templates, num_parameters))
        self.register_buffer("harmonics", torch.zeros(num_templates, width), persistent=False)
        self.register_buffer("powers", torch.ones(len(_EFFECTIVE)))
        self.register_load_state_dict_post_hook(_tabulate)

    @torch.no_grad()
    def fit(self, components: Components, features: Tensor, images: Tensor, latent: Tensor) -> None:
        """Set all from the templates.

        Args:
            components: what images are seen through, fitted.
            features: features of observations with noise, ``(N, F)``.
            images: features of the templates, without noise, ``(K, F)``.
            latent: parameters of the templates in the flow's space, ``(K, D)``, drawn from the prior.
        """
        inside = (images - components.mean) @ components.axes
        # Rounded, because bundles store that; where noise is very small, numbers are too large for it.
        rounded = inside.half().to(inside)
        self.points.copy_(rounded if bool(rounded.isfinite().all()) else inside)
        self.scale.copy_(components.scale)
        self.offset.copy_(-0.5 * self.points.square().sum(1))
        self.latent.copy_(latent)
        _tabulate(self)
        level = self._log_likelihood(components(features[:_ROWS]))
        self.powers.copy_(torch.tensor([_power(level, effective) for effective in _EFFECTIVE]))

    def forward(self, seen: Tensor) -> Tensor:
        """Map an image's components ``(…, components)`` to means of the harmonics, ``(…, out_channels)``."""
        with full_precision(seen.device):  # differences of large numbers
            level = self._log_likelihood(seen.to(self.points))
            parts = [(power * level).softmax(-1) @ self.harmonics for power in self.powers]
        return torch.cat(parts, -1)

    def _log_likelihood(self, seen: Tensor) -> Tensor:
        return nn.functional.linear(seen * self.scale, self.points, self.offset)


@torch.no_grad()
def _tabulate(templates: Templates, *_: object) -> None:
    """Set the harmonics of shares of the prior, of variance one under it, from the latent parameters."""
    columns, orders = [], torch.arange(1, _HARMONICS_OF_TURN + 1, device=templates.latent.device)
    for channel, share in enumerate((math.pi * torch.special.ndtr(templates.latent)).unsqueeze(2).unbind(1)):
        if channel in templates.periodic:
            columns += [(2 * share * orders).cos(), (2 * share * orders).sin()]
        else:
            columns.append((share * orders[:_HARMONICS]).cos())
    templates.harmonics.copy_(math.sqrt(2) * torch.cat(columns, 1))


def _power(level: Tensor, effective: float) -> float:
    """Power of the likelihoods, 1 at most, whose weights have an effective number of templates."""

    def number(power: float) -> float:
        return float((1 / torch.softmax(power * level, 1).square().sum(1)).median())

    low, high = 1e-6, 1.0
    if number(high) >= effective:
        return high
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if number(middle) >= effective else (low, middle)
    return low
