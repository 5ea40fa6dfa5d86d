"""Passage of a bolus: is the posterior calibrated, behind other arteries and residues too, and against oSVD?

python benchmarks/dsc.py --bundle dsc --json
python benchmarks/dsc.py --minutes 5                  # trains first
python benchmarks/dsc.py --exact                      # OSIPI's curves by tempered Monte Carlo, no network
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from deconvolution import deconvolve
from perfusion import by_artery, by_frames, measured, unseen_arteries  # beside this file; finds osipi, too
from scipy.special import gammaincc
from torch import Tensor

import monai_inn
from monai_inn.applications.perfusion.dsc import PLASMA_G_PER_ML, BolusPassage
from monai_inn.applications.perfusion.fitting.likelihood import log_likelihood_of_any_level
from monai_inn.applications.perfusion.models import kinetics
from monai_inn.applications.perfusion.models.acquisition import TISSUE_NOISE, draw_times
from monai_inn.applications.perfusion.models.arteries import artery
from monai_inn.fitted import FittedPosterior
from monai_inn.problems.exact.tempering import tempered_samples

from osipi import rows  # isort: skip

FRAMES = (20, 40, 60, 90, 128)
FIRST = (0, 3, 6, 9, 12, 15)  # choices of the first of 128 frames; the bolus arrives in the 18th
EXACT = slice(12, 72)  # frames that Monte Carlo answers
STEP_S, LASTING_S = 0.1, 480.0
DRAWS, PARTICLES = 4000, 1000

Sampler = Callable[[Tensor, Tensor, Tensor], Tensor]


def arteries() -> dict[str, kinetics.Artery]:
    """Arteries of others that were sampled about as finely as a bolus is."""
    found = {name: curve for name, curve in unseen_arteries().items() if name != "breast"}
    row = rows("dsc_data")[0]
    times = row["tr"] * torch.arange(len(row["C_aif"]) - 16).double()
    return found | {"OSIPI, DSC": kinetics.Artery(times, row["C_aif"][16:] / PLASMA_G_PER_ML)}


def by_gamma(fitted: FittedPosterior, n: int, seed: int) -> dict[str, Any]:
    """Coverage where transit times have gamma distributions, which the training has not seen."""
    problem = fitted.problem
    assert isinstance(problem, BolusPassage)
    generator = torch.Generator().manual_seed(seed)
    theta = problem.prior.sample((n,), generator)  # type: ignore[call-arg]
    times = draw_times(n, generator, problem.frames)
    value = dict(zip(problem.space.names, theta.double().unbind(-1), strict=True))
    since = times.double() - value["arrival"][:, None]
    blood = artery(value)
    grid = torch.arange(0, LASTING_S, STEP_S).double()
    shape = 1 / value["spread"].square()[:, None]
    residue = torch.from_numpy(
        gammaincc(shape.numpy(), (shape * (grid + STEP_S / 2) / value["mtt"][:, None]).numpy())
    )
    length = 2 * len(grid)
    spectrum = torch.fft.rfft(residue, length) * torch.fft.rfft(
        kinetics.concentration_at(blood, grid), length
    )
    passed = STEP_S * torch.fft.irfft(spectrum, length)[:, : len(grid)]
    # The sum of the first terms belongs to the middle of a step later.
    curve = kinetics.Artery(grid + STEP_S / 2, passed)
    flow = PLASMA_G_PER_ML / 100 * value["cbv"] / value["mtt"]
    tissue = flow[:, None] * kinetics.concentration_at(curve, since - value["delay"][:, None])
    curves = torch.stack([tissue, kinetics.concentration_at(blood, since)], -1).flatten(-2).float()
    return measured(fitted, theta, problem.noise(torch.cat([curves, times], -1), generator))


def of_network(fitted: FittedPosterior) -> Sampler:
    """Samples of the targets from the network."""
    most = fitted.problem.observation.places

    def drawn(tissue: Tensor, blood: Tensor, times: Tensor) -> Tensor:
        y = torch.full((3 * most,), torch.nan)
        y[: 2 * len(times)] = torch.stack([tissue, blood], -1).flatten().float()
        y[2 * most : 2 * most + len(times)] = times.float()
        with torch.no_grad():
            return fitted.target_posterior(y).sample((DRAWS,))

    return drawn


def with_measured_artery(tissue: Tensor, blood: Tensor, times: Tensor) -> Tensor:
    """Exact samples where the artery is what was measured, linear between frames, and noise is white."""
    problem = BolusPassage()
    space = problem.space.subset((*problem.targets, "spread"))
    curve = kinetics.Artery(times.float(), blood.float())

    def log_likelihood(latent: Tensor) -> Tensor:
        value = dict(zip(space.names, space.inverse(latent).float().unbind(-1), strict=True))
        made = problem.tissue(value, curve, curve.knots_s.expand(len(latent), -1))
        return log_likelihood_of_any_level(made, tissue, TISSUE_NOISE)

    found = tempered_samples(log_likelihood, len(space.names), PARTICLES, seed=0).samples
    return space.inverse(found)[:, : len(problem.targets)].float()


def against_osipi(sample: Sampler, choices: list[slice], is_corrected: bool) -> dict[str, Any]:
    """Share of truths of OSIPI's curves in 95 % intervals, and errors of medians beside those of oSVD.

    Args:
        sample: draws CBV, MTT and delay given tissue, artery and times.
        choices: of frames.
        is_corrected: whether what the rectangle rule added to their curves is taken away first.
    """
    inside, errors, others = [], [], []
    for row in rows("dsc_data"):
        blood = row["C_aif"] / PLASMA_G_PER_ML
        tissue = row["C_tis"] - is_corrected * row["tr"] / 2 * row["cbf"] / 6000 * row["C_aif"]
        cbv, cbf = float(row["cbv"]), float(row["cbf"])
        truth = torch.tensor([cbv, 60 * cbv / cbf, cbf])  # CBV, MTT, CBF
        peer = deconvolve(tissue[None], blood, float(row["tr"]))
        others.append(torch.stack([peer.cbv, peer.mtt_s, peer.cbf], -1)[0].float() / truth - 1)
        for frames in choices:
            times = row["tr"] * torch.arange(len(blood[frames]))
            drawn = sample(tissue[frames], blood[frames], times)
            drawn = torch.cat([drawn, BolusPassage().derive(drawn)], -1)[:, [0, 1, 3]]
            low, middle, high = drawn.quantile(torch.tensor([0.025, 0.5, 0.975]), 0)
            inside.append((low <= truth) & (truth <= high))
            errors.append(middle / truth - 1)
    return {
        name: {
            "inside_95": round(float(torch.stack(inside)[:, i].float().mean()), 3),
            "error": _error(errors, i),
            "error_of_osvd": _error(others, i),
        }
        for i, name in enumerate(("cbv", "mtt", "cbf"))
    }


def _error(relative: list[Tensor], column: int) -> dict[str, float]:
    """Median, and root of the mean square, of relative errors."""
    values = torch.stack(relative)[:, column]
    return {"median": round(float(values.median()), 3), "rms": round(float(values.square().mean().sqrt()), 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", help="bundle to measure; one is trained if it is not given")
    parser.add_argument("--minutes", type=float, default=5.0, help="time for that training")
    parser.add_argument("--exact", action="store_true", help="only this: posteriors without a network")
    parser.add_argument("--cases", type=int, default=1000, help="simulations of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON on one line")
    options = parser.parse_args()
    result: dict[str, Any]
    if options.exact:
        result = {
            name: against_osipi(with_measured_artery, [EXACT], name == "corrected")
            for name in ("corrected", "as_given")
        }
    else:
        fitted = (
            monai_inn.load(options.bundle)
            if options.bundle
            else monai_inn.fit(BolusPassage(), minutes=options.minutes, seed=options.seed)
        )
        most = fitted.problem.observation.places
        chosen = of_network(fitted), [slice(first, first + most) for first in FIRST]
        result = {
            "by_frames": by_frames(fitted, options.cases, options.seed, FRAMES),
            "by_artery": by_artery(fitted, options.cases, options.seed, arteries()),
            "by_gamma": by_gamma(fitted, options.cases, options.seed),
            "osipi": against_osipi(*chosen, is_corrected=False),
            "osipi_corrected": against_osipi(*chosen, is_corrected=True),
        }
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
