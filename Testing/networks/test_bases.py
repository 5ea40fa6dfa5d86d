"""The base of a recalibrated flow: a density, the same on every path, and free where absent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi, kstest

from monai_inn.networks import ConditionalFlow
from monai_inn.networks.flows.bases import AdjustedNormal, Adjustment


def adjustment(size: int, knots: int, seed: int) -> Adjustment:
    """Anything that a base may be: shift, scales, and a radius that is stretched and squeezed."""
    generator = torch.Generator().manual_seed(seed)
    steps = 0.1 + 0.4 * torch.rand(knots, generator=generator)
    radius = steps.cumsum(0) - 1
    after = (steps * (0.3 + 1.4 * torch.rand(knots, generator=generator))).cumsum(0) - 1
    shift, log_scale = 0.3 * torch.randn(2, size, generator=generator)
    return Adjustment(shift, log_scale, radius, after - radius)


def make_base(groups: tuple[int, ...], knots: int = 5, seed: int = 0) -> AdjustedNormal:
    base = AdjustedNormal(groups, knots)
    for group, size in enumerate(groups):
        base.set(group, adjustment(size, 1 + (seed + group) % knots, seed + group))
    return base.double()


def log_density(base: AdjustedNormal, value: torch.Tensor) -> torch.Tensor:
    """Log density of ``(rows, channels)``."""
    parts = [base.log_density(g, value[:, a:b].T) for g, (a, b) in base.spans(value.shape[1])]
    return torch.stack(parts).sum(0) - 0.5 * math.log(2 * math.pi) * value.shape[1]


@given(
    groups=st.sampled_from([(1,), (3,), (2, 3), (1, 1, 2)]),
    knots=st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40)
def test_pull_undoes_push_and_the_density_is_that_of_the_jacobian(groups, knots, seed):
    base = make_base(groups, knots, seed)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(6, sum(groups), generator=generator, dtype=torch.float64)
    value = base.push(z)
    assert torch.allclose(base.pull(value), z, atol=1e-10)
    found = log_density(base, value)
    for row, log_q in zip(z, found, strict=True):
        log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(base.push, row))[1]
        normal = -0.5 * row.square().sum() - 0.5 * math.log(2 * math.pi) * len(row)
        assert torch.allclose(log_q, normal - log_det, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_density_integrates_to_one(channels, seed):
    base = make_base((channels,), seed=seed)
    axis = torch.linspace(-16, 16, 200_001 if channels == 1 else 1601, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * channels).reshape(-1, channels)
    mass = log_density(base, grid).exp().sum() * (axis[1] - axis[0]) ** channels
    # The sum misses half a grid step times every jump of the density at a knot.
    assert abs(float(mass) - 1) < (3e-4 if channels == 1 else 2e-3)


def test_radius_of_samples_is_the_rescaled_one_and_their_density_agrees():
    base = AdjustedNormal((3,), 2)
    radius, factor = torch.tensor([0.0, 1.0]), torch.tensor([0.5, -0.2])
    base.set(0, Adjustment(torch.zeros(3), torch.zeros(3), radius, factor))
    base = base.double()
    value = base.push(torch.randn(4000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    r = value.norm(dim=1).numpy()

    def cdf(r):
        t = torch.as_tensor(r).log()  # slope of log r' over log r: 1, then .3, then 1
        back = torch.where(t < 0.5, t - 0.5, torch.where(t < 0.8, (t - 0.5) / 0.3, t + 0.2))
        return chi(3).cdf(back.exp().numpy())

    assert kstest(r, cdf).pvalue > 0.01
    # An independent density: that of the radius by its own change of variables, over the sphere's surface.
    step = 1e-6
    slope = torch.as_tensor((cdf(r + step) - cdf(r - step)) / (2 * step))
    expected = slope.log() - math.log(4 * math.pi) - 2 * torch.as_tensor(r).log()
    smooth = (torch.as_tensor(r).log() - torch.tensor([[0.5], [0.8]])).abs().amin(0) > 1e-4
    assert torch.allclose(log_density(base, value)[smooth], expected[smooth], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_new_one_changes_nothing_bit_for_bit(dtype):
    base = AdjustedNormal((2, 3), 4).to(dtype)
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    z[0] = 0
    assert torch.equal(base.push(z), z)
    assert torch.equal(base.pull(z), z)
    for group, (start, stop) in base.spans(5):
        part = z[:, start:stop].T
        assert torch.equal(base.log_density(group, part), -0.5 * part.square().sum(0))


def test_gradients_are_finite_at_the_origin():
    base = make_base((3,), seed=4)
    z = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    base.push(z).sum().backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": torch.zeros(3)}, r"sizes \(3, 2, 2, 2\) does not fit; group 1 has 2 channels"),
        ({"radius": torch.arange(4.0), "factor": torch.zeros(4)}, "room for 3 knots"),
        ({"radius": torch.tensor([1.0, 0.0])}, "must increase"),
        ({"factor": torch.tensor([0.0, -1.5])}, "must increase"),
    ],
)
def test_impossible_adjustments_are_refused(change, message):
    good = Adjustment(torch.zeros(2), torch.zeros(2), torch.tensor([0.0, 1.0]), torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        AdjustedNormal((1, 2), 3).set(1, good._replace(**change))


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_every_path_of_a_flow_agrees(coupling):
    flow = ConditionalFlow(5, 3, 2, (8, 8), coupling, groups=(2, 3)).double()
    base, generator = make_base((2, 3), seed=2), torch.Generator().manual_seed(0)
    q = flow(torch.randn(7, 3, generator=generator, dtype=torch.float64)).with_base(base)
    latent = torch.randn(11, 7, 5, generator=generator, dtype=torch.float64)
    x = q.push(latent)  # gradients on: one differentiable pass
    log_prob = q.log_prob(x)
    assert torch.allclose(flow(q._condition).push(base.push(latent)), x, atol=1e-12)
    with torch.no_grad():  # plans
        assert torch.allclose(q.push(latent), x, atol=1e-11)
        assert torch.allclose(q.log_prob(x), log_prob, atol=1e-10)
        assert torch.allclose(q.latent(x), latent, atol=1e-8)
        samples, density = q.push_with_log_prob(latent)
        assert torch.allclose(samples, x, atol=1e-11)
        assert torch.allclose(density, log_prob, atol=1e-8)
        lead = q.leading(2)
        assert torch.allclose(lead.push(latent[..., :2]), x[..., :2], atol=1e-11)
        assert torch.allclose(lead.latent(x[..., :2]), latent[..., :2], atol=1e-8)
    jacobian = torch.autograd.functional.jacobian(lambda z: q.push(z[None, None])[0, 0], latent[0, 0])
    expected = -0.5 * latent[0, 0].square().sum() - 2.5 * math.log(2 * math.pi)
    assert torch.allclose(log_prob[0, 0], expected - torch.linalg.slogdet(jacobian)[1], atol=1e-9)
    log_prob.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in flow.parameters() if p.grad is not None)


def test_marginal_of_a_group_integrates_to_one_and_is_that_of_the_joint():
    flow = ConditionalFlow(2, 1, 2, (8,), "affine", groups=(1, 1)).double()
    q = flow(torch.ones(1, 1, dtype=torch.float64)).with_base(make_base((1, 1), seed=3))
    axis = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    with torch.no_grad():
        marginal = q.leading(1).log_prob(axis[:, None, None]).exp()
        assert abs(float(marginal.sum() * (axis[1] - axis[0])) - 1) < 1e-3
        rows = torch.stack([torch.full_like(axis, 0.7), axis], 1)[:, None]
        joint = q.log_prob(rows).exp().sum() * (axis[1] - axis[0])
        at = q.leading(1).log_prob(torch.tensor([[[0.7]]], dtype=torch.float64)).exp()
    assert float(joint) == pytest.approx(float(at), rel=2e-3)


def test_without_a_base_the_answer_is_bit_for_bit_that_of_a_standard_normal_one():
    flow = ConditionalFlow(4, 3, 2, (8,), "affine", groups=(2, 2))
    condition = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    latent = torch.randn(6, 9, 4, generator=torch.Generator().manual_seed(1))
    q = flow(condition)
    for manager in (torch.no_grad(), torch.enable_grad()):
        with manager:
            other = q.with_base(AdjustedNormal((2, 2), 3))
            assert torch.equal(q.push(latent), other.push(latent))
            assert torch.allclose(q.log_prob(latent), other.log_prob(latent), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_samples_and_density_on_cuda_are_those_on_the_cpu():
    flow = ConditionalFlow(5, 3, 2, (8, 8), "spline", groups=(2, 3)).double()
    base = make_base((2, 3), seed=2)
    condition = torch.randn(7, 3, dtype=torch.float64)
    latent = torch.randn(11, 7, 5, dtype=torch.float64)
    with torch.no_grad():
        here = flow(condition).with_base(base)
        x, log_prob = here.push(latent), here.log_prob(latent)
        there = flow.cuda()(condition.cuda()).with_base(base.cuda())
        assert torch.allclose(there.push(latent.cuda()).cpu(), x, atol=1e-9)
        assert torch.allclose(there.log_prob(latent.cuda()).cpu(), log_prob, atol=1e-9)
