"""Generative classifiers against mixtures of Gaussians whose posteriors, densities and errors are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from monai_inn.networks import check_flow
from monai_inn.networks.classes.density import ClassDensity
from monai_inn.networks.classes.evidence import (
    class_images,
    counterfactual,
    evidence_map,
    latent_evidence,
    undecided,
)
from monai_inn.networks.classes.flow import ClassFlow
from monai_inn.training.objectives.bottleneck import bottleneck_loss, information_bottleneck
from monai_inn.training.optimiser import Optimiser

MEAN = torch.tensor([1.0, 0.5])  # of one class; the other one lies opposite
STEPS, BATCH = 200, 256


def bent(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two Gaussian classes behind ``(u, v) → (u, v + u²)``: latents, observations, labels."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (n,), generator=generator)
    z = torch.randn(n, 2, generator=generator) + (1 - 2 * label.unsqueeze(1)) * MEAN
    return z, torch.stack([z[:, 0], z[:, 1] + z[:, 0].square()], 1), label


def trained(beta: float, steps: int = STEPS, *, permuted: bool = False) -> ClassDensity:
    _, y, label = bent(20_000, seed=0)
    generator = torch.Generator().manual_seed(1)
    if permuted:
        label = label[torch.randperm(len(label), generator=generator)]
    density = ClassDensity(2, 2, num_blocks=3, hidden_channels=(24, 24), clamp=2.0)
    density.fit(y, label)
    optimiser = Optimiser(list(density.parameters()), 1e-2)
    for step in range(steps):
        rows = torch.randint(len(y), (BATCH,), generator=generator)
        optimiser.zero_grad()
        bottleneck_loss(density, y[rows], label[rows], beta).backward()
        optimiser.step(0.5 * (1 + math.cos(math.pi * step / steps)))
    return density.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def densities() -> dict[float, ClassDensity]:
    return {beta: trained(beta) for beta in (0.0, 1.0, 100.0)}


@pytest.fixture(scope="module")
def fresh() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return bent(100_000, seed=2)


def figures(density: ClassDensity, fresh: tuple) -> dict[str, float]:
    """Excess over the exact answers: log score and error of the class, nats of the density."""
    z, y, label = fresh
    logits = density.logits(y)
    exact = torch.stack([z @ MEAN, -z @ MEAN], 1)
    score, best = (-values.log_softmax(1).gather(1, label[:, None]).mean() for values in (logits, exact))
    right, possible = ((values.argmax(1) == label).float().mean() for values in (logits, exact))
    normal = torch.stack([-0.5 * (z - s * MEAN).square().sum(1) for s in (1, -1)], 1)
    log_prob = normal.logsumexp(1) - math.log(2) - math.log(2 * math.pi)  # the bend keeps areas
    return {
        "log score": float(score - best),
        "error": float(possible - right),
        "nats": float((log_prob - density.log_prob(y)).mean()),
        "bayes": float(possible),
    }


def test_accuracy_and_probabilities_are_those_of_bayes(densities, fresh):
    found = figures(densities[1.0], fresh)
    assert found["bayes"] == pytest.approx(float(torch.special.ndtr(MEAN.norm())), abs=0.005)
    assert found["error"] <= 0.005
    assert -0.001 <= found["log score"] <= 0.01
    assert -0.001 <= found["nats"] <= 0.02


def test_both_ends_of_the_trade_off_are_the_analytic_ones(densities, fresh):
    """Without the class the loss is the entropy of observations, with it alone the information about it."""
    first, middle, last = (figures(densities[beta], fresh) for beta in (0.0, 1.0, 100.0))
    assert -0.001 <= first["nats"] <= 0.02
    assert -0.001 <= last["log score"] <= 0.01
    assert first["nats"] <= middle["nats"] + 0.005 <= last["nats"] + 0.01
    assert first["log score"] >= middle["log score"] - 0.001
    assert first["log score"] >= last["log score"] - 0.001
    assert last["nats"] > 2 * first["nats"]


@pytest.mark.slow  # two more trainings; both ends are always tested
@pytest.mark.parametrize("beta", [0.1, 10.0])
def test_between_the_ends_entropy_and_information_are_those_of_the_mixture(beta, fresh):
    """A flow that can unbend the classes need not give up one for the other: any β > 0 reaches both."""
    density = trained(beta)
    z, y, label = fresh
    normal = torch.stack([-0.5 * (z - s * MEAN).square().sum(1) for s in (1, -1)], 1) - math.log(2 * math.pi)
    entropy = float(math.log(2) - normal.logsumexp(1).mean())
    own = label[:, None]
    information = math.log(2) + float(normal.log_softmax(1).gather(1, own).mean())
    assert -0.001 <= -float(density.log_prob(y).mean()) - entropy <= 0.02
    told = math.log(2) + float(density.logits(y).log_softmax(1).gather(1, own).mean())
    assert -0.001 <= information - told <= 0.01
    loss = float(bottleneck_loss(density, y, label, beta))
    assert loss == pytest.approx(2 / (1 + beta) * (entropy / 2 - beta * information), abs=0.02)


def test_permuted_labels_leave_chance(fresh):
    density = trained(1.0, 60, permuted=True)
    _, y, label = fresh
    probability = density.logits(y).log_softmax(1)
    assert float((probability.exp() - 0.5).abs().mean()) < 0.03
    assert float(-probability.gather(1, label[:, None]).mean()) == pytest.approx(math.log(2), abs=0.02)


def test_other_shares_of_the_classes_are_the_exact_update(densities, fresh):
    density = densities[1.0]
    _, y, _ = fresh
    before = density.logits(y[:500]).log_softmax(1)
    kept = density.log_shares.clone()
    density.set_shares(torch.tensor([9.0, 1.0]))
    after = density.logits(y[:500]).log_softmax(1)
    density.log_shares.copy_(kept)
    odds = (after - before)[:, 0] - (after - before)[:, 1]
    expected = math.log(9) - float(kept[0] - kept[1])
    assert torch.allclose(odds, torch.full_like(odds, expected), atol=1e-4)
    with pytest.raises(ValueError, match="one number for each of 2 classes"):
        density.set_shares(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="none negative"):
        density.set_shares(torch.tensor([1.0, -1.0]))


def test_evidence_adds_up_to_the_log_odds_and_changes_its_sign(densities, fresh):
    density, y = densities[1.0], fresh[1][:300]
    likelihood = density.log_likelihood(y)
    odds = likelihood[:, 0] - likelihood[:, 1]
    for evidence in (latent_evidence, evidence_map):
        found = evidence(density, y, 0, 1)
        assert torch.allclose(found.sum(1), odds, atol=1e-3)
        assert torch.allclose(evidence(density, y, 1, 0), -found, atol=1e-3)
    middle = density.log_likelihood(undecided(density, y, 0, 1))
    assert (middle[:, 0] - middle[:, 1]).abs().max() < 1e-3


def test_a_counterfactual_is_of_the_other_class_and_comes_back(densities, fresh):
    density, y = densities[1.0], fresh[1][:300]
    own = density.logits(y).argmax(1)
    other = counterfactual(density, y, 1 - own)
    moved = (density.latent(other)[0] - density.latent(y)[0]).norm(dim=1)
    assert torch.allclose(moved, (density.means[0] - density.means[1]).norm().expand(300), atol=1e-3)
    stayed = counterfactual(density, y, own)
    assert torch.allclose(stayed, y, atol=1e-3)
    middle = density.latent(class_images(density))[0]
    assert torch.allclose(middle, density.means, atol=1e-3)


@pytest.mark.parametrize("components", [0, 3])
def test_a_new_density_is_a_linear_discriminant(components):
    """Equal covariances: the closed form is exact, and with components its bijection has their Jacobian."""
    generator = torch.Generator().manual_seed(0)
    n, features = 60_000, 4
    root = torch.randn(features, features, generator=generator) + 2 * torch.eye(features)
    means = torch.randn(3, features, generator=generator) * 2
    label = torch.randint(3, (n,), generator=generator)
    y = means[label] + torch.randn(n, features, generator=generator) @ root.T
    density = ClassDensity(features, 3, components, num_blocks=2)
    density.fit(y, label)
    exact = MultivariateNormal(means, root @ root.T)
    if components == 0:
        mixture = MixtureSameFamily(Categorical(torch.ones(3)), exact)
        with torch.no_grad():
            surplus = mixture.log_prob(y) - density.log_prob(y)
        assert float(surplus.mean()) == pytest.approx(0, abs=2e-3)
        posterior = exact.log_prob(y[:1000].unsqueeze(1)).log_softmax(1)
        assert torch.allclose(density.logits(y[:1000]).softmax(1), posterior.exp(), atol=0.02)
    density = density.double().requires_grad_(False)
    row = y[0].double()
    jacobian = torch.autograd.functional.jacobian(lambda v: density.latent(v[None])[0][0], row)
    if components == 0:
        assert float(density.latent(row[None])[1]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]))
    else:  # the direction on a sphere of one dimension, two points, is the share of ½
        expected = torch.linalg.slogdet(jacobian)[1] - math.log(2)
        assert float(density.latent(row[None])[1]) == pytest.approx(float(expected), abs=1e-6)


def test_a_density_over_components_integrates_to_one():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.5, 0.5])
    y = torch.randn(5000, 6, generator=generator) * spread
    label = (y[:, 0] > 0).long()
    density = ClassDensity(6, 2, 2, num_blocks=2)
    density.fit(y, label)
    with torch.no_grad():
        for parameter in density.stack.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        wide = torch.randn(200_000, 6, generator=generator) * spread * 1.4
        proposal = MultivariateNormal(torch.zeros(6), torch.diag((1.4 * spread).square()))
        weight = (density.log_prob(wide) - proposal.log_prob(wide)).exp()
        assert float(weight.mean()) == pytest.approx(1, abs=4 * float(weight.std()) / len(wide) ** 0.5)
        assert float(weight.std()) < 20  # else the bound above would hold for anything
        z, _ = density.latent(y[:200])
        assert torch.allclose(density.observation(z, y[:200]), y[:200], atol=1e-3)


def class_flow(**options) -> ClassFlow:
    generator = torch.Generator().manual_seed(0)
    flow = ClassFlow(1, 6, [1], categories=[(0, 3)], components=3, num_blocks=2, num_held_out=20, **options)
    label = torch.arange(300) % 3
    features = torch.randn(300, 6, generator=generator) + label.unsqueeze(1)
    flow.density.fit(features, label)
    return flow


def test_the_flow_of_a_class_keeps_the_contract_and_answers_by_bayes():
    flow = class_flow()
    features = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    check_flow(flow, features, torch.linspace(-2, 2, 6).unsqueeze(1))
    at = torch.special.ndtri((torch.arange(3) + 0.5) / 3)
    with torch.no_grad():
        log_prob = flow(features).log_prob(at.view(3, 1, 1))
        flat = -0.5 * at.square() - 0.5 * math.log(2 * math.pi)  # of the prior in the flow's space
        probability = (log_prob - flat.unsqueeze(1)).exp() / 3
        assert torch.allclose(probability.T, flow.density.logits(features).softmax(1), atol=1e-5)
        samples = flow(features).sample((20_000,))
    share = torch.stack([(flow.label_of(samples) == k).float().mean(0) for k in range(3)], 1)
    assert torch.allclose(share, probability.T, atol=4 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -0.1}, "beta = -0.1"),
        ({"beta": math.inf}, "beta = inf"),
        ({"categories": [(0, 1)]}, "classes = 1; a classifier needs at least two"),
        ({"in_channels": 2}, "one unknown, the class"),
    ],
)
def test_refusals(options, message):
    sizes = {"in_channels": 1, "condition_channels": 4, "categories": [(0, 2)]}
    with pytest.raises(ValueError, match=message):
        ClassFlow(**{**sizes, **options})


def test_a_stage_refuses_a_negative_weight_and_a_density_a_missing_class():
    with pytest.raises(ValueError, match="beta = -1"):
        information_bottleneck(-1)
    with pytest.raises(ValueError, match=r"of 2 classes there are \[50, 0\] observations"):
        ClassDensity(3, 2).fit(torch.randn(50, 3), torch.zeros(50, dtype=torch.int64))
