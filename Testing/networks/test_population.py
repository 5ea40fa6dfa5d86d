"""Classes found in unlabelled observations of another population, whose true posteriors are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import StudentT

from monai_inn.metrics import class_shares
from monai_inn.networks.classes.density import ClassDensity
from monai_inn.networks.classes.population import population_of

MEANS = torch.tensor([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0], [0.0, -2.0, -1.0]], dtype=torch.float64)
SHARES = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)


def terms_of(latent, means=MEANS):
    return latent @ means.T - 0.5 * means.square().sum(1)


def normal(n, means=MEANS, shares=SHARES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.multinomial(shares, n, replacement=True, generator=generator)
    return means[label] + torch.randn(n, means.shape[1], generator=generator, dtype=torch.float64), label


def adapted(terms, means=MEANS):
    """Log probabilities of the classes after they were found in the same observations, and their shares."""
    found, shares = population_of(terms, means)
    return found.terms(terms) + shares.log(), shares


def log_score(logits, label):
    return float(-logits.log_softmax(1).gather(1, label[:, None]).mean())


def test_a_population_of_t_distributions_is_found():
    """Two classes, moved and wider than the network has them: shares, centres, width, and the posterior."""
    means = torch.tensor([[1.5], [-1.5]], dtype=torch.float64)
    shares = torch.tensor([0.3, 0.7], dtype=torch.float64)
    torch.manual_seed(0)
    n = 20_000
    label = (torch.rand(n) < 0.7).long()
    true = StudentT(5.0, torch.tensor([3.0, -1.0]).double(), 1.4)
    latent = true.loc[label] + 1.4 * StudentT(torch.tensor(5.0).double()).sample((n,))
    terms = terms_of(latent[:, None], means)
    found, found_shares = population_of(terms, means)
    # Contrasts of two classes are the latent times a number: 3 apart here, centred.
    centres, width = found.centres[:, 0] / (3 / math.sqrt(2)), float(found.root) / (3 / math.sqrt(2))
    sign = 1 if centres[0] > centres[1] else -1
    assert (sign * centres - true.loc).abs().max() < 0.1
    assert width == pytest.approx(1.4, rel=0.03)
    assert (found_shares - shares).abs().max() < 0.02
    exact = true.log_prob(latent[:, None]) + shares.log()
    assert log_score(adapted(terms, means)[0], label) - log_score(exact, label) < 1e-3


def test_classes_that_have_moved_are_answered_nearly_as_well_as_can_be():
    """All images darker, as it were: the shares alone do not mend that, and are estimated wrongly."""
    latent, label = normal(4000)
    moved = latent + torch.tensor([1.2, -0.8, 0.0], dtype=torch.float64)
    terms = terms_of(moved)
    logits, found = adapted(terms)
    best = log_score(terms_of(latent) + SHARES.log(), label)
    shares = class_shares(terms)
    assert log_score(terms + shares.log(), label) > best + 0.1
    assert log_score(logits, label) < best + 0.03
    assert (found - SHARES).abs().max() < 0.05
    assert (shares - SHARES).abs().max() > 0.1


def test_what_has_not_moved_is_answered_as_well_as_before():
    latent, label = normal(1000)
    terms = terms_of(latent)
    before = log_score(terms + SHARES.log(), label)
    assert log_score(adapted(terms)[0], label) < before + 0.02


@pytest.mark.parametrize("number", [30, 300])
def test_observations_of_one_class_stay_in_it(number):
    """The other two are kept where the training had them, and become rare."""
    latent, label = normal(number, shares=torch.tensor([1.0, 0, 0]).double())
    logits, shares = adapted(terms_of(latent))
    assert float((logits.argmax(1) == label).double().mean()) > 0.9  # 3 % overlap
    assert shares[0] > 0.85 * (number + 1) / (number + 3)


def test_neither_the_order_of_classes_nor_the_basis_counts():
    latent, _ = normal(500)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    order = [2, 0, 1]
    found = adapted(terms_of(latent))[0].softmax(1)
    means = MEANS[order] @ turn
    terms = terms_of(latent @ turn, means)
    torch.testing.assert_close(adapted(terms, means)[0].softmax(1), found[:, order], atol=1e-4, rtol=0)


def test_means_on_a_line_and_equal_observations_give_numbers():
    means = torch.tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64)
    terms = terms_of(torch.zeros(50, 1, dtype=torch.float64), means)
    assert adapted(terms, means)[0].isfinite().all()


def test_a_density_adapts_and_shares_end_it():
    """Its density of observations stays, and its answers come back."""
    latent, label = normal(2000)
    density = ClassDensity(3, 3, num_blocks=1, hidden_channels=(4,))
    density.fit(latent.float(), label)
    moved = latent.float() + torch.tensor([1.2, -0.8, 0.0])
    with torch.no_grad():
        before, kept = density.logits(moved), density.log_prob(moved[:5] * 0)
        trained = density.log_shares.exp()
        density.adapt(moved)
        assert log_score(density.logits(moved), label) < log_score(before, label) - 0.05
        density.set_shares(trained)
        torch.testing.assert_close(density.logits(moved), before, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(density.log_prob(moved[:5] * 0), kept)
