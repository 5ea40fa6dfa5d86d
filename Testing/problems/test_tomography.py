"""Limited-angle CT: the exact posterior, its missing wedge, and the dense start of a flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import monai_inn
from monai_inn.networks.images.rows import FieldFlow
from monai_inn.testproblems.tomography import DiscCT
from monai_inn.training import Recipe

SIDE = 32


@pytest.fixture(scope="module")
def problem() -> DiscCT:
    return DiscCT(SIDE)


@pytest.fixture(scope="module")
def start(problem: DiscCT) -> FieldFlow:
    """The flow of the problem before its training."""
    flow = FieldFlow(SIDE**2, SIDE**2, **problem.flow, num_blocks=0)
    flow.set_covariance(problem.posterior_covariance)
    return flow


def waves(taper: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Complex waves ``(D, D)``, tapered towards the border or not, their angle in degrees and frequency."""
    unit = torch.eye(SIDE**2, dtype=torch.float64).view(-1, SIDE, SIDE)
    made = torch.fft.fft2(unit, norm="ortho").conj().permute(1, 2, 0).flatten(0, 1)
    if taper:
        along = torch.sin(math.pi * (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE).square()
        made = made * torch.outer(along, along).flatten()
    k = torch.fft.fftfreq(SIDE, 1 / SIDE, dtype=torch.float64)
    y, x = torch.meshgrid(k, k, indexing="ij")
    angle = torch.rad2deg(torch.atan2(y, x))
    return made, ((angle + 90) % 180 - 90).abs().flatten(), (y.square() + x.square()).sqrt().flatten()


def power(made: Tensor, covariance: Tensor) -> Tensor:
    """Variance of each wave's coefficient."""
    return torch.einsum("ai,ij,aj->a", made.conj(), covariance.to(made), made).real


def test_projections_sum_the_image(problem: DiscCT) -> None:
    """Each pixel near the middle has its whole value in every projection, at its place."""
    middle = torch.zeros(SIDE, SIDE)
    middle[14, 18] = 1.0
    projections = problem.forward(middle.flatten()).view(problem.angles, SIDE)
    torch.testing.assert_close(projections.sum(1), torch.ones(problem.angles))
    turn = torch.deg2rad(torch.arange(24) * 5.0 - 57.5)
    centre = (projections * (torch.arange(SIDE) - 15.5)).sum(1)
    torch.testing.assert_close(centre, 2.5 * turn.cos() - 1.5 * turn.sin(), atol=1e-5, rtol=0)


def test_the_posterior_is_that_of_precision_matrices(problem: DiscCT) -> None:
    theta, y = problem.simulate(3, 1)
    a, variance = problem.matrix, problem.noise_sd**2
    prior = torch.linalg.inv(problem.prior_covariance)
    precision = prior + a.T @ a / variance
    right = prior @ problem.disc + y.double() @ a / variance
    exact = MultivariateNormal(torch.linalg.solve(precision, right.T).T, precision_matrix=precision)
    posterior = problem.reference_posterior(y.double())
    torch.testing.assert_close(posterior.log_prob(theta.double()), exact.log_prob(theta.double()))
    torch.testing.assert_close(posterior.mean, exact.mean)


def test_the_missing_wedge_stays_the_priors(problem: DiscCT) -> None:
    """A finite image has no pure waves, but tapered ones are narrow: these lie 15° and more from the rest."""
    made, angle, k = waves(taper=True)
    ratio = power(made, problem.posterior_covariance) / power(made, problem.prior_covariance)
    wedge = (angle > 75) & (k >= 6) & (k < SIDE / 2)
    assert int(wedge.sum()) > 100
    assert float(ratio[wedge].min()) > 0.98
    assert float(ratio.max()) < 1 + 1e-9
    measured = (angle < 45) & (k > 0) & (k <= 6)
    assert float(ratio[measured].max()) < 0.05


@torch.no_grad()
def test_the_start_is_the_exact_posterior(problem: DiscCT, start: FieldFlow) -> None:
    theta, y = problem.simulate(20, 2)
    q, exact = start(problem.features(y)), problem.reference_posterior(y.double())
    gap = (exact.log_prob(theta.double()) - q.log_prob(theta)) / SIDE**2
    assert float(gap.abs().max()) < 1e-5
    # Block means: their covariance is that of the pixels, averaged.
    for levels in (1, 2):
        n = 2**levels
        blocks = torch.nn.functional.avg_pool2d(torch.eye(SIDE**2).view(-1, 1, SIDE, SIDE), n).flatten(1).T
        blocks = blocks.double()
        covariance = blocks @ problem.posterior_covariance @ blocks.T
        marginal = MultivariateNormal(exact.mean @ blocks.T, covariance)
        means = theta.double() @ blocks.T
        coarse = q.image().coarse(levels)
        density = coarse.log_prob(means.float().view(-1, *coarse.event_shape))
        torch.testing.assert_close(density.double(), marginal.log_prob(means), atol=2e-3, rtol=0)


@torch.no_grad()
def test_samples_have_the_exact_variance_at_every_frequency(problem: DiscCT, start: FieldFlow) -> None:
    number = 2000
    latent = torch.randn(number, 1, SIDE**2, generator=torch.Generator().manual_seed(3))
    samples = start(problem.features(problem.simulate(1, 3)[1])).push(latent)[:, 0].double()
    made, angle, k = waves(taper=False)
    values = (samples - samples.mean(0)).to(made) @ made.conj().T
    ratio = values.abs().square().sum(0) / (number - 1) / power(made, problem.posterior_covariance)
    # Frequencies are correlated after projections: a single one has two degrees of freedom a sample or one.
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(2 / number)
    for ring in range(1, SIDE // 2):
        there = k.round() == ring
        assert 0.95 < float(ratio[there].mean()) < 1.05
    wedge = (angle > 75) & (k >= 6) & (k < SIDE / 2)
    assert 0.95 < float(ratio[wedge].mean()) < 1.05


def test_a_training_begins_as_the_posterior(problem: DiscCT) -> None:
    small = DiscCT(16, angles=12)
    recipe = Recipe(64, 1, 1, batch_size=64, held_out=64, guard=64, measured=40)
    flow = {"levels": 2, "num_blocks": 1, "hidden_channels": 4, "features": (2,) * 5}
    fitted = monai_inn.fit(small, recipe=recipe, members=2, coupling="affine", network={"flow": flow})
    theta, y = small.simulate(20, 5)
    exact = small.reference_posterior(y.double()).log_prob(theta.double())
    # One step of training, kept only if it is no worse.
    gap = (exact - fitted.posterior(y).log_prob(theta).detach()) / theta.shape[1]
    assert float(gap.abs().mean()) < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"range_deg": 200}, "range_deg = 200"),
        ({"side": 0}, "side = 0"),
        ({"noise_sd": -1}, "noise_sd = -1"),
    ],
)
def test_problems_that_make_no_sense_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiscCT(**arguments)  # type: ignore[arg-type]


def test_covariances_that_do_not_fit_are_refused(start: FieldFlow) -> None:
    flow = FieldFlow(256, 256, (16, 16), start="dense", levels=1, num_blocks=0)
    with pytest.raises(ValueError, match="posterior_covariance"):
        flow.set_covariance(None)
    with pytest.raises(ValueError, match=r"of shape \(256, 256\).*need \(1024, 1024\)"):
        start.set_covariance(torch.eye(1024)[:256, :256])
    with pytest.raises(ValueError, match="not positive definite"):
        flow.set_covariance(-torch.eye(256))
