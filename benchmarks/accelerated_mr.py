"""Accelerated MR: do intervals hold the truth in the brain and at edges, and do samples agree with the data?

Two patients are learned from, the third is the test. The stationary Gaussian, sampled exactly, is
what the flow has to beat.

python benchmarks/accelerated_mr.py DATA --fit fitted --steps 1500
python benchmarks/accelerated_mr.py DATA --fit fitted --json --picture docs/images
python benchmarks/accelerated_mr.py DATA --low-resolution --held-out 07 --picture docs/images
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

import monai_inn
from monai_inn.applications.accelerated_mr import gaussian
from monai_inn.applications.accelerated_mr.acquisition import central_mask
from monai_inn.applications.accelerated_mr.images import read_slices
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.applications.accelerated_mr.reading import low_resolution_observation, observation_of
from monai_inn.fitted import FittedPosterior
from monai_inn.networks import ImageFlow
from monai_inn.problems.stationary import filtered

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Resources"))

from train_bundles import RECIPES

SIZE, BINNED = (64, 64), 2  # pixels of 3 mm
PATIENTS, CONTRASTS = ("07", "19", "26"), ("t1", "t2", "flair")
CASES = 48
LOW_NOISE = 0.02  # of white, real and imaginary part of a low-resolution image
DRAWS = 39  # a further draw lies between the least and the largest of them with probability 38 / 40
WIDE = "stationary Gaussian, as wide as inside a brain"
BRAIN, EDGES = 0.1, 0.8  # brightness of the brain; quantile of the gradient in it from which on are edges


def problem_of(folder: Path, patients: tuple[str, ...], like: AcceleratedMR | None = None) -> AcceleratedMR:
    """The problem of some patients' slices, with the spectrum of another problem if one is given."""
    files = [folder / f"patient{p}_{c}.nii.gz" for p in patients for c in CONTRASTS]
    return AcceleratedMR(read_slices(files, SIZE, BINNED), None if like is None else like.spectrum)


def samplers(fitted: FittedPosterior | None, problem: AcceleratedMR) -> dict[str, Any]:
    """What is compared: from observations to images ``(S, N, 2, rows, columns)``."""
    generator = torch.Generator().manual_seed(1)
    start = ImageFlow(2, 2, 10, problem.size, num_blocks=0, start="given")

    def of_prior(y: Tensor) -> Tensor:
        mean = problem.features(y).unflatten(-1, (*problem.size, -1))[..., :2].movedim(-1, 1)
        white = torch.randn(DRAWS, len(y), 2, *problem.size, generator=generator)
        root, acquisition = (
            problem.spectrum.sqrt(),
            problem.acquisition(y[:, problem.observation.num_values :]),
        )
        return torch.stack(
            [
                mean + gaussian.agreeing(acquisition, filtered(w, root), problem.spectrum, generator)
                for w in white
            ]
        )

    def of_start(y: Tensor) -> Tensor:
        features = problem.features(y).unflatten(-1, (*problem.size, -1)).movedim(-1, 1)
        return start(features).sample((DRAWS,))

    def agreeing(draw: Any) -> Any:
        def agreed(y: Tensor) -> Tensor:
            rows = draw(y).movedim(2, -1).flatten(2)
            return problem.image_of(problem.agreeing(rows, y, generator))

        return agreed

    arms = {
        "stationary Gaussian": of_prior,
        "start": of_start,
        "start, agreeing": agreeing(of_start),
    }
    if fitted is not None:

        def flow(y: Tensor) -> Tensor:
            return problem.image_of(fitted.posterior(y).sample((DRAWS,)))

        arms |= {"flow": flow, "flow, agreeing": agreeing(flow)}
    return arms


@torch.no_grad()
def compared(problem: AcceleratedMR, fitted: FittedPosterior | None, cases: int) -> dict[str, Any]:
    """Figures of every sampler on fresh acquisitions of the test patient."""
    theta, y = problem.simulate(cases, 0)
    truth = problem.image_of(theta).square().sum(1).sqrt()
    brain, edge = strata(truth)
    found = {}
    for name, draw in samplers(fitted, problem).items():
        torch.manual_seed(0)
        started = time.process_time()
        draws = torch.cat([draw(part) for part in y.split(8)], 1)
        seconds = time.process_time() - started
        magnitude = draws.square().sum(2).sqrt()
        inside = (truth >= magnitude.amin(0)) & (truth <= magnitude.amax(0))
        error, sd = magnitude.mean(0) - truth, magnitude.std(0)
        found[name] = {
            "coverage_brain": share(inside, brain),
            "coverage_edges": share(inside, edge),
            "rmse": rms(error[brain]),
            "sd_over_rmse": round(rms(sd[brain]) / rms(error[brain]), 3),
            "chi2_per_sample": round(float(disagreement(problem, draws[:4], y).mean()), 3),
            "ms_per_image": round(1e3 * seconds / draws[:, :, 0, 0, 0].numel(), 2),
            "coverage_by_factor": by_factor(problem, y, inside, brain),
        }
    if fitted is not None:
        found["nats_per_value"] = nats(fitted, problem, theta, y)
    return found


def scanned(problem: AcceleratedMR, cases: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Truth, magnitude images of half the resolution, interpolated ones, observations, and their white."""
    theta, _ = problem.simulate(cases, 0)
    fine = gaussian.as_complex(problem.image_of(theta))
    truth = fine.abs()
    low = [n // 2 for n in problem.size]
    mask = central_mask(problem.size, torch.tensor([low]))[0] > 0
    spectra = torch.zeros(cases, *low, dtype=fine.dtype)
    spectra[:, central_mask(low, torch.tensor([low]))[0] > 0] = torch.fft.fft2(fine)[:, mask] / 4
    generator = torch.Generator().manual_seed(5)
    noise = torch.complex(*torch.randn(2, *spectra.shape, generator=generator)) * LOW_NOISE
    scans = (torch.fft.ifft2(spectra) + noise).abs()
    rows, scales = zip(*(low_resolution_observation(scan, LOW_NOISE, problem) for scan in scans), strict=True)
    place = np.meshgrid(*(np.arange(n) / 2 for n in problem.size), indexing="ij")
    splines = [ndimage.map_coordinates(scan.numpy(), place, order=3, mode="grid-wrap") for scan in scans]
    smooth = torch.from_numpy(np.stack(splines))
    return truth, scans, smooth, torch.cat(rows), torch.tensor(scales).view(-1, 1, 1)


@torch.no_grad()
def super_resolution(problem: AcceleratedMR, fitted: FittedPosterior | None, cases: int) -> dict[str, Any]:
    """Magnitude images of half the resolution: the means of samplers beside interpolation."""
    truth, _, smooth, y, scale = scanned(problem, cases)
    acquisition = problem.acquisition(y[:, problem.observation.num_values :])
    images = {
        "zeros filled in": acquisition.adjoint(problem.kspace(y)).abs() * scale,
        "cubic spline": smooth,
    }
    brain, edge = strata(truth)
    found: dict[str, Any] = {name: {"rmse": rms((image - truth)[brain])} for name, image in images.items()}
    for name, draw in (samplers(fitted, problem) | {WIDE: partial(wide, problem)}).items():
        torch.manual_seed(0)
        draws = torch.cat([draw(part) for part in y.split(8)], 1).square().sum(2).sqrt() * scale
        inside = (truth >= draws.amin(0)) & (truth <= draws.amax(0))
        found[name] = {
            "rmse": rms((draws.mean(0) - truth)[brain]),
            "coverage_brain": share(inside, brain),
            "coverage_edges": share(inside, edge),
        }
    return found


def wide(problem: AcceleratedMR, y: Tensor) -> Tensor:
    """What `monai-inn reconstruct` draws of such images."""
    return problem.image_of(problem.gaussian_samples(DRAWS, y, torch.Generator().manual_seed(2)))


def strata(truth: Tensor) -> tuple[Tensor, Tensor]:
    """Where the brain is, and where its edges are."""
    brain = truth > BRAIN
    slope = torch.stack(torch.gradient(truth, dim=(1, 2))).square().sum(0).sqrt()
    return brain, brain & (slope > slope[brain].quantile(EDGES))


def disagreement(problem: AcceleratedMR, draws: Tensor, y: Tensor) -> Tensor:
    """Mean square of the residuals of sampled points over that of the noise, ``(S, N)``: 1 within noise."""
    acquisition, kspace = problem.acquisition(y[:, problem.observation.num_values :]), problem.kspace(y)
    made = torch.stack([acquisition.forward(gaussian.as_complex(image)) for image in draws])
    residual = (made - kspace).abs().square().sum((2, 3, 4))
    points = problem.coils * acquisition.mask.sum((1, 2))
    return residual / (2 * acquisition.noise_sd.square() * points)


def by_factor(problem: AcceleratedMR, y: Tensor, inside: Tensor, brain: Tensor) -> dict[str, float]:
    """Coverage in the brain by acceleration."""
    mask = problem.acquisition(y[:, problem.observation.num_values :]).mask
    factor = mask[0].numel() / mask.sum((1, 2))
    chosen = {"2-4": factor < 4, "4-8": factor >= 4}
    return {name: share(inside[rows], brain[rows]) for name, rows in chosen.items() if bool(rows.any())}


def nats(fitted: FittedPosterior, problem: AcceleratedMR, theta: Tensor, y: Tensor) -> dict[str, float]:
    """Negative log density of the truth per number, of the start and of the flow."""
    start = ImageFlow(2, 2, 10, problem.size, num_blocks=0, start="given")
    features = problem.features(y).unflatten(-1, (*problem.size, -1)).movedim(-1, 1)
    number = theta.shape[1]
    own = torch.cat(
        [fitted.posterior(a).log_prob(b) for a, b in zip(y.split(8), theta.split(8), strict=True)]
    )
    of_start = start(features).log_prob(problem.image_of(theta))
    return {
        "start": round(-float(of_start.mean()) / number, 4),
        "flow": round(-float(own.mean()) / number, 4),
    }


def share(inside: Tensor, where: Tensor) -> float:
    return round(float(inside[where].float().mean()), 4)


def rms(values: Tensor) -> float:
    return round(float(values.square().mean().sqrt()), 5)


def measured_kspace(path: Path, problem: AcceleratedMR) -> Tensor:
    """The real k-space as an observation."""
    held = np.load(path)
    mask = torch.from_numpy(held["mask"])
    kspace = torch.zeros(len(held["samples"]), *mask.shape, dtype=torch.complex64)
    kspace[:, mask] = torch.from_numpy(held["samples"])
    return observation_of(kspace, mask, problem)[0]


@torch.no_grad()
def picture(test: AcceleratedMR, fitted: FittedPosterior | None, folder: Path, target: Path) -> None:
    """A simulated case beside the real k-space: zeros filled in, mean, width, two samples."""
    from matplotlib import pyplot as plt

    theta, y = test.simulate(8, 3)
    factor = test.acquisition(y[:, test.observation.num_values :]).mask.mean((1, 2))
    case = int((factor - 0.25).abs().argmin())
    rows = torch.cat([y[case : case + 1], measured_kspace(folder / "kspace_brain_8ch.npz", test)])
    arms = samplers(fitted, test)
    draws = arms["start, agreeing" if fitted is None else "flow, agreeing"](rows)
    magnitude = draws.square().sum(2).sqrt()
    acquisition = test.acquisition(rows[:, test.observation.num_values :])
    zero_filled = acquisition.adjoint(test.kspace(rows)).abs()
    truth = test.image_of(theta[case]).square().sum(0).sqrt()
    figure, axes = plt.subplots(2, 6, figsize=(15, 5.4), layout="constrained")
    names = ("mask of k-space", "zeros filled in", "mean", "sample", "another sample", "deviation")
    for i, title in enumerate(("Simulated, third patient", "Measured, 8 coils, no truth known")):
        mean = magnitude[:, i].mean(0)
        top = float(mean.quantile(0.995))
        shown = (
            torch.fft.fftshift(acquisition.mask[i]),
            zero_filled[i] * top / float(zero_filled[i].quantile(0.995)),
            mean,
            magnitude[0, i],
            magnitude[1, i],
            magnitude[:, i].std(0),
        )
        for j, image in enumerate(shown):
            high = 1.0 if j == 0 else float(image.quantile(0.995)) if j == 5 else top
            axes[i, j].imshow(image, cmap="magma" if j == 5 else "gray", vmin=0, vmax=high)
            axes[i, j].set(xticks=[], yticks=[])
            axes[i, j].set_title(
                names[j] + (f" (0 to {high / top:.0%} of white)" if j == 5 else ""), fontsize=9
            )
        axes[i, 0].set_ylabel(title, fontsize=9)
    error = float((magnitude[:, 0].mean(0) - truth)[truth > BRAIN].square().mean().sqrt())
    figure.suptitle(f"Root mean square error of the simulated case's mean: {error:.3f} of white", fontsize=10)
    figure.savefig(target / "accelerated_mr.png", dpi=100)


@torch.no_grad()
def low_picture(test: AcceleratedMR, target: Path) -> None:
    """A scan of half the resolution, interpolated, and as a posterior."""
    from matplotlib import pyplot as plt

    truth, scans, smooth, y, scale = scanned(test, 8)
    case = int(strata(truth)[0].sum((1, 2)).argmax())
    draws = (wide(test, y).square().sum(2).sqrt() * scale)[:, case]
    width = draws.amax(0) - draws.amin(0)
    truth, top = truth[case], float(truth[case].quantile(0.998))
    outside = (truth < draws.amin(0)) | (truth > draws.amax(0))
    shown = {
        "scan, 6 mm": scans[case], "cubic spline, 3 mm": smooth[case], "true image, 3 mm": truth,
        "mean": draws.mean(0), "a sample": draws[0], "another sample": draws[1],
        "width of the 95 % interval": width, "truth outside of it": outside & (truth > BRAIN),
    }  # fmt: skip
    figure, axes = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
    for axis, (title, image) in zip(axes.flat, shown.items(), strict=True):
        is_width = image is width
        most = {"truth outside of it": 1.0, "width of the 95 % interval": float(width.max())}.get(title, top)
        drawn = axis.imshow(image, cmap="magma" if is_width else "gray", vmin=0, vmax=most)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)
        if is_width:
            figure.colorbar(drawn, ax=axis, label="brightness, 1 is white", location="bottom")
    figure.savefig(target / "low_resolution.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with patientNN_*.nii.gz and kspace_brain_8ch.npz")
    parser.add_argument("--fit", type=Path, help="bundle of the fitted flow, made if it does not exist")
    parser.add_argument("--steps", type=int, default=1500, help="steps of its training")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--low-resolution", action="store_true", help="half the resolution instead")
    parser.add_argument("--held-out", choices=PATIENTS, default="26", help="the patient that is tested (26)")
    parser.add_argument("--picture", type=Path, help="folder for the picture")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    trained = problem_of(options.data, tuple(p for p in PATIENTS if p != options.held_out))
    test = problem_of(options.data, (options.held_out,), trained)
    fitted = None
    if options.fit is not None and not options.fit.exists():
        _, network, recipe = RECIPES["accelerated_mr"]
        recipe = replace(recipe, posterior_steps=options.steps)
        fitted = monai_inn.fit(trained, recipe=recipe, network=network)
        fitted.save(options.fit)
    elif options.fit is not None:
        fitted = monai_inn.load(options.fit)
    found = (super_resolution if options.low_resolution else compared)(test, fitted, options.cases)
    if options.picture is not None and options.low_resolution:
        low_picture(test, options.picture)
    elif options.picture is not None:
        picture(test, fitted, options.data, options.picture)
    json.dump(found, sys.stdout, indent=None if options.json else 2)
    print()


if __name__ == "__main__":
    main()
