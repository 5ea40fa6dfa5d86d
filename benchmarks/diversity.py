"""How diverse images given images are: our flow and peers, trained for the same processor time.

    python benchmarks/diversity.py FOLDER [--seconds 180] [--only NAME …] [--save FILE] [--json]

The folder holds what `benchmarks/contrast.py` reads. T1 and T2 to FLAIR, slices of 48 × 56 pixels of 3 mm;
patients 07 and 19 are trained on, and patient 26, which nothing is chosen by, is tested on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from contrast import PATIENTS, files
from diversity_methods import METHODS, Method, OurFlow, train
from images import convolutions_alone
from safetensors.torch import save_file
from torch import Tensor
from torch.distributions import Normal

from monai_inn.applications.contrast.problem import OUTSIDE_SD, ContrastTranslation
from monai_inn.applications.contrast.scans import Scan, read_volume
from monai_inn.metrics import energy_score

GIVEN, TARGET, SIZE, TESTED = ("t1", "t2"), "flair", (48, 56), "26"
SD = 40.0  # grey levels of the target, about
SAMPLES, TAIL = 39, 2  # the ranks 2 to 37 of 40 are an interval of exactly 90 %
_SPACING_MM, _EVERY = 1.5, 6
_POOL, _BATCH = 4096, 16


class Cases(NamedTuple):
    """Slices: observations ``(N, F, *size)``, images ``(N, 1, *size)``, brain and lesions ``(N, *size)``."""

    observation: Tensor
    image: Tensor
    brain: Tensor
    lesions: Tensor


class Data:
    """Slices of half the resolution, those of two patients to train on, those of a third to test."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.scans = {name: _halved(folder, name) for name in PATIENTS}
        self.problem = ContrastTranslation(
            GIVEN, TARGET, SIZE, 2 * _SPACING_MM, scans=[scan for scan, _ in self.scans.values()],
            held_out=TESTED,
        )  # fmt: skip
        self.problem.split(seed, seed + 1, seed + 2, seed + 3)
        self._theta, self._y = self.problem.simulate_clean(_POOL, seed)
        self.seed = seed

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Some training slices, observed at a new scale."""
        generator = torch.Generator().manual_seed((self.seed << 32) + number + (1 << 20))
        rows = torch.randint(_POOL, (_BATCH,), generator=generator)
        return self.images(self._theta[rows]), self.seen(self.problem.noise(self._y[rows], generator))

    def cases(self, patient: str = TESTED) -> Cases:
        """Each sixth slice of a patient."""
        scan, lesions = self.scans[patient]
        volumes = torch.cat([scan.harmonised(self.problem.peaks), lesions[None]])
        whole = self.problem.window(scan, volumes)
        whole = whole[self.problem.is_enough(whole[..., 0] > 0)][::_EVERY]
        theta = self.problem.filled(whole[..., :3], torch.Generator().manual_seed(self.seed))
        observation = self.seen(whole[..., :2].flatten(1))
        return Cases(observation, self.images(theta.flatten(1)), whole[..., 0] > 0, whole[..., 3] >= 0.5)

    def images(self, theta: Tensor) -> Tensor:
        """Grey levels ``(N, D)`` as images of about unit variance."""
        return ((theta - self.problem.peaks[-1]) / SD).unflatten(1, (1, *SIZE))

    def seen(self, y: Tensor) -> Tensor:
        """Observed rows as images of the features that all methods are given."""
        return self.problem.features(y).unflatten(-1, (*SIZE, -1)).movedim(-1, 1)


def _halved(folder: Path, patient: str) -> tuple[Scan, Tensor]:
    """A patient at half the resolution in slices, and the share of lesion in each voxel."""
    scan = Scan.read(files(folder, patient, (*GIVEN, TARGET)), _SPACING_MM, patient, extra=1)
    lesions, _, _ = read_volume(folder / f"patient{patient}_lesions.nii.gz", _SPACING_MM)

    def means(volumes: Tensor) -> Tensor:
        odd = [k for n in volumes.shape[2:0:-1] for k in (0, n % 2)]
        even = torch.nn.functional.pad(volumes, (0, 0, *odd))
        return torch.nn.functional.avg_pool3d(even, (2, 2, 1))

    is_brain = means((scan.values > 0).all(0, keepdim=True).float()) == 1
    halved = Scan(patient, means(scan.values) * is_brain, scan.peak, scan.affine, scan.turned)
    return halved, means((torch.from_numpy(lesions) > 0)[None].float())[0]


def measures(samples: Tensor, truth: Tensor, part: Tensor) -> dict[str, float]:
    """Return figures of the pixels of a stratum.

    Args:
        samples: images ``(S, N, *size)``, grey levels.
        truth: shape ``(N, *size)``.
        part: which pixels count, boolean, ``(N, *size)``.

    Returns:
        ``rmse`` of the samples' mean; ``sd_over_rmse``, 1 if the spread is right; ``pair_over_truth``, the
        mean distance of two samples of a slice over that of a sample from the truth, 1 if the truth could be
        a sample; ``coverage`` of 90 % intervals, if there are 39 samples; the mean ``energy_score``.
    """
    count = len(samples)
    rmse = float((samples.mean(0) - truth)[part].square().mean().sqrt())
    # The mean of S samples is off by a share 1 / S of their variance.
    sd = math.sqrt(float(samples.var(0)[part].mean()) * (1 + 1 / count))
    rank = (samples < truth).sum(0)[part]
    there = part.flatten(1).any(1)
    rows, true = ((v * part).flatten(-part.ndim + 1)[..., there, :] for v in (samples, truth))
    scores = energy_score(rows, true, torch.ones(true.shape[1]))
    apart = (rows.double() - true).norm(dim=-1).mean(0)
    return {
        "pixels": int(part.sum()),
        "rmse": rmse,
        "sd_over_rmse": sd / rmse,
        "pair_over_truth": float((2 * (apart - scores)).mean() / apart.mean()),
        "coverage": float(((rank >= TAIL) & (rank <= count - TAIL)).float().mean()),
        "energy_score": float(scores.mean()),
    }


def bits(log_prob: Tensor, cases: Cases) -> float:
    """Bits per pixel of the brain, grey levels, what stands outside it taken off."""
    outside = Normal(0.0, OUTSIDE_SD / SD).log_prob(cases.image[:, 0])[~cases.brain].double().sum()
    nats = float(outside - log_prob.double().sum()) / int(cases.brain.sum())
    return nats / math.log(2) + math.log2(SD)


@torch.no_grad()
def tested(method: Method, cases: Cases) -> dict[str, Any]:
    """Figures of a trained method."""
    torch.manual_seed(1)
    began = time.process_time()
    samples = method.sample(cases.observation, SAMPLES)[:, :, 0] * SD
    seconds = (time.process_time() - began) / (SAMPLES * len(cases.image))
    log_prob = method.tested(cases.image, cases.observation)
    found: dict[str, Any] = {
        "bits_per_pixel": bits(log_prob, cases),
        "is_bound": method.is_bound,
        "ms_per_sample": 1e3 * seconds,
    }
    for name, part in (("brain", cases.brain), ("lesions", cases.brain & cases.lesions)):
        found[name] = measures(samples, cases.image[:, 0] * SD, part)
    return found


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=180, help="processor time of each training (180)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods, by the name of their class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="file for the weights of ImageFlow, safetensors")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = Data(options.folder, options.seed)
    new, seen = data.cases(), data.cases("07")
    for kind in METHODS:
        if options.only and kind.__name__ not in options.only:
            continue
        torch.manual_seed(options.seed)
        method = kind(new.observation.shape[1], SIZE)
        steps = train(method, data.batch, options.seconds)
        weights = sum(p.numel() for p in method.parameters() if p.requires_grad)
        row = {"weights": weights, "steps": steps, **tested(method, new)}
        with torch.no_grad():
            row["bits_on_a_patient_seen"] = bits(method.tested(seen.image, seen.observation), seen)
        if kind is OurFlow:
            row["share_of_convolutions"] = convolutions_alone(method.flow, 64) / (
                64e-3 * row["ms_per_sample"]
            )
            if options.save is not None:
                state = method.flow.state_dict()
                save_file({key: value.contiguous() for key, value in state.items()}, options.save)
        print(json.dumps({kind.name: row}) if options.json else in_words(kind.name, row), flush=True)


def in_words(name: str, row: dict[str, Any]) -> str:
    """A line of a table."""
    sign = "≤ " if row["is_bound"] else ""
    parts = [f"| {name} | {row['weights']:,} | {row['steps']:,} | {sign}{row['bits_per_pixel']:.2f}"]
    parts.append(f"{sign}{row['bits_on_a_patient_seen']:.2f}")
    for stratum in ("brain", "lesions"):
        found = row[stratum]
        parts.append(f"{found['rmse']:.1f}, {found['energy_score']:.0f}")
        parts.append(", ".join(f"{found[k]:.2f}" for k in ("sd_over_rmse", "pair_over_truth", "coverage")))
    if "share_of_convolutions" in row:
        parts.append(f"{row['ms_per_sample']:.1f} (convolutions {row['share_of_convolutions']:.0%})")
    else:
        parts.append(f"{row['ms_per_sample']:.1f}")
    return " | ".join(parts) + " |"


if __name__ == "__main__":
    main()
