"""The network of one inverse problem: encoder, posterior flow, density of the observations, preview head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from monai_inn.networks.bases import AdjustedNormal
from monai_inn.networks.distributions import FlowDistribution, SampleShape
from monai_inn.networks.encoders import Components, ConditionEncoder, QuantileHead, Whitening
from monai_inn.networks.flows import ConditionalFlow, FlowEnsemble
from monai_inn.networks.templates import Templates
from monai_inn.problems.parameters import ParameterSpace
from monai_inn.seeding import seeded

__all__ = ["ParameterPosterior", "PosteriorNetwork"]

_LEADING = 24  # principal components that the density of an image is over


class ParameterPosterior(Distribution):
    """Posterior over physical parameters: a flow's density seen through the parameters' bounds.

    ``batch_shape`` is that of the observations, ``event_shape`` is ``(D,)``; log densities are in nats in
    physical units, ``-inf`` outside the bounds.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: FlowDistribution, space: ParameterSpace) -> None:
        self.base, self.space = base, space
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: SampleShape, _instance: object = None) -> ParameterPosterior:
        """Return the same posterior with the batch expanded, as ``torch.Tensor.expand`` does."""
        return ParameterPosterior(self.base.expand(batch_shape), self.space)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw parameters in physical units, shape ``(*sample_shape, *batch_shape, D)``."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw parameters that gradients flow through."""
        return self.space.inverse(self.base.rsample(sample_shape))

    def push_with_log_prob(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples of standard normal latents ``(S, N, D)``, and their log densities ``(S, N)``."""
        value, log_prob = self.base.push_with_log_prob(latent)
        theta = self.space.inverse(value)
        return theta, log_prob + self.space.forward(theta)[1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of physical parameters ``(…, D)``; NaN for NaN."""
        latent, log_det = self.space.forward(value)
        density = self.base.log_prob(latent) + log_det
        return torch.where(self.space.contains(value) | density.isnan(), density, -torch.inf)


class PosteriorNetwork(nn.Module):
    """All that is trained for one inverse problem; sizes only, no physics.

    The buffer ``ood_scores`` holds WAIC of held-out in-distribution observations, sorted. The density is over
    the density features, or, if features are an image, over leading components and what lies beyond all. A
    network of an image has no preview, nor has one of angles, whose marginals have no order.

    A recalibrated network has a ``base`` that adjusts the latents of its posterior, and two sorted buffers
    of held-out simulations: ``level_scores (D, n)``, at which quantile level the truth of each parameter of
    the first group lay, and ``region_radii (n,)``, the radius of the truth's latent in that group.

    Args:
        num_features: features ``F`` of an observation that the posterior is conditioned on.
        num_density_features: features ``K`` of an observation that the density is over.
        groups: sizes of the parameter groups; the first group holds the parameters that maps show.
        condition_channels: channels between encoder and flow.
        encoder_width: width of the encoder.
        encoder_blocks: residual blocks of the encoder.
        components: principal components that the encoder sees of features that are an image; 0 for features
            that are none, of which it sees all.
        templates: images of known parameters that the encoder is told the fit of; 0 for none.
        periodic: parameters that are angles on a full circle, of the first group.
        num_blocks: coupling blocks for each group, one number or one for each.
        hidden_channels: hidden layers of the couplings' subnets, one tuple or one for each group.
        coupling: ``"spline"`` or ``"affine"``.
        members: flows in the density ensemble.
        density_blocks: coupling blocks of each of them.
        density_hidden: hidden layers of their subnets.
        num_ood_scores: held-out in-distribution scores kept for conformal thresholds.
        seed: seed of the initial weights.
        recalibration_knots: knots of the adjusted latent radius; 0 for a standard normal base.
        recalibration_cases: held-out simulations behind conformal quantile levels; 0 for none.
    """

    ood_scores: Tensor
    base: AdjustedNormal | None
    level_scores: Tensor | None
    region_radii: Tensor | None

    def __init__(
        self,
        num_features: int,
        num_density_features: int,
        groups: Sequence[int],
        *,
        condition_channels: int = 32,
        encoder_width: int = 128,
        encoder_blocks: int = 2,
        components: int = 0,
        templates: int = 0,
        periodic: Sequence[int] = (),
        num_blocks: int | Sequence[int] = 4,
        hidden_channels: Sequence[int] | Sequence[Sequence[int]] = (64, 64),
        coupling: str = "spline",
        members: int = 5,
        density_blocks: int = 2,
        density_hidden: Sequence[int] = (64, 64),
        num_ood_scores: int = 4000,
        seed: int = 0,
        recalibration_knots: int = 0,
        recalibration_cases: int = 0,
    ) -> None:
        super().__init__()
        with seeded(seed):
            leading = min(_LEADING, components)
            self.whitening: Whitening | Components = (
                Components(num_features, components, leading) if components else Whitening(num_features)
            )
            density_channels = leading + 1 if components else num_density_features
            self.density_whitening = Whitening(density_channels)
            self.templates = (
                Templates(components, templates, sum(groups), periodic) if components and templates else None
            )
            seen = (components or num_features) + (self.templates.out_channels if self.templates else 0)
            self.encoder = ConditionEncoder(seen, condition_channels, encoder_width, encoder_blocks)
            has_preview = not components and not periodic
            self.preview = QuantileHead(condition_channels, groups[0]) if has_preview else None
        self.flow = ConditionalFlow(
            sum(groups),
            condition_channels,
            num_blocks,
            hidden_channels,
            coupling,
            groups=groups,
            periodic=periodic,
            seed=seed,
        )
        self.density = FlowEnsemble(
            members,
            in_channels=density_channels,
            num_blocks=density_blocks,
            hidden_channels=density_hidden,
            # Affine couplings grow without bound off the data, and members then disagree about anything.
            coupling="spline",
            mixing="rotation",
            seed=seed + 1,
        )
        self.config = {
            "num_features": num_features,
            "num_density_features": num_density_features,
            "groups": list(groups),
            "condition_channels": condition_channels,
            "encoder_width": encoder_width,
            "encoder_blocks": encoder_blocks,
            "components": components,
            "templates": templates,
            "periodic": list(periodic),
            "num_blocks": self.flow.config["num_blocks"],
            "hidden_channels": self.flow.config["hidden_channels"],
            "coupling": coupling,
            "members": members,
            "density_blocks": density_blocks,
            "density_hidden": list(density_hidden),
            "num_ood_scores": num_ood_scores,
            "seed": seed,
        }
        self.register_buffer("ood_scores", torch.zeros(num_ood_scores))
        self._hold(
            AdjustedNormal(groups, recalibration_knots) if recalibration_knots else None,
            torch.zeros(groups[0], recalibration_cases) if recalibration_cases else None,
            torch.zeros(recalibration_cases) if recalibration_cases else None,
        )

    def recalibrated(
        self, base: AdjustedNormal | None, level_scores: Tensor | None, region_radii: Tensor | None
    ) -> PosteriorNetwork:
        """Return a copy with that recalibration in the place of its own, ``None`` for none."""
        other = copy.deepcopy(self)
        device = self.ood_scores.device
        other._hold(
            None if base is None else base.to(device),
            None if level_scores is None else level_scores.to(device, torch.float32),
            None if region_radii is None else region_radii.to(device, torch.float32),
        )
        return other

    def _hold(self, base: AdjustedNormal | None, scores: Tensor | None, radii: Tensor | None) -> None:
        self.base = base
        self.register_buffer("level_scores", scores)
        self.register_buffer("region_radii", radii)
        sizes = {
            "recalibration_knots": 0 if base is None else base.knots,
            "recalibration_cases": 0 if scores is None else scores.shape[1],
        }
        # Left out where there is none, so that such a network stays readable by releases without it.
        config = {name: value for name, value in self.config.items() if name not in sizes}
        self.config = config | {name: size for name, size in sizes.items() if size}

    def posterior(self, features: Tensor) -> FlowDistribution:
        """Return the posterior in the flow's space given features ``(*batch, F)``."""
        q = self.flow(self.condition(features))
        return q if self.base is None else q.with_base(self.base)

    def condition(self, features: Tensor) -> Tensor:
        """Return what flow and preview are conditioned on, ``(…, condition_channels)``."""
        seen = self.whitening(features)
        return self.encoder(seen if self.templates is None else torch.cat([seen, self.templates(seen)], -1))

    @torch.no_grad()
    def fit_whitening(
        self,
        features: Tensor,
        density_features: Tensor,
        clean: Tensor,
        templates: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Set all fixed maps in front of the trained parts.

        Args:
            features: shape ``(N, F)``.
            density_features: shape ``(N, K)``.
            clean: features of observations without noise, ``(N', F)``; only those of images are looked at.
            templates: features ``(K, F)`` of the templates and their parameters in the flow's space,
                ``(K, D)``, if the network has some.

        Raises:
            ValueError: if the network has templates and none are given, or the reverse.
        """
        if (self.templates is None) != (templates is None):
            number = 0 if self.templates is None else len(self.templates.offset)
            given = "none" if templates is None else f"{len(templates[0]):,}"
            raise ValueError(f"a network of {number:,} templates was given {given}; give as many as it has.")
        if isinstance(self.whitening, Components):
            self.whitening.fit(features, clean)
            if self.templates is not None and templates is not None:
                self.templates.fit(self.whitening, features, *templates)
        else:
            self.whitening.fit(features)
        self.density_whitening.fit(self._density_summary(density_features))

    def density_channels(self, features: Tensor) -> Tensor:
        """Return what the density is over, whitened, of density features ``(…, K)``."""
        return self.density_whitening(self._density_summary(features))

    def _density_summary(self, features: Tensor) -> Tensor:
        return self.whitening.summary(features) if isinstance(self.whitening, Components) else features

    def observation_log_prob(self, features: Tensor) -> Tensor:
        """Log density in nats of density features ``(…, K)`` under every member, shape ``(M, …)``."""
        return self.density().log_prob(self.density_channels(features)) + self.density_whitening.log_det

    def preview_quantiles(self, features: Tensor) -> Tensor:
        """Quick marginal quantiles ``(…, D, levels)`` of the first group in the flow's space.

        After a recalibration their distances from the median are scaled as typical latents are, which is
        right for a posterior that is too narrow or too wide everywhere, and else approximate.

        Raises:
            ValueError: if this network has no preview.
        """
        if self.preview is None:
            raise ValueError("a network of whole images or of angles has no preview; ask for its posterior.")
        quick = self.preview(self.condition(features))
        if self.base is None:
            return quick
        middle = quick.shape[-1] // 2
        return torch.lerp(quick[..., middle : middle + 1], quick, self.base.spread(0))
