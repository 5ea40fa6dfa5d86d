"""Perfusion: is a trained posterior calibrated, with arteries that it has never seen, too, and is it exact?

python benchmarks/perfusion.py --minutes 5 --json                  # trains first
python benchmarks/perfusion.py --bundle BUNDLE --exact 20 --keep DIR   # hours; goes on where it was stopped
python benchmarks/perfusion.py --breast DIR                         # least squares on voxels of a breast
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import monai_inn
from monai_inn.applications.perfusion.curves import TracerCurves
from monai_inn.applications.perfusion.fitting.least_squares import fit_extended_tofts
from monai_inn.applications.perfusion.models import kinetics
from monai_inn.applications.perfusion.models.acquisition import draw_times
from monai_inn.applications.perfusion.models.signal import Echo, concentration_of, t1_of_flip_angles
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.likelihood.evidence import model_probability, require_rivals
from monai_inn.inferers.likelihood.reweighting import Reweighting
from monai_inn.metrics import calibration_error, calibration_noise_floor, coverage

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "Testing/perfusion")]
from osipi import breast, plasma, rows  # noqa: E402 -- needs the path

FRAMES = (8, 15, 25, 40, 60)
DRAWS = 400
_WEIGHED = 250  # samples that each posterior by the likelihood is worth
_APART = 0.1  # in standard deviations, or of a width: what two runs of the exact sampler may differ by


def measured(fitted: FittedPosterior, theta: Tensor, y: Tensor) -> dict[str, Any]:
    """Coverage of 95 and 50 % intervals and calibration error, of targets and what is derived from them.

    With widths over the prior's, of targets alone.
    """
    problem = fitted.problem
    usable = problem.is_valid(y)
    theta, y, targets = theta[usable], y[usable], problem.space.subset(problem.targets)
    with torch.no_grad():
        drawn = torch.cat([fitted.target_posterior(part).sample((DRAWS,)) for part in y.split(250)], 1)
    width = dict(zip(targets.names, targets.to_latent(drawn).std(0).median(0).values, strict=True))
    truth = torch.cat([theta[:, : len(targets)], problem.derive(theta)], -1)
    drawn = torch.cat([drawn, problem.derive(drawn)], -1)
    inside, error = coverage(drawn, truth, [0.5, 0.95]).coverage, calibration_error(drawn, truth)
    floor = round(float(calibration_noise_floor(len(y)).upper), 4)
    return {"noise_floor": floor} | {
        p.name: {
            "coverage_50": round(float(inside[0, i]), 3),
            "coverage_95": round(float(inside[1, i]), 3),
            "calibration_error": round(float(error[i]), 4),
        }
        | ({"width_over_prior": round(float(width[p.name]), 3)} if p.name in width else {})
        for i, p in enumerate(problem.shown)
    }


def by_frames(
    fitted: FittedPosterior, n: int, seed: int, choices: tuple[int, ...] = FRAMES
) -> dict[str, Any]:
    """The same for acquisitions of so many frames."""
    problem, found = fitted.problem, {}
    assert isinstance(problem, TracerCurves)
    for frames in choices:
        generator = torch.Generator().manual_seed(seed + frames)
        theta = problem.prior.sample((n,), generator)  # type: ignore[call-arg]
        times = draw_times(80 * n, generator, problem.frames)
        times = times[times.isfinite().sum(1) == frames][:n]
        theta = theta[: len(times)]
        clean = torch.cat([problem.forward_with_context(theta, times), times], -1)
        found[str(frames)] = measured(fitted, theta, problem.noise(clean, generator))
    return found


def unseen_arteries() -> dict[str, kinetics.Artery]:
    """Arteries of others, from shortly before the arrival of their bolus."""
    reference = rows("dce_DRO_data_extended_tofts")[0]
    other = rows("2cxm_sd_0.001_delay_0")[0]
    times, values = breast()
    found = {
        "Parker": plasma("Parker"),
        "Georgiou": plasma("Georgiou"),
        "OSIPI, DRO": (reference["t"][60:] - 60, reference["ca"][60:]),
        "OSIPI, exchange": (other["t"][18:] - other["t"][18], other["cp_aif"][18:]),
        "breast": (times[3:] - times[3], values[3:]),
    }
    return {name: kinetics.Artery(*curve) for name, curve in found.items()}


def by_artery(
    fitted: FittedPosterior, n: int, seed: int, arteries: dict[str, kinetics.Artery]
) -> dict[str, Any]:
    """The same behind arteries that are not of the family that the training drew from."""
    problem, found = fitted.problem, {}
    assert isinstance(problem, TracerCurves)
    for name, artery in arteries.items():
        generator = torch.Generator().manual_seed(seed)
        theta = problem.prior.sample((n,), generator)  # type: ignore[call-arg]
        times = draw_times(n, generator, problem.frames)
        since = (times - 5 - 60 * torch.rand(n, 1, generator=generator)).double()
        value = dict(zip(problem.space.names, theta.double().unbind(-1), strict=True))
        curves = problem.tissue(value, artery, since), kinetics.concentration_at(artery, since)
        clean = torch.cat([torch.stack(curves, -1).flatten(-2).float(), times], -1)
        found[name] = measured(fitted, theta, problem.noise(clean, generator))
    return found


def against_exact(
    fitted: FittedPosterior, count: int, seed: int, particles: int, keep: Path | None = None
) -> dict[str, Any]:
    """Means and widths beside tempered Monte Carlo from the network; noise is white.

    Those of the network, and those by the likelihood: where the efficiency is below 1/16, draws were moved by
    Monte Carlo. Two runs of the reference say how far it agrees with itself: means in standard deviations,
    ratios of widths.
    """
    exact = Perfusion(fitted.problem.models, magnitude_share=0)  # type: ignore[attr-defined]
    _, y = exact.simulate(count, seed)
    number, curves = len(exact.targets), []
    reweighting = Reweighting(exact, fitted.network, _WEIGHED, seed, has_time=True)
    for place, row in enumerate(y):
        q, runs = fitted.posterior(row).base, []
        for k in (0, 1):
            path = keep / f"{seed}_{place}_{particles}_{k}.pt" if keep else None
            if path is None or not path.exists():
                start = time.process_time()
                drawn = exact.exact_samples(row, particles, k, q).samples
                runs.append({"samples": drawn, "seconds": time.process_time() - start})
                if path:
                    torch.save(runs[-1], path)
            else:
                runs.append(torch.load(path))
        one, other = (run["samples"][:, :number] for run in runs)
        seconds = sum(run["seconds"] for run in runs) / 2
        with torch.no_grad():
            drawn = q.sample((4000,))[:, :number].double()
        both, spread = torch.cat([one, other]), (one.std(0) * other.std(0)).sqrt()
        found = {
            "apart_in_sd": (one.mean(0) - other.mean(0)) / spread,
            "widths_apart": one.std(0) / other.std(0),
            "mean_off_in_sd": (drawn.mean(0) - both.mean(0)) / spread,
            "width_ratio": drawn.std(0) / spread,
        }
        start = time.process_time()
        reweighting.nuisances.prepare(row.unsqueeze(0))
        weighed, share = reweighting(row.unsqueeze(0), exact.features(row.unsqueeze(0)))
        if share > 0:
            drawn = weighed[:, 0, :number].double()
            found["weighed_mean_off_in_sd"] = (drawn.mean(0) - both.mean(0)) / spread
            found["weighed_width_ratio"] = drawn.std(0) / spread
        curves.append(
            {"frames": int(exact.curves(row)[2].isfinite().sum()), "seconds_each": round(seconds, 1)}
            | {"weighed_seconds": round(time.process_time() - start, 1), "efficiency": round(float(share), 4)}
            | {name: [round(float(value), 2) for value in values] for name, values in found.items()}
        )
        print(json.dumps(curves[-1]), file=sys.stderr, flush=True)
    agree = sum(
        max(map(abs, c["apart_in_sd"])) <= _APART and max(abs(r - 1) for r in c["widths_apart"]) <= _APART
        for c in curves
    )
    return {"targets": exact.targets, "two_runs_agree": agree, "curves": curves}


def behind_arteries(
    problem: Perfusion, arteries: int, tissues: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Many tissues behind each of some arteries, measured once; those without a bolus are left out.

    Seeds that are next to each other have all arteries but one in common; more arteries of one seed are new.
    """
    targets, most = len(problem.targets), problem.frames.most
    for number in range(arteries):
        theta, y = problem.simulate(tissues, seed + number)
        theta[:, targets:] = theta[0, targets:]
        times = y[:1, 2 * most :].expand(tissues, -1)
        clean = torch.cat([problem.forward_with_context(theta, times), times], -1)
        y = problem.noise(clean, torch.Generator().manual_seed(seed + number))
        y[:, 1 : 2 * most : 2] = y[0, 1 : 2 * most : 2]
        valid = problem.is_valid(y)
        if valid.any():
            yield theta[valid], y[valid]


def by_model(fitted: FittedPosterior, arteries: int, tissues: int, seed: int) -> dict[str, Any]:
    """Whether models are right as often as they are probable by their evidence, and the most probable one."""
    rivals = require_rivals(fitted.problem)
    assert isinstance(rivals, Perfusion)
    parts, start = [], time.process_time()
    for theta, y in behind_arteries(rivals, arteries, tissues, seed):
        parts.append((theta[:, 0].long(), model_probability(fitted, y, seed)))
        print(f"{len(parts)} arteries, {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    truth, said = map(torch.cat, zip(*parts, strict=True))
    known = said.isfinite().all(1)
    truth, said = truth[known], said[known].double()
    is_true = torch.nn.functional.one_hot(truth, said.shape[1]).double()
    edges = torch.tensor([0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 1.001])
    rows = {}
    for low, high in itertools.pairwise(edges.tolist()):
        inside = (said >= low) & (said < high)
        p = said[inside]
        rows[f"{low:g}-{high:g}"] = {
            "probabilities": len(p),
            "said": round(float(p.mean()), 3),
            "true": round(float(is_true[inside].mean()), 3),
            "standard_error": round(float((p * (1 - p)).sum().sqrt() / len(p)), 3),
        }
    confusion = {
        name: [round(float(said[truth == k, j].mean()), 2) for j in range(said.shape[1])]
        for k, name in enumerate(rivals.models)
    }
    return {
        "voxels": len(known),
        "told": int(known.sum()),
        "seconds_each": round((time.process_time() - start) / len(known), 2),
        "most_probable_is_true": round(float((said.argmax(1) == truth).double().mean()), 3),
        "mean_probability_by_true_model": confusion,
        "calibration": rows,
    }


def by_likelihood(fitted: FittedPosterior, arteries: int, tissues: int, seed: int) -> dict[str, Any]:
    """Coverage and widths where enough draws count, of many tissues behind each artery; noise is white."""
    problem = Perfusion(fitted.problem.models, magnitude_share=0)  # type: ignore[attr-defined]
    targets = len(problem.targets)
    space, levels = problem.space.subset(problem.targets), (0.5, 0.9, 0.95)
    reweighting, columns = Reweighting(problem, fitted.network, _WEIGHED, seed), []
    for number, (theta, y) in enumerate(behind_arteries(problem, arteries, tissues, seed)):
        theta = theta[:, :targets]
        reweighting.nuisances.prepare(y[:1])
        latents, share = reweighting(y, problem.features(y))
        exact = space.inverse(latents[..., :targets])
        with torch.no_grad():
            plain = fitted.target_posterior(y).sample((4 * _WEIGHED,))
        ranks = (exact < theta).float().mean(0)
        ends = torch.tensor([0.05, 0.95])
        widths = [samples.quantile(ends, 0).diff(dim=0)[0] for samples in (exact, plain)]
        columns.append((share, ranks, widths[0] / widths[1]))
        print(
            f"artery {number + 1}: {float((share > 0).float().mean()):.0%} by the likelihood", file=sys.stderr
        )
    share, ranks, ratio = map(torch.cat, zip(*columns, strict=True))
    known = share > 0
    inside = {c: ((ranks[known] - 0.5).abs() < c / 2).float().mean(0).tolist() for c in levels}
    return {
        "curves": len(share),
        "by_the_likelihood": int(known.sum()),
        "targets": problem.targets,
        "coverage": {str(c): [round(value, 3) for value in found] for c, found in inside.items()},
        "median_width_ratio": [round(value, 2) for value in ratio[known].median(0).values.tolist()],
    }


def of_reference_object(
    fitted: FittedPosterior, seed: int, starts: Sequence[int] = range(50, 56)
) -> dict[str, Any]:
    """Share of the true values of OSIPI's reference object in 95 % intervals, of the network and reweighted.

    Its artery has less noise than the least of the simulations, and three of its curves have none at all.
    """
    problem, most = fitted.problem, fitted.problem.observation.places
    reweighting, truths, y = Reweighting(problem, fitted.network, _WEIGHED, seed), [], []
    for row, first in itertools.product(rows("dce_DRO_data_extended_tofts"), starts):
        chosen = slice(first, first + 56 * 5, 5)
        curves = torch.full((3 * most,), torch.nan)
        curves[: 2 * 56] = torch.stack([row["C"][chosen], row["ca"][chosen]], -1).flatten().float()
        curves[2 * most : 2 * most + 56] = (row["t"][chosen] - row["t"][first]).float()
        y.append(curves)
        truths.append(torch.stack([row[name] for name in ("Ktrans", "ve", "vp", "arterialdelay")]).float())
    y, truth, found = torch.stack(y), torch.stack(truths), {}
    reweighting.nuisances.prepare(y)
    latents, share = reweighting(y, problem.features(y))
    space, reached = problem.space.subset(problem.targets), share > 0
    with torch.no_grad():
        plain = fitted.target_posterior(y).sample((4 * _WEIGHED,))
    weighed = torch.where(reached[:, None], space.inverse(latents[..., : len(space)]), plain)
    everything = torch.ones_like(reached, dtype=torch.bool)
    ways = {"network": (plain, everything), "reached": (weighed, reached), "all": (weighed, everything)}
    for name, (drawn, which) in ways.items():
        inside = coverage(drawn[:, which], truth[which], [0.95]).coverage[0]
        width = space.to_latent(drawn[:, which]).std(0).median(0).values
        found[name] = {
            "curves": len(truth[which]),
            "coverage_95": [round(float(value), 3) for value in inside],
            "width_over_prior": [round(float(value), 3) for value in width],
        }
    return found


def breast_at_bounds(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Least squares on enhancing voxels of the breast of DCEMRI.jl, and where they end at a bound."""
    import nibabel

    signal, angles = (
        torch.from_numpy(nibabel.load(folder / f"{name}.nii.gz").get_fdata()[:, :, 0])
        for name in ("signal", "flip_angles")
    )
    settings = json.loads((folder / "acquisition.json").read_text())
    flips = torch.tensor(settings["vfa_flip_deg"]).double()
    t1, _ = t1_of_flip_angles(angles, flips, settings["tr_s"])
    echo = Echo(settings["flip_deg"], settings["tr_s"], settings["relaxivity_per_mM_s"])
    before = signal[..., :4].mean(-1, keepdim=True)
    curves = concentration_of(signal, before, t1.unsqueeze(-1), echo)
    late = curves[..., -10:].mean(-1)
    body = angles[..., 0] > 0.05 * angles[..., 0].max()
    enhancing = body & curves.isfinite().all(-1) & (late > 0.05) & (late > 5 * curves[..., :4].std(-1))
    chosen = np.random.default_rng(seed).choice(int(enhancing.sum()), count, replace=False)
    times, artery = breast()
    start = time.process_time()
    found = fit_extended_tofts(curves[enhancing][chosen], artery, times)
    at_bound = found.is_at_bound
    return {
        "enhancing": int(enhancing.sum()),
        "fitted": count,
        "any_at_bound": int(at_bound.any(1).sum()),
        **dict(zip(("ktrans", "ve", "vp", "delay"), at_bound.sum(0).tolist(), strict=True)),
        "milliseconds_each": round(1000 * (time.process_time() - start) / count, 1),
    }


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", help="bundle to measure; one is trained if it is not given")
    parser.add_argument("--minutes", type=float, default=5.0, help="time for that training")
    parser.add_argument("--cases", type=int, default=1000, help="simulations of each kind")
    parser.add_argument("--exact", type=int, default=0, help="curves that tempered Monte Carlo answers too")
    parser.add_argument("--particles", type=int, default=4000, help="its samples")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where these are kept, and read again")
    parser.add_argument("--arteries", type=int, default=0, help="reweight 100 tissues behind each")
    parser.add_argument(
        "--models",
        type=int,
        default=0,
        metavar="N",
        help="only this: weigh the models of 30 tissues behind each of N arteries",
    )
    parser.add_argument(
        "--reference-object", action="store_true", help="only this: curves of OSIPI, reweighted, too"
    )
    parser.add_argument("--breast", type=Path, metavar="DIR", help="only this: folder of the in vivo series")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON on one line")
    options = parser.parse_args()
    result: dict[str, Any]
    if options.breast:
        result = breast_at_bounds(options.breast, 250, options.seed)
    else:
        fitted = (
            monai_inn.load(options.bundle)
            if options.bundle
            else monai_inn.fit(Perfusion(), minutes=options.minutes, seed=options.seed)
        )
        if options.models:
            print(json.dumps(by_model(fitted, options.models, 30, options.seed), indent=1))
            return
        if options.reference_object:
            print(json.dumps(of_reference_object(fitted, options.seed), indent=1))
            return
        result = {
            "information": fitted.card["information"],
            "by_frames": by_frames(fitted, options.cases, options.seed),
            "by_artery": by_artery(fitted, options.cases, options.seed, unseen_arteries()),
        }
        if options.exact:
            result["against_exact"] = against_exact(
                fitted, options.exact, options.seed, options.particles, options.keep
            )
        if options.arteries:
            result["by_likelihood"] = by_likelihood(fitted, options.arteries, 100, options.seed)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
