"""What benchmarks of the Slicer modules share: their paths, options, and how times are printed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "Testing/slicer"), str(ROOT / "SlicerINN/INNUncertainty")]

from shim import install  # noqa: E402

__all__ = ["ROOT", "install", "options_of", "report"]


def options_of(text: str | None, **numbers: tuple[float, str]) -> Any:
    """Read the command line: options with a usual value and a line of help, and ``--json``."""
    parser = argparse.ArgumentParser(description=(text or "").split("\n")[0])
    for name, (usual, about) in numbers.items():
        parser.add_argument(f"--{name}", type=type(usual), default=usual, help=f"{about} ({usual:g})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def report(found: dict[str, tuple[float, str]], is_json: bool) -> None:
    """Print numbers with their units."""
    if is_json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(f"{name}: {value:.3g} {unit}" for name, (value, unit) in found.items()))
