"""Flows over angles: a density on the circle, exact at the cut, whatever the channels around it."""

from __future__ import annotations

import json
import math

import pytest
import torch
from scipy import stats

from monai_inn.networks import ConditionalFlow, FlowEnsemble
from monai_inn.networks.flows.couplings import Context
from monai_inn.problems import Parameter, ParameterSpace

CASES = [(2, (0,)), (2, (1,)), (2, (0, 1)), (2, (1, 0)), (1, (0,))]
LARGER = [*CASES, (3, (2,)), (4, (0, 2)), (4, (3, 1))]
SEEDS = range(3)


def make_flow(in_channels: int, periodic: tuple[int, ...], seed: int = 0, **options) -> ConditionalFlow:
    """A flow of float64 whose weights are random and large enough for several modes."""
    sizes = {"condition_channels": 2, "num_blocks": 2, "hidden_channels": (16, 16)}
    flow = ConditionalFlow(in_channels, periodic=periodic, seed=seed, **(sizes | options)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return flow


def angles_in_degrees(in_channels: int, periodic: tuple[int, ...]) -> ParameterSpace:
    """Angles on a full circle among numbers that need no mapping."""
    return ParameterSpace(
        [
            Parameter(f"p{i}", "deg", -180.0, 180.0, is_periodic=True)
            if i in periodic
            else Parameter(f"p{i}", "mm", -math.inf, math.inf)
            for i in range(in_channels)
        ]
    )


def condition(rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def midpoints(low: float, high: float, n: int) -> torch.Tensor:
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


def density_on_grid(flow: ConditionalFlow, periodic: tuple[int, ...], n: int = 200):
    """Masses of the cells of a grid over circles in degrees and lines, and the values of each axis."""
    space = angles_in_degrees(flow.in_channels, periodic)
    bounds = [180.0 if i in periodic else 14.0 for i in range(flow.in_channels)]
    axes = [midpoints(-bound, bound, n) for bound in bounds]
    theta = torch.cartesian_prod(*axes).reshape(-1, flow.in_channels)
    latent, log_det = space.forward(theta)
    with torch.no_grad():
        log_prob = flow(condition()).log_prob(latent[:, None])[:, 0] + log_det
    cell = math.prod(2 * bound / n for bound in bounds)
    return (log_prob.exp() * cell).reshape([n] * flow.in_channels), axes


@pytest.mark.parametrize("coupling", ["affine", "spline"])
@pytest.mark.parametrize(("in_channels", "periodic"), CASES)
def test_density_over_circles_and_lines_integrates_to_one(in_channels, periodic, coupling):
    for seed in SEEDS:
        mass, _ = density_on_grid(make_flow(in_channels, periodic, seed, coupling=coupling), periodic)
        assert float(mass.sum()) == pytest.approx(1, abs=1e-2)


def across_the_cut(flow: ConditionalFlow, channel: int, periodic: tuple[int, ...]) -> torch.Tensor:
    """Log density per degree on one side of the cut less that on the other, at 50 places along it.

    Both sides are extrapolated to the cut from 0.0007 and 0.0014 degrees, nearer to which parameters are
    clamped.
    """
    space = angles_in_degrees(flow.in_channels, periodic)
    generator = torch.Generator().manual_seed(channel)
    theta = torch.randn(50, flow.in_channels, generator=generator, dtype=torch.float64)
    theta[:, list(periodic)] *= 60
    jump = torch.zeros(50, dtype=torch.float64)
    for degrees, weight in ((7e-4, 2), (14e-4, -1)):
        for side in (1, -1):
            theta[:, channel] = side * (degrees - 180)
            latent, log_det = space.forward(theta)
            with torch.no_grad():
                jump += weight * side * (flow(condition(50)).log_prob(latent) + log_det)
    return jump


@pytest.mark.parametrize(("in_channels", "periodic"), LARGER)
def test_density_is_continuous_across_the_cut(in_channels, periodic):
    for seed in SEEDS:
        flow = make_flow(in_channels, periodic, seed)
        for channel in periodic:
            assert across_the_cut(flow, channel, periodic).abs().max() < 1e-3


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_a_flow_that_knows_of_no_angles_jumps_at_the_cut(coupling):
    flow = make_flow(2, (), coupling=coupling)
    assert across_the_cut(flow, 0, (0,)).abs().median() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-9)])
@pytest.mark.parametrize(("in_channels", "periodic"), LARGER)
def test_round_trip(in_channels, periodic, dtype, tolerance):
    """In turns for angles: near the cut single precision says where on the circle, not how far out."""
    for seed in SEEDS:
        flow = make_flow(in_channels, periodic, seed).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, in_channels, 200, generator=generator, dtype=dtype)
        context = Context(condition(200).T.unsqueeze(0).to(dtype))
        with torch.no_grad():
            z, log_det = flow.stack(x, context)
            back, log_det_back = flow.stack.inverse(z, context)
        error = back - x
        for channel in periodic:
            turn = torch.special.ndtr(back[:, channel]) - torch.special.ndtr(x[:, channel])
            error[:, channel] = turn - turn.round()
        assert error.abs().max() < tolerance
        # In the flow's space a log-determinant near the cut is as imprecise as the place there.
        inner = x[:, list(periodic)].abs().amax(1) < 2.5
        inner &= z[:, list(periodic)].abs().amax(1) < 2.5
        assert (log_det + log_det_back)[inner].abs().max() < 100 * tolerance


@pytest.mark.parametrize(("in_channels", "periodic"), CASES)
def test_samples_follow_the_density(in_channels, periodic):
    """χ² of 20,000 samples in bins of every axis against the density on a grid twenty times finer."""
    flow = make_flow(in_channels, periodic)
    mass, axes = density_on_grid(flow, periodic, n=400)
    torch.manual_seed(0)
    samples = flow(condition()).sample((20_000,))[:, 0]
    samples = angles_in_degrees(in_channels, periodic).inverse(samples)
    for i, axis in enumerate(axes):
        others = [j for j in range(in_channels) if j != i]
        expected = (mass.sum(others) if others else mass).reshape(20, 20).sum(1)
        half = float(axis[-1]) + float(axis[1] - axis[0]) / 2
        counts = torch.histc(samples[:, i], 20, -half, half)
        kept = expected * len(samples) > 8
        wanted = expected[kept] / expected[kept].sum() * counts[kept].sum()
        result = stats.chisquare(counts[kept].numpy(), wanted.numpy())
        assert result.pvalue > 1e-4  # nine of them: 1e-3 for all


def test_latent_undoes_push_and_chunks_change_nothing(monkeypatch):
    flow = make_flow(3, (1,))
    q = flow(condition(11))
    latent = torch.randn(7, 11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = q.push(latent)
    assert torch.allclose(q.latent(whole), latent, atol=1e-8)
    density = q.log_prob(whole)
    monkeypatch.setattr("monai_inn.networks.flows.distributions.rows_per_chunk", lambda *_: 10)
    with torch.no_grad():
        assert torch.allclose(q.push(latent), whole, atol=1e-10)
        assert torch.allclose(q.log_prob(whole), density, atol=1e-10)
        samples, log_prob = q.push_with_log_prob(latent)
    assert torch.allclose(samples, whole, atol=1e-10)
    assert torch.allclose(log_prob, density, atol=1e-8)


def test_far_from_every_angle_the_density_is_still_finite():
    x = torch.tensor([[8.0, 0.0], [-8.0, 0.0], [0.0, 0.0]])
    flow = make_flow(2, (0,)).float()
    with torch.no_grad():
        assert torch.isfinite(flow(condition(3).float()).log_prob(x)).all()
        z = flow(condition(3).float()).latent(x)
    assert torch.isfinite(z).all()


@pytest.mark.parametrize(("in_channels", "periodic"), [(3, (1,)), (2, (0, 1))])
def test_ensemble_is_its_members(in_channels, periodic):
    options = {
        "in_channels": in_channels,
        "condition_channels": 2,
        "num_blocks": 2,
        "hidden_channels": (8, 8),
    }
    options["periodic"] = periodic
    ensemble = FlowEnsemble(3, **options).double()
    x = torch.randn(6, in_channels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q = ensemble(condition(6))
    with torch.no_grad():
        log_prob, samples = q.log_prob(x), q.push(x.expand(5, -1, -1))
        pushed, density = q.push_with_log_prob(x.expand(5, -1, -1))
    assert torch.allclose(pushed, samples, atol=1e-9)
    assert density.shape == (5, 3, 6)
    assert log_prob.shape == (3, 6)
    assert samples.shape == (5, 3, 6, in_channels)
    assert q.sample((5,)).shape == (5, 3, 6, in_channels)
    assert (log_prob[0] - log_prob[1]).abs().max() > 1e-3
    for m in range(3):
        member = ConditionalFlow(**options).double()
        member.load_state_dict({key: value[m : m + 1] for key, value in ensemble.state_dict().items()})
        with torch.no_grad():
            assert torch.allclose(member(condition(6)).log_prob(x), log_prob[m], atol=1e-9)
            assert torch.allclose(member(condition(6)).push(x.expand(5, -1, -1)), samples[:, m], atol=1e-9)


def test_without_a_condition():
    flow = make_flow(2, (1,), condition_channels=0)
    torch.manual_seed(0)
    samples = flow().sample((50,))
    assert samples.shape == (50, 2)
    assert flow().log_prob(samples).shape == (50,)
    assert torch.isfinite(flow().log_prob(samples)).all()


def test_initialised_flow_whitens_what_its_blocks_see():
    flow = ConditionalFlow(3, 0, 2, (8,), "affine", periodic=(0,))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 4000, generator=generator) * torch.tensor([1.0, 5.0, 0.1])[:, None] + 2
    flow.stack.initialise(x, Context(None))
    block = flow.stack.rest.blocks[0][0]
    centred, _ = flow.stack.rest.centring(x[:, 1:], Context(torch.zeros(1, 4, 4000)))
    mixed, _ = block.mixing(centred)
    assert (mixed.std(-1) - 1).abs().max() < 1e-3


def test_config_keeps_the_angles():
    flow = make_flow(3, (2,), coupling="affine")
    config = json.loads(json.dumps(flow.config))
    assert config["periodic"] == [2]
    again = ConditionalFlow(**config).double()
    again.load_state_dict(flow.state_dict())
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(condition(6)).log_prob(x), flow(condition(6)).log_prob(x))
    assert "periodic" not in ConditionalFlow(3, 2).config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"periodic": (3,)},
            r"classes, \[3\], are not channels of the first group of 3, each once",
        ),
        ({"periodic": (-1,)}, r"angles and classes, \[-1\], are not channels of the first group of 3"),
        ({"periodic": (1, 1)}, "each once"),
        (
            {"periodic": (1,), "groups": (1, 2)},
            r"classes, \[1\], are not channels of the first group of 1",
        ),
        (
            {"periodic": (0,), "hidden_channels": ((8,),)},
            r"same hidden layers in all subnets, got hidden_channels",
        ),
        ({"periodic": (0,), "coupling": "cubic"}, "cubic"),
        ({"periodic": (0, 1, 2), "coupling": "cubic"}, "cubic"),
        ({"periodic": (0,), "mixing": "none"}, "mixing is 'none'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ConditionalFlow(3, 2, **options)


def turned(seed: int, n: int, degrees: float) -> tuple[torch.Tensor, torch.Tensor]:
    """An angle with two peaks and a length that depends on it, turned by a constant; and their condition."""
    generator = torch.Generator().manual_seed(seed)
    c = torch.rand(n, 1, generator=generator) * 2 - 1
    side = torch.randint(0, 2, (n,), generator=generator) * 180.0
    angle = side + 40 * c[:, 0] + 18 * torch.randn(n, generator=generator)
    length = torch.deg2rad(angle).cos() + 0.3 * torch.randn(n, generator=generator)
    angle = (angle + degrees + 180) % 360 - 180
    return torch.stack([length, angle], 1), c


def trained_loss(degrees: float) -> float:
    """Negative log-likelihood of fresh data in nats, per degree."""
    space = angles_in_degrees(2, (1,))
    torch.manual_seed(0)
    flow = ConditionalFlow(2, 1, 2, (32, 32), num_bins=6, periodic=(1,))
    optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
    steps = 350
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    theta, c = turned(1, 512 * steps, degrees)
    x = space.to_latent(theta)
    for rows, given in zip(x.split(512), c.split(512), strict=True):
        loss = -flow(given).log_prob(rows).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5)
        optimiser.step()
        schedule.step()
    theta, c = turned(2, 30_000, degrees)
    latent, log_det = space.forward(theta)
    with torch.no_grad():
        return -float((flow(c).log_prob(latent) + log_det).mean())


@pytest.mark.slow
def test_where_the_circle_is_cut_does_not_matter_to_training():
    """Turned by 90 degrees the data hardly reach the cut, without a turn half of them lie around it."""
    losses = [trained_loss(degrees) for degrees in (0.0, 90.0)]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    # The entropy of data of two peaks that lie 10 standard deviations apart. Means of 30,000 differ by
    # 4 · 1 / √30,000 from it, half a per cent of a nat is what training leaves.
    exact = math.log(2) + math.log(2 * math.pi * math.e) + math.log(18 * 0.3)
    assert losses[0] == pytest.approx(exact, abs=0.04)
