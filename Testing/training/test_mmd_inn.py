"""The invertible network of 2018 that the benchmarks compare with: a bijection that learns a posterior."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from monai_inn.networks.kernels.chunks import single_thread
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe
from monai_inn.training.engine import run_stage
from monai_inn.training.pool import SimulationPool

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")
KERNELS = ((0.2, 2.0), (1.5, 2.0), (3.0, 2.0))


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    import methods_mmd_inn

    sys.path.remove(str(BENCHMARKS))
    return methods_mmd_inn


@pytest.mark.parametrize(
    ("parameters", "features", "latents", "padding"), [(4, 2, None, 0), (2, 3, None, 3), (4, 2, 5, 3)]
)
def test_it_is_a_bijection(bench, parameters, features, latents, padding):
    net = bench.MmdInn(parameters, features, latents, num_blocks=3, hidden_channels=(16,)).double()
    assert net.num_padding == padding
    assert net.num_latents == (latents or max(parameters - features, 0) or parameters)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    x, pad = torch.randn(99, parameters).double(), torch.randn(99, padding).double()
    net.initialise(x, pad, torch.randn(99, features).double())
    y, z = net(x, pad)
    assert (y.shape, z.shape) == ((99, features), (99, net.num_latents))
    back, pad_back = net.inverse(y, z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(pad_back, pad)


def test_the_loss_is_the_unbiased_discrepancy_and_has_the_right_gradient(bench):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64).requires_grad_()
    y = torch.randn(9, 3, generator=generator, dtype=torch.float64) + 0.5

    def kernel(a, b):
        squares = (a[:, None] - b).square().sum(-1)
        return sum(c**e * ((c + squares) / e) ** -e for c, e in KERNELS)

    def without_diagonal(k):
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    with torch.no_grad():
        expected = without_diagonal(kernel(x, x)) + without_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()
    assert float(bench.mmd_loss(x, y, KERNELS).detach()) == pytest.approx(float(expected), abs=1e-12)
    assert torch.autograd.gradcheck(lambda v: bench.mmd_loss(v, y, KERNELS), x)
    far = bench.mmd_loss(x.detach().float() + 3000, y.float() + 3000, KERNELS)
    assert float(far) == pytest.approx(float(expected), abs=1e-3)  # distances of float32 far from the origin


@pytest.mark.slow
def test_training_finds_the_posterior_of_a_linear_problem(bench):
    """Two parameters, one observation: one direction is free, the other known to the noise.

    Bars are twice what ten seeds show; the prior is off by 2.5 posterior sd and four times their spread.
    """
    problem = LinearGaussian(2, 1, 0.2)
    pool, held_out = (SimulationPool.simulate(problem, 20_000, seed, CPU) for seed in (0, 1))
    net = bench.MmdInn(2, 1, seed=0)
    net.whitening.fit(pool.batch(20_000, 0, "whitening", 0).features)
    stage = bench.mmd_inn_stage(net, pool, held_out, Recipe(posterior_steps=250, batch_size=256), 0)
    with single_thread(CPU):
        run_stage(stage, resumed=None, save=lambda state: None, tell=lambda progress: None)
    _, y = problem.simulate(300, seed=5)
    copies = problem.noise(y.expand(400, -1, -1), torch.Generator().manual_seed(0))
    torch.manual_seed(1000)  # of another stream than the noise
    samples = problem.space.inverse(net.sample(copies))
    exact = problem.reference_posterior(y)
    sd = exact.variance.sqrt()
    assert ((samples.mean(0) - exact.mean) / sd).abs().quantile(0.5, 0).max() < 0.28
    ratio = (samples.std(0) / sd).quantile(0.5, 0)
    assert ratio.min() > 0.9
    assert ratio.max() < 1.15
