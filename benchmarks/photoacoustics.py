"""Saturation of vessels in depth: the shipped posterior against unmixing, exact posteriors and mcx.

python benchmarks/photoacoustics.py --json
python benchmarks/photoacoustics.py --views 3      # also trains a network of two views, for 3 minutes
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import i0
from torch import Tensor

import monai_inn
from monai_inn.applications.photoacoustics.problem import Photoacoustics
from monai_inn.applications.photoacoustics.views import combined_density
from monai_inn.fitted import FittedPosterior
from monai_inn.metrics.bootstrap import bootstrap_bounds, median_of_cases
from monai_inn.physics import tissue
from monai_inn.physics.transport.fluence import fluence
from monai_inn.seeding import seeded

DATA = Path(__file__).resolve().parent / "data"
DEPTHS_MM = (0.5, 5.0, 10.0, 15.0, 20.0, 25.0)
LEVEL = 0.95
DRAWS = 512


def unmixed(problem: Photoacoustics, y: Tensor) -> Tensor:
    """Saturation ``(n,)`` by non-negative least squares on the two haemoglobins, as devices show it."""
    one = torch.ones(1)
    basis = [tissue.absorption(tissue.blood(one, one * s), problem.wavelengths_nm)[0] for s in (1.0, 0.0)]
    matrix = torch.stack(basis, 1).numpy()
    amounts = np.array([nnls(matrix, row)[0] for row in problem.shares(y).double().numpy()])
    return torch.from_numpy(amounts[:, 0] / np.maximum(amounts.sum(1), 1e-12)).float()


def bounded(values: Tensor) -> list[float]:
    """Median, and its 95 % bootstrap bounds."""
    return [round(float(v), 4) for v in (values.median(), *bootstrap_bounds(values, median_of_cases))]


def by_depth(fitted: FittedPosterior, n: int, seed: int) -> dict[str, Any]:
    """Errors, coverage and modes of fresh vessels, and where unmixing is most wrong."""
    problem = fitted.problem
    assert isinstance(problem, Photoacoustics)
    theta, y = problem.simulate(n, seed)
    with torch.no_grad(), seeded(seed):
        samples = torch.cat([fitted.target_posterior(part).sample((DRAWS,)) for part in y.split(500)], 1)
    so2, depth = theta[:, 0], theta[:, 1]
    ends = torch.quantile(samples[..., 0], torch.tensor([0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2]), dim=0)
    wrong = {"unmixing": (unmixed(problem, y) - so2).abs(), "posterior": (ends[1] - so2).abs()}
    inside = ((so2 >= ends[0]) & (so2 <= ends[2])).float()
    table = {}
    for low, high in itertools.pairwise(DEPTHS_MM):
        rows = (depth >= low) & (depth < high)
        table[f"{low:g}-{high:g} mm"] = {
            **{name: bounded(error[rows]) for name, error in wrong.items()},
            "paired_gain": bounded((wrong["unmixing"] - wrong["posterior"])[rows]),
            "coverage_95": round(float(inside[rows].mean()), 4),
            "median_width_95": round(float((ends[2] - ends[0])[rows].median()), 3),
            "vessels": int(rows.sum()),
        }
    worst = wrong["unmixing"].topk(n // 50).indices
    fooled = {
        name: [round(float(column[rows].median()), 3) for rows in (slice(None), worst)]
        for name, column in zip(problem.space.names, theta.T, strict=True)
    }
    return {"table": table, "median_of_all_and_of_the_2_percent_worst_unmixed": fooled}


def speed() -> dict[str, float]:
    """Spectra of 21 wavelengths below three layers a second of one core: light alone, and all of it."""
    problem = Photoacoustics()
    theta = problem.space.sample_prior(4096, torch.Generator().manual_seed(0))
    layers = problem.layer_properties(theta)
    arrays = [v.flatten(0, 1).numpy() for v in layers[:3]]
    fluence(*arrays, threads=1)
    best = {"fluence": np.inf, "forward": np.inf}
    for _ in range(3):
        start = time.process_time()
        fluence(*arrays, threads=1)
        middle = time.process_time()
        problem.forward(theta)
        best["fluence"] = min(best["fluence"], middle - start)
        best["forward"] = min(best["forward"], time.process_time() - middle)
    return {name: round(4096 / seconds) for name, seconds in best.items()}


def read(name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table."""
    lines = [line for line in (DATA / name).read_text().splitlines() if not line.startswith("#")]
    header, *rows = csv.reader(lines)
    return header, rows


def round_bodies() -> dict[str, Any]:
    """How far light in a slab and the diffusion solution are from mcx in cylinders lit from all sides."""
    header, rows = read("mcx_cylinders.csv")
    depth = np.array([float(name.split("_")[1]) for name in header[3:]])
    radius, start = 13.75, int(np.argmin(abs(depth - 2.5)))
    errors: dict[str, list[NDArray[np.float64]]] = {"slab": [], "diffusion_in_a_cylinder": []}
    for row in rows:
        mu_a, mu_s = float(row[1]), float(row[2])
        measured = np.array([float(v) for v in row[3:]])
        one = np.ones((len(depth), 1, 1))
        slab = fluence(mu_a * one, mu_s * one, depth[:, None] / 10, g=0.7, n=1.0011)[:, 0]
        diffusion = i0(np.sqrt(3 * mu_a * (mu_a + 0.3 * mu_s)) * (radius - depth) / 10)
        for name, made in zip(errors, (slab, diffusion), strict=True):
            errors[name].append(made / made[start] * measured[start] / measured - 1)
    return {
        "depth_mm": depth.tolist(),
        "relative_to_mm": 2.5,
        **{name: np.median(values, 0).round(3).tolist() for name, values in errors.items()},
        **{f"{name}_abs": np.median(np.abs(values), 0).round(3).tolist() for name, values in errors.items()},
    }


def phantoms(fitted: FittedPosterior, depths_mm: Sequence[float] = (2.0, 5.0, 10.0)) -> dict[str, Any]:
    """What is said of phantoms without blood: pressures from measured absorption and scattering."""
    problem = fitted.problem
    assert isinstance(problem, Photoacoustics)
    header, rows = read("phantoms_dis.csv")
    table = np.array(rows, dtype=float)
    axis = np.array(problem.wavelengths_nm)
    result = {}
    for name in [column[5:] for column in header if column.startswith("mu_a_") and "_sd_" not in column]:
        mu_a, mu_s = (
            np.interp(axis, table[:, 0], table[:, header.index(f"{kind}_{name}")])
            for kind in ("mu_a", "mu_s")
        )
        one = np.ones((len(depths_mm), 1, 1))
        light = fluence(mu_a * one, mu_s * one, np.array(depths_mm)[:, None] / 10, g=0.7)
        y = torch.from_numpy(mu_a * light).float()
        y = problem.noise(y, torch.Generator().manual_seed(0))
        with torch.no_grad():
            ends = (
                fitted.target_posterior(y)
                .sample((DRAWS,))[..., 0]
                .quantile(torch.tensor([0.025, 0.5, 0.975]), dim=0)
            )
        result[name] = {
            "so2_low_median_high": ends.T.round(decimals=2).tolist(),
            "unmixing": unmixed(problem, y).round(decimals=2).tolist(),
            "explained": fitted.is_explained(y).tolist(),
        }
    return {"depths_mm": list(depths_mm), "phantoms": result}


def against_exact(fitted: FittedPosterior, count: int, seed: int) -> dict[str, Any]:
    """Means and widths of the network beside tempered Monte Carlo, on a few vessels."""
    problem = fitted.problem
    assert isinstance(problem, Photoacoustics)
    _, y = problem.simulate(count, seed)
    shifts, widths, seconds = [], [], []
    for k, row in enumerate(y):
        start = time.process_time()
        exact = problem.exact_samples(row, 2000, seed=k).samples[:, :2]
        seconds.append(time.process_time() - start)
        with torch.no_grad():
            drawn = problem.space.to_latent(fitted.posterior(row).sample((2000,)))[:, :2].double()
        shifts.append((drawn.mean(0) - exact.mean(0)) / exact.std(0))
        widths.append(drawn.std(0) / exact.std(0))
    names = problem.targets
    return {
        "vessels": count,
        "seconds_each": round(float(np.mean(seconds)), 1),
        **{
            f"{n}_mean_off_in_sd": torch.stack(shifts)[:, i].round(decimals=2).tolist()
            for i, n in enumerate(names)
        },
        **{
            f"{n}_width_ratio": torch.stack(widths)[:, i].round(decimals=2).tolist()
            for i, n in enumerate(names)
        },
    }


def two_views(fitted: FittedPosterior, minutes: float, n: int, seed: int) -> dict[str, Any]:
    """What a second view adds: widths and coverage of one, of the product of two, and of both learned."""
    two = Photoacoustics(views=2)
    learned = monai_inn.fit(two, minutes=minutes, seed=seed)
    theta, y = two.simulate(n, seed + 1)
    first, second = y.chunk(2, -1)
    so2 = theta[:, 0]
    result: dict[str, Any] = {}
    for name, observations in (("one_view", [first]), ("product", [first, second])):
        values, share = combined_density(fitted, observations)
        below = share.cumsum(0)
        low, high = (values[(below < level).sum(0).clamp_max(len(values) - 1)] for level in (0.025, 0.975))
        result[name] = _kept(so2, low, high)
    with torch.no_grad():
        drawn = torch.cat([learned.target_posterior(part).sample((DRAWS,)) for part in y.split(500)], 1)
    low, high = drawn[..., 0].quantile(torch.tensor([0.025, 0.975]), dim=0)
    result["both_learned"] = _kept(so2, low, high)
    exact = []
    for k in range(6):
        drawn = two.space.inverse(two.exact_samples(y[k], 1000, seed=k).samples.float())[:, 0]
        exact.append(float(drawn.quantile(0.975) - drawn.quantile(0.025)) / float(high[k] - low[k]))
    result["width_exact_over_learned"] = [round(v, 2) for v in exact]
    return result


def _kept(so2: Tensor, low: Tensor, high: Tensor) -> dict[str, float]:
    inside = ((so2 >= low) & (so2 <= high)).float().mean()
    return {"coverage_95": round(float(inside), 4), "median_width_95": round(float((high - low).median()), 4)}


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", default="photoacoustics", help="bundle to measure")
    parser.add_argument("--vessels", type=int, default=10_000)
    parser.add_argument("--exact", type=int, default=10, help="vessels that tempered Monte Carlo answers too")
    parser.add_argument("--views", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON on one line")
    options = parser.parse_args()
    fitted = monai_inn.load(options.bundle)
    result = {
        "spectra_per_second_of_a_core": speed(),
        "by_depth": by_depth(fitted, options.vessels, options.seed),
        "round_bodies": round_bodies(),
        "phantoms": phantoms(fitted),
        "against_exact": against_exact(fitted, options.exact, options.seed + 1),
    }
    if options.views:
        result["two_views"] = two_views(fitted, options.views, 1000, options.seed + 2)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
