"""What the variance of an ensemble of densities adds to a likelihood, and what would make it larger.

    python benchmarks/ensemble.py [--bundle PATH] [--steps N] [--json]

Densities of the observations are trained anew, in several ways: as bundles have them (small flows, each
member on its own fifth of the simulations), with the larger flows of former bundles, with 1,000 simulations
a member, and with a randomised prior (Osband et al., 2018): fixed random subnets are added to those that
learn, so that members agree only where data made them. Printed are held-out likelihood, variance over the
members, and the AUROC of measured spectra against measured organs by the likelihood alone, by WAIC and by
the variance.
"""

from __future__ import annotations

import argparse
import copy
import json
from typing import Any

import torch
from ood_data import build
from torch import Tensor, nn

import monai_inn
from monai_inn.metrics import auroc
from monai_inn.metrics.detection.ood import waic
from monai_inn.networks.density import ObservationDensity
from monai_inn.networks.flows.couplings import Context, Subnet
from monai_inn.training.stages import SMALL_DENSITY

_POOL, _ROWS, _MEMBERS, _BATCH, _RATE = 100_000, 4000, 5, 512, 2e-3
_LARGE = {"num_blocks": 2, "hidden_channels": (64, 64), "num_bins": 8}
KINDS: dict[str, tuple[dict[str, Any], int, float]] = {  # sizes, simulations a member, size of the prior
    "as bundles have it": (SMALL_DENSITY, _POOL // _MEMBERS, 0.0),
    "larger flows": (_LARGE, _POOL // _MEMBERS, 0.0),
    "1,000 simulations a member": (SMALL_DENSITY, 1000, 0.0),
    "randomised prior": (SMALL_DENSITY, _POOL // _MEMBERS, 3.0),
}


class WithPrior(nn.Module):
    """A subnet with a fixed random one of the same form added."""

    def __init__(self, subnet: Subnet, size: float) -> None:
        super().__init__()
        self.subnet, self.size = subnet, size
        self.fixed = copy.deepcopy(subnet).requires_grad_(False)
        for weight in self.fixed.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Map as a subnet does."""
        result: Tensor = self.subnet(x, context) + self.size * self.fixed(x, context)
        return result


def trained(features: Tensor, smoothing: float, kind: str, steps: int) -> ObservationDensity:
    """Train an ensemble on features ``(N, K)``."""
    sizes, share, prior = KINDS[kind]
    torch.manual_seed(0)
    density = ObservationDensity(features.shape[1], _MEMBERS, **sizes)
    density.fit(features[:20_000])
    stack = density.ensemble.stack
    if prior:
        for module in [*stack.modules()]:
            for name, child in module.named_children():
                if isinstance(child, Subnet):
                    setattr(module, name, WithPrior(child, prior))
    white, generator = density.channels(features), torch.Generator().manual_seed(0)

    def batch() -> Tensor:
        start = torch.arange(_MEMBERS)[:, None] * (len(white) // _MEMBERS)
        rows = white[start + torch.randint(share, (_MEMBERS, _BATCH), generator=generator)]
        return (rows + smoothing * torch.randn(rows.shape, generator=generator)).transpose(1, 2)

    with torch.no_grad():
        stack.initialise(batch(), Context(None))
    learning = [p for p in stack.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (-stack.log_prob(batch(), Context(None)).mean()).backward()
        nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        schedule.step()
    return density.eval()


@torch.inference_mode()
def measured(density: ObservationDensity, sets: dict[str, Tensor]) -> dict[str, Any]:
    """Return likelihood, variances and AUROCs; ``sets`` are features, simulations and organs among them."""
    found = {}
    for name, rows in sets.items():
        columns = density.channels(rows).T.expand(_MEMBERS, -1, -1)
        log_prob = density.ensemble.stack.log_prob(columns, Context(None))
        found[name] = log_prob + density.whitening.log_det
    scores = {name: {"nll": -p.mean(0), "waic": waic(p), "variance": p.var(0)} for name, p in found.items()}
    organs = scores["organs"]
    return {
        "nll_of_simulations": round(float(scores["simulations"]["nll"].mean()), 2),
        "median_variance": {n: round(float(s["variance"].median()), 4) for n, s in scores.items()},
        "auroc": {
            name: {kind: round(auroc(score[kind], organs[kind]), 3) for kind in score}
            for name, score in scores.items()
            if name not in ("organs", "simulations")
        },
    }


def main() -> None:
    """Print one block a way of training."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default="oximetry")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    fitted = monai_inn.load(options.bundle)
    problem = fitted.problem
    features = problem.density_features(problem.simulate(_POOL, seed=1)[1])
    data = build(_ROWS, 0, problem.camera)
    sets = {"simulations": problem.simulate(_ROWS, seed=2)[1], "organs": torch.from_numpy(data.pooled())}
    sets |= {name: torch.from_numpy(y) for name, y in data.foreign().items()}
    usable = {name: y[problem.is_valid(y)] for name, y in sets.items()}
    rows = {name: problem.density_features(y) for name, y in usable.items() if len(y)}
    smoothing = fitted.card["training"]["recipe"]["density_smoothing"]
    report = {kind: measured(trained(features, smoothing, kind, options.steps), rows) for kind in KINDS}
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for kind, found in report.items():
        print(f"\n{kind}: nll of simulations {found['nll_of_simulations']} nat")
        for name, variance in found["median_variance"].items():
            by = "  ".join(f"{k} {v:.2f}" for k, v in found["auroc"].get(name, {}).items())
            print(f"  {name:26s} variance {variance:9.4f}  {by}")


if __name__ == "__main__":
    main()
