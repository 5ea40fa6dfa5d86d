"""Light fields of two layers: heads of one network against the exact posterior.

python benchmarks/lightfield.py --json

Every method sees the same features. Divergences are from the exact posterior of the disparity, on 64 bins.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from typing import Any

import torch
from methods_base import Pool, simple_stage
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

import monai_inn
from monai_inn.applications.lightfield.problem import CELLS
from monai_inn.fitted import FittedPosterior
from monai_inn.networks.encoders.encoders import ConditionEncoder
from monai_inn.problems import LightField
from monai_inn.seeding import stream
from monai_inn.training.engine import run_stage

BINS, FLOOR = 64, 1e-6
NEAR_PX, LEAST_MASS, DIP = 0.2, 0.05, 0.6
FAR_PX, SHARES = 0.7, (0.3, 0.7)
DISTANCES_PX = (0.2, 0.3, 0.5, 0.7, 4.0)
MEMBERS, COMPONENTS = 5, 4
EXACT_ROWS = 150  # pixels of which the grids of exact posteriors fit into memory
BATCH, SIMULATIONS = 256, 80_000


class Heads(nn.Module):
    """Networks of equal size from whitened features to a distribution of the disparity."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        sizes = {f"gaussian {i}": 2 for i in range(MEMBERS)} | {"mixture": 3 * COMPONENTS, "classes": BINS}
        self.nets = nn.ModuleDict({n: ConditionEncoder(num_features, size) for n, size in sizes.items()})
        self.register_buffer("edges", torch.linspace(-2, 2, BINS + 1))

    def normal(self, features: Tensor, member: int) -> Normal:
        """One Gaussian."""
        mean, width = self.nets[f"gaussian {member}"](features).unbind(-1)
        return Normal(mean, nn.functional.softplus(width) + 1e-3)

    def mixture(self, features: Tensor) -> MixtureSameFamily:
        """A mixture density."""
        logits, mean, width = self.nets["mixture"](features).chunk(3, -1)
        spread = torch.linspace(-1.5, 1.5, COMPONENTS)
        return MixtureSameFamily(
            Categorical(logits=logits), Normal(spread + mean, nn.functional.softplus(width) + 1e-3)
        )

    def loss(self, features: Tensor, disparity: Tensor) -> Tensor:
        """Sum of the losses of all."""
        total = -self.mixture(features).log_prob(disparity).mean()
        for member in range(MEMBERS):
            total = total - self.normal(features, member).log_prob(disparity).mean()
        place = ((disparity + 2) / 4 * BINS).long().clamp(0, BINS - 1)
        return total + nn.functional.cross_entropy(self.nets["classes"](features), place)

    def shares(self, features: Tensor) -> dict[str, Tensor]:
        """Probabilities of the bins ``(N, BINS)`` of each method."""

        def of(q: Normal | MixtureSameFamily) -> Tensor:
            mass = q.cdf(self.edges.unsqueeze(-1)).diff(dim=0).T
            return mass / mass.sum(-1, keepdim=True).clamp_min(1e-12)

        single = [of(self.normal(features, member)) for member in range(MEMBERS)]
        return {
            "Gaussian head": single[0],
            "ensemble of Gaussian heads": torch.stack(single).mean(0),
            "mixture density": of(self.mixture(features)),
            "per class (softmax)": self.nets["classes"](features).softmax(-1),
        }


def trained_heads(problem: LightField, steps: int, seed: int) -> tuple[Heads, Pool]:
    """Train all heads with the optimiser and schedule that the flow has."""
    torch.manual_seed(seed)
    pool = Pool(problem, SIMULATIONS)
    heads = Heads(pool.num_features)

    def loss(latent: Tensor, features: Tensor) -> Tensor:
        return heads.loss(features, problem.space.inverse(latent)[:, 0])

    stage = simple_stage(heads, loss, pool, seed, BATCH)(steps)
    run_stage(stage, resumed=None, save=lambda state: None, tell=lambda progress: None)
    return heads.eval(), pool


def cases(problem: LightField, n: int, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Parameters and EPIs: layers far apart of middling shares, any two layers, and opaque pixels."""
    found = {}
    for name in ("far apart", "any two", "opaque"):
        theta = problem.prior.sample((20 * n,), stream(seed, name))
        share = theta[:, 2].clamp_max(1).sqrt()
        apart = (theta[:, 0] - theta[:, 1]).abs()
        keep = {
            "far apart": (apart > FAR_PX) & (share > SHARES[0]) & (share < SHARES[1]),
            "any two": share < 1,
            "opaque": share == 1,
        }[name]
        theta = theta[keep][:n]
        clean = problem.draw(theta, stream(seed, name, "texture"))
        found[name] = theta, problem.noise(clean, stream(seed, name, "noise"))
    return found


def binned(cells: Tensor) -> Tensor:
    """Probabilities of the bins of log masses of finer cells ``(N, cells)``."""
    return cells.exp().unflatten(-1, (BINS, -1)).sum(-1)


def modes(share: Tensor) -> list[float]:
    """Disparities of the modes of probabilities ``(BINS,)``: peaks between dips, of enough mass."""
    centres, parts, start = [(-2 + 4 * (i + 0.5) / BINS) for i in range(BINS)], [], 0
    values = share.tolist()
    peak, low, low_at = values[0], math.inf, 0
    for i, value in enumerate(values):
        if low < DIP * min(peak, value) and value > 0.02:
            parts.append((start, low_at))
            start, peak, low = low_at, value, math.inf
        if value > peak:
            peak, low = value, math.inf
        elif value < low:
            low, low_at = value, i
    parts.append((start, BINS))
    kept = [(a, b) for a, b in parts if sum(values[a:b]) >= LEAST_MASS]
    return [centres[max(range(a, b), key=values.__getitem__)] for a, b in kept]


def divergence(exact: Tensor, share: Tensor) -> list[float]:
    """KL of floored probabilities ``(N, BINS)``, nats: mean and its standard error."""
    p, q = ((v.double() + FLOOR) / (1 + BINS * FLOOR) for v in (exact, share))
    each = (p * (p / q).log()).sum(-1)
    return [round(float(each.mean()), 3), round(float(each.std()) / len(each) ** 0.5, 3)]


def of_all(hits: list[bool]) -> list[float]:
    """Share of pixels, and its 95 % bounds after Wilson."""
    bounds = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return [round(value, 3) for value in (sum(hits) / len(hits), bounds.low, bounds.high)]


def all_found(theta: Tensor, found: list[list[float]]) -> list[bool]:
    """Whether each layer of each pixel has a mode."""
    layers = [{float(d) for d, present in ((t[0], True), (t[1], float(t[2]) < 1)) if present} for t in theta]
    return [
        all(any(abs(m - d) < NEAR_PX for m in f) for d in wanted)
        for f, wanted in zip(found, layers, strict=True)
    ]


def figures(theta: Tensor, exact: Tensor, share: Tensor) -> dict[str, Any]:
    """What is measured of one method on one kind of pixels."""
    found = [modes(row) for row in share]
    return {
        "kl": divergence(exact, share),
        "all_depths_found": of_all(all_found(theta, found)),
        "one_mode": of_all([len(f) == 1 for f in found]),
        "modes": round(sum(map(len, found)) / len(found), 2),
    }


def of_flow(fitted: FittedPosterior, y: Tensor) -> Tensor:
    """Probabilities of the bins ``(N, BINS)`` of the flow."""
    centres = (torch.arange(4 * BINS) + 0.5) / BINS - 2
    with torch.no_grad():
        level = fitted.target_posterior(y).log_prob(centres[:, None, None].expand(-1, len(y), 1))
    return binned(level.T.log_softmax(-1))


def by_distance(problem: LightField, fitted: FittedPosterior, n: int, seed: int) -> dict[str, list[float]]:
    """Share of pixels whose depths the flow finds both, by how far apart layers of middling shares are."""
    theta = problem.prior.sample((100 * n,), stream(seed, "distance"))
    share = theta[:, 2].clamp_max(1).sqrt()
    theta = theta[(share > SHARES[0]) & (share < SHARES[1])]
    apart = (theta[:, 0] - theta[:, 1]).abs()
    result = {}
    for low, high in itertools.pairwise(DISTANCES_PX):
        some = theta[(apart > low) & (apart <= high)][:n]
        clean = problem.draw(some, stream(seed, "distance", "texture"))
        share = of_flow(fitted, problem.noise(clean, stream(seed, "distance", "noise")))
        found = [modes(row) for row in share]
        both = zip(all_found(some, found), found, strict=True)
        result[f"{low:g} to {high:g} px"] = of_all([hit and len(f) > 1 for hit, f in both])
    return result


def measured(
    problem: LightField, fitted: FittedPosterior, heads: Heads, pool: Pool, n: int, seed: int
) -> dict[str, Any]:
    """Figures of all methods, by the kind of pixels."""
    rows = cases(problem, n, seed)
    y = torch.cat([y for _, y in rows.values()])
    layers = [problem.layers(part) for part in y.split(EXACT_ROWS)]
    exact, single = (
        binned(torch.cat(parts)).split([len(y) for _, y in rows.values()])
        for parts in ([part.log_disparity() for part in layers], [part.log_single() for part in layers])
    )
    result: dict[str, Any] = {}
    for (name, (theta, y)), truth, one in zip(rows.items(), exact, single, strict=True):
        with torch.no_grad():
            shares = heads.shares(pool.condition(y))
        start = problem.features(y)[:, :CELLS].log_softmax(-1)
        shares |= {"cINN": of_flow(fitted, y), "start of the cINN": binned(start)}
        shares |= {"single-layer likelihood": one, "exact": truth}
        result[name] = {method: figures(theta, truth, share) for method, share in shares.items()}
    return result


def trust(problem: LightField, fitted: FittedPosterior, n: int, seed: int) -> dict[str, float]:
    """Share of EPIs called unexplained at a false-alarm rate of 5 %."""
    theta, y = problem.simulate(n, seed + 17)
    found = {"as simulated": y, **problem.application.corruptions(y)}
    for edge in (2.5, 3.0, 4.0):
        far = theta.clone()
        far[:, :2], far[:, 2] = edge * theta[:, :2].sign(), 1.2
        clean = problem.draw(far, stream(seed, "beyond"))
        found[f"opaque, {edge:g} px per view"] = problem.noise(clean, stream(seed, "beyond", "noise"))
    return {k: round(float((~fitted.is_explained(v)).float().mean()), 3) for k, v in found.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=200, help="pixels of each kind (200)")
    parser.add_argument("--steps", type=int, default=1500, help="steps of the heads, as of the flow (1500)")
    parser.add_argument("--bundle", default="lightfield", help="bundle of the flow (lightfield)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON on one line")
    options = parser.parse_args()
    began = time.process_time()
    problem, fitted = LightField(), monai_inn.load(options.bundle)
    heads, pool = trained_heads(problem, options.steps, options.seed)
    result = {
        "pixels": measured(problem, fitted, heads, pool, options.n, options.seed),
        "both_found": by_distance(problem, fitted, 1000, options.seed),
        "unexplained": trust(problem, fitted, 1000, options.seed),
        "processor_seconds": round(time.process_time() - began),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
