"""Invertible autoencoders beside principal components, whose errors and likelihoods have closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from monai_inn.metrics import auroc
from monai_inn.networks.autoencoder import InvertibleAutoencoder
from monai_inn.networks.parts import build, describe
from monai_inn.training.objectives.autoencoding import autoencoding, fit_autoencoder

VARIANCES = torch.tensor([9.0, 4.0, 2.0, 1.0, 0.5, 0.25])
ROWS = 20_000


def gaussian(seed: int, n: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    return torch.randn(n, 6, generator=generator) * VARIANCES.sqrt() @ axes.T + 3


def circle(seed: int, n: int = 2000) -> Tensor:
    angle = 2 * math.pi * torch.rand(n, generator=torch.Generator().manual_seed(seed))
    return torch.stack([angle.cos(), angle.sin()], 1)


def parabola(seed: int, n: int = 2000) -> Tensor:
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return torch.stack([x, x.square() / 2], 1)


def error(net: InvertibleAutoencoder, data: Tensor, k: int | None = None) -> float:
    with torch.no_grad():
        return float((net.decode(net.encode(data, k)) - data).flatten(1).square().sum(1).mean())


def fitted(kept: int, data: Tensor, held_out: Tensor, **options: float) -> InvertibleAutoencoder:
    net = InvertibleAutoencoder(data.shape[1:], kept, num_blocks=2, hidden_channels=(32,))
    fit_autoencoder(net, data, held_out, **options)
    return net


def disturbed(size: tuple[int, ...] = (6,), kept: int = 2, **config: int) -> InvertibleAutoencoder:
    """A network whose couplings are anything but the identity."""
    net = InvertibleAutoencoder(size, kept, num_blocks=2, hidden_channels=(16,), **config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.subnets.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / max(p.shape[-1], 4) ** 0.5)
    return net


@pytest.fixture(scope="module")
def of_circle() -> InvertibleAutoencoder:
    net = InvertibleAutoencoder((2,), 1, hidden_channels=(64, 64))
    fit_autoencoder(net, circle(1), circle(2, 500), weight=0.1, steps=300, batch_size=128, rate=6e-3)
    return net


@pytest.fixture(scope="module")
def of_parabola() -> InvertibleAutoencoder:
    return fitted(1, parabola(1), parabola(2, 500), steps=150, rate=1e-2)


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_error_of_gaussian_data_is_the_sum_of_the_discarded_variances(kept):
    """Which no map can undercut by more than sampling: 20,000 rows have it to a standard error of 1 %."""
    net = fitted(kept, gaussian(1), gaussian(2, 4000), steps=40)
    expected = float(VARIANCES[kept:].sum())
    slack = 4 * math.sqrt(2 * float(VARIANCES[kept:].square().sum()) / ROWS)
    assert expected - slack <= error(net, gaussian(3)) <= 1.05 * expected


def test_a_circle_has_one_coordinate(of_circle):
    """Principal components leave half of its variance. It is cut open somewhere, where the error is large."""
    assert error(of_circle, circle(3)) < 0.3


def test_noise_off_a_parabola_is_removed():
    """Of noise along both axes a curve keeps the part along it; a straight line adds the parabola's bend."""
    noise = 0.3 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    net = fitted(1, parabola(1), parabola(2, 500), steps=150, rate=1e-2, noise_sd=0.3)
    with torch.no_grad():
        cleaned = net.decode(net.encode(parabola(3) + noise))
    assert float((cleaned - parabola(3)).square().sum(1).mean()) < 2 * 0.3**2


def test_a_parabola_is_learned(of_parabola):
    """Principal components leave the variance of ``x² / 2``, which is ½."""
    assert error(of_parabola, parabola(3)) < 0.05


def test_off_the_parabola_the_residual_is_larger(of_parabola):
    """At a distance of .3, where the distance from a straight line tells nothing."""
    off = parabola(5, 500) + torch.tensor([0.0, 0.3])
    start = InvertibleAutoencoder((2,), 1, num_blocks=0)
    start.initialise(parabola(1))
    with torch.no_grad():
        assert auroc(of_parabola.residual(off), of_parabola.residual(parabola(6, 500))) > 0.95
        assert auroc(start.residual(off), start.residual(parabola(6, 500))) < 0.8


def test_the_residual_of_the_start_is_the_error_of_principal_components():
    net = InvertibleAutoencoder((6,), 2, num_blocks=0)
    net.initialise(gaussian(1))
    data = gaussian(3, 50)
    missed = (net.decode(net.encode(data)) - data).norm(dim=1)
    torch.testing.assert_close(net.residual(data), missed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coupled", [None, 4])
def test_all_coordinates_give_the_image_back_whatever_the_weights(coupled):
    net = disturbed((2, 3), coupled=coupled)
    data = gaussian(1, 500).view(-1, 2, 3)
    net.initialise(data)
    assert error(net, data, k=6) < 1e-10
    code = net.encode(data[:10])
    assert (net.encode(net.decode(code)) - code).abs().max() < 1e-4


def test_error_does_not_rise_with_the_bottleneck():
    data, held_out = gaussian(1, 2000).square(), gaussian(2, 1000).square()
    errors = [error(fitted(k, data, held_out, steps=30), held_out) for k in (1, 2, 4, 6)]
    assert all(larger <= 1.02 * smaller for smaller, larger in itertools.pairwise(errors))
    assert errors[-1] < 1e-5 * float(data.var(0).sum())


@pytest.mark.parametrize("seed", range(3))
def test_training_never_ends_above_principal_components(seed):
    """Not even at an absurd learning rate: held-out data decide."""
    data, held_out = circle(seed, 60).repeat(1, 2), circle(seed + 10, 60).repeat(1, 2)
    data[:, 2:] += 0.1 * torch.randn(60, 2, generator=torch.Generator().manual_seed(seed))
    net = fitted(1, data, held_out, steps=20, rate=0.5)
    start = InvertibleAutoencoder((4,), 1)
    start.initialise(data)
    assert error(net, held_out) <= error(start, held_out) * (1 + 1e-5)


def test_bound_of_the_start_is_the_likelihood_of_probabilistic_principal_components():
    """Exact for every row but for the noise of sampled codes, of which many are averaged."""
    data = gaussian(1)
    net = InvertibleAutoencoder((6,), 2)
    net.initialise(data)
    values, axes = torch.linalg.eigh(torch.cov(data.T))
    values[:4] = values[:4].mean()
    exact = torch.distributions.MultivariateNormal(data.mean(0), (axes * values) @ axes.T)
    rows = data[:20]
    noise = torch.randn(4000 * 20, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fit, cost = net.bound(rows.repeat(4000, 1), noise)
    bounds = (fit - cost).view(4000, 20)
    off = bounds.mean(0) - exact.log_prob(rows)
    assert (off.abs() < 5 * bounds.std(0) / math.sqrt(4000) + 1e-3).all()


def test_samples_of_the_start_have_the_spread_of_the_kept_components():
    net = InvertibleAutoencoder((6,), 2)
    net.initialise(gaussian(1))
    found = torch.linalg.eigvalsh(torch.cov(net.sample(ROWS).T)).flip(0)
    noise = float(VARIANCES[2:].mean())
    torch.testing.assert_close(found[:2], VARIANCES[:2] - noise, rtol=0.05, atol=0.05)
    assert found[2:].abs().max() < 1e-4
    assert torch.equal(net.sample(3, seed=1), net.sample(3, seed=1))


def test_the_variational_version_draws_the_parabola():
    net = InvertibleAutoencoder((2,), 1, num_blocks=2, hidden_channels=(32,))
    net.initialise(parabola(1))
    with torch.no_grad():
        start = float(autoencoding(net, parabola(1), parabola(2, 500), divergence=1.0).held_out())
    trained = fit_autoencoder(net, parabola(1), parabola(2, 500), divergence=1.0, steps=150, rate=1e-2)
    assert trained < start - 0.1  # nats a coordinate
    with torch.no_grad():
        x, y = net.sample(1000).T
        spread = float((y - x.square() / 2).std())
    assert spread < 0.4  # .7 where both are independent


def test_description_and_weights_make_an_equal_one():
    net = disturbed()
    net.initialise(gaussian(1, 100))
    again = build(describe(net))
    again.load_state_dict(net.state_dict())
    assert describe(again) == describe(net)
    assert torch.equal(again.encode(gaussian(2, 5)), net.encode(gaussian(2, 5)))


def test_axes_in_front_are_kept():
    net = disturbed((2, 3))
    assert net.encode(torch.zeros(4, 5, 2, 3)).shape == (4, 5, 2)
    assert net.decode(torch.zeros(4, 5, 2)).shape == (4, 5, 2, 3)
    assert net.residual(torch.zeros(2, 3)).shape == ()


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match=r"an image of size \(2, 3\) has 6; give 1 ≤ kept ≤ coupled ≤ 6"):
        InvertibleAutoencoder((2, 3), kept=7)
    net = disturbed()
    with pytest.raises(ValueError, match=r"shape \(4, 5\), expected \(…, \(6,\)\)"):
        net.encode(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="k = 7; data of size"):
        net.encode(torch.zeros(4, 6), k=7)
    with pytest.raises(ValueError, match="codes have 9 numbers, at most 6"):
        net.decode(torch.zeros(4, 9))
    for wrong in (torch.ones(1, 6), torch.ones(5, 6), torch.full((5, 6), math.nan)):
        with pytest.raises(ValueError, match="least two that differ, without NaN"):
            net.initialise(wrong)


def test_negative_weights_are_refused():
    net = disturbed()
    for options in ({"weight": -1.0}, {"divergence": -0.1}, {"noise_sd": -1.0}):
        with pytest.raises(ValueError, match="give numbers of at least 0"):
            autoencoding(net, gaussian(1, 10), gaussian(2, 10), **options)
