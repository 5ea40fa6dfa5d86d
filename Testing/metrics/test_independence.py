"""The Hilbert–Schmidt criterion against sums by hand, its test against all pairings, and uniform p-values."""

import itertools
import math

import pytest
import torch
from scipy.stats import kstest

from monai_inn.metrics import hsic, independence_test


def by_hand(k, l):  # noqa: E741
    """The definition as three sums over all pairs, triples and quadruples of rows."""
    n, rows = len(k), range(len(k))
    pairs = sum(k[i][j] * l[i][j] for i in rows for j in rows) / n**2
    quadruples = sum(k[i][j] for i in rows for j in rows) * sum(l[i][j] for i in rows for j in rows) / n**4
    triples = sum(k[i][j] * l[i][m] for i in rows for j in rows for m in rows) / n**3
    return pairs + quadruples - 2 * triples


def gaussian(x):
    distances = sorted(abs(a - b) for a, b in itertools.combinations(x, 2))
    width = distances[(len(distances) - 1) // 2]
    return [[math.exp(-((a - b) ** 2) / (2 * width**2)) for b in x] for a in x]


X, CLASS, Y = [0.3, -1.2, 0.8, 2.0, 0.1], [0, 1, 0, 1, 1], [1.0, 0.5, -0.7, 2.2, 0.4]


ORDERS = [list(order) for order in itertools.permutations(range(5))]


def shuffled(k, order):
    return [[k[i][j] for j in order] for i in order]


def test_it_is_the_definition_less_its_mean_over_all_pairings():
    x, y, c = torch.tensor(X)[:, None].double(), torch.tensor(Y)[:, None].double(), torch.tensor(CLASS)
    same = [[float(a == b) for b in CLASS] for a in CLASS]
    joint = [[s * g for s, g in zip(*rows, strict=True)] for rows in zip(same, gaussian(Y), strict=True)]
    for others, kernel in (((c,), same), ((y,), gaussian(Y)), ((y, c), joint)):
        every = [by_hand(gaussian(X), shuffled(kernel, order)) for order in ORDERS]
        expected = by_hand(gaussian(X), kernel) - sum(every) / len(every)
        assert float(hsic(x, *others)) == pytest.approx(expected, rel=1e-6)


def test_two_classes_that_are_one_and_the_same_have_the_value_in_closed_form():
    """With shares p and q = 1 − p the sums give (2 p q)² less (2 p q)² / (n − 1)."""
    c = torch.tensor([0] * 3 + [1] * 7)
    assert float(hsic(c, c)) == pytest.approx((2 * 0.3 * 0.7) ** 2 * (1 - 1 / 9), rel=1e-5)


def test_the_p_value_is_the_share_of_all_pairings():
    x, y = torch.tensor(X)[:, None].double(), torch.tensor(Y)[:, None].double()
    every = torch.stack([hsic(x, y[order]) for order in ORDERS])
    exact = float((every >= hsic(x, y) - 1e-12).double().mean())
    n = 4000
    found = independence_test(x, y, permutations=n).p_value
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / n) + 1 / n


def test_p_values_are_uniform_under_independence():
    p = []
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        x, h = torch.randn(40, 1, generator=generator), torch.randn(40, 2, generator=generator)
        p.append(independence_test(x, h, torch.arange(40) % 3, permutations=99, seed=seed).p_value)
    jitter = torch.rand(100, generator=torch.Generator().manual_seed(0)).double()
    assert kstest(torch.tensor(p).double() - jitter / 100, "uniform").pvalue > 0.01


@pytest.mark.parametrize("seed", range(10))
def test_what_only_the_pair_tells_is_found(seed):
    """A slope whose sign is that of the class: neither the number nor the class alone tells anything."""
    generator = torch.Generator().manual_seed(seed)
    h, noise = torch.randn(2, 200, 1, generator=generator)
    c = torch.arange(200) % 2
    x = (2 * c - 1)[:, None] * h + noise
    assert independence_test(x, h, c, permutations=99).p_value == 0.01


def test_doubt_takes_off_standard_deviations_over_the_pairings():
    generator = torch.Generator().manual_seed(0)
    x, h, c = (
        torch.randn(200, 1, generator=generator),
        torch.randn(200, 2, generator=generator),
        torch.arange(200) % 3,
    )
    shuffled = [x[torch.randperm(200, generator=generator)] for _ in range(400)]
    spread = float(torch.stack([hsic(row, h, c) for row in shuffled]).std())
    strong = x + h[:, :1] * (c[:, None] - 1)
    # The standard error of a standard deviation of 400 values is 4 %.
    taken = float(hsic(strong, h, c) - hsic(strong, h, c, doubt=2.0))
    assert taken == pytest.approx(2 * spread, rel=0.2)
    assert float(hsic(x, h, c, doubt=4.0)) == 0.0


def test_gradients_flow_through_it():
    h, c = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 2
    shift = torch.tensor(1.0, requires_grad=True)
    hsic(h[:, :1] + shift * c[:, None], c).backward()
    assert shift.grad > 0


@pytest.mark.parametrize(
    ("x", "y", "permutations", "message"),
    [
        (torch.zeros(4, 1), torch.zeros(4), 99, "5 to 4000 rows"),
        (torch.zeros(9, 1), torch.zeros(8, 1), 99, r"numbers of shape \(8, 1\) beside 9 rows"),
        (torch.zeros(9), torch.zeros(9, 1), 99, r"numbers of shape \(9,\)"),
        (torch.zeros(9, 1), torch.full((9, 1), torch.nan), 99, "NaN or infinite"),
        (torch.zeros(9, 1), torch.zeros(9, 1), 9, "permutations = 9"),
    ],
)
def test_bad_input(x, y, permutations, message):
    with pytest.raises(ValueError, match=message):
        independence_test(x, y, permutations=permutations)
