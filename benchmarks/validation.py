"""How long does it take to validate posteriors, and how long with sbi's and BayesFlow's diagnostics?

    python benchmarks/validation.py [--cases N] [--samples S] [--parameters D] [--json]

All get the same samples of Gaussian posteriors. Ours is the whole report: ranks, coverage, envelopes, width
and shift, regions, scores, TARP, plots. sbi's is SBC ranks with their checks, and TARP; BayesFlow's its
calibration error, its test of ranks, contraction and error. Both do less. Wall time, all cores.
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
    seconds: dict[str, float | None] = {"monai_inn": timed(ours, samples, truth)}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for name, contestant in (("sbi", of_sbi), ("BayesFlow", of_bayesflow)):
        try:
            seconds[name] = timed(contestant, samples, truth)
        except ImportError as error:
            print(f"validation: {error}; left out", file=sys.stderr)
            seconds[name] = None
    base = seconds["monai_inn"] or math.nan
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
            name: {"value": value / base, "goal": _GOAL_RATIO, "met": value / base >= _GOAL_RATIO}
            for name, value in seconds.items()
            if value is not None and name != "monai_inn"
        },
    }
    print(json.dumps(report, indent=1) if options.json else "\n".join(table(report)))
    return 0


def table(report: dict[str, Any]) -> list[str]:
    """One line a goal."""
    lines = [f"{name}: {value:.1f} s" for name, value in report["seconds"].items() if value is not None]
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


def ours(samples: Tensor, truth: Tensor) -> None:
    """The whole report, files included."""
    parameters = tuple(Parameter(f"p{d}", "1", -math.inf, math.inf) for d in range(truth.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        write_report(Cases(samples, truth, parameters), Path(folder) / "report", title="benchmark")


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
