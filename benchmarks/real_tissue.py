"""What the shipped oximetry bundle says about measured tissue: posterior, trust, and where they fail.

    python benchmarks/real_tissue.py [--bundle PATH] [--spectra DIR] [--figure FILE] [--json]

The spectra are means over subjects, measured in vivo with a 500-1000 nm scanner (attribution beside the
tables), or tables of the same form in a folder. Nobody measured the true saturation: what can be checked is
the order of states that are known, and that noise or a shifted axis do not carry the median out of the
interval that is claimed without them.

The simulations have a discrepancy that was learned from the shipped tables. Each of their organs is judged as
if it had no share in it, see ``trust.own_share``, and by thresholds that never saw it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ood_data import CENTRE_NM, build
from torch import Tensor
from trust import own_share, without

import monai_inn
from monai_inn.physics import tissue_spectra

_SAMPLES, _REPEATS = 1024, 16
_SNR, _SHIFTS_NM = (100.0, 50.0, 25.0), (-2.5, 2.5)
_REFLECTANCE = 0.2  # mean over the bands; the tables hold shapes only, and the features ignore the level
_LEVELS = (0.025, 0.5, 0.975)


def spectra(folder: Path | None) -> dict[str, np.ndarray]:
    """Mean spectra at the camera's bands, scaled to a plausible reflectance."""
    found = {}
    for name, curve in tissue_spectra.curves(folder).items():
        mean = np.interp(CENTRE_NM, curve.wavelength_nm, curve.mean)
        found[name] = (mean / mean.mean() * _REFLECTANCE).astype(np.float32)
    return found


def left_out(fitted: monai_inn.FittedPosterior, curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Spectra of organs as the model would meet them without their share in its discrepancy."""
    organs = {name: organ for name in curves if (organ := tissue_spectra.organ_of(name))}
    rows: dict[str, list[np.ndarray]] = {}
    for name, organ in organs.items():
        rows.setdefault(organ, []).append(curves[name])
    shares = own_share(fitted.problem, {organ: np.stack(found) for organ, found in rows.items()})
    return curves | {name: curves[name] * shares[organ].exp().numpy() for name, organ in organs.items()}


def explained(fitted: monai_inn.FittedPosterior, y: Tensor, names: list[str], leave_out: bool) -> Tensor:
    """Whether spectra ``(N, C)`` are explained, each organ by thresholds that never saw it."""
    found = fitted.is_explained(y)
    for organ in {tissue_spectra.organ_of(name) for name in names} - {None} if leave_out else ():
        of_organ = torch.tensor([tissue_spectra.organ_of(name) == organ for name in names])
        found[of_organ] = without(fitted, organ).is_explained(y[of_organ])
    return found


def quantiles(fitted: monai_inn.FittedPosterior, y: Tensor) -> Tensor:
    """Ends of the 95 % interval and median of the targets, shape ``(3, N, D)``."""
    torch.manual_seed(0)
    return fitted.target_posterior(y).sample((_SAMPLES,)).quantile(torch.tensor(_LEVELS), dim=0)


def disturbed(fitted: monai_inn.FittedPosterior, y: Tensor, claimed: Tensor) -> dict[str, dict[str, float]]:
    """How far noise and shifts of the axis carry the median saturation, and how often it stays inside."""
    camera, generator = fitted.problem.camera, torch.Generator().manual_seed(1)
    quiet = replace(camera, glare_max=0.0, calibration_sd=0.0, wavelength_jitter_nm=0.0)
    sets = {
        f"noise, SNR {snr:g} at white": [
            replace(quiet, white_snr=(snr, snr)).noise(y, generator) for _ in range(_REPEATS)
        ]
        for snr in _SNR
    }
    for nm in _SHIFTS_NM:
        moved = np.stack([np.interp(CENTRE_NM + nm, CENTRE_NM, row) for row in y.numpy()])
        sets[f"axis {nm:+g} nm"] = [torch.from_numpy(moved).float()]
    low, median, high = claimed[..., 0]
    report = {}
    for name, draws in sets.items():
        found = torch.stack([quantiles(fitted, rows)[1, :, 0] for rows in draws])
        inside = (found >= low) & (found <= high)
        report[name] = {
            "mean_shift_of_median_sao2": round(float((found.mean(0) - median).mean()), 4),
            "medians_inside": round(float(inside.float().mean()), 3),
        }
    return report


def evaluate(fitted: monai_inn.FittedPosterior, folder: Path | None) -> dict[str, Any]:
    """Posterior and trust of every mean spectrum, and what disturbs them."""
    curves = spectra(folder)
    if folder is None:
        curves = left_out(fitted, curves)
    y = torch.from_numpy(np.stack(list(curves.values())))
    claimed = quantiles(fitted, y)
    passes = explained(fitted, y, list(curves), leave_out=folder is None)
    rows = {
        name: {
            **{
                parameter: [round(float(v), 3) for v in claimed[:, i, d]]
                for d, parameter in enumerate(fitted.problem.targets)
            },
            "out_of_distribution": not bool(passes[i]),
        }
        for i, name in enumerate(curves)
    }
    organs = [i for i, name in enumerate(curves) if tissue_spectra.organ_of(name)]
    sets = build(500, 0, fitted.problem.camera).outside
    report: dict[str, Any] = {
        "spectra": rows,
        "organs_flagged": int((~passes[organs]).sum()),
        "organs": len(organs),
        "phantoms_flagged": {
            name: round(float((~fitted.is_explained(torch.from_numpy(values))).float().mean()), 3)
            for name, values in sets.items()
            if "phantom" in name
        },
        "disturbed": disturbed(fitted, y[organs], claimed[:, organs]),
    }
    states = {name: row["sao2"][1] for name, row in rows.items() if "kidney_" in name}
    pair = [[v for n, v in states.items() if word in n] for word in ("physiological", "malperfused")]
    if all(pair):
        report["kidney_sao2_perfused_minus_clamped"] = round(pair[0][0] - pair[1][0], 3)
    return report


def figure(report: dict[str, Any], path: Path) -> None:
    """Saturation intervals of every spectrum, those out of distribution hollow."""
    from matplotlib.figure import Figure

    rows = dict(sorted(report["spectra"].items(), key=lambda item: item[1]["sao2"][1]))
    canvas = Figure(figsize=(7.5, 6), layout="constrained")
    axes = canvas.add_subplot()
    for place, row in enumerate(rows.values()):
        low, median, high = row["sao2"]
        colour = "tab:orange" if row["out_of_distribution"] else "tab:blue"
        axes.plot([low, high], [place, place], color=colour, lw=3, alpha=0.5, solid_capstyle="round")
        fill = "white" if row["out_of_distribution"] else colour
        axes.plot(median, place, "o", mfc=fill, mec=colour)
    axes.set(yticks=range(len(rows)), yticklabels=[name.replace("_", " ") for name in rows], xlim=(0, 1))
    axes.set(xlabel="oxygen saturation (1): posterior median and 95 % interval")
    axes.set_title("Measured mean spectra; hollow and orange: not explained at 5 % false alarms", size=10)
    axes.grid(axis="x", alpha=0.3)
    canvas.savefig(path, dpi=110)


def main() -> int:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default="oximetry")
    parser.add_argument("--spectra", type=Path, help="folder of tables of other measured spectra")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = evaluate(monai_inn.load(options.bundle), options.spectra)
    if options.figure:
        figure(report, options.figure)
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    for name, row in sorted(report["spectra"].items(), key=lambda item: item[1]["sao2"][1]):
        low, median, high = row["sao2"]
        mark = "not explained" if row["out_of_distribution"] else ""
        print(f"{name:28s} sao2 {median:.2f} ({low:.2f}-{high:.2f}) {mark}")
    for key, value in report.items():
        if key != "spectra":
            print(f"{key}: {json.dumps(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
