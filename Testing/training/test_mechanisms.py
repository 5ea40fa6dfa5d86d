"""Features that mean the same at all sites, found in closed form on models whose causes are known."""

from __future__ import annotations

import pytest
import torch

from monai_inn.testproblems.sites import CauseAndEffect
from monai_inn.training.objectives.mechanisms import invariant_features

SITES = 4


def chosen(features, outcome, site, weight=2000.0):
    standard = (features - features.mean(0)) / features.std(0)
    found = invariant_features(standard, (outcome - outcome.mean()) / outcome.std(), site, weight)
    return [k for k, is_open in enumerate(found) if is_open]


def drawn(n, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    site = torch.arange(n) % SITES
    return torch.randn(n, columns, generator=generator), site


@pytest.mark.parametrize("rows", [400, 8000])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (CauseAndEffect(), [0]),
        (CauseAndEffect(slopes=(1.0,) * 4, spreads=(0.3, 0.5, 0.7, 0.9)), [0]),
        (CauseAndEffect(slopes=(1.0,) * 4, spreads=(0.5,) * 4), [0, 1]),
    ],
    ids=["slopes differ", "spreads differ", "sites are alike"],
)
def test_an_effect_is_left_out_where_it_differs_and_only_there(model, expected, seed, rows):
    theta, y = model.simulate(rows, seed)
    assert chosen(y, theta[:, :1], theta[:, 1].long()) == expected


@pytest.mark.parametrize("seed", range(5))
def test_two_causes_that_hold_only_together_are_both_found(seed):
    """Of one cause alone the other is an offset that the site shifts."""
    draws, site = drawn(4000, 3, seed)
    shift = torch.tensor([-1.5, -0.5, 0.5, 1.5])[site][:, None]
    causes = draws[:, :2] + torch.cat([shift, -0.7 * shift], 1)
    outcome = causes.sum(1, keepdim=True) + draws[:, 2:]
    effect = outcome * (1 + 0.3 * site[:, None]) + 0.3 * draws[:, :1].roll(1, 0)
    assert chosen(torch.cat([causes, effect], 1), outcome, site) == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_a_curved_law_counts_as_the_same_at_sites_with_other_causes(seed):
    draws, site = drawn(4000, 2, seed)
    cause = draws[:, :1] * torch.tensor([0.4, 0.7, 1.0, 1.3])[site][:, None] + 0.3 * site[:, None]
    outcome = cause.square() + 0.5 * draws[:, 1:]
    effect = outcome * (1 + 0.3 * site[:, None]) + 0.3 * draws.roll(1, 0)[:, :1]
    assert chosen(torch.cat([cause, effect], 1), outcome, site) == [0]


def test_causes_are_found_among_many_features_that_repeat():
    draws, site = drawn(2000, 20, 0)
    features = draws.clone()
    outcome = draws[:, :3].sum(1, keepdim=True) + drawn(2000, 1, 1)[0]
    features[:, 7] = outcome[:, 0] * torch.tensor([0.5, 1.0, 1.5, 2.0])[site] + 0.3 * draws[:, 7]
    features[:, 8] = features[:, 0]
    found = chosen(features, outcome, site)
    assert {1, 2} < set(found)
    assert {0, 8} & set(found)
    assert 7 not in found


def test_without_weight_all_that_tells_is_used():
    theta, y = CauseAndEffect().simulate(2000, 0)
    assert chosen(y, theta[:, :1], theta[:, 1].long(), weight=0.0) == [0, 1]
