"""The benchmark problems: exact posteriors against closed forms, brute force and the problems themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import (
    ComplexRoots,
    EightModes,
    GaussianUniform,
    SimpleLikelihood,
    TwoMoons,
    create,
)
from monai_inn.problems.exact.references import Grid, ReferencePosterior, rejection_sample, sample_table

CASES = 400
NAMES = ("complex_roots", "eight_modes", "gaussian_uniform", "two_moons")
ALL = (*NAMES, "epidemic", "slcp", "inverse_ballistics", "inverse_kinematics", "linear_gaussian")
PLANAR = ("complex_roots", "eight_modes", "two_moons")


@pytest.mark.parametrize("name", NAMES)
def test_ranks_are_uniform_and_samples_are_as_likely_as_the_truth(name):
    """Checks prior, forward, noise and reference together: the truth is one more posterior sample."""
    problem = create(name)
    torch.manual_seed(1)
    theta, y = problem.simulate(CASES, seed=7)
    posterior = problem.reference_posterior(y)
    samples = posterior.sample((19,))
    assert samples.shape == (19, CASES, theta.shape[1])
    assert bool(problem.space.contains(samples).all())
    assert sbc_uniformity(sbc_ranks(samples, theta), 19).p_value.min() > 1e-3
    gap = posterior.log_prob(theta) - posterior.log_prob(samples).mean(0)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(CASES)


@pytest.mark.parametrize("name", PLANAR)
def test_density_is_that_of_the_samples(name):
    """Shares of 20,000 samples in the boxes of a grid against the density's integrals, p > .001 each."""
    problem = create(name)
    y = problem.simulate(3, seed=5)[1].double()
    posterior = problem.reference_posterior(y)
    torch.manual_seed(2)
    samples = posterior.sample((20_000,))
    for k in range(3):
        margin = 0.2 * samples[:, k].std(0)
        low, high = samples[:, k].min(0).values - margin, samples[:, k].max(0).values + margin
        boxes, fine = 10, 60
        axes = [
            low[d] + (high[d] - low[d]) * (torch.arange(boxes * fine).double() + 0.5) / (boxes * fine)
            for d in (0, 1)
        ]
        nodes = torch.cartesian_prod(*axes)
        density = problem.reference_posterior(y[k]).log_prob(nodes).exp().reshape(boxes, fine, boxes, fine)
        mass = density.sum((1, 3)).flatten() * float((high - low).prod()) / (boxes * fine) ** 2
        assert float(mass.sum()) == pytest.approx(1, abs=0.02)
        cell = ((samples[:, k] - low) / (high - low) * boxes).long().clamp(0, boxes - 1)
        count = (cell[:, 0] * boxes + cell[:, 1]).bincount(minlength=boxes**2).double()
        large = mass > 1e-3
        expected = torch.cat([mass[large], (mass.sum() - mass[large].sum()).clamp_min(1e-9)[None]])
        observed = torch.cat([count[large], count[~large].sum()[None]])
        kept = expected > 2.5e-4
        expected, observed = expected[kept] / expected[kept].sum(), observed[kept]
        assert stats.chisquare(observed, expected * observed.sum()).pvalue > 1e-3


@pytest.mark.parametrize("name", ALL)
def test_shapes_precision_and_seeds(name):
    problem = create(name)
    theta, y = problem.simulate(6, seed=4)
    for rows in (theta, theta.double(), theta.double().reshape(2, 3, -1), theta[0]):
        clean = problem.forward(rows)
        assert clean.shape == (*rows.shape[:-1], y.shape[1])
        assert clean.dtype == rows.dtype
        assert problem.noise(clean, torch.Generator().manual_seed(0)).dtype == rows.dtype
    posterior = problem.reference_posterior(y.reshape(2, 3, -1))
    assert posterior.batch_shape == (2, 3)
    assert posterior.event_shape == (theta.shape[1],)
    torch.manual_seed(3)
    first = posterior.sample((2, 2))
    torch.manual_seed(3)
    assert torch.equal(posterior.sample((2, 2)), first)
    assert not torch.equal(posterior.sample((2, 2)), first)
    assert first.shape == (2, 2, 2, 3, theta.shape[1])
    assert first.dtype == torch.float32
    if name != "slcp":
        assert posterior.log_prob(first).shape == (2, 2, 2, 3)
        assert torch.isfinite(posterior.log_prob(theta.reshape(2, 3, -1))).all()
    assert problem.reference_posterior(y[0]).sample().shape == theta[0].shape


@pytest.mark.parametrize("name", [*NAMES, "epidemic", "slcp"])
def test_wrong_parameters_are_named(name):
    problem = create(name)
    with pytest.raises(
        ValueError, match=rf"theta has shape \(4, 17\), expected \(…, {len(problem.parameters)}\)"
    ):
        problem.forward(torch.zeros(4, 17))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EightModes("many"), "unknown labels 'many'; choose one of all, some, none"),
        (lambda: EightModes(noise_sd=0), "noise_sd = 0"),
        (lambda: ComplexRoots(1), "degree = 1; give an integer of at least 2"),
        (lambda: ComplexRoots(2.5), "degree = 2.5; give an integer"),
        (lambda: ComplexRoots(noise_sd=math.inf), "noise_sd = inf"),
        (lambda: GaussianUniform(0), "num_parameters = 0"),
        (lambda: GaussianUniform(noise_sd=-1), "noise_sd = -1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- eight modes


@pytest.mark.parametrize(("labels", "loss"), [("all", -0.3810), ("some", 0.4854), ("none", 1.6984)])
def test_eight_modes_have_the_published_entropy(labels, loss):
    """ln k + ln 2πe·0.04 for k Gaussians that share a label; 20,000 cases."""
    problem = EightModes(labels)
    theta, y = problem.simulate(20_000, seed=0)
    log_prob = problem.reference_posterior(y).log_prob(theta)
    assert -float(log_prob.mean()) == pytest.approx(loss, abs=4 * float(log_prob.std()) / math.sqrt(20_000))
    assert (problem.prior.log_prob(theta).mean() + 1.6984).abs() < 0.03


def test_eight_modes_lie_clockwise_and_share_labels():
    problem = EightModes("some")
    centres = problem.prior.component_distribution.mean
    angle = torch.atan2(centres[:, 1], centres[:, 0]).rad2deg()
    assert torch.allclose((angle[:-1] - angle[1:]) % 360, torch.full((7,), 45.0), atol=0.01)
    assert centres[0].tolist() == pytest.approx([-2.4142, 1.0])
    assert problem.forward(centres).argmax(1).tolist() == [0, 0, 0, 0, 1, 1, 2, 3]
    assert problem.forward(centres).sum(1).eq(1).all()
    theta = problem.simulate(8000, seed=1)[0]
    count = EightModes("all").forward(theta).sum(0)
    assert (count - 1000).abs().max() < 4 * math.sqrt(8000 * 7 / 64)
    weights = problem.reference_posterior(torch.eye(8)).mixture_distribution.probs
    assert weights[0].tolist() == pytest.approx([0.25] * 4 + [0.0] * 4, abs=1e-6)


# --- complex roots


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_roots_have_equal_modes_at_the_right_places(degree):
    problem = ComplexRoots(degree)
    power = torch.tensor([[1.2, -0.9]], dtype=torch.float64)  # of size 1.5
    torch.manual_seed(degree)
    samples = torch.view_as_complex(problem.reference_posterior(power).sample((9000,))[:, 0])
    root = torch.view_as_complex(power)[0] ** (1 / degree)
    turned = root * torch.polar(torch.ones(degree), 2 * math.pi * torch.arange(degree) / degree).to(
        root.dtype
    )
    nearest = (samples[:, None] - turned).abs().argmin(1)
    share = nearest.bincount(minlength=degree) / 9000
    assert (share - 1 / degree).abs().max() < 4 * math.sqrt(1 / degree / 9000)
    # Local sd σ / (n |x|ⁿ⁻¹) along and across the radius, up to curvature and the prior's pull.
    spread = torch.view_as_real(samples / turned[nearest] * root.abs()).std(0)
    local = 0.2 / (degree * float(root.abs()) ** (degree - 1))
    assert (spread / local - 1).abs().max() < 0.1
    assert torch.allclose(problem.forward(torch.view_as_real(turned)), power, atol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.05, 4.0, 60.0])
def test_evidence_of_roots_on_a_plain_grid(power):
    """From the merged modes at zero to a power that the prior hardly makes."""
    problem = ComplexRoots(3)
    y = torch.tensor([power, 0.0], dtype=torch.float64)
    axis = torch.linspace(-4.2, 4.2, 1501, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    joint = problem.log_joint(x, y).logsumexp(0) + 2 * math.log(float(axis[1] - axis[0]))
    assert problem.log_evidence(y) == pytest.approx(float(joint), abs=1e-3)


# --- two moons


def test_noise_of_two_moons_is_a_half_ring():
    problem = TwoMoons()
    points = problem.noise(torch.zeros(20_000, 2), torch.Generator().manual_seed(0)).double()
    across, along = points[:, 0] - 0.25, points[:, 1]
    assert stats.kstest(torch.hypot(across, along).numpy(), "norm", (0.1, 0.01)).pvalue > 1e-3
    angle = torch.atan2(along, across).numpy()
    assert stats.kstest(angle, "uniform", (-math.pi / 2, math.pi)).pvalue > 1e-3


def test_evidence_of_two_moons_is_half_where_the_square_cuts_nothing():
    problem = TwoMoons()
    assert problem.log_evidence(torch.tensor([-0.3, 0.1])) == pytest.approx(math.log(0.5), abs=1e-12)
    theta = problem.prior.sample((400_000,)).double()
    for y in torch.tensor([[-0.3, 0.1], [-0.1, 1.2], [0.3, 0.2]], dtype=torch.float64):
        likelihood = (problem.log_joint(theta, y) - math.log(0.25)).exp()
        error = float(likelihood.std()) / math.sqrt(len(theta))
        assert abs(math.exp(problem.log_evidence(y)) - float(likelihood.mean())) < 4 * error + 0.005


# --- Gaussian with a uniform prior


def test_gaussian_uniform_is_a_product_of_truncated_normals():
    problem = GaussianUniform(3, 0.3)
    y = torch.tensor([[0.9, -1.4, 0.1], [0.0, 3.0, -3.0]], dtype=torch.float64)
    posterior = problem.reference_posterior(y)
    torch.manual_seed(0)
    samples = posterior.sample((5000,))
    expected = np.zeros((5000, 2))
    for k in range(2):
        for d in range(3):
            law = stats.truncnorm((-1 - y[k, d]) / 0.3, (1 - y[k, d]) / 0.3, float(y[k, d]), 0.3)
            assert stats.kstest(samples[:, k, d].numpy(), law.cdf).pvalue > 1e-3
            expected[:, k] += law.logpdf(samples[:, k, d].numpy())
    # The two ends of the prior's range, 1e-6 of it each, have no room in the flow's space.
    assert posterior.log_prob(samples).numpy() == pytest.approx(expected, abs=1e-6)
    assert posterior.log_prob(torch.full((3,), 1.1)).tolist() == [-math.inf] * 2


@settings(max_examples=30)
@given(st.floats(-40, 40))
def test_gaussian_uniform_samples_stay_inside_however_far_the_observation(value):
    samples = GaussianUniform(1).reference_posterior(torch.tensor([value])).sample((50,))
    assert samples.abs().max() <= 1
    if abs(value) > 3:
        assert (samples * math.copysign(1, value)).min() > 0


# --- samplers


def test_rejection_gives_the_density_and_guards_its_bound():
    def propose(m: int) -> torch.Tensor:
        return torch.rand(m, 1, dtype=torch.float64)

    torch.manual_seed(0)
    drawn = rejection_sample(propose, lambda x: 2 * x[:, 0].log(), 5000)
    assert drawn.shape == (5000, 1)
    assert stats.kstest(drawn[:, 0].numpy(), lambda x: x**3).pvalue > 1e-3
    with pytest.raises(RuntimeError, match="times its bound"):
        rejection_sample(propose, lambda x: x[:, 0], 5)


def test_table_and_grid_give_their_densities():
    torch.manual_seed(0)
    x = torch.linspace(-6, 6, 2000, dtype=torch.float64)
    assert stats.kstest(sample_table(x, -0.5 * x.square() - 700, 5000).numpy(), "norm").pvalue > 1e-3
    grid = Grid(
        torch.log(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).double(), torch.tensor([1.0, 5.0]), torch.ones(2)
    )
    assert grid.log_evidence == pytest.approx(math.log(10))
    drawn = grid.sample(10_000)
    count = ((drawn[:, 0] - 1).long() * 2 + (drawn[:, 1] - 5).long()).bincount(minlength=4)
    assert stats.chisquare(count, 1000 * np.arange(1, 5)).pvalue > 1e-3


def test_reference_posterior_refuses_what_it_cannot_answer():
    y = torch.zeros(3, 8)
    y[1, 2] = torch.nan
    with pytest.raises(ValueError, match="1 of 3 observations hold NaN"):
        SimpleLikelihood().reference_posterior(y)
    posterior = SimpleLikelihood().reference_posterior(torch.zeros(2, 8))
    with pytest.raises(NotImplementedError, match="samples but no density"):
        posterior.log_prob(torch.zeros(2, 5))
    empty = ReferencePosterior(torch.zeros(0, 8), 5, lambda y, n: torch.zeros(n, 5))
    assert empty.sample((4,)).shape == (4, 0, 5)
    assert SimpleLikelihood().reference_posterior(torch.randn(2, 8)).sample((0,)).shape == (0, 2, 5)
