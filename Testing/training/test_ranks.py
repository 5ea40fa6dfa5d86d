"""Two processes train what one trains: the same gradients, and losses as near as rounding lets them be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from forked import Forked
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import monai_inn as mi
from monai_inn.arguments import is_helper, progress_of
from monai_inn.bundles.fitting import fit_bundle
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe
from monai_inn.training.engine import Stage, run_stage
from monai_inn.training.ranks import Ranks, together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = {
    "flow": {"hidden_channels": (8,), "num_blocks": 1},
    "encoder": {"width": 16},
    "density": {"hidden_channels": (8,), "num_blocks": 1, "members": 2},
    "num_ood_scores": 64,
}
# A batch of 65 rows: shares of different sizes.
RECIPE = Recipe(2048, 100, 50, 50, 64, 65, rate=0.03, measured=64, held_out=4096)
STEPS = 40


def toy() -> tuple[nn.Linear, Stage]:
    """Regression by one row of weights, which plain Adam trains: its steps do not magnify rounding."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS, 65, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(STEPS, 65, generator=generator)
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.fill_(0.1)
        module.bias.fill_(0.2)

    def loss(batch):
        return (module(batch[0]).squeeze(-1) - batch[1]).square().mean()

    def batches(first, last):
        return zip(x[first:last], y[first:last], strict=True)

    return module, Stage("toy", module, batches, loss, lambda: loss((x[0], y[0])), STEPS, 0.05)


def trained() -> torch.Tensor:
    module, stage = toy()
    run_stage(stage, resumed=None, save=lambda _: None, tell=lambda _: None)
    return torch.cat([module.weight.detach().flatten(), module.bias.detach()])


def child(folder: Path) -> None:
    """What each of two processes does."""
    with together() as ranks:
        weights = trained()
        made = fit_bundle(LinearGaussian(2, 1), folder / "bundle", recipe=RECIPE, network=SMALL)
        assert (made["measured"] != {}) == ranks.is_first
        (folder / f"{ranks.rank}.json").write_text(json.dumps([ranks.count, weights.tolist()]))


def launch(function: Callable[[Path], None], folder: Path) -> None:
    """What ``torchrun --standalone --nproc-per-node 2`` does, with forks that need not import everything."""
    address = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    limits = {"max_restarts": 0, "monitor_interval": 0.1, "start_method": "fork"}
    elastic_launch(LaunchConfig(1, 1, 2, run_id="ranks", **address, **limits), function)(folder)


@pytest.mark.slow  # two whole trainings
def test_two_processes_train_what_one_does(tmp_path):
    """Losses differ by less than those of one process whose gradients are rounded differently.

    The optimiser turns rounding into steps of full size wherever the first gradients say nothing. Gradients
    changed by one part in 10^7 move the posterior's loss by 0.005 nats, the density's by 0.0003 and that of
    the explanation by 0.002 (five runs); the tolerances are four times that.
    """
    with Forked(lambda: launch(child, tmp_path)) as agent:
        _, errors = agent.communicate()
        assert agent.wait() == 0, errors[-3000:]
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert reports[0] == reports[1]
    count, weights = reports[0]
    assert count == 2
    torch.testing.assert_close(torch.tensor(weights), trained(), rtol=1e-5, atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"0.json", "1.json", "bundle"}
    one = mi.fit(LinearGaussian(2, 1), recipe=RECIPE, network=SMALL).card["training"]
    two = mi.load(tmp_path / "bundle").card["training"]
    assert two["recipe"] == one["recipe"]
    for stage, tolerance in (("posterior", 0.02), ("density", 0.0012), ("explanation", 0.008)):
        assert abs(two["held_out_loss"][stage] - one["held_out_loss"][stage]) < tolerance, stage


@pytest.mark.parametrize("axis", [0, -1])
def test_shares_are_the_whole_batch_once(axis):
    ranks = Ranks()
    assert ranks.share((torch.ones(3), torch.ones(3)), axis)[1] == 1
    whole, parts = torch.arange(70).reshape(7, 10), []
    ranks.count = 3
    for ranks.rank in range(3):
        (own, also), part = ranks.share((whole, 2 * whole), axis)
        assert torch.equal(also, 2 * own)
        parts.append((own, part))
    assert torch.equal(torch.cat([own for own, _ in parts], axis), whole)
    assert sum(part for _, part in parts) == pytest.approx(1)
    assert [part for _, part in parts] == [own.shape[axis] / whole.shape[axis] for own, _ in parts]


def test_only_the_first_process_speaks(monkeypatch, capsys):
    import argparse

    assert not is_helper()
    monkeypatch.setenv("RANK", "1")
    assert not is_helper()  # somebody else's
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert is_helper()
    with progress_of(argparse.Namespace(verb="fit", progress_lines=True)) as show:
        show(0.5, "posterior")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    assert not is_helper()
