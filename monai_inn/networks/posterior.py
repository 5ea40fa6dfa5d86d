"""The network of one inverse problem: encoder, posterior flow, density of the observations, preview head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from monai_inn.networks.classes.flow import ClassFlow
from monai_inn.networks.density import ObservationDensity
from monai_inn.networks.encoders.encoders import QuantileHead
from monai_inn.networks.explanation import Explanation
from monai_inn.networks.flows.bases import Base
from monai_inn.networks.flows.distributions import FlowDistribution
from monai_inn.networks.flows.flows import ConditionalFlow
from monai_inn.networks.parts import Encoder, build, describe
from monai_inn.seeding import seeded

__all__ = ["PosteriorNetwork", "assemble"]

_PARTS = ("encoder", "flow", "density", "has_preview", "explanation", "base")


class PosteriorNetwork(nn.Module):
    """All that is trained for one inverse problem; sizes only, no physics.

    The buffer ``ood_scores`` holds WAIC of held-out in-distribution observations, sorted.

    A recalibrated network has a ``base`` that adjusts the latents of its posterior, and two sorted buffers
    of held-out simulations: ``level_scores (D, n)``, at which quantile level the truth of each parameter of
    the first group lay, and ``region_radii (n,)``, the radius of the truth's latent in that group.

    Args:
        encoder: from features to the condition.
        flow: posterior given the condition; its first group holds the parameters that maps show.
        density: of the observations, for trust.
        preview: quick quantiles of the first group, if there are maps that may be previewed.
        explanation: the test whether parameters explain an observation, if there is one.
        base: density of the posterior's latents, the standard normal by default.
        num_ood_scores: held-out in-distribution scores kept for conformal thresholds.
        recalibration_cases: held-out simulations behind conformal quantile levels; 0 for none.
    """

    ood_scores: Tensor
    base: Base | None
    level_scores: Tensor | None
    region_radii: Tensor | None

    def __init__(
        self,
        encoder: Encoder,
        flow: ConditionalFlow,
        density: ObservationDensity,
        preview: QuantileHead | None = None,
        explanation: Explanation | None = None,
        base: Base | None = None,
        *,
        num_ood_scores: int = 4000,
        recalibration_cases: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.flow, self.density = encoder, flow, density
        self.preview, self.explanation = preview, explanation
        self.register_buffer("ood_scores", torch.zeros(num_ood_scores))
        targets = flow.config["groups"][0]
        self._hold(
            base,
            torch.zeros(targets, recalibration_cases) if recalibration_cases else None,
            torch.zeros(recalibration_cases) if recalibration_cases else None,
        )

    @property
    def config(self) -> dict[str, Any]:
        """Description from which ``from_config`` makes a network of the same sizes, JSON-ready.

        Raises:
            ValueError: if the class of the encoder is not registered.
        """
        sizes = {
            "num_ood_scores": len(self.ood_scores),
            "recalibration_cases": 0 if self.level_scores is None else self.level_scores.shape[1],
        }
        parts = {
            "encoder": describe(self.encoder),
            "flow": describe(self.flow),
            "density": self.density.config,
            "has_preview": self.preview is not None,
        }
        if self.explanation is not None:
            parts["explanation"] = self.explanation.config
        if self.base is not None:
            parts["base"] = describe(self.base)
        return parts | sizes

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PosteriorNetwork:
        """Build a network with new weights of the sizes that ``config`` described.

        Raises:
            UnknownNameError: if nobody offers its kind of encoder.
        """
        sizes = {name: value for name, value in config.items() if name not in _PARTS}
        with seeded(0):
            encoder = cast("Encoder", build(config["encoder"]))
            flow = cast("ConditionalFlow", build({"kind": ConditionalFlow.kind, **config["flow"]}))
            quantiles = QuantileHead(encoder.out_channels, flow.config["groups"][0])
            test = Explanation(**config["explanation"]) if "explanation" in config else None
            base = cast("Base", build(config["base"])) if "base" in config else None
        preview = quantiles if config["has_preview"] else None
        return cls(encoder, flow, ObservationDensity(**config["density"]), preview, test, base, **sizes)

    def recalibrated(
        self, base: Base | None, level_scores: Tensor | None, region_radii: Tensor | None
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

    def _hold(self, base: Base | None, scores: Tensor | None, radii: Tensor | None) -> None:
        self.base = base
        self.register_buffer("level_scores", scores)
        self.register_buffer("region_radii", radii)

    def posterior(self, features: Tensor) -> FlowDistribution:
        """Return the posterior in the flow's space given features ``(*batch, F)``."""
        return self.given(self.condition(features))

    def given(self, condition: Tensor) -> FlowDistribution:
        """Return the posterior in the flow's space given what ``condition`` returns, ``(*batch, E)``."""
        q = self.flow(condition)
        return q if self.base is None else q.with_base(self.base)

    @property
    def classifier(self) -> ClassFlow | None:
        """The flow, if it is a density of the observations that tells classes apart."""
        return self.flow if isinstance(self.flow, ClassFlow) else None

    @property
    def test(self) -> Explanation | ClassFlow | None:
        """What judges an observation beside its WAIC, if there is such a part."""
        return self.explanation or self.classifier

    def condition(self, features: Tensor) -> Tensor:
        """Return what flow and preview are conditioned on, ``(…, out_channels)``."""
        return self.encoder(features)  # type: ignore[no-any-return]

    @torch.no_grad()
    def fit_fixed(
        self,
        features: Tensor,
        density_features: Tensor,
        clean: Tensor,
        known: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Set all that is not trained.

        Args:
            features: shape ``(N, F)``.
            density_features: shape ``(N, K)``.
            clean: features of observations without noise, ``(N', F)``.
            known: what ``encoder.num_known`` asks for, see ``Encoder.fit``.
        """
        self.encoder.fit(features, clean, known)
        self.density.fit(self.encoder.summary(density_features))

    def observation_log_prob(self, features: Tensor) -> Tensor:
        """Log density in nats of density features ``(…, K)`` under every member, shape ``(M, …)``."""
        return self.density.log_prob(self.encoder.summary(features))

    def preview_quantiles(self, features: Tensor) -> Tensor:
        """Quick marginal quantiles of the first group given features ``(…, F)``, see ``quick_given``."""
        return self.quick_given(self.condition(features))

    def quick_given(self, condition: Tensor) -> Tensor:
        """Quick marginal quantiles ``(…, D, levels)`` of the first group in the flow's space.

        After a recalibration their distances from the median are scaled as typical latents are, which is
        right for a posterior that is too narrow or too wide everywhere, and else approximate.

        Raises:
            ValueError: if this network has no preview.
        """
        if self.preview is None:
            raise ValueError("a network of whole images or of angles has no preview; ask for its posterior.")
        quick = self.preview(condition)
        if self.base is None:
            return quick
        middle = quick.shape[-1] // 2
        return torch.lerp(quick[..., middle : middle + 1], quick, self.base.spread(0))


_MANY = 128  # features from which on a density is over principal components of them
_FLOW = {"num_blocks": 4, "hidden_channels": (64, 64), "coupling": "spline"}


def assemble(
    num_features: int,
    num_density_features: int,
    groups: Sequence[int],
    periodic: Sequence[int] = (),
    categories: Sequence[tuple[int, int]] = (),
    *,
    encoder: Encoder | Mapping[str, Any] | None = None,
    flow: Mapping[str, Any] | None = None,
    density: Mapping[str, Any] | None = None,
    explanation: Mapping[str, Any] | None = None,
    has_preview: bool = True,
    num_ood_scores: int = 4000,
    seed: int = 0,
) -> PosteriorNetwork:
    """Put a network together for a problem of some sizes.

    Args:
        num_features: features ``F`` of an observation that the posterior is conditioned on.
        num_density_features: features ``K`` of an observation that the density is over.
        groups: sizes of the parameter groups; the first group holds the parameters that maps show.
        periodic: parameters that are angles on a full circle, of the first group.
        categories: parameters that are classes, and how many of them, ``(parameter, K)``; likewise.
        encoder: the encoder, or its description; that of a vector by default.
        flow: further arguments of ``ConditionalFlow``.
        density: further arguments of ``ObservationDensity``.
        explanation: arguments of ``Explanation``; without them there is none.
        has_preview: whether to add the head of quick quantiles; angles and classes, which have no order,
            have none.
        num_ood_scores: held-out in-distribution scores kept for conformal thresholds.
        seed: seed of the initial weights.

    Raises:
        UnknownNameError: if nobody offers that kind of encoder.
        ValueError: if a size does not fit the others.
    """
    with seeded(seed):
        if not isinstance(encoder, nn.Module):
            description = {"kind": "vector", **(encoder or {})}
            encoder = cast("Encoder", build(description, num_features=num_features))
        else:
            describe(encoder)  # what cannot be described is better refused before it is trained
        preview = (
            QuantileHead(encoder.out_channels, groups[0])
            if has_preview and not (periodic or categories)
            else None
        )
        test = None if explanation is None else Explanation(sum(groups), **explanation)
    chosen: dict[str, Any] = {"kind": ConditionalFlow.kind, **(flow or {})}
    if chosen["kind"] == ConditionalFlow.kind:
        chosen = {**_FLOW, **chosen}
    sizes = {"in_channels": sum(groups), "condition_channels": encoder.out_channels, "groups": groups}
    posterior = build(chosen, **sizes, periodic=periodic, categories=categories, seed=seed)
    seen = encoder.summary(torch.zeros(1, num_density_features)).shape[-1]
    over = {"components": _MANY // 2 if seen > _MANY else 0, "seed": seed + 1, **(density or {})}
    observations = ObservationDensity(seen, **over)
    flows = cast("ConditionalFlow", posterior)
    return PosteriorNetwork(encoder, flows, observations, preview, test, num_ood_scores=num_ood_scores)
