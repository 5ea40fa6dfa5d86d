"""One contract for every flow: round trip, log-determinant, shapes, chunking, marginals, ensembles."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_inn.networks import ConditionalFlow, FlowEnsemble
from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.kernels.chunks import map_chunks, on_all_threads

COUPLINGS = ("affine", "spline")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}

CHUNK = "monai_inn.networks.flows.distributions.rows_per_chunk"
STRIP = "monai_inn.networks.kernels.plan_parts.rows_per_strip"


def make_flow(coupling: str, seed: int = 0, **options: object) -> ConditionalFlow:
    """A flow that is not the identity: last layers and ActNorm are moved away from zero."""
    settings_ = {"in_channels": 5, "condition_channels": 3, "num_blocks": 3, "hidden_channels": (16, 16)}
    flow = ConditionalFlow(coupling=coupling, seed=seed, **(settings_ | options))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return flow


def columns(rows: torch.Tensor) -> torch.Tensor:
    return rows.T.unsqueeze(0)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    channels=st.integers(1, 9),
    condition_channels=st.integers(0, 4),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 0.5, 1.0]),
)
@settings(max_examples=12)
def test_round_trip_and_log_det(coupling, dtype, channels, condition_channels, seed, scale):
    flow = make_flow(coupling, seed, in_channels=channels, condition_channels=condition_channels).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    x = columns(scale * torch.randn(20, channels, generator=generator, dtype=dtype))
    condition = None
    if condition_channels:
        condition = columns(torch.randn(20, condition_channels, generator=generator, dtype=dtype))
    with torch.no_grad():
        z, log_det = flow.stack(x, Context(condition))
        back, log_det_back = flow.stack.inverse(z, Context(condition))
    assert (back - x).abs().max() <= TOLERANCE[dtype] * max(1, x.abs().max().item())
    assert torch.allclose(log_det, -log_det_back, atol=100 * TOLERANCE[dtype])


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_density_integrates_to_one(coupling):
    flow = make_flow(coupling, in_channels=2).double()
    axis = torch.linspace(-40, 40, 600, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_prob = flow(torch.ones(1, 3, dtype=torch.float64)).log_prob(grid[:, None])
    mass = log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(mass.item() - 1) < 1e-3


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("rows", [1, 3, 11, 130])
@pytest.mark.parametrize("is_channels_first", [False, True])
def test_chunks_and_threads_do_not_change_the_answer(coupling, rows, is_channels_first, monkeypatch):
    monkeypatch.setattr("monai_inn.networks.kernels.plan_parts.is_mkl_fast", lambda: is_channels_first)
    flow = make_flow(coupling, groups=(2, 3)).double()
    generator = torch.Generator().manual_seed(rows)
    condition = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    latent = torch.randn(17, rows, 5, dtype=torch.float64, generator=generator)
    q = flow(condition)
    whole, density = q.push(latent), q.log_prob(latent)  # gradients on: one pass
    # Strips shorter than the samples of a pixel, of one pixel, of several, and of too many to tell apart.
    for limit, strip in ((8, 100), (64, 5), (1000, 20), (1000, 55), (300, 40), (1000, 1000)):
        if rows * 17 > 10 * limit:
            continue  # the fewer rows have such chunks too
        monkeypatch.setattr(CHUNK, lambda *_, limit=limit: limit)
        monkeypatch.setattr(STRIP, lambda *_, strip=strip: strip)
        with torch.no_grad():
            assert torch.allclose(q.push(latent), whole, atol=1e-12)
            assert torch.allclose(q.log_prob(latent), density, atol=1e-11)


@pytest.mark.parametrize("condition_channels", [0, 3])
def test_members_in_chunks_are_those_of_one_pass(condition_channels, monkeypatch):
    ensemble = FlowEnsemble(
        3, in_channels=4, condition_channels=condition_channels, num_blocks=2, hidden_channels=(8, 8)
    ).double()
    condition = torch.randn(31, 3, dtype=torch.float64) if condition_channels else None
    q, x = ensemble(condition), torch.randn(31, 4, dtype=torch.float64)
    whole = q.log_prob(x)
    for limit, strip in ((1000, 1000), (10, 7), (20, 64)):
        monkeypatch.setattr(CHUNK, lambda *_, limit=limit: limit)
        monkeypatch.setattr(STRIP, lambda *_, strip=strip: strip)
        with torch.no_grad():
            assert torch.allclose(q.log_prob(x), whole, atol=1e-11)


@pytest.mark.parametrize("threads", [1, 2])
def test_chunk_walk_covers_every_row_once_and_restores_the_thread_setting(threads):
    rows = torch.arange(7 * 11.0).reshape(7, 11, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for limit in (1, 5, 7, 20, 100):
        both = map_chunks([lambda r, _: r * 2, lambda r, _: r * 3], rows, None, (1,), limit)
        assert torch.equal(both, torch.stack([rows * 2, rows * 3], 2))
        inside = on_all_threads(lambda _: torch.get_num_threads(), range(4), rows.device)
        assert set(inside) == {1}
    assert torch.get_num_threads() == threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_shapes_are_those_of_torch_distributions(coupling):
    flow = make_flow(coupling)
    q = flow(torch.randn(6, 2, 3))
    assert q.batch_shape == (6, 2)
    assert q.event_shape == (5,)
    assert q.sample().shape == (6, 2, 5)
    assert q.sample((4, 3)).shape == (4, 3, 6, 2, 5)
    assert q.log_prob(q.sample((4,))).shape == (4, 6, 2)
    assert q.log_prob(torch.zeros(5)).shape == (6, 2)
    assert not q.sample().requires_grad
    assert q.rsample().requires_grad
    single = flow(torch.randn(3))
    assert single.sample((2,)).shape == (2, 5)
    assert single.log_prob(torch.zeros(7, 5)).shape == (7,)
    unconditional = make_flow(coupling, condition_channels=0)()
    assert unconditional.sample((4,)).shape == (4, 5)
    assert unconditional.log_prob(torch.zeros(4, 3, 5)).shape == (4, 3)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_samples_follow_the_density(coupling):
    """E_q[p/q] = 1 for a normalised p: importance weights of a wide normal average to one."""
    flow = make_flow(coupling, in_channels=3)
    torch.manual_seed(0)
    with torch.no_grad():
        q = flow(torch.zeros(1, 3))
        x = q.sample((20_000,))
        narrow = torch.distributions.Normal(x.mean(0), 0.5 * x.std(0))
        weights = (narrow.log_prob(x).sum(-1) - q.log_prob(x)).exp().squeeze(1)
    error = weights.std() / len(weights) ** 0.5
    assert abs(weights.mean() - 1) < 4 * error
    assert error < 0.05


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_leading_group_is_the_exact_marginal(coupling):
    flow = make_flow(coupling, in_channels=3, groups=(1, 2)).double()
    condition = torch.randn(1, 3, dtype=torch.float64)
    axis = torch.linspace(-9, 9, 300, dtype=torch.float64)
    x = torch.cartesian_prod(torch.tensor([0.3], dtype=torch.float64), axis, axis)
    with torch.no_grad():
        q = flow(condition)
        marginal = q.log_prob(x[:, None]).exp().sum() * (axis[1] - axis[0]) ** 2
        leading = q.leading(1).log_prob(torch.tensor([[0.3]], dtype=torch.float64)).exp()
    assert abs(marginal / leading - 1) < 1e-3
    latent = torch.randn(4, 1, 3, dtype=torch.float64)
    assert torch.allclose(q.push(latent)[..., :1], q.leading(1).push(latent[..., :1]))
    with pytest.raises(ValueError, match="not available"):
        q.leading(2)


def test_groups_may_differ_in_size():
    sizes = {"groups": (2, 3), "num_blocks": (1, 2), "hidden_channels": ((8,), (16, 12))}
    flow = make_flow("spline", **sizes).double()
    assert [len(blocks) for blocks in flow.stack.blocks] == [1, 2]
    assert [len(blocks[0].second_given_first.weights) for blocks in flow.stack.blocks] == [2, 3]
    again = ConditionalFlow(**json.loads(json.dumps(flow.config))).double()
    again.load_state_dict(flow.state_dict())
    condition, latent = torch.randn(7, 3, dtype=torch.float64), torch.randn(4, 7, 5, dtype=torch.float64)
    samples = again(condition).push(latent)
    assert torch.equal(samples, flow(condition).push(latent))
    assert torch.allclose(samples[..., :2], again(condition).leading(2).push(latent[..., :2]), atol=1e-12)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_ensemble_is_its_members(coupling):
    options = {"in_channels": 4, "condition_channels": 2, "num_blocks": 2, "hidden_channels": (8, 8)}
    ensemble = FlowEnsemble(3, coupling=coupling, **options)
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    condition, x, latent = torch.randn(6, 2), torch.randn(6, 4), torch.randn(5, 6, 4)
    log_prob, samples = ensemble(condition).log_prob(x), ensemble(condition).push(latent)
    assert log_prob.shape == (3, 6)
    assert samples.shape == (5, 3, 6, 4)
    assert ensemble(condition).sample((5,)).shape == (5, 3, 6, 4)
    for m in range(3):
        member = ConditionalFlow(coupling=coupling, **options)
        state = {key: value[m : m + 1] for key, value in ensemble.state_dict().items()}
        member.load_state_dict(state)
        assert torch.allclose(member(condition).log_prob(x), log_prob[m], atol=1e-5)
        assert torch.allclose(member(condition).push(latent), samples[:, m], atol=1e-5)


def test_initialised_flow_whitens_what_its_blocks_see():
    flow = ConditionalFlow(2, 0, 2, (8,), "affine")
    x = columns(torch.randn(4000, 2) @ torch.tensor([[3.0, 0.0], [0.0, 0.2]]) + 7)
    flow.stack.initialise(x, Context(None))
    for block in flow.stack.blocks[0]:
        mixed, _ = block.mixing(x)
        assert mixed.mean(-1).abs().max() < 1e-3
        assert (mixed.std(-1) - 1).abs().max() < 1e-3
        x, _ = block(x, None, Context(None))


@pytest.mark.parametrize("mixing", ["permutation", "rotation"])
def test_mixing_matrices_are_orthogonal(mixing):
    matrix = ConditionalFlow(6, 0, 1, (8,), mixing=mixing).stack.blocks[0][0].mixing.rotation[0]
    assert torch.allclose(matrix @ matrix.T, torch.eye(6), atol=1e-6)
    assert (matrix.abs() > 1e-6).sum(0).eq(1).all() == (mixing == "permutation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coupling": "cubic"}, "cubic"),
        ({"groups": (2, 2)}, "add up to in_channels = 5"),
        ({"groups": (2, 3), "num_blocks": (1, 2, 3)}, "do not fit 2 groups"),
        ({"groups": (2, 3), "hidden_channels": ((8,),)}, "do not fit 2 groups"),
        ({"spatial_dims": 2}, "spatial_dims = 2"),
        ({"mixing": "none"}, "mixing is 'none'"),
    ],
)
def test_bad_sizes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ConditionalFlow(5, 3, **options)
    with pytest.raises(ValueError, match="2 channels on its last axis, but this flow was built for 3"):
        make_flow("affine")(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="4 channels on the last axis, expected 5"):
        make_flow("affine")(torch.zeros(4, 3)).log_prob(torch.zeros(4, 4))
