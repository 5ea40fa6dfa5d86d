"""Putting a network together for a problem of some sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from monai_inn.networks.density import ObservationDensity
from monai_inn.networks.encoders.encoders import QuantileHead
from monai_inn.networks.explanation import Explanation
from monai_inn.networks.flows.flows import ConditionalFlow
from monai_inn.networks.parts import Encoder, build, describe
from monai_inn.networks.posterior import PosteriorNetwork
from monai_inn.seeding import seeded

__all__ = ["assemble"]

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
    chosen: dict[str, Any] = {"kind": ConditionalFlow.kind, **_FLOW, **(flow or {})}
    sizes = {"in_channels": sum(groups), "condition_channels": encoder.out_channels, "groups": groups}
    posterior = build(chosen, **sizes, periodic=periodic, categories=categories, seed=seed)
    seen = encoder.summary(torch.zeros(1, num_density_features)).shape[-1]
    over = {"components": _MANY // 2 if seen > _MANY else 0, "seed": seed + 1, **(density or {})}
    observations = ObservationDensity(seen, **over)
    flows = cast("ConditionalFlow", posterior)
    return PosteriorNetwork(encoder, flows, observations, preview, test, num_ood_scores=num_ood_scores)
