"""How many cases does each test need to see that a posterior is wrong?

    python benchmarks/power.py [--repeats N] [--json]

Posteriors that are exact, 10 % too narrow, shifted by 0.1 standard deviations, or lack one of two modes (of
half or of a twentieth of the mass). For each number of cases the share of repetitions in which a test at 5 %
finds the fault; for the exact posterior that is its rate of false alarms. C2ST with a reference compares
samples of a single case with exact ones; modes with a reference are matched with the exact modes. Both need
no statistics over cases, but a reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from monai_inn.metrics import (
    ModeSpace,
    c2st,
    ecdf_difference,
    find_modes,
    match,
    pit,
    rank_counts,
    sbc_ranks,
    tarp,
    width_and_shift,
)

_SAMPLES, _SAMPLES_OF_ONE, _ALPHA, _SD = 199, 1000, 0.05, 0.1
CASES = (1, 25, 50, 100, 200, 400, 1000, 2000)
Posterior = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def main() -> int:
    """Print the share of faults found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    report = {name: power(name, options.repeats) for name in FAULTS}
    print(json.dumps(report, indent=1) if options.json else "\n".join(table(report)))
    return 0


def world(cases: int, minor: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distance of two modes from zero, ``(N, 1)``, and the truth; the negative one has the mass ``minor``."""
    distance = 1 + torch.rand(cases, 1, generator=generator)
    return distance, draw(distance, distance, minor, generator)


def draw(distance: Tensor, like: Tensor, minor: float, generator: torch.Generator) -> Tensor:
    """Exact posterior samples in the shape of ``like``."""
    sign = 1 - 2 * (torch.rand(like.shape, generator=generator) < minor).float()
    return sign * distance + _SD * torch.randn(like.shape, generator=generator)


def spoilt(
    minor: float, kept: float, width: float, shift: float, generator: torch.Generator, cases: int
) -> tuple[Tensor, ...]:
    """Truth, samples of the posterior that is tested, and of the exact one."""
    distance, truth = world(cases, minor, generator)
    like = distance.expand(_SAMPLES if cases > 1 else _SAMPLES_OF_ONE, -1, -1)
    exact = draw(distance, like, minor, generator)
    tested = draw(distance, like, kept, generator)
    side = tested.sign() * distance
    return truth, side + width * (tested - side) + shift * _SD, exact, distance


# Mass of the minor mode, mass that is left of it, width and shift of each mode.
FAULTS: dict[str, tuple[float, float, float, float]] = {
    "exact": (0.0, 0.0, 1.0, 0.0),
    "10 % too narrow": (0.0, 0.0, 0.9, 0.0),
    "0.1 sd too high": (0.0, 0.0, 1.0, 0.1),
    "two modes, exact": (0.5, 0.5, 1.0, 0.0),
    "one of two equal modes dropped": (0.5, 0.0, 1.0, 0.0),
    "a mode of 5 % dropped": (0.05, 0.0, 1.0, 0.0),
}


def power(fault: str, repeats: int) -> dict[str, dict[int, float]]:
    """Share found, by test and number of cases."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, dict[int, float]] = {}
    for cases in CASES:
        hits: dict[str, int] = {}
        for repeat in range(repeats):
            truth, tested, exact, distance = spoilt(*FAULTS[fault], generator, cases)
            for name, is_found in tests(truth, tested, exact, distance, FAULTS[fault][0], repeat).items():
                hits[name] = hits.get(name, 0) + is_found
        for name, count in hits.items():
            found.setdefault(name, {})[cases] = count / repeats
    return found


def tests(
    truth: Tensor, tested: Tensor, exact: Tensor, distance: Tensor, minor: float, seed: int
) -> dict[str, bool]:
    """Whether each test that this number of cases allows finds a fault."""
    if len(truth) == 1:
        modes = find_modes(tested[:, 0], ModeSpace([0.2]))
        known = torch.tensor([[1.0], [-1.0]])[: 2 if minor else 1] * distance
        is_complete = len(match(modes, known, ModeSpace([0.2])).mode) == len(known)
        return {
            "C2ST with reference": c2st(tested[:, 0], exact[:, 0], seed=seed).p_value < _ALPHA,
            "modes with reference": not (is_complete and len(modes) == len(known)),
        }
    counts = rank_counts(sbc_ranks(tested, truth, seed=seed), _SAMPLES)
    both = width_and_shift(pit(tested, truth, seed=seed))
    return {
        "cumulative ranks": not bool(ecdf_difference(counts).is_inside.all()),
        "width": bool(both.width_p < _ALPHA),
        "shift": bool(both.shift_p < _ALPHA),
        "TARP": tarp(tested, truth, seed=seed).p_value < _ALPHA,
    }


def table(report: dict[str, dict[str, dict[int, float]]]) -> list[str]:
    """Markdown rows."""
    lines = [
        "| fault | test | " + " | ".join(f"{n:,}" for n in CASES) + " |",
        "|---|---|" + "---|" * len(CASES),
    ]
    for fault, tests_ in report.items():
        for name, shares in tests_.items():
            cells = (f"{shares[n]:.2f}".lstrip("0") if n in shares else "" for n in CASES)
            lines.append(f"| {fault} | {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
