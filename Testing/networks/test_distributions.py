"""What anybody may ask of a ``torch.distributions.Distribution``, asked of every one of ours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from monai_inn.networks import ConditionalFlow, FlowEnsemble, ParameterPosterior
from monai_inn.networks.flows.bases import AdjustedNormal
from monai_inn.problems.parameters import Parameter, ParameterSpace

SIZES = {"in_channels": 3, "condition_channels": 2, "num_blocks": 2, "hidden_channels": (8,)}
SPACE = ParameterSpace(
    [
        Parameter("share", "1", 0.0, 1.0),
        Parameter("length", "mm", -math.inf, math.inf),
        Parameter("rate", "1/s", 1.0, 100.0, scale="log"),
    ]
)
FLOWS = {
    "affine": ConditionalFlow(**SIZES, coupling="affine", groups=(1, 2)),
    "spline": ConditionalFlow(**SIZES, groups=(1, 2)),
    "periodic": ConditionalFlow(**SIZES, periodic=(0,)),
    "ensemble": FlowEnsemble(2, **SIZES),
}
KINDS = [*FLOWS, "leading", "with base", "parameters", "without condition"]


@pytest.fixture(params=[False, True], ids=["without gradients", "with gradients"], autouse=True)
def gradients(request):
    with torch.set_grad_enabled(request.param):
        yield request.param


def distribution(kind: str, condition: Tensor):
    if kind in FLOWS:
        return FLOWS[kind](condition)
    if kind == "leading":
        return FLOWS["spline"](condition).leading(1)
    if kind == "without condition":
        return ConditionalFlow(3, 0, 2, (8,))().expand(condition.shape[:-1])
    if kind == "with base":
        return FLOWS["spline"](condition).with_base(AdjustedNormal((1, 2), 3))
    return ParameterPosterior(FLOWS["spline"](condition), SPACE)


def members(kind: str) -> tuple[int, ...]:
    return (2,) if kind == "ensemble" else ()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_and_nothing_is_answered(kind, gradients):
    """No conditions, no samples, or neither."""
    for batch, samples in (((0,), (3,)), ((4,), (0,)), ((0,), (0,)), ((2, 0), ()), ((4,), (3, 0))):
        q = distribution(kind, torch.randn(*batch, 2))
        shape = (*samples, *members(kind), *batch, *q.event_shape)
        assert q.sample(samples).shape == q.rsample(samples).shape == shape
        density = q.log_prob(torch.full((*samples, *batch, *q.event_shape), 0.5))
        assert density.shape == (*members(kind), *samples, *batch)
        if gradients:
            density.sum().backward()  # of no use, but a batch of a training may be empty


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_of_samples_is_refused_in_one_line(kind):
    q = distribution(kind, torch.randn(4, 2))
    for draw in (q.sample, q.rsample):
        with pytest.raises(TypeError, match=r"sample_shape is 5, expected a tuple; write \(5,\)\.$"):
            draw(5)


@pytest.mark.parametrize("kind", KINDS)
def test_expanded_distributions_are_those_of_the_expanded_condition(kind):
    condition = torch.randn(4, 1, 2)
    q = distribution(kind, condition)
    wide = q.expand(torch.Size((5, 4, 3)))
    assert wide.batch_shape == (5, 4, 3)
    assert wide.event_shape == q.event_shape
    assert type(wide) is type(q)
    x = q.sample()
    x = x[0] if members(kind) else x
    expected = q.log_prob(x).expand(5, *members(kind), 4, 1).movedim(0, -3).expand(*members(kind), 5, 4, 3)
    torch.testing.assert_close(wide.log_prob(x), expected, rtol=1e-4, atol=1e-4)
    assert wide.rsample((2,)).shape == (2, *members(kind), 5, 4, 3, *q.event_shape)
    with pytest.raises(RuntimeError, match="expanded size"):
        q.expand((7, 1))


def test_independent_takes_our_distributions():
    condition, x = torch.randn(4, 2), torch.randn(4, 3)
    q = FLOWS["spline"](condition)
    torch.testing.assert_close(Independent(q, 1).log_prob(x), q.log_prob(x).sum())
    assert Independent(q, 1).expand((2,)).sample().shape == (2, 4, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_densities_at_infinity_and_at_nan_are_those_of_a_normal(kind):
    q = distribution(kind, torch.randn(1, 2))
    event = q.event_shape[0]
    rows = torch.full((5, event), 0.5)
    if kind == "parameters":
        rows[:, 2] = 5.0
    for place, value in enumerate((math.inf, -math.inf, math.nan, 3e38)):
        rows[place, place % event] = value
    expected = Normal(torch.zeros(event), 1.0, validate_args=False).log_prob(rows).sum(-1)
    found = q.log_prob(rows)
    for density in found if members(kind) else [found]:
        assert torch.equal(density.isnan(), expected.isnan())
        assert torch.equal(density == -math.inf, expected == -math.inf)
        assert density[4].isfinite()
    both = rows[:1].clone()
    both[:, -1] = math.nan
    both[:, 0] = math.inf if event > 1 else math.nan
    assert q.log_prob(both).isnan().all()


def test_a_condition_that_is_not_finite_gives_no_verdict():
    for value in (math.nan, math.inf):
        condition = torch.tensor([[0.0, 0.0], [value, 0.0]])
        density = FLOWS["spline"](condition).log_prob(torch.zeros(2, 3))
        assert density[0].isfinite()
        assert density[1].isnan()


def test_parameters_outside_their_bounds_have_no_density():
    q = ParameterPosterior(FLOWS["spline"](torch.zeros(2)), SPACE)
    inside = torch.tensor([0.5, 0.0, 5.0])
    assert q.log_prob(inside).isfinite()
    for place, value in ((0, 1.5), (0, -1e-3), (2, 0.5), (2, 1e6), (1, math.inf)):
        outside = inside.clone()
        outside[place] = value
        assert q.log_prob(outside) == -math.inf


def test_a_value_without_channels_is_named():
    with pytest.raises(ValueError, match="values have 0 channels on the last axis, expected 3"):
        FLOWS["affine"](torch.zeros(2)).log_prob(torch.tensor(1.0))


def test_members_with_several_samples_have_gradients(gradients):
    """Their gradients come with other strides than their values."""
    flow = FLOWS["ensemble"]
    with torch.enable_grad():
        density = flow(torch.randn(4, 2)).log_prob(torch.randn(3, 4, 3))
        (density * torch.rand(4, 3, 2).permute(2, 1, 0)).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in flow.parameters())


def test_values_broadcast_against_a_batch_of_one():
    condition, x = torch.randn(1, 2), torch.randn(5, 3)
    for name, flow in FLOWS.items():
        expected = flow(condition.expand(5, 2)).log_prob(x)
        torch.testing.assert_close(flow(condition).log_prob(x), expected, rtol=1e-4, atol=1e-4)
        assert flow(condition).latent(x).shape == (*members(name), 5, 3)
