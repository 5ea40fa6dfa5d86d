"""Unknown images with known posteriors."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.networks.images.rows import FieldFlow
from monai_inn.problems import InverseProblem
from monai_inn.testproblems.fields import GaussianField, LesionField


def start_of(problem: InverseProblem, side: int, batch: int, most: int = 1_000_000) -> tuple[FieldFlow, int]:
    """The flow of a problem before its training, and how many rows it has taken."""
    classes = [(0, 2)] if problem.parameters[0].categories else []
    length = len(problem.parameters)
    groups = [1, length - 1] if classes else [length]
    flow = FieldFlow(length, side**2, (side, side), groups, categories=classes, num_blocks=0)

    def draw(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn.append(batch)
        theta, y = problem.simulate(batch, 100 + number)
        return problem.space.to_latent(theta), y

    drawn: list[int] = []
    flow.initialise(draw, most)
    return flow, sum(drawn)


def test_the_posterior_of_a_field_is_that_of_its_covariance_matrices() -> None:
    problem = GaussianField(side=8)
    unit = torch.eye(64, dtype=torch.float64)
    blur = problem.forward(unit)
    wave = torch.fft.ifft2(problem.spectrum).real
    covariance = torch.stack([wave.roll((i, j), (0, 1)).flatten() for i in range(8) for j in range(8)])
    y = problem.simulate(3, 1)[1].double()
    seen = blur.T @ covariance @ blur + problem.noise_sd**2 * unit
    gain = covariance @ blur @ torch.linalg.inv(seen)
    exact = torch.distributions.MultivariateNormal(y @ gain.T, covariance - gain @ blur.T @ covariance)
    posterior = problem.reference_posterior(y)
    torch.testing.assert_close(posterior.mean_image, exact.mean)
    points = torch.randn(3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(posterior.log_prob(points), exact.log_prob(points))


def test_probability_of_a_lesion_is_calibrated() -> None:
    problem = LesionField(side=16)
    theta, y = problem.simulate(4000, 3)
    probability = problem.reference_posterior(y.double()).probability
    there = (theta[:, 0] >= 1).double()
    # Brier's score and its expectation under the stated probabilities differ by sampling alone.
    excess = (there - probability).square() - probability * (1 - probability)
    assert abs(float(excess.mean())) < 4 * float(excess.std()) / math.sqrt(len(y))
    for part in probability.argsort().chunk(4):
        error = (there[part] - probability[part]).mean()
        assert abs(float(error)) < 4 * 0.5 / math.sqrt(len(part))


def test_densities_of_class_and_field_integrate_to_the_class() -> None:
    """The density of a class and its image, over that of the image, is the probability of the class."""
    problem = LesionField(side=16)
    theta, y = problem.simulate(20, 4)
    posterior, prior = problem.reference_posterior(y.double()), problem.prior
    both = []
    for which in (0.5, 1.5):
        rows = theta.double().clone()
        rows[:, 0] = which
        both.append(
            (posterior.log_prob(rows), prior.log_prob(rows) + problem.log_likelihood(rows, y[0].double()))
        )
    # Bayes: the ratio of the classes given the image is the same before and after the measurement.
    torch.testing.assert_close(both[1][0] - both[0][0], both[1][1] - both[0][1], atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_the_start_reaches_the_exact_posterior_of_a_field() -> None:
    side = 32
    problem = GaussianField(side)
    flow, rows = start_of(problem, side, 2000)
    assert rows == 20_000  # where there are no classes, more tell little
    theta, y = problem.simulate(100, 1)
    q, exact = flow(y), problem.reference_posterior(y.double())
    # Four estimates a frequency, half a nat for n of them: 1e-4 from 20,000 pairs.
    gap = (exact.log_prob(theta.double()) - q.log_prob(theta)) / side**2
    assert abs(float(gap.mean())) < 3e-4
    samples = flow(y[:1]).sample((400,))[:, 0].double().unflatten(-1, (side, side))
    values = torch.fft.fft2(samples, norm="ortho")
    variance = (values - values.mean(0)).abs().square().sum(0) / 399
    ratio = (variance / exact.spectrum).flatten()
    # Complex frequencies have a variance of two degrees of freedom a sample, real ones of one.
    assert abs(float(ratio.mean()) - 1) < 4 / math.sqrt(400 * side**2 / 2)
    assert float((ratio - 1).abs().max()) < 6 * math.sqrt(2 / 400)


@pytest.mark.slow  # a million rows
@torch.no_grad()
def test_the_start_takes_rows_until_it_knows_whether_there_is_a_lesion() -> None:
    problem = LesionField(side=16)
    _, y = problem.simulate(200, 1)
    exact = problem.reference_posterior(y.double())
    few, rows = start_of(problem, 16, 10_000, most=30_000)
    assert rows == 30_000
    flow, rows = start_of(problem, 16, 10_000)
    assert rows < 1_000_000  # it stopped by itself
    q, error = flow(y), (flow(y).class_probability[:, 1] - exact.probability).abs()
    assert float(error.max()) < 0.02
    assert (
        float(error.mean()) < 0.005 < float((few(y).class_probability[:, 1] - exact.probability).abs().mean())
    )
    latent = torch.randn(400, 1, 257, generator=torch.Generator().manual_seed(5))
    drawn = q.push(latent)
    share = (flow.label_of(drawn) == 1).float().mean(0)
    assert float((share - q.class_probability[:, 1]).abs().max()) < 5 * 0.5 / math.sqrt(400)
    # Both modes are where they should be: the drawn fields of a class have the mean of that class.
    fields = drawn[..., 1:].double()
    for k in (0, 1):
        there = (flow.label_of(drawn) == k).unsqueeze(-1)
        mean = (fields * there).sum(0) / there.sum(0)
        left = mean - exact.without.mean_image - k * exact.lesion
        enough = there.sum(0).squeeze(-1) > 100
        assert float(left[enough].mean(0).abs().max()) < 0.15
