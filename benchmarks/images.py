"""Flows of images beside posteriors that are known.

    python benchmarks/images.py [--side 32] [--steps 300]

For a Gaussian field: divergence from the exact posterior in nats a pixel, and the variance of samples over
the exact one at every frequency. For a field with a lesion or without: the error of its probability, the
share of samples with one, and the divergence. For projections over less than half a turn: also what is left
of the prior's variance in the missing wedge. Images a second of sampling, and how long the same convolutions
take alone.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from torch import Tensor

import monai_inn as mi
from monai_inn.fitted import FittedPosterior
from monai_inn.networks import ImageFlow
from monai_inn.networks.images.field import FieldDistribution
from monai_inn.networks.images.rows import FieldFlow
from monai_inn.problems import InverseProblem
from monai_inn.testproblems.fields import GaussianField, LesionField
from monai_inn.testproblems.tomography import DiscCT
from monai_inn.training import Recipe

_CASES, _SAMPLES = 1000, 2000


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=32, help="pixels along each axis")
    parser.add_argument("--steps", type=int, default=300, help="steps of the couplings")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for problem in (GaussianField(options.side), LesionField(options.side), DiscCT(options.side)):
        report(problem, options.steps, options.seed)


def report(problem: InverseProblem, steps: int, seed: int) -> None:
    """Train a problem's flow and print what is measured of it."""
    recipe = Recipe(
        num_simulations=50_000,
        posterior_steps=steps,
        density_steps=100,
        measured=256,
        guard=1000,
        held_out=1024,
        start_rows=2_000_000,
    )
    began = time.process_time()
    fitted = mi.fit(problem, recipe=recipe, seed=seed)
    print(f"{problem.name}: trained in {(time.process_time() - began) / 60:.1f} processor minutes")
    theta, y = problem.simulate(_CASES, seed + 12345)
    flow = fitted.network.flow
    assert isinstance(flow, FieldFlow)
    divergence(problem, fitted, theta, y)
    exact, seen = problem.reference_posterior(y.double()), problem.features(y)
    with torch.no_grad():
        if flow.has_class:
            probability = flow(seen).class_probability[:, 1]
            error = (probability - exact.probability).abs()
            print(f"  probability of a lesion: mean error {error.mean():.4f}, largest {error.max():.4f}")
            drawn = torch.cat([flow(row[None]).leading(1).sample((_SAMPLES,)) for row in seen[:50]], 1)
            share = (drawn > 0).float().mean((0, 2))
            print(
                f"  samples with one: mean difference from it {(share - probability[:50]).abs().mean():.4f}"
            )
        elif isinstance(problem, DiscCT):
            samples = flow(seen[:1]).sample((_SAMPLES,))[:, 0].double()
            ratios(samples, frequency_variance(problem.posterior_covariance, problem.side))
            wedge(samples, problem)
        else:
            ratios(flow(seen[:1]).sample((_SAMPLES,))[:, 0].double(), exact.spectrum[0])
        speed(flow(seen[:1]), flow)


def divergence(problem: InverseProblem, fitted: FittedPosterior, theta: Tensor, y: Tensor) -> None:
    """Print the mean of log p − log q over simulations, with its standard error."""
    with torch.no_grad():
        parts = zip(theta.split(100), y.split(100), strict=True)
        learned = torch.cat([fitted.posterior(rows).log_prob(truth) for truth, rows in parts])
    gap = (problem.reference_posterior(y.double()).log_prob(theta.double()) - learned) / theta.shape[1]
    print(f"  divergence {gap.mean():.6f} ± {gap.std() / math.sqrt(len(gap)):.6f} nats a pixel")


def ratios(samples: Tensor, spectrum: Tensor) -> None:
    """Print the least and the largest variance of samples over the exact one, over rings of frequencies."""
    side = len(spectrum)
    values = torch.fft.fft2(samples.unflatten(-1, spectrum.shape), norm="ortho")
    ratio = (values - values.mean(0)).abs().square().sum(0) / (_SAMPLES - 1) / spectrum
    wave = torch.fft.fftfreq(side, 1 / side)
    ring = (wave[:, None].square() + wave.square()).sqrt().round()
    rings = [(int((ring == k).sum()), float(ratio[ring == k].mean())) for k in range(1, side // 2)]
    # A ring of n frequencies, two of which share a number, has n / 2 · 2 degrees of freedom a sample.
    noise = max(abs(value - 1) / math.sqrt(2 / (count * _SAMPLES)) for count, value in rings)
    low, high = min(value for _, value in rings), max(value for _, value in rings)
    print(f"  variance of samples over the exact one: {low:.3f} to {high:.3f}, {noise:.1f} sd of sampling")


def frequency_variance(covariance: Tensor, side: int, taper: Tensor | float = 1.0) -> Tensor:
    """Variance of each frequency of tapered images of a covariance ``(D, D)``, ``(side, side)``."""
    values = covariance.to(torch.complex128)
    for transform in (torch.fft.fft2, torch.fft.ifft2):  # along columns, then along rows
        values = transform(values.unflatten(1, (side, side)) * taper, norm="ortho").flatten(1).T
    return values.diagonal().real.view(side, side)


def wedge(samples: Tensor, problem: DiscCT) -> None:
    """Print the variance of tapered waves over the prior's, 15° and more inside of the missing wedge."""
    side = problem.side
    along = torch.sin(math.pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side).square()
    taper = torch.outer(along, along)
    wave = torch.fft.fftfreq(side, 1 / side)
    y, x = torch.meshgrid(wave, wave, indexing="ij")
    reach = torch.hypot(y, x)
    there = torch.rad2deg(torch.atan2(y.abs(), x.abs())) > problem.range_deg / 2 + 15
    there &= (reach >= 6) & (reach < side / 2)
    values = torch.fft.fft2((samples - samples.mean(0)).unflatten(-1, (side, side)) * taper, norm="ortho")
    drawn = values.abs().square().sum(0) / (len(samples) - 1)
    prior = frequency_variance(problem.prior_covariance, side, taper)
    exact = frequency_variance(problem.posterior_covariance, side, taper)
    for name, variance in (("samples", drawn), ("exact posterior", exact)):
        share = (variance / prior)[there]
        print(
            f"  missing wedge, variance of the {name} over the prior's: mean {share.mean():.3f}, "
            f"least {share.min():.3f}"
        )


def speed(q: FieldDistribution, flow: FieldFlow) -> None:
    """Print images a second, and the share of the time that their convolutions alone take."""
    latent = torch.randn(256, 1, flow.config["in_channels"])
    q.push(latent[:16])
    began = time.process_time()
    q.push(latent)
    whole = time.process_time() - began
    share = convolutions_alone(flow.image, 256) / whole
    print(f"  {256 / whole:.0f} samples a second; convolutions alone take {share:.0%} of it")


def convolutions_alone(flow: ImageFlow, samples: int) -> float:
    """Return the processor time in seconds that the convolutions of so many samples take."""
    total = 0.0
    for couplings, shape in zip(flow.couplings, flow.latent_shapes(0), strict=True):
        for subnet in couplings.subnets:  # type: ignore[union-attr]
            own = torch.randn(samples, subnet.own.in_channels, *shape[1:])  # type: ignore[union-attr]
            began = time.process_time()
            hidden = subnet.own(own)  # type: ignore[operator, union-attr]
            subnet.out(subnet.middle(hidden))  # type: ignore[operator, union-attr]
            total += time.process_time() - began
    return total


if __name__ == "__main__":
    main()
