"""Our encoders and flows keep their contract, and each clause of it can fail."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_inn.networks import ConditionalFlow, Encoder, VectorEncoder, check_encoder, check_flow
from monai_inn.networks.encoders.encoders import ImageEncoder
from monai_inn.networks.encoders.gates import GatedEncoder
from monai_inn.networks.parts import PARTS

FLOWS = {
    "affine": (3, {"coupling": "affine"}),
    "spline": (3, {"coupling": "spline"}),
    "groups": (4, {"groups": (1, 3), "num_blocks": (1, 2), "hidden_channels": ((8,), (6,))}),
    "rotation": (3, {"mixing": "rotation"}),
    "one channel": (1, {}),
    "an angle": (2, {"periodic": (1,)}),
    "angles alone": (2, {"periodic": (1, 0)}),
    "angles of a group": (4, {"periodic": (0,), "groups": (2, 2)}),
    "a class": (1, {"categories": ((0, 3),)}),
    "a class, an angle, a number": (3, {"categories": ((2, 4),), "periodic": (0,)}),
}


def features(columns: int = 6, rows: int = 300) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("conditions", [0, 2])
@pytest.mark.parametrize("case", FLOWS)
def test_flows(case, conditions):
    channels, options = FLOWS[case]
    sizes = {"num_blocks": 2, "hidden_channels": (12,)} | options
    flow = ConditionalFlow(channels, conditions, **sizes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    check_flow(flow, features(conditions) if conditions else None)


@pytest.mark.parametrize("may_miss", [False, True])
def test_encoders_of_vectors(may_miss):
    seen = features()
    encoder = VectorEncoder(6, out_channels=4, width=8, may_miss=may_miss)
    if may_miss:
        seen[::3, 2] = torch.nan
    encoder.fit(seen, seen, None)
    check_encoder(encoder, seen)


def test_an_encoder_keeps_the_features_that_the_flow_is_to_see():
    seen = features()
    encoder = VectorEncoder(6, out_channels=4, width=8, kept=2)
    encoder.fit(seen, seen, None)
    check_encoder(encoder, seen)
    torch.testing.assert_close(encoder(seen)[:, :2], seen[:, :2])
    torch.testing.assert_close(encoder(seen + torch.eye(6)[0])[:, 2:], encoder(seen)[:, 2:])


@pytest.mark.parametrize("may_miss", [False, True])
def test_encoders_with_gates(may_miss):
    seen = features() * torch.arange(1, 7)
    encoder = GatedEncoder(6, "site", 10.0, out_channels=4, width=8, may_miss=may_miss)
    if may_miss:
        seen[::3, 2] = torch.nan
    encoder.fit(seen, seen, None)
    check_encoder(encoder, seen)
    assert encoder.gates.tolist() == [1.0] * 6


def test_a_closed_gate_lets_nothing_through():
    encoder = GatedEncoder(6, "site", 10.0, out_channels=4, width=8)
    seen = features()
    encoder.fit(seen, seen, None)
    encoder.open_only([True, True, True, False, True, True])
    changed = seen.clone()
    changed[:, 3] += 1
    assert torch.equal(encoder(changed), encoder(seen))
    changed[:, 2] += 1
    assert not torch.equal(encoder(changed), encoder(seen))


@pytest.mark.parametrize("templates", [0, 40])
def test_encoders_of_images(templates):
    seen = features(20)
    encoder = ImageEncoder(20, 2, components=6, templates=templates, periodic=(1,), out_channels=4, width=8)
    known = (seen[:templates], torch.randn(templates, 2)) if templates else None
    encoder.fit(seen, seen, known)
    check_encoder(encoder, seen)


def broken(**changes) -> Encoder:
    """An encoder of this file with a fault."""

    class Plain(Encoder):
        kind = "plain"

        def __init__(self, num_features, out_channels=3):
            super().__init__()
            self.layer, self.spare = nn.Linear(num_features, out_channels), None
            self.out_channels = out_channels
            self.config = {"num_features": num_features, "out_channels": out_channels}

        def forward(self, seen):
            return self.layer(seen)

    for name, change in changes.items():
        setattr(Plain, name, change)
    PARTS.known["plain"] = Plain
    return Plain(6)


FAULTS = {
    "depends on the other rows": {"forward": lambda self, seen: self.layer(seen - seen.mean(0))},
    "expected (6, 3)": {"forward": lambda self, seen: self.layer(seen)[..., :2]},
    "but not (N, 1, F)": {"forward": lambda self, seen: self.layer(seen.reshape(-1, 6))},
    "but not (F,)": {"forward": lambda self, seen: self.layer(seen if seen.ndim > 1 else seen[None])},
    "not finite": {"forward": lambda self, seen: self.layer(seen) / 0},
    "no gradient reaches": {"forward": lambda self, seen: self.layer(seen).detach().requires_grad_()},
}


@pytest.mark.parametrize("said", FAULTS)
def test_faults_of_encoders_are_named(said, monkeypatch):
    monkeypatch.setattr(PARTS, "known", dict(PARTS.known))
    check_encoder(broken(), features())
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        check_encoder(broken(**FAULTS[said]), features())


def test_a_flow_with_a_wrong_density_is_named():
    class Wrong(ConditionalFlow):
        def forward(self, condition=None):
            q = super().forward(condition)
            right = q.log_prob
            q.log_prob = lambda value: right(value) + 0.1
            return q

    with pytest.raises(ValueError, match="log_prob is not that of the map"):
        check_flow(Wrong(2, 0, num_blocks=1, hidden_channels=(4,)))
