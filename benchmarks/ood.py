"""Which score tells spectra that the training never saw? Real organs against dye, phantoms, skin and faults.

    python benchmarks/ood.py [--bundle PATH] [--n N] [--seed S] [--json]

In distribution are measured organ spectra at the tivita camera's bands, out of distribution the sets of
``ood_data``; WAIC, typicality, likelihood and posterior width of a bundle meet baselines that are fitted to
the features of the same simulations. Every figure has a bootstrap interval, and where WAIC loses is said.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ood_data import OodData, build
from ood_scorers import Scorer, of_bundle, of_features, score
from ood_table import table

from monai_inn import metrics

Scores = NDArray[np.float64]
Report = dict[str, Any]

FALSE_ALARM = 0.05
_BOOTSTRAPS = 200
_STATISTICS = {
    "auroc": metrics.auroc,
    "aupr_out": metrics.average_precision,
    "aupr_in": lambda out, inside: metrics.average_precision(-inside, -out),
    "fpr_at_95_tpr": metrics.fpr_at_tpr,
}


def evaluate(scorers: Mapping[str, Scorer], problem: Any, data: OodData, n: int, seed: int) -> Report:
    """Measure every score on every set.

    Args:
        scorers: functions from observations ``(N, C)`` to scores ``(N,)``, HIGH = out; among them
            ``waic`` and ``ensemble nll``, whose difference is the variance over members.
        problem: draws fresh in-distribution simulations and says which observations are valid at all.
        data: the sets.
        n: number of held-out and of fresh simulations.
        seed: seed of the simulations and of the bootstrap; training must have used another.

    Returns:
        A JSON-ready report.
    """
    held_out, fresh = (problem.simulate(n, seed=seed + 10_000 + i)[1] for i in range(2))
    sets = {**data.outside, **{f"dye {c:g}": y for c, y in data.dial.items()}}
    valid = {name: _valid(problem, y) for name, y in {"organs": data.pooled(), **sets}.items()}
    report: Report = {"sets": {}, "false_alarm": {}, "notes": data.notes}
    organ_scores, set_scores, guards = {}, {name: {} for name in sets}, {}
    for scorer_name, scorer in scorers.items():
        guards[scorer_name] = metrics.ConformalThreshold(torch.as_tensor(score(scorer, held_out)))
        report["false_alarm"][scorer_name] = _false_alarm(guards[scorer_name], score(scorer, fresh))
        organ_scores[scorer_name] = score(scorer, valid["organs"])
        for name in sets:
            if len(valid[name]):
                set_scores[name][scorer_name] = score(scorer, valid[name])
    for name, by_scorer in set_scores.items():
        report["sets"][name] = {
            "invalid": 1 - len(valid[name]) / len(sets[name]),
            "scores": {s: _compare(by_scorer[s], organ_scores[s], guards[s], seed) for s in by_scorer},
            "beats_waic": _beats_waic(by_scorer, organ_scores, seed),
        }
    report["order"] = _order(scorers, guards["waic"], problem, data)
    return report


def _valid(problem: Any, y: Any) -> torch.Tensor:
    """The observations that can be inferred at all."""
    rows = torch.as_tensor(y)
    return rows[problem.is_valid(rows)]


def _false_alarm(guard: metrics.ConformalThreshold, scores: Scores) -> Report:
    """Measured rate on fresh simulations beside the 99 % interval that theory gives it."""
    hits = int(guard.is_out(torch.as_tensor(scores), FALSE_ALARM).sum())
    return {
        "asked": FALSE_ALARM,
        "measured": hits / scores.size,
        "expected_99": guard.realised_interval(FALSE_ALARM, 0.99, num_fresh=scores.size),
    }


def _compare(out: Scores, inside: Scores, guard: metrics.ConformalThreshold, seed: int) -> Report:
    """Separation of one set from the organs by one score, with intervals, and the share that is flagged."""
    result: Report = {
        name: [statistic(out, inside), *metrics.bootstrap_interval(statistic, out, inside, _BOOTSTRAPS, seed)]
        for name, statistic in _STATISTICS.items()
    }
    result["flagged"] = float(guard.is_out(torch.as_tensor(out), FALSE_ALARM).float().mean())
    return result


def _beats_waic(out: Mapping[str, Scores], inside: Mapping[str, Scores], seed: int) -> dict[str, list[float]]:
    """Scores whose AUROC is above that of WAIC on the same resampled spectra: gain and its 95 % interval."""
    better = {}
    for name in out:

        def gain(i: Scores, j: Scores, name: str = name) -> float:
            rows, columns = i.astype(int), j.astype(int)
            mine = metrics.auroc(out[name][rows], inside[name][columns])
            return mine - metrics.auroc(out["waic"][rows], inside["waic"][columns])

        every = np.arange(out["waic"].size), np.arange(inside["waic"].size)
        value = gain(*every)
        if name == "waic" or value <= 0:
            continue
        low, high = metrics.bootstrap_interval(gain, *every, _BOOTSTRAPS, seed)
        if low > 0:
            better[name] = [value, low, high]
    return better


def _order(
    scorers: Mapping[str, Scorer], guard: metrics.ConformalThreshold, problem: Any, data: OodData
) -> list[Report]:
    """Median WAIC of every organ and set, furthest out first, and where it lies among simulations."""
    rows = []
    for kind, sets in (("organ", data.inside), ("out", data.outside)):
        for name, y in sets.items():
            usable = _valid(problem, y)
            if not len(usable):
                continue
            scores = torch.as_tensor(score(scorers["waic"], usable))
            median = scores.quantile(0.5)
            variance = scores - torch.as_tensor(score(scorers["ensemble nll"], usable))
            rows.append(
                {
                    "set": name,
                    "kind": kind,
                    "median_waic": float(median),
                    "median_variance_term": float(variance.quantile(0.5)),
                    "p_value_of_median": float(guard.p_value(median)),
                    "flagged": float(guard.is_out(scores, FALSE_ALARM).float().mean()),
                }
            )
    return sorted(rows, key=lambda row: -row["median_waic"])


def main() -> int:
    """Run the benchmark; exit code 2 with one line when the bundle does not fit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default="oximetry", help="bundle directory, or the name of a shipped one")
    parser.add_argument("--n", type=int, default=2000, help="spectra in each set (default 2000)")
    parser.add_argument(
        "--training", type=int, default=20_000, help="simulations that the baselines learn from"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()

    import monai_inn
    from monai_inn.physics import cameras

    try:
        posterior = monai_inn.load(options.bundle)
        data = build(options.n, options.seed, cameras.load("tivita"))
        problem = posterior.problem
        if len(problem.observation) != data.pooled().shape[1]:
            raise ValueError(
                f"the bundle reads {len(problem.observation)} bands, the sets have 100 (tivita)."
            )
        train, reference = (
            problem.simulate(n, seed=options.seed + s)[1] for s, n in ((7001, options.training), (7002, 2000))
        )
        scorers = {**of_bundle(posterior, reference), **of_features(problem.features, train)}
    except (ImportError, OSError, ValueError) as error:
        print(f"ood: {error}", file=sys.stderr)
        return 2
    report = evaluate(scorers, problem, data, 5 * options.n, options.seed)
    report |= {
        "bundle": options.bundle,
        "n": options.n,
        "seed": options.seed,
        "version": {"torch": torch.__version__, "python": platform.python_version()},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    print(json.dumps(report, indent=1) if options.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
