"""Draw in-vivo curves of two echoes and what is known from them: python docs/make_dsc_figure.py."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import monai_inn
from monai_inn.applications.perfusion.signal import relaxation_change

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from deconvolution import deconvolve  # noqa: E402 -- needs the path

CURVES = HERE.parent / "Testing/perfusion/references/dual_echo.csv"
TE_S, STEP_S, BASELINE = (0.002, 0.03), 1.5, 35
RELAXIVITY, HAEMATOCRIT = 87.0, 0.42  # of R2* in the tissue, /mM/s
TISSUES = {"white": "#0072b2", "tumour": "#d55e00"}
ENDS = {"cbf": (2.0, 500.0), "cbv": (0.2, 50.0), "mtt": (1.0, 40.0)}
LABELS = {"cbf": "CBF, ml/100 g/min", "cbv": "CBV, ml/100 g", "mtt": "MTT, s"}
DRAWS = 4000


def measured() -> dict[str, Tensor]:
    """Columns of the table."""
    with CURVES.open() as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {name: torch.tensor([float(row[name]) for row in table]) for name in table[0]}


def change(signal: Tensor, te_s: float) -> Tensor:
    """Of R2* in 1/s since the baseline."""
    return relaxation_change(signal, signal[:BASELINE].mean(), te_s)


def main(bundle: str = "dsc") -> None:
    """Write docs/images/dsc.png."""
    fitted = monai_inn.load(bundle)
    columns, problem = measured(), fitted.problem
    most = problem.observation.places
    times = STEP_S * torch.arange(most)
    artery = columns["aif_mM"] / (1 - HAEMATOCRIT)
    torch.manual_seed(0)
    figure = Figure(figsize=(11.5, 5.2), layout="constrained")
    axes = figure.subplot_mosaic([["white", "tumour", "artery"], [*ENDS]])
    axes["artery"].plot(columns["time_s"], artery, color="0.2", lw=1)
    axes["artery"].set(title="artery, plasma", xlabel="s", ylabel="mM")
    for name, colour in TISSUES.items():
        first, second = (columns[f"{name}_te{echo}"] for echo in (1, 2))
        both = change(second / first, TE_S[1] - TE_S[0])
        axes[name].plot(columns["time_s"], change(second, TE_S[1]), color="0.6", lw=1, label="late echo only")
        axes[name].plot(columns["time_s"], both, color=colour, lw=1, label="both echoes")
        axes[name].set(title=name, xlabel="s", ylabel="change of R2*, 1/s")
        axes[name].legend(fontsize=8)
        tissue = both / RELAXIVITY
        y = torch.full((3 * most,), torch.nan)
        number = len(tissue)
        y[0 : 2 * number : 2], y[1 : 2 * number : 2] = tissue, artery
        y[2 * most : 2 * most + number] = times[:number]
        with torch.no_grad():
            drawn = fitted.target_posterior(y).sample((DRAWS,))
        drawn = torch.cat([drawn, problem.derive(drawn)], -1)
        by_name = dict(zip((p.name for p in problem.shown), drawn.T, strict=True))
        peer = deconvolve(tissue[None], artery, STEP_S)._asdict()
        for key, ends in ENDS.items():
            axes[key].hist(
                by_name[key], bins=np.geomspace(*ends, 60), histtype="step", color=colour, label=name
            )
            axes[key].axvline(float(peer.get(key, peer["mtt_s"])), color=colour, ls=":", lw=1)
            axes[key].set(xscale="log", yticks=[], xlabel=LABELS[key], xlim=ends)
            print(name, key, by_name[key].quantile(torch.tensor([0.025, 0.5, 0.975])).tolist())
    axes["cbf"].set_title("posteriors; dotted: oSVD")
    axes["cbf"].legend(fontsize=8)
    figure.savefig(HERE / "images" / "dsc.png", dpi=100, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:])
