"""Networks trained with FrEIA, imported: the same densities and the same samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from monai_inn.networks.freia.importing import FreiaFlow, load_freia_state

pytest.importorskip("FrEIA", reason="compares with FrEIA, install the extra `peers`")

import FrEIA.framework as ff
import FrEIA.modules as fm

pytestmark = pytest.mark.peers

# The bounds grow with the values: outputs are sums of a few dozen rounded terms of size up to |x|.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
KINDS = ("glow", "glow tanh", "glow sigmoid", "all-in-one", "soft", "householder", "reversed", "mixed")
OPTIONS = {
    "glow tanh": {"clamp_activation": "TANH"},
    "glow sigmoid": {"clamp_activation": "SIGMOID", "clamp": 1.3},
    "soft": {"global_affine_type": "SIGMOID"},
    "householder": {"global_affine_type": "EXP"},
    "reversed": {"reverse_permutation": True},
}


def subnet(seen: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(seen, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, out))


def build(kind: str, channels: int, condition_channels: int) -> ff.SequenceINN:
    net = ff.SequenceINN(channels)
    condition = {"cond": 0, "cond_shape": (condition_channels,)} if condition_channels else {}
    options = {"subnet_constructor": subnet}
    given = OPTIONS.get(kind, {})
    for _ in range(3):
        if kind.startswith("glow"):
            net.append(fm.GLOWCouplingBlock, **condition, **options, **given)
            net.append(fm.PermuteRandom)
        elif kind == "mixed":
            # Two linear layers that are not a rotation times a scale, and a coupling without condition.
            shear = torch.eye(channels) + 0.3 * torch.randn(channels, channels) / channels
            net.append(fm.FixedLinearTransform, M=shear, b=torch.randn(channels))
            net.append(fm.ActNorm)
            net.append(fm.GLOWCouplingBlock, **condition, **options, split_len=channels // 3)
            net.append(fm.AllInOneBlock, **options)
        else:
            shuffle = {"permute_soft": kind == "soft"}
            if kind == "householder":
                shuffle["learned_householder_permutation"] = 3
            net.append(fm.AllInOneBlock, **condition, **options, **given, **shuffle)
    return net


def train(net: ff.SequenceINN, channels: int, condition_channels: int, steps: int = 30) -> None:
    """Maximum likelihood of curved, skewed toy data that follow the condition."""
    net.train()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        c, x = toy(64, channels, condition_channels, torch.float32)
        z, log_det = net(x, c=[c])
        loss = (0.5 * z.square().sum(1) - log_det).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
    net.eval()


def toy(n: int, channels: int, condition_channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    c = torch.randn(n, condition_channels, dtype=dtype)
    x = torch.randn(n, channels, dtype=dtype).cumsum(1) / channels**0.5
    return c, x + 0.3 * x.flip(1).square() + (c.sum(1, keepdim=True) if condition_channels else 0)


def in_double(net: ff.SequenceINN) -> ff.SequenceINN:
    """The net in float64, with the fixed matrices that were rounded to float32 made exact inverses again."""
    net.double()
    for module in net:
        if getattr(module, "w_perm", None) is not None and module.householder == 0:
            left, _, right = torch.linalg.svd(module.w_perm.data)
            module.w_perm.data, module.w_perm_inv.data = left @ right, (left @ right).T
        if isinstance(module, fm.FixedLinearTransform):
            module.M_inv.data = module.M.data.inverse()
            module.logDetM.data = torch.linalg.slogdet(module.M.data)[1]
    return net


def log_prob_of(net: nn.Module, x: Tensor, c: Tensor) -> Tensor:
    z, log_det = net(x, c=[c] if c.shape[1] else [])
    return log_det - 0.5 * z.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


@torch.no_grad()
def assert_same(net: nn.Module, flow: FreiaFlow, x: Tensor, c: Tensor) -> None:
    q = flow(c if c.shape[1] else None)
    expected = log_prob_of(net, x, c)
    bound = TOLERANCE[x.dtype]
    assert (q.log_prob(x) - expected).abs().max() < bound * max(1, expected.abs().max().item())
    latent = torch.randn_like(x)
    samples = net(latent, c=[c] if c.shape[1] else [], rev=True)[0]
    ours = q.push(latent[None])[0] if c.shape[1] else q.push(latent[:, None])[:, 0]
    assert ours.std() > 0.1
    assert (ours - samples).abs().max() < bound * max(1, samples.abs().max().item())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "condition_channels"), [(1, 2), (2, 0), (3, 2), (6, 0), (7, 3)])
def test_imported_flow_is_the_trained_one(kind, channels, condition_channels):
    if channels == 1 and kind == "soft":
        pytest.skip("FrEIA draws soft permutations from two channels up")
    torch.manual_seed(channels)
    net = build(kind, channels, condition_channels)
    train(net, channels, condition_channels)
    for dtype in (torch.float32, torch.float64):
        if dtype == torch.float64:
            net = in_double(net)
        flow = load_freia_state(
            net.state_dict(), condition_channels=condition_channels, **OPTIONS.get(kind, {})
        )
        assert flow.stack.dtype == dtype
        c, x = toy(80, channels, condition_channels, dtype)
        assert_same(net, flow, x, c)


def test_graph_with_several_conditions_is_read_in_order():
    torch.manual_seed(0)
    nodes = [ff.InputNode(4, name="in")]
    conditions = [ff.ConditionNode(2), ff.ConditionNode(3)]
    for _ in range(3):
        options = {"subnet_constructor": subnet, "clamp": 1.5}
        nodes.append(ff.Node(nodes[-1], fm.GLOWCouplingBlock, options, conditions=conditions))
        nodes.append(ff.Node(nodes[-1], fm.PermuteRandom, {"seed": len(nodes)}))
    net = ff.GraphINN([*nodes, *conditions, ff.OutputNode(nodes[-1])])
    flow = load_freia_state(net.state_dict(), condition_channels=5, clamp=1.5)
    c, x = torch.randn(30, 5), torch.randn(30, 4)
    with torch.no_grad():
        z, log_det = net(x, c=[c[:, :2], c[:, 2:]])
        expected = log_det - 0.5 * z.square().sum(1) - 2 * math.log(2 * math.pi)
        assert (flow(c).log_prob(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("is_channels_first", [False, True])
def test_imported_flow_is_rebuilt_from_its_config_and_samples_in_chunks(is_channels_first, monkeypatch):
    monkeypatch.setattr("monai_inn.networks.kernels.plan_parts.is_mkl_fast", lambda: is_channels_first)
    torch.manual_seed(1)
    flow = load_freia_state(build("mixed", 5, 2).state_dict(), condition_channels=2)
    copy = FreiaFlow(**flow.config)
    copy.load_state_dict(flow.state_dict())
    condition, latent = torch.randn(9, 2), torch.randn(6, 9, 5)
    whole = flow(condition).push(latent).detach()
    monkeypatch.setattr("monai_inn.networks.flows.distributions.rows_per_chunk", lambda *_: 12)
    with torch.no_grad():
        assert torch.allclose(copy(condition).push(latent), whole, atol=1e-5)


def test_trained_weights_stay_trainable():
    flow = load_freia_state(build("glow", 4, 2).state_dict(), condition_channels=2)
    flow(torch.randn(8, 2)).log_prob(torch.randn(8, 4)).mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in flow.parameters() if p.numel())


def broken(change: str) -> dict[str, Tensor]:
    state = dict(build("glow", 4, 2).state_dict())
    if change == "prefix":
        return {f"cinn.{key}": value for key, value in state.items()}
    if change == "gap":
        return {key: value for key, value in state.items() if not key.startswith("module_list.1.")}
    if change == "module":
        state["module_list.6.s"] = torch.zeros(1, 4)
    if change == "sizes":
        state["module_list.6.scale"], state["module_list.6.bias"] = torch.zeros(1, 3), torch.zeros(1, 3)
    if change == "subnet":
        state["module_list.0.subnet1.2.weight"] = torch.zeros(12, 16, 3, 3)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prefix", "names begin with"),
        ("gap", r"module_list\.1 has no tensors"),
        ("module", r"module_list\.6 holds .*none of the supported modules"),
        ("sizes", "different numbers of channels"),
        ("subnet", r"subnet1\.2 is not a linear layer"),
    ],
)
def test_other_states_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        load_freia_state(broken(change), condition_channels=2)


def test_wrong_arguments_are_refused():
    state = build("glow", 4, 2).state_dict()
    with pytest.raises(ValueError, match="pass condition_channels=2"):
        load_freia_state(state)
    with pytest.raises(ValueError, match=r"clamp_activation is 'RELU', expected one of"):
        load_freia_state(state, condition_channels=2, clamp_activation="RELU")
    with pytest.raises(ValueError, match="empty"):
        load_freia_state({})
