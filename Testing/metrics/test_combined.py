"""One p-value from several scores: exact false alarms, several populations, which score leads."""

import pytest
import torch
from scipy.stats import betabinom

from monai_inn.metrics.detection.combined import CombinedThreshold, JointThreshold


def correlated(n, seed):
    draws = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return torch.stack([draws[:, 0], draws[:, 0] + draws[:, 1], draws[:, 2] ** 3], -1)


def test_false_alarms_are_exact_for_scores_that_depend_on_one_another():
    guard = CombinedThreshold([correlated(3999, 0)[None]])
    hits = int((guard(correlated(20_000, 1))[0] <= 0.05).sum())
    low, high = betabinom.ppf([0.0005, 0.9995], 20_000, 200, 3800)
    assert low <= hits <= high


def test_an_observation_is_out_only_if_it_is_so_for_every_population():
    far = correlated(999, 2) + torch.tensor([6.0, 0.0, 0.0])
    guard = CombinedThreshold([correlated(999, 0)[None], far[None]])
    for population in (correlated(4000, 3), correlated(4000, 4) + torch.tensor([6.0, 0.0, 0.0])):
        assert float((guard(population)[0] <= 0.05).float().mean()) < 0.07
    outside = torch.tensor([[30.0, 0.0, 0.0], [0.0, 30.0, 0.0], [0.0, 0.0, 3e3]])
    p_value, leading = guard(outside)
    assert bool((p_value <= 0.005).all())
    assert leading.tolist() == [0, 1, 2]


def test_the_rate_holds_in_most_groups():
    shift = [0.3 * i * torch.tensor([1.0, 0.0, 0.0]) for i in range(10)]
    guard = CombinedThreshold([torch.stack([correlated(500, i) + s for i, s in enumerate(shift)])])
    found = [guard(correlated(4000, 50 + i) + s)[0] for i, s in enumerate(shift)]
    rates = [float((p_value <= 0.1).float().mean()) for p_value in found]
    # Four standard deviations of 500 held-out data: 0.054.
    assert sorted(rates)[8] < 0.16
    assert rates[8] > 0.04  # and is not held by calling nothing out


def test_held_out_data_of_a_group_are_compared_with_other_groups():
    """As an observation of a new group is, by all others."""
    groups = torch.stack([correlated(30, i) + 0.5 * i for i in range(4)])
    groups[0, :5] = groups[1, :5]  # ties
    (_, evidence), *_ = CombinedThreshold([groups])._held_out
    for index, rows in enumerate(groups):
        others = torch.cat([*groups[:index], *groups[index + 1 :]])
        reached = (others.unsqueeze(1) >= rows).sum(0)
        smallest = ((1 + reached) / (1 + len(others))).amin(1)
        assert evidence[index].neg().tolist() == pytest.approx(smallest.sort(descending=True).values.tolist())


def test_what_is_not_a_number_is_out():
    guard = CombinedThreshold([correlated(399, 0)[None]])
    assert float(guard(torch.tensor([0.0, torch.nan, 0.0]))[0]) <= 0.02


@pytest.mark.parametrize("shapes", [[], [(3,)], [(2, 3)], [(1, 5, 3), (0, 5, 3)], [(1, 0, 3)]])
def test_no_scores_are_refused(shapes):
    with pytest.raises(ValueError, match="expected \\(groups, held-out data, scores\\)"):
        CombinedThreshold([torch.zeros(shape) for shape in shapes])


@pytest.mark.parametrize("seed", range(3))
def test_all_scores_together_raise_false_alarms_at_their_rate(seed):
    guard = JointThreshold(correlated(399, seed))
    hits = int((guard(correlated(20_000, 50 + seed))[0] <= 0.05).sum())
    low, high = betabinom.ppf([0.0005, 0.9995], 20_000, 20, 380)
    assert low <= hits <= high


def test_held_out_scores_are_compared_with_the_others():
    """By the p-value of each datum under a threshold of all others, whose ranks are those of one formula."""
    rows = correlated(12, 0).double()
    others = [rows[[j for j in range(12) if j != k]] for k in range(12)]
    apart = [
        float((r - o.mean(0)) @ torch.linalg.inv(torch.cov(o.T)) @ (r - o.mean(0)))
        for r, o in zip(rows, others, strict=True)
    ]
    assert JointThreshold(rows)._distances.scores.tolist() == pytest.approx(sorted(apart), rel=1e-4)


def test_two_scores_that_usually_agree_are_out_when_they_do_not():
    draws = torch.randn(1999, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([draws[:, 0], draws[:, 0] + 0.1 * draws[:, 1]], -1)
    odd = torch.tensor([[1.5, -1.5]])
    assert float(CombinedThreshold([rows[None]])(odd)[0]) > 0.05
    assert float(JointThreshold(rows)(odd)[0]) == pytest.approx(1 / 2000)
    assert int(JointThreshold(rows)(torch.tensor([[9.0, 1.0]]))[1]) == 0


def test_scores_that_repeat_others_change_nothing():
    rows, new = correlated(499, 0), correlated(100, 1)
    doubled = JointThreshold(torch.cat([rows, -rows], 1))(torch.cat([new, -new], 1))[0]
    assert torch.equal(doubled, JointThreshold(rows)(new)[0])


def test_a_joint_score_that_is_not_a_number_is_out():
    guard = JointThreshold(torch.cat([correlated(399, 0), torch.tensor([[torch.inf, 0.0, 0.0]])]))
    p_value = guard(torch.tensor([[0.0, torch.nan, 0.0], [0.0, 0.0, torch.inf], [0.0, 0.0, 0.0]]))[0]
    assert p_value[:2].tolist() == pytest.approx([2 / 401, 2 / 401])
    assert float(p_value[2]) > 0.5
    with pytest.raises(ValueError, match="2 of 2 held-out scores are finite; give at least three"):
        JointThreshold(torch.zeros(2, 3))
