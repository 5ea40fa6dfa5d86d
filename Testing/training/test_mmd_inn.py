"""The invertible network of 2018: a bijection, and the exact posterior of a linear problem."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LinearRegression

from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe
from monai_inn.training.engine import run_stage, single_thread
from monai_inn.training.mmd_inn import MmdInn, mmd_inn_stage
from monai_inn.training.pool import SimulationPool

CPU = torch.device("cpu")


def pools(problem, n=4096):
    return tuple(SimulationPool.simulate(problem, n, seed, CPU) for seed in (0, 1))


@pytest.mark.parametrize(
    ("parameters", "features", "latents", "padding"), [(4, 2, None, 0), (2, 3, None, 3), (4, 2, 5, 3)]
)
def test_it_is_a_bijection(parameters, features, latents, padding):
    net = MmdInn(parameters, features, latents, num_blocks=3, hidden_channels=(16,)).double()
    assert net.num_padding == padding
    assert net.num_latents == (latents or max(parameters - features, 0) or parameters)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    x, pad = torch.randn(99, parameters).double(), torch.randn(99, padding).double()
    net.initialise(x, pad, torch.randn(99, features).double())
    assert not torch.equal(net.turn, torch.eye(len(net.turn)).double())
    y, z = net(x, pad)
    assert y.shape == (99, features)
    assert z.shape == (99, net.num_latents)
    back, pad_back = net.inverse(y, z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(pad_back, pad)


def test_samples_are_inverted_rows():
    """One sample per row of features: it is the inverse of the whitened row and of some normal latent."""
    net = MmdInn(3, 2, num_blocks=2, hidden_channels=(8,))
    net.whitening.fit(torch.randn(500, 2) * torch.tensor([5.0, 0.2]) + 3)
    net.initialise(torch.randn(500, 3), torch.zeros(500, 0), torch.randn(500, 2))
    features = torch.randn(7, 5, 2)
    torch.manual_seed(4)
    samples = net.sample(features)
    torch.manual_seed(4)
    z = torch.randn(35, 1)
    with torch.no_grad():
        expected = net.inverse(net.whitening(features.reshape(-1, 2)), z)[0]
    assert samples.shape == (7, 5, 3)
    torch.testing.assert_close(samples.reshape(-1, 3), expected, rtol=1e-4, atol=1e-5)


def test_it_starts_turned_towards_the_observation():
    """The first output of all is along the best linear prediction that the outputs allow."""
    x, none = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(4000, 0)
    observation = x @ torch.tensor([[0.6], [-0.8], [0.0]])
    net = MmdInn(3, 1, num_blocks=3, hidden_channels=(8,))
    net.initialise(x, none, observation)
    torch.testing.assert_close(net.turn @ net.turn.T, torch.eye(3), rtol=0, atol=1e-5)
    with torch.no_grad():
        y, z = net(x, none)
    best = LinearRegression(fit_intercept=False).fit(torch.cat([y, z], 1), observation)
    assert best.coef_[0, 0] > 0.5
    assert best.coef_[0, 1:] == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize("latents", [1, 0, -2])
def test_too_few_latents_are_refused(latents):
    with pytest.raises(
        ValueError, match=f"num_latents = {latents}; 4 parameters and 2 features need at least 2"
    ):
        MmdInn(4, 2, latents)


def test_the_prediction_feels_the_regression_alone():
    """A shift of the prediction changes the loss by its regression, whatever the discrepancies say."""
    problem = LinearGaussian(3, 2, 0.1)
    net = MmdInn(3, 2, num_blocks=2, hidden_channels=(8,))
    pool, held_out = pools(problem)
    net.whitening.fit(pool.batch(4096, 0, "whitening", 0).features)
    stage = mmd_inn_stage(net, pool, held_out, Recipe(posterior_steps=100, batch_size=512), 0)
    (batch,) = stage.batches(60, 61)
    assert batch.ramp == 1
    shift, plain = torch.zeros(2, requires_grad=True), net.forward

    def shifted(latent, padding):
        y, z = plain(latent, padding)
        return y + shift, z

    net.forward = shifted
    (got,) = torch.autograd.grad(stage.loss(batch), shift)
    residual = net(batch.latent, batch.padding)[0] - batch.whitened
    regression = 0.5 * residual.square().mean(0).log().sum()
    (expected,) = torch.autograd.grad(regression, shift)
    torch.testing.assert_close(got, expected)


def test_batches_are_functions_of_their_step():
    """What makes a resumed training equal to an uninterrupted one."""
    problem = LinearGaussian(3, 2, 0.1)
    pool, held_out = pools(problem)
    stage = mmd_inn_stage(MmdInn(3, 2), pool, held_out, Recipe(posterior_steps=8, batch_size=128), 3)
    whole = list(stage.batches(0, 8))
    (alone,) = stage.batches(5, 6)
    for a, b in zip(whole[5], alone, strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=0)
    assert [b.ramp for b in whole] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert len(whole[0].latent) == 64


@pytest.mark.parametrize("seed", [0])
def test_training_finds_the_posterior_of_a_linear_problem(seed):
    """Two parameters, one observation: one direction is free, the other known to the noise.

    Bars are twice what ten seeds show; the prior is off by 2.5 posterior sd and four times their spread.
    """
    problem = LinearGaussian(2, 1, 0.2)
    pool, held_out = pools(problem, 20_000)
    net = MmdInn(2, 1, seed=seed)
    net.whitening.fit(pool.batch(20_000, seed, "whitening", 0).features)
    stage = mmd_inn_stage(net, pool, held_out, Recipe(posterior_steps=250, batch_size=256), seed)
    with single_thread(CPU):
        run_stage(stage, resumed=None, save=lambda state: None, tell=lambda progress: None)
    of_mean, of_sd = deviations(problem, net, seed)
    assert of_mean.max() < 0.28
    assert of_sd.min() > 0.9
    assert of_sd.max() < 1.15


def deviations(problem, net, seed):
    """Median over observations of the mean's error in posterior sd, and of the ratio of spreads."""
    _, y = problem.simulate(300, seed=5)
    copies = problem.noise(y.expand(400, -1, -1), torch.Generator().manual_seed(seed))
    torch.manual_seed(1000 + seed)  # of another stream than the noise
    samples = problem.space.inverse(net.sample(copies))
    exact = problem.reference_posterior(y)
    sd = exact.variance.sqrt()
    return ((samples.mean(0) - exact.mean) / sd).abs().quantile(0.5, 0), (samples.std(0) / sd).quantile(
        0.5, 0
    )
