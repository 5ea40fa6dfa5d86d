"""What the shipped oximetry bundle says about measured tissue: posterior, trust, and where they fail.

    python benchmarks/real_tissue.py [--bundle PATH] [--figure FILE] [--json]

The spectra are means over subjects, measured in vivo with a 500-1000 nm scanner (attribution beside the
tables). Nobody measured the true saturation: what can be checked is the order of states that are known.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ood_data import CENTRE_NM, build

import monai_inn
from monai_inn.physics import tissue_spectra

_TABLES = ("pig_organs", "human_rat_organs", "pig_kidney_states")
_SAMPLES = 1024
_REFLECTANCE = 0.2  # mean over the bands; the tables hold shapes only, and the features ignore the level


def spectra() -> dict[str, np.ndarray]:
    """Mean spectra at the camera's bands, scaled to a plausible reflectance."""
    found = {}
    for table in _TABLES:
        wavelength, curves = tissue_spectra.load(table)
        for name, (mean, _) in curves.items():
            curve = np.interp(CENTRE_NM, wavelength, mean)
            found[name] = (curve / curve.mean() * _REFLECTANCE).astype(np.float32)
    return found


def evaluate(fitted: monai_inn.FittedPosterior) -> dict[str, Any]:
    """Posterior and trust of every mean spectrum; medians of the phantom sets."""
    curves = spectra()
    y = torch.from_numpy(np.stack(list(curves.values())))
    torch.manual_seed(0)
    samples = fitted.target_posterior(y).sample((_SAMPLES,))
    score = fitted.waic(y)
    flagged = fitted.guard.is_out(score)
    low, median, high = samples.quantile(torch.tensor([0.025, 0.5, 0.975]), dim=0)
    rows = {
        name: {
            **{
                parameter: [round(float(v[i, d]), 3) for v in (low, median, high)]
                for d, parameter in enumerate(fitted.problem.targets)
            },
            "waic": round(float(score[i]), 2),
            "out_of_distribution": bool(flagged[i]),
        }
        for i, name in enumerate(curves)
    }
    sets = build(500, 0, fitted.problem.camera).outside
    phantoms = {
        name: round(float(fitted.waic(torch.from_numpy(values)).median()), 2)
        for name, values in sets.items()
        if "phantom" in name
    }
    organs = {name: row["waic"] for name, row in rows.items() if "icg" not in name}
    icg = next(row["waic"] for name, row in rows.items() if "icg" in name)
    saturation = {name: row["sao2"][1] for name, row in rows.items() if "kidney_" in name}
    perfused, clamped = (
        next(v for name, v in saturation.items() if state in name)
        for state in ("physiological", "malperfused")
    )
    return {
        "spectra": rows,
        "phantom_waic": phantoms,
        "kidney_sao2_difference": round(perfused - clamped, 3),
        "highest_organ": max(organs, key=organs.__getitem__),
        "icg_above_every_organ": icg > max(organs.values()),
        "phantoms_above_every_organ": min(phantoms.values()) > max(organs.values()),
        "organs_flagged": sum(row["out_of_distribution"] for name, row in rows.items() if "icg" not in name),
        "organs": len(organs),
    }


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
    axes.set_title(
        "Measured mean spectra; hollow and orange: out of distribution at 5 % false alarms", size=10
    )
    axes.grid(axis="x", alpha=0.3)
    canvas.savefig(path, dpi=110)


def main() -> int:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default="oximetry")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = evaluate(monai_inn.load(options.bundle))
    if options.figure:
        figure(report, options.figure)
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    for name, row in sorted(report["spectra"].items(), key=lambda item: -item[1]["waic"]):
        low, median, high = row["sao2"]
        mark = "OUT" if row["out_of_distribution"] else ""
        print(f"{name:28s} sao2 {median:.2f} ({low:.2f}-{high:.2f})  WAIC {row['waic']:8.1f} nats {mark}")
    for key, value in report.items():
        if key != "spectra":
            print(f"{key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
