"""How close are flows to the speed of their matrix products, and how far ahead of FrEIA and zuko?

    python benchmarks/flow.py [--only PART ...] [--quick] [--repeats N] [--json]

The reference work has 13 parameters, 16 bands, 8 two-sided blocks of width 128, and draws 200 samples for
each of 256 pixels. All contestants run in turn in one process; a ratio is one of medians of such rounds. On
a busy machine trust the figures of one core, which are in processor time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from flow_parts import affine, ensemble, spline
from flow_sobol import sobol
from flow_training import maps, preview, training
from flow_work import Report, Work

# A part takes the work and the number of rounds, and returns a JSON-ready dictionary.
PARTS: dict[str, Callable[[Work, int], Report]] = {
    "affine": affine,
    "spline": spline,
    "ensemble": ensemble,
    "sobol": sobol,
    "training": training,
    "maps": maps,
    "preview": preview,
}
_PACKAGES = ("torch", "FrEIA", "zuko", "monai_inn")


def main() -> int:
    """Run the parts that were asked for; exit code 2 and one line when a peer is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--quick", action="store_true", help="an eighth of the pixels and three rounds")
    parser.add_argument("--repeats", type=int, help="rounds (default 9, with --quick 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    work = Work(pixels=32) if options.quick else Work()
    repeats = options.repeats or (3 if options.quick else 9)
    report: Report = {"machine": machine(), "work": vars(work), "repeats": repeats, "parts": {}}
    torch.manual_seed(0)
    try:
        for name in options.only:
            report["parts"][name] = PARTS[name](work, repeats)
    except ImportError as error:
        print(f'flow: {error}; install the peers with: pip install "monai_inn[peers]"', file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        print("\n".join(table(report["parts"])))
    return 0


def machine() -> Report:
    """Versions, processor and threads."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "cpu": _cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def table(report: Report, path: str = "") -> list[str]:
    """One line for each timing and each goal, found at any depth."""
    lines: list[str] = []
    for name, value in report.items():
        here = f"{path} / {name}" if path else name
        if not isinstance(value, dict):
            continue
        if {"median", "spread"} <= value.keys():
            lines.append(
                f"{here}: {value['median']:.1f} k/s (best {value['best']:.1f}, ±{value['spread']:.0%})"
            )
        elif {"ratio", "goal"} <= value.keys():
            verdict = "met" if value["met"] else "MISSED"
            lines.append(f"{here}: {value['ratio']:.2f} × (goal {value['goal']}, {verdict})")
        else:
            lines += table(value, here)
    return lines


if __name__ == "__main__":
    sys.exit(main())
