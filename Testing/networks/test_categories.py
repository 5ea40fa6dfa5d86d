"""Flows over classes: probabilities that add up, whatever the channels around them."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.networks import ConditionalFlow, check_flow
from monai_inn.networks.flows.couplings import Context
from monai_inn.problems import Parameter, ParameterSpace

K = 3
CASES = {
    "alone": (1, (), ((0, K),)),
    "before a number": (2, (), ((0, K),)),
    "behind an angle": (2, (0,), ((1, K),)),
}


def make_flow(case: str, seed: int = 0) -> ConditionalFlow:
    """A flow of float64 with random weights."""
    channels, periodic, categories = CASES[case]
    flow = ConditionalFlow(
        channels, 2, 2, (16, 16), periodic=periodic, categories=categories, seed=seed
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return flow


def space(case: str) -> ParameterSpace:
    channels, periodic, ((at, _),) = CASES[case]
    return ParameterSpace(
        [
            Parameter(f"c{i}", "1", 0.0, K, categories=("none", "benign", "malignant"))
            if i == at
            else Parameter(f"a{i}", "deg", -180.0, 180.0, is_periodic=True)
            if i in periodic
            else Parameter(f"x{i}", "mm", -math.inf, math.inf)
            for i in range(channels)
        ]
    )


def condition(rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def log_density(flow: ConditionalFlow, case: str, theta: torch.Tensor) -> torch.Tensor:
    """In units of the parameters, ``(n,)``."""
    latent, log_det = space(case).forward(theta)
    with torch.no_grad():
        return flow(condition()).log_prob(latent[:, None])[:, 0] + log_det


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_of_the_classes_add_up_and_are_those_of_samples(seed):
    flow = make_flow("alone", seed)
    inside = (
        torch.rand(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.99 + 0.005
    )
    density = torch.stack([log_density(flow, "alone", k + inside) for k in range(K)])
    assert torch.allclose(density, density[:, :1].expand_as(density), atol=1e-6)  # nothing within a class
    probability = density[:, 0].exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    torch.manual_seed(seed)
    n = 40_000
    samples = space("alone").inverse(flow(condition()).sample((n,))[:, 0]).floor()
    share = torch.stack([(samples == k).double().mean() for k in range(K)])
    assert ((share - probability).abs() < 4 * (probability * (1 - probability) / n).sqrt() + 1e-9).all()


@pytest.mark.parametrize("case", ["before a number", "behind an angle"])
def test_the_density_integrates_to_one(case):
    at = CASES[case][2][0][0]
    other = torch.linspace(-20, 20, 8_001, dtype=torch.float64) if at == 0 else None
    if other is None:
        other = (torch.arange(1440, dtype=torch.float64) + 0.5) / 4 - 180
    total = 0.0
    for k in range(K):
        classes = torch.full_like(other, k + 0.5)
        theta = torch.stack([classes, other] if at == 0 else [other, classes], 1)
        total += float(log_density(make_flow(case), case, theta).exp().sum() * (other[1] - other[0]))
    assert total == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-8)])
def test_round_trip_and_its_determinant(case, dtype, tolerance):
    flow = make_flow(case).to(dtype)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, CASES[case][0], 300, generator=generator, dtype=dtype).clamp(-2.5, 2.5)
    context = Context(condition(300).T.unsqueeze(0).to(dtype))
    with torch.no_grad():
        z, log_det = flow.stack(x, context)
        back, log_det_back = flow.stack.inverse(z, context)
    # In shares: far out single precision says how much lies beyond, but not where.
    assert (torch.special.ndtr(back) - torch.special.ndtr(x)).abs().max() < tolerance
    inner = (z.abs().amax(1) < 2.5)[0]
    assert (log_det + log_det_back)[:, inner].abs().max() < 100 * tolerance


def test_a_flow_starts_from_the_probabilities_that_its_condition_begins_with():
    mass = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.85, 0.05, 0.05, 0.05]], dtype=torch.float64)
    condition = torch.cat([mass.log() + 5, torch.ones(2, 1)], 1)
    flow = ConditionalFlow(2, 5, 1, (8,), groups=(1, 1), categories=[(0, 4)], is_guessed=True).double()
    check_flow(flow, condition)
    with torch.no_grad():
        for parameter in flow.stack.heads.parameters():
            parameter.zero_()
        q = flow(condition).leading(1)
        n = 40_000
        share = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        latent = torch.special.ndtri(share)[:, None, None]
        cell = (torch.special.ndtr(q.push(latent)[..., 0]) * 4).long()  # equal cells of the prior
        log_prob = (
            q.log_prob(latent.expand(-1, 2, 1)) + 0.5 * latent[..., 0].square() + 0.5 * math.log(2 * math.pi)
        )
    found = torch.stack([(cell == k).double().mean(0) for k in range(4)], 1)
    torch.testing.assert_close(found, mass, rtol=0, atol=2 / n)
    expected = (4 * mass).log().T.repeat_interleave(n // 4, 0)
    torch.testing.assert_close(log_prob, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("categories", "conditions"), [((), 5), (((0, 4),), 3)])
def test_a_flow_cannot_start_from_what_its_condition_lacks(categories, conditions):
    with pytest.raises(ValueError, match="is_guessed needs categories"):
        ConditionalFlow(1, conditions, categories=categories, is_guessed=True)


def test_classes_and_their_bounds_belong_together():
    with pytest.raises(ValueError, match="3 classes need low = 0, high = 3 and a linear scale"):
        Parameter("finding", "1", 0.0, 2.0, categories=("none", "benign", "malignant"))
    made = ParameterSpace.from_config(space("alone").to_config())
    assert made.parameters == space("alone").parameters
