"""What the benchmark of diversity measures, where it is known."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE, ROWS = (16, 16), 40


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    import diversity

    sys.path.remove(str(BENCHMARKS))
    return diversity


@pytest.fixture(scope="module")
def fields() -> tuple[Tensor, Tensor, Tensor]:
    """Samples and truths of one law, whose neighbours are alike, and a part of each image."""
    white = torch.randn(40, ROWS, *SIZE, generator=torch.Generator().manual_seed(0))
    alike = (white + white.roll(1, -1)) * math.sqrt(0.5)
    part = torch.zeros(ROWS, *SIZE, dtype=torch.bool)
    part[: ROWS // 2, 4:12], part[ROWS // 2 :, :, 3:] = True, True
    return alike[1:], alike[0], part


def test_samples_of_the_right_law_are_as_diverse_as_the_truth(bench, fields) -> None:
    samples, truth, part = fields
    found = bench.measures(samples, truth, part)
    pixels = int(part.sum())
    assert found["pixels"] == pixels
    # Neighbours of correlation one half: squares of n pixels have the spread of n / (1 + 2 / 4) free ones.
    free = pixels / 1.5
    assert abs(found["sd_over_rmse"] - 1) < 4 * math.sqrt(1 / (2 * free))
    assert abs(found["pair_over_truth"] - 1) < 4 * math.sqrt(1 / (2 * free))
    assert abs(found["coverage"] - 0.9) < 4 * math.sqrt(0.09 / free)
    assert abs(found["rmse"] - math.sqrt(1 + 1 / 39)) < 4 * math.sqrt(1 / (2 * free))


def test_samples_that_are_too_alike_are_told(bench, fields) -> None:
    samples, truth, part = fields
    right, narrow = (bench.measures(scale * samples, truth, part) for scale in (1, 0.5))
    assert 0.45 < narrow["sd_over_rmse"] < 0.55
    # Distances of samples halve; from the truth they fall from √2 to √1.25.
    expected = right["pair_over_truth"] / 2 * math.sqrt(2 / 1.25)
    assert abs(narrow["pair_over_truth"] - expected) < 0.02
    # The number of samples below a truth t is binomial, each being so with probability Φ(2 t).
    t = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    below = stats.binom(39, stats.norm.cdf(2 * t))
    inside = torch.as_tensor(below.cdf(37) - below.cdf(1)) * torch.as_tensor(stats.norm.pdf(t))
    covered = float(torch.trapezoid(inside, t))
    free = int(part.sum()) / 1.5
    assert abs(narrow["coverage"] - covered) < 4 * math.sqrt(covered * (1 - covered) / free)
    assert narrow["energy_score"] > right["energy_score"]


def test_pixels_of_other_parts_do_not_matter(bench, fields) -> None:
    samples, truth, part = fields
    elsewhere = torch.where(part, truth, torch.full_like(truth, 100.0))
    assert bench.measures(samples, elsewhere, part) == bench.measures(samples, truth, part)


class Knowing(nn.Module):
    """Noise that is to be expected in images of independent standard normal pixels."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return (1 - self.kept[t]).sqrt().view(-1, 1, 1, 1) * x[:, :1]


@torch.no_grad()
def test_the_bound_of_diffusion_is_nearly_the_density_where_the_noise_is_known(bench) -> None:
    from diversity_methods import Diffusion

    torch.manual_seed(0)
    method = Diffusion(2, SIZE)
    method.net = Knowing(method.scheduler.alphas_cumprod)
    image, seen = torch.randn(64, 1, *SIZE), torch.zeros(64, 2, *SIZE)
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(image).flatten(1).sum(1)
    gap = (exact - method.log_prob(image, seen)) / image[0].numel()
    # Of 1,000 steps the small variances lose a few hundredths of a nat.
    noise = float(gap.std()) / 8
    assert -4 * noise < float(gap.mean()) < 0.05 + 4 * noise
    method.drawn_steps = 100
    drawn = method.sample(seen[:2], 50)
    assert drawn.shape == (50, 2, 1, *SIZE)
    assert abs(float(drawn.std()) - 1) < 0.03


@torch.no_grad()
def test_the_other_libraries_flow_is_a_density(bench) -> None:
    pytest.importorskip("FrEIA", reason="compares with FrEIA, install the extra `peers`")
    from diversity_methods import FreiaFlow

    torch.manual_seed(0)
    method = FreiaFlow(2, SIZE).double()
    observation = torch.randn(1, 2, *SIZE, dtype=torch.float64)
    image = torch.randn(1, 1, *SIZE, dtype=torch.float64)
    with torch.enable_grad():

        def latent(values: Tensor) -> Tensor:
            parts, _ = method.net(values.view(1, 1, *SIZE), c=method.pyramid(observation))
            return torch.cat([part.flatten() for part in parts])

        jacobian = torch.autograd.functional.jacobian(latent, image.flatten())
    z = latent(image.flatten())
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    expected = normal + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(method.log_prob(image, observation)[0], expected)
