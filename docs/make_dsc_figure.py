"""Draw in-vivo curves of two echoes and what is known from them: python docs/make_dsc_figure.py."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from monai_inn.applications.perfusion.models.signal import relaxation_change

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from deconvolution import deconvolve  # noqa: E402 -- needs the path
from dsc import with_measured_artery  # noqa: E402

CURVES = HERE.parent / "Testing/perfusion/references/dual_echo.csv"
TE_S, STEP_S, BASELINE = (0.002, 0.03), 1.5, 35
FRAMES = slice(35, 95)
RELAXIVITY, HAEMATOCRIT = 87.0, 0.42  # of R2* in the tissue, /mM/s
TISSUES = {"white": "#0072b2", "tumour": "#d55e00"}
SHOWN = {  # index among the samples, field of the deconvolution, label, ends
    "cbf": (2, "cbf", "CBF, ml/100 g/min", (2.0, 200.0)),
    "cbv": (0, "cbv", "CBV, ml/100 g", (0.2, 20.0)),
    "mtt": (1, "mtt_s", "MTT, s", (1.0, 40.0)),
}


def measured() -> dict[str, Tensor]:
    """Columns of the table."""
    with CURVES.open() as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {name: torch.tensor([float(row[name]) for row in table]) for name in table[0]}


def change(signal: Tensor, te_s: float) -> Tensor:
    """Of R2* in 1/s since the baseline."""
    return relaxation_change(signal, signal[:BASELINE].mean(), te_s)


def main() -> None:
    """Write docs/images/dsc.png."""
    columns = measured()
    times, artery = columns["time_s"], columns["aif_mM"] / (1 - HAEMATOCRIT)
    figure = Figure(figsize=(11.5, 5.2), layout="constrained")
    axes = figure.subplot_mosaic([["artery", *TISSUES], [*SHOWN]])
    axes["artery"].plot(times, artery, color="0.2", lw=1)
    axes["artery"].set(title="artery, plasma", xlabel="s", ylabel="mM")
    for name, colour in TISSUES.items():
        first, second = (columns[f"{name}_te{echo}"] for echo in (1, 2))
        both = change(second / first, TE_S[1] - TE_S[0])
        axes[name].plot(times, change(second, TE_S[1]), color="0.6", lw=1, label="late echo only")
        axes[name].plot(times, both, color=colour, lw=1, label="both echoes")
        axes[name].set(title=name, xlabel="s", ylabel="change of R2*, 1/s")
        axes[name].legend(fontsize=8)
        tissue = both / RELAXIVITY
        drawn = with_measured_artery(tissue[FRAMES], artery[FRAMES], times[FRAMES] - times[FRAMES.start])
        drawn = torch.stack([drawn[:, 0], drawn[:, 1], 60 * drawn[:, 0] / drawn[:, 1]])
        peer = deconvolve(tissue[None], artery, STEP_S)._asdict()
        for key, (row, field, label, ends) in SHOWN.items():
            bins = np.geomspace(*ends, 70)
            axes[key].hist(drawn[row], bins=bins, density=True, histtype="step", color=colour, label=name)
            axes[key].axvline(float(peer[field]), color=colour, ls=":", lw=1)
            axes[key].set(xscale="log", yticks=[], xlabel=label, xlim=ends)
            print(name, key, drawn[row].quantile(torch.tensor([0.025, 0.5, 0.975])), float(peer[field]))
    axes["cbf"].set_title("posteriors; dotted: oSVD")
    axes["cbf"].legend(fontsize=8)
    figure.savefig(HERE / "images" / "dsc.png", dpi=100, facecolor="white")


if __name__ == "__main__":
    main()
