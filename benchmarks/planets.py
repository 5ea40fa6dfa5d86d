"""Interiors of planets: a network against Markov chains (emcee) and the exact grid, and when it pays.

python benchmarks/planets.py --json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import emcee
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torch import Tensor

import monai_inn
from monai_inn.applications.planets.catalogue import read_planets
from monai_inn.applications.planets.interior import radius
from monai_inn.applications.planets.problem import LAYERS, Planets
from monai_inn.fitted import FittedPosterior
from monai_inn.training import Recipe

DATA = Path(__file__).resolve().parent / "data"
PLANETS = ("K2-111 b", "TRAPPIST-1 e", "Kepler-10 b", "LHS 1140 b", "L 98-59 d")
PAIRS = ("chain_and_grid", "network_and_grid", "network_and_chain")
STEPS_OF_TRAINING = 2000
DRAWS, BINS = 100_000, 40
WALKERS, STEPS, BURN_IN, DIRECT_STEPS = 32, 12_000, 1_000, 20


def trained(steps: int = STEPS_OF_TRAINING, seed: int = 0) -> FittedPosterior:
    """Train by steps, not by minutes, so that other work on the machine changes nothing."""
    return monai_inn.fit(Planets(), recipe=Recipe(500_000, steps, 1000, 500, 10_000), seed=seed)


def marginals(planets: Planets, theta: Tensor) -> dict[str, NDArray[np.float64]]:
    """What is compared, by name: the three fractions and the nuisances."""
    columns = torch.cat([planets.fractions(theta), theta[:, 2:]], 1).double().numpy().T
    return dict(zip((*LAYERS, *planets.space.names[2:]), columns, strict=True))


def chain(planets: Planets, y: Tensor, steps: int, seed: int) -> emcee.EnsembleSampler:
    """Run affine-invariant walkers in the flow's space, from the prior on."""
    space = planets.space

    def log_density(latent: NDArray[np.float64]) -> NDArray[np.float64]:
        z = torch.from_numpy(latent)
        theta = space.inverse(z)
        # Standard normal latents but for the water, whose density falls to zero instead of being flat.
        prior = -0.5 * z.square().sum(-1) + (1 - theta[:, 0]).log()
        return (prior + planets.log_likelihood(theta, y)).numpy()

    sampler = emcee.EnsembleSampler(WALKERS, len(space), log_density, vectorize=True)
    random = np.random.RandomState(seed)  # what emcee draws from
    sampler.random_state = random.get_state()
    sampler.run_mcmc(0.5 * random.normal(size=(WALKERS, len(space))), steps)
    return sampler


def with_chain(planets: Planets, y: Tensor, seed: int) -> tuple[Tensor, dict[str, float]]:
    """Samples of a Markov chain in physical units, how many they are worth, and what they cost."""
    start = time.process_time()
    sampler = chain(planets, y, STEPS, seed)
    seconds = time.process_time() - start
    tau = float(sampler.get_autocorr_time(discard=BURN_IN, quiet=True).max())
    latent = torch.from_numpy(sampler.get_chain(discard=BURN_IN, flat=True))
    return planets.space.inverse(latent), {
        "autocorrelation_steps": round(tau, 1),
        "effective": round(len(latent) / tau),
        "acceptance": round(float(sampler.acceptance_fraction.mean()), 3),
        "seconds": round(seconds, 2),
    }


class Integrated(Planets):
    """Planets whose radii are integrated anew each time."""

    def forward(self, theta: Tensor) -> Tensor:
        """Return true mass and radius ``(n, 2)``."""
        water, share, mass, error = theta.double().unbind(-1)
        return torch.stack([mass, radius(mass, share * (1 - water), water) * (1 + error)], -1)


def seconds_without_table(y: Tensor, seed: int) -> float:
    """Processor seconds of the same chain if it integrates every radius, from a few of its steps."""
    start = time.process_time()
    chain(Integrated(), y, DIRECT_STEPS, seed)
    return (time.process_time() - start) / DIRECT_STEPS * STEPS


def distances(one: dict[str, Any], other: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Kolmogorov-Smirnov and Hellinger distance of each marginal."""
    return {
        "ks": {name: round(float(ks_2samp(one[name], other[name]).statistic), 4) for name in one},
        "hellinger": {name: round(hellinger(one[name], other[name]), 4) for name in one},
    }


def hellinger(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Hellinger distance of two samples by histograms over both."""
    edges = np.histogram_bin_edges(np.concatenate([one, other]), BINS)
    p, q = (np.histogram(values, edges)[0] / len(values) for values in (one, other))
    return float(np.sqrt(max(0.0, 1 - np.sqrt(p * q).sum())))


def one_planet(fitted: FittedPosterior, y: Tensor, seed: int) -> dict[str, Any]:
    """The three posteriors of a planet beside each other."""
    planets = fitted.problem
    assert isinstance(planets, Planets)
    torch.manual_seed(seed)
    start = time.process_time()
    grid = marginals(planets, planets.reference_posterior(y).sample((DRAWS,)))
    middle = time.process_time()
    with torch.no_grad():
        network = marginals(planets, fitted.posterior(y).sample((DRAWS,)))
    end = time.process_time()
    samples, about = with_chain(planets, y, seed)
    walked = marginals(planets, samples)
    return {
        "observed": [round(float(v), 3) for v in y],
        "explained": bool(fitted.is_explained(y[None])),
        "median_and_68": {
            name: np.quantile(values, [0.5, 0.16, 0.84]).round(3).tolist() for name, values in grid.items()
        },
        "chain_and_grid": distances(walked, grid),
        "network_and_grid": distances(network, grid),
        "network_and_chain": distances(network, walked),
        "chain": about,
        "seconds": {"grid": round(middle - start, 3), "network": round(end - middle, 3)},
    }


def worst(planets: Collection[dict[str, Any]], pair: str) -> dict[str, float]:
    """Largest distance of a marginal of any planet."""
    return {what: max(max(p[pair][what].values()) for p in planets) for what in ("ks", "hellinger")}


def main() -> None:
    """Train, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS_OF_TRAINING, help="steps of the posterior (2000)")
    parser.add_argument("--bundle", help="compare this bundle instead of training one; there is no N* then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON on one line")
    options = parser.parse_args()
    names, y = read_planets(DATA / "planets.csv")
    start = time.process_time()
    fitted = monai_inn.load(options.bundle) if options.bundle else trained(options.steps, options.seed)
    training = time.process_time() - start
    found = {name: one_planet(fitted, y[names.index(name)], options.seed) for name in PLANETS}
    chains = float(np.mean([entry["chain"]["seconds"] for entry in found.values()]))
    spent = {
        "simulating_and_training": round(training, 1),
        "chain": round(chains, 2),
        "chain_that_integrates": round(seconds_without_table(y[names.index(PLANETS[0])], options.seed), 1),
    }
    result = {
        "planets": found,
        "worst": {pair: worst(found.values(), pair) for pair in PAIRS},
        "processor_seconds": spent,
        "break_even_planets": {
            name: round(training / spent[name], 1) for name in ("chain", "chain_that_integrates")
        },
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
