"""Which spectra are called "not explained": real organs that were left out, dyes, phantoms, faults.

    python benchmarks/trust.py [--bundle PATH] [--spectra DIR] [--n N] [--seed S] [--json]

Without ``--spectra`` every organ of the shipped tables is judged by thresholds that never saw it, and its
share in the mean discrepancy that the simulations have is taken back, to first order; its share in the
shapes of their noise stays. With it the organs in that folder, tables of the same form, are judged by the
bundle as it is, like everything that is no organ. Spectra are drawn around the measured means, see
``ood_data``.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ood_data import OodData, build
from scipy.stats import beta
from torch import Tensor

import monai_inn
from monai_inn.applications.oximetry.learning import best_fits
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.trust.verdicts import reasons
from monai_inn.training.run import GUARD
from monai_inn.training.thresholds import set_thresholds

FALSE_ALARM = 0.05
Report = dict[str, Any]


def without(fitted: FittedPosterior, organ: str) -> FittedPosterior:
    """Return a posterior whose thresholds never saw an organ."""
    network = copy.deepcopy(fitted.network)
    part = network.explanation
    assert part is not None
    measured = dict(fitted.problem.application.measured(part.ordinary.shape[1], GUARD))
    measured.pop(organ)
    set_thresholds(network, fitted.problem, GUARD, measured)
    return FittedPosterior(fitted.problem, network, fitted.card)


def own_share(problem: Any, organs: dict[str, Any]) -> dict[str, Tensor]:
    """Logarithm by which the model without an organ's share would miss it more, at the bands, ``(C,)``.

    The learned mean is one of all organs; without one of ``n`` it moves by its residual over ``n − 1``.
    """
    means = torch.stack([torch.as_tensor(rows).double().mean(0) for rows in organs.values()])
    made = problem.forward(problem.space.inverse(best_fits(problem, means))).double()
    left = means.log() - made.log()
    left = (left - left.mean(1, keepdim=True)) / (len(organs) - 1)
    return dict(zip(organs, left.float(), strict=True))


def flagged(fitted: FittedPosterior, y: Any) -> list[float]:
    """Share of valid spectra that are not explained, and its 95 % interval (Clopper and Pearson)."""
    rows = torch.as_tensor(y)
    rows = rows[fitted.problem.is_valid(rows)]
    hits, n = int((~fitted.is_explained(rows, FALSE_ALARM)).sum()), len(rows)
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return [hits / max(n, 1), float(low), float(high)]


def evaluate(fitted: FittedPosterior, data: OodData, n: int, seed: int, leave_out: bool) -> Report:
    """Return shares that are not explained, of organs, simulations and everything else; JSON-ready."""
    outside = data.foreign()
    report: Report = {"organs": {}, "sets": {name: flagged(fitted, y) for name, y in outside.items()}}
    shares = own_share(fitted.problem, data.inside) if leave_out else {}
    for organ, rows in data.inside.items():
        judge, y = fitted, torch.as_tensor(rows)
        if leave_out:
            judge, y = without(fitted, organ), y * shares[organ].exp()
        report["organs"][organ] = flagged(judge, y)
    report["simulations"] = flagged(fitted, fitted.problem.simulate(5 * n, seed=seed + 10_000)[1])
    rates = [share for share, *_ in report["organs"].values()]
    report["false_alarms"] = {"mean": float(np.mean(rates)), "worst": float(np.max(rates))}
    report["reasons"] = {name: reason(fitted, y) for name, y in outside.items()}
    return report


def reason(fitted: FittedPosterior, y: Any) -> str:
    """Return what is said most often of the spectra that are not explained."""
    rows: Tensor = torch.as_tensor(y)
    image = rows[fitted.problem.is_valid(rows)].T.unsqueeze(-1)
    numbers = fitted.trust(image, batched=False)["reason"].flatten().long()
    numbers = numbers[numbers > 0]
    return reasons(fitted.problem, fitted.network)[int(numbers.mode().values)] if len(numbers) else "-"


def table(report: Report) -> str:
    """Return the report as text."""
    lines = ["not explained at 5 % false alarms [95 % interval]", ""]
    for title, rows in (("organs", report["organs"]), ("others", report["sets"])):
        lines += [title, *(f"  {name:<26}{a:6.3f} [{b:.3f} {c:.3f}]" for name, (a, b, c) in rows.items())]
    share, low, high = report["simulations"]
    lines.append(f"fresh simulations           {share:6.3f} [{low:.3f} {high:.3f}]")
    lines.append("organs: mean {mean:.3f}, worst {worst:.3f}".format(**report["false_alarms"]))
    return "\n".join([*lines, "", *(f"{name}: {text}" for name, text in report["reasons"].items())])


def main() -> int:
    """Run the benchmark; exit code 2 with one line where something does not fit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default="oximetry", help="bundle directory, or the name of a shipped one")
    parser.add_argument("--spectra", type=Path, help="folder of tables of other measured spectra")
    parser.add_argument("--n", type=int, default=1000, help="spectra in each set (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        fitted = monai_inn.load(options.bundle)
        if fitted.network.explanation is None:
            raise ValueError("this bundle has no test of explanation; train it again.")
        data = build(options.n, options.seed, fitted.problem.camera, options.spectra)
        if options.n < len(data.inside):
            raise ValueError(f"--n {options.n}: fewer spectra than the {len(data.inside)} organs; give more.")
        if len(data.inside) < 2:
            raise ValueError(f"{options.spectra}: {len(data.inside)} organ; give spectra of several.")
    except (OSError, ValueError) as error:
        print(f"trust: {error}", file=sys.stderr)
        return 2
    report = evaluate(fitted, data, options.n, options.seed, leave_out=options.spectra is None)
    print(json.dumps(report, indent=1) if options.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
