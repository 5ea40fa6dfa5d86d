"""What is measured of a network that was trained to mean the same at several sites."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_inn.fitted import FittedPosterior
from monai_inn.metrics import independence_test
from monai_inn.networks.encoders.gates import GatedEncoder
from monai_inn.training.objectives.invariance import site_of

__all__ = ["measure_sites"]

_LEVEL = 0.9
_TESTED_ROWS, _PERMUTATIONS = 600, 199


@torch.no_grad()
def measure_sites(fitted: FittedPosterior, theta: Tensor, y: Tensor, seed: int) -> dict[str, Any]:
    """Measure gates and sites on simulations ``(N, D)`` and ``(N, C)``; JSON-ready, empty without gates.

    Returns:
        ``over`` and ``weight`` of the training; the ``gates`` of features; of each site the negative log
        density of the targets in nats (physical units) and the coverage of their joint region; two p-values
        of up to 600 simulations. ``p_value`` is that of what the condition leaves open of the targets being
        independent of condition and site, small if the network is not invariant. ``sites_p_value`` is that of
        targets and features being independent of the site: where it is not small, the sites may be all the
        same, and nothing is known of what is invariant.
    """
    encoder, problem = fitted.network.encoder, fitted.problem
    if not isinstance(encoder, GatedEncoder):
        return {}
    targets = len(problem.targets)
    site = site_of(problem, theta, encoder.over)
    density = -fitted.target_posterior(y).log_prob(theta[:, :targets])
    is_inside = fitted.is_inside(theta[:, :targets], y, _LEVEL).double()
    some, of = slice(_TESTED_ROWS), site[:_TESTED_ROWS]
    features = problem.features(y[some].to(fitted.device)).float()
    condition, latent = fitted.network.condition(features), problem.space.to_latent(theta[some])[:, :targets]
    left = fitted.network.flow(condition).leading(targets).latent(latent.to(condition))
    channels = (*problem.observation.names, *problem.observation.context)
    is_direct = len(channels) == features.shape[1]
    names = channels if is_direct else [f"feature {i + 1}" for i in range(features.shape[1])]
    return {
        "over": encoder.over,
        "weight": encoder.weight,
        "gates": {name: round(gate, 4) for name, gate in zip(names, encoder.gates.tolist(), strict=True)},
        "p_value": independence_test(left, condition, of, permutations=_PERMUTATIONS, seed=seed).p_value,
        "sites_p_value": _sites_p_value(encoder, features, latent, of, seed),
        "sites": {
            name: {
                "nll": round(float(density[site == k].mean()), 4),
                f"coverage_{_LEVEL:.0%}": round(float(is_inside[site == k].mean()), 4),
            }
            for k, name in enumerate(problem.parameters[problem.space.index(encoder.over)].categories)
        },
    }


def _sites_p_value(encoder: GatedEncoder, features: Tensor, latent: Tensor, site: Tensor, seed: int) -> float:
    """The p-value of targets and features, in standard deviations, being independent of the site."""
    some = slice(_TESTED_ROWS)
    seen = torch.cat([latent[some].to(features), encoder.whitening(features[some]).nan_to_num()], 1)
    return independence_test(seen, site[some], permutations=_PERMUTATIONS, seed=seed).p_value
