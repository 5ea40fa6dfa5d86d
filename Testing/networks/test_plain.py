"""Operations that exports replace by plain ones: the same numbers as torch's and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from monai_inn.networks.kernels.plain import PlainOperations, inverse, normal_quantile, position, repeated


def test_normal_quantile_is_that_of_scipy():
    tail = torch.logspace(-10, -0.4, 3000, dtype=torch.float64)
    probability = torch.cat([tail, torch.linspace(0.01, 0.99, 999, dtype=torch.float64), 1 - tail])
    expected = special.ndtri(probability.numpy())
    error = np.abs(normal_quantile(probability).numpy() - expected) / np.maximum(1, np.abs(expected))
    assert error.max() < 2e-7


def test_normal_quantile_is_finite_where_float32_ends():
    ends = torch.tensor([0.0, 1e-38, 0.5, 1.0])
    found = normal_quantile(ends)
    assert found.isfinite().all()
    assert found[2] == 0
    assert found[0] < -10
    assert found[3] > 10


@pytest.mark.parametrize("size", [1, 2, 7, 8, 100])
@pytest.mark.parametrize("right", [False, True])
def test_positions_are_those_of_torch_with_ties_and_beyond_the_ends(size, right):
    generator = torch.Generator().manual_seed(size)
    ordered = torch.randint(0, 9, (3, size), generator=generator).float().sort(1).values
    values = torch.cat([torch.randint(-2, 12, (3, 40), generator=generator).float(), ordered], 1)
    values[:, 0], values[:, 1] = torch.inf, -torch.inf
    assert torch.equal(
        position(ordered, values, right=right), torch.searchsorted(ordered, values, right=right)
    )
    found = position(ordered[0], values, right=right)
    assert torch.equal(found, torch.bucketize(values, ordered[0], right=right))


@pytest.mark.parametrize("size", [1, 2, 12])
def test_inverses_are_those_of_torch(size):
    rows = torch.randn(7, size, 2 * size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = rows @ rows.mT + 0.01 * torch.eye(size)
    assert torch.allclose(inverse(matrix), torch.linalg.inv(matrix), rtol=1e-9, atol=1e-9)
    with PlainOperations():
        assert torch.equal(torch.linalg.inv(matrix), inverse(matrix))


def test_doubles_need_nothing_that_runtimes_have_for_floats_alone():
    x = torch.linspace(-40, 40, 999, dtype=torch.float64)
    with PlainOperations():
        softplus, share = torch.nn.functional.softplus(x), torch.special.ndtr(x)
        single = torch.nn.functional.softplus(x.float())
    torch.testing.assert_close(softplus, torch.nn.functional.softplus(x, threshold=50), rtol=0, atol=1e-14)
    torch.testing.assert_close(share, torch.special.ndtr(x), rtol=0, atol=1e-7)
    assert torch.equal(single, torch.nn.functional.softplus(x.float()))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_repeated_interleaves(axis):
    values = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(repeated(values, 3, axis), values.repeat_interleave(3, axis))


def test_the_context_replaces_calls_and_leaves_all_others_alone():
    u = torch.linspace(0.01, 0.99, 50)
    knots = torch.tensor([0.2, 0.5])
    with PlainOperations():
        inside = [torch.special.ndtri(u), torch.bucketize(u, knots), torch.searchsorted(knots, u), u.exp()]
    assert torch.equal(inside[0], normal_quantile(u))
    assert not torch.equal(inside[0], torch.special.ndtri(u))
    assert torch.equal(inside[1], torch.bucketize(u, knots))
    assert torch.equal(inside[2], torch.searchsorted(knots, u))
    assert torch.equal(inside[3], u.exp())
