"""How long does it take to validate posteriors, and how long with sbi's and BayesFlow's diagnostics?

    python benchmarks/validation.py [--cases N] [--samples S] [--parameters D] [--json]

All get the same samples of Gaussian posteriors. The whole report is ranks, coverage, envelopes, width and
shift, regions, scores, TARP, plots, files. sbi makes SBC ranks with their checks, and TARP; BayesFlow its
calibration error, test of ranks, contraction and error of the posterior mean. Each is compared with the same
figures of ours. Wall time, all cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.metrics import (
    contraction,
    curve_of_counts,
    ecdf_difference,
    rank_counts,
    sbc_ranks,
    tarp,
    uniformity_of_counts,
)
from monai_inn.problems import Parameter
from monai_inn.validation import Cases, write_report

_GOAL_SECONDS, _GOAL_GIB, _GOAL_RATIO = 30.0, 2.0, 5.0


def main() -> int:
    """Time everybody and print seconds, memory and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--parameters", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    samples, truth = arrays(options.cases, options.samples, options.parameters)
    base = timed(whole_report, samples, truth)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, ratios = {"whole report": base}, {}
    for name, (ours, theirs) in {
        "sbi": (like_sbi, of_sbi),
        "BayesFlow": (like_bayesflow, of_bayesflow),
    }.items():
        try:
            seconds[name] = timed(theirs, samples, truth)
        except ImportError as error:
            print(f"validation: {error}; left out", file=sys.stderr)
            continue
        seconds[f"the same figures as {name}"] = timed(ours, samples, truth)
        ratios[name] = seconds[name] / seconds[f"the same figures as {name}"]
    report: dict[str, Any] = {
        "work": vars(options),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "peak_GiB_with_the_arrays": memory,
        "goals": {
            "seconds": {"value": base, "goal": _GOAL_SECONDS, "met": base <= _GOAL_SECONDS},
            "memory": {"value": memory, "goal": _GOAL_GIB, "met": memory <= _GOAL_GIB},
        }
        | {
            f"ratio to {name}": {"value": ratio, "goal": _GOAL_RATIO, "met": ratio >= _GOAL_RATIO}
            for name, ratio in ratios.items()
        },
    }
    print(json.dumps(report, indent=1) if options.json else "\n".join(table(report)))
    return 0


def table(report: dict[str, Any]) -> list[str]:
    """One line a goal."""
    lines = [f"{name}: {value:.1f} s" for name, value in report["seconds"].items()]
    for name, goal in report["goals"].items():
        lines.append(
            f"{name}: {goal['value']:.2f} (goal {goal['goal']}, {'met' if goal['met'] else 'MISSED'})"
        )
    return lines


def arrays(cases: int, samples: int, parameters: int) -> tuple[Tensor, Tensor]:
    """Samples ``(S, N, D)`` of exact posteriors and their truth ``(N, D)``."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(cases, parameters, generator=generator)
    truth = mean + 0.5 * torch.randn(cases, parameters, generator=generator)
    drawn = torch.randn(samples, cases, parameters, generator=generator)
    return drawn.mul_(0.5).add_(mean), truth


def timed(contestant: Callable[[Tensor, Tensor], object], samples: Tensor, truth: Tensor) -> float:
    """Wall seconds of one run, after one on a few cases that loads what is loaded once."""
    contestant(samples[:50, :200], truth[:200])
    start = time.perf_counter()
    contestant(samples, truth)
    return time.perf_counter() - start


def whole_report(samples: Tensor, truth: Tensor) -> None:
    """Everything, files included."""
    parameters = tuple(Parameter(f"p{d}", "1", -math.inf, math.inf) for d in range(truth.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        write_report(Cases(samples, truth, parameters), Path(folder) / "report", title="benchmark")


def like_sbi(samples: Tensor, truth: Tensor) -> None:
    """Ranks, their two tests, TARP with its test."""
    counts = rank_counts(sbc_ranks(samples, truth), len(samples))
    uniformity_of_counts(counts)
    ecdf_difference(counts)
    tarp(samples, truth)


def like_bayesflow(samples: Tensor, truth: Tensor) -> None:
    """Calibration error, test of the ranks, contraction, error of the posterior mean."""
    counts = rank_counts(sbc_ranks(samples, truth), len(samples))
    _ = curve_of_counts(counts).error
    ecdf_difference(counts)
    contraction(samples, truth.std(0))
    (samples.mean(0) - truth).square().mean(0).sqrt()


def of_sbi(samples: Tensor, truth: Tensor) -> None:
    """SBC ranks and TARP with their checks."""
    # Its public functions draw the samples themselves; these are what they call on arrays.
    from sbi.diagnostics import sbc, tarp

    ranks = sbc._run_sbc(truth, truth, samples, show_progress_bar=False)
    sbc.check_sbc(ranks, truth, samples[0], num_posterior_samples=samples.shape[0])
    ecp, alpha = tarp._run_tarp(samples, truth, tarp.get_tarp_references(truth), z_score_theta=True)
    tarp.check_tarp(ecp, alpha)


def of_bayesflow(samples: Tensor, truth: Tensor) -> None:
    """Calibration error, test of the ranks, contraction and error of the posterior mean."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from bayesflow.diagnostics import metrics

    names = [f"p{d}" for d in range(truth.shape[1])]
    drawn = {name: samples[..., d].T[..., None].numpy() for d, name in enumerate(names)}
    known = {name: truth[:, d, None].numpy() for d, name in enumerate(names)}
    for metric in (
        metrics.calibration_error,
        metrics.calibration_log_gamma,
        metrics.posterior_contraction,
        metrics.root_mean_squared_error,
    ):
        metric(drawn, known)


if __name__ == "__main__":
    sys.exit(main())
