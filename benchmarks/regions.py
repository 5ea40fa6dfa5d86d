"""What does a step of the threshold cost in a large volume, and how long is the panel held up by it?

    OMP_NUM_THREADS=2 python benchmarks/regions.py [--slices 200] [--levels 5] [--json]

A made-up posterior of 512 × 512 pixels a slice in Slicer's scene: smooth structures, noise in each pixel,
corners without a posterior. Five quantiles of 200 slices take 1 GB.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm
from slicer_times import install, options_of, report

SIDE, SPREAD, NOISE = 512, 0.06, 0.003
SPACING_MM = 0.7, 0.7, 1.5
_TICK_S = 0.005


def main() -> None:
    """Measure and print."""
    about = {"slices": (200, "slices of the volume"), "levels": (5, "stored quantiles, 3 at least")}
    options = options_of(__doc__, **about)
    install()
    report(measure(make_run(options.slices, options.levels)), options.json)


def make_run(slices: int, levels: int) -> Any:
    """Put a made-up result into the scene."""
    import slicer
    import slicer.util
    from INNDisplayLib import LEVELS, Run, numbered_sequence, place
    from made_results import PARAMETERS

    run = Run(slicer.mrmlScene, uuid.uuid4().hex)
    record = {"format_version": 1, "intended_use": "", "settings": {"interval": 0.95}, "summary": {},
              "files": [], "bundle": {"name": "made", "path": "made"}, "parameters": PARAMETERS[:1],
              "trust": {"waic_scale": [-25, 5]}}  # fmt: skip
    run.node("record", "", "vtkMRMLTextNode").SetText(json.dumps(record))
    k, j, i = np.ogrid[:slices, :SIDE, :SIDE]
    center = (0.5 + 0.25 * np.sin(i / 40) * np.cos(j / 55) * np.sin(k / 30 + 0.7)).astype(np.float32)
    center += NOISE * np.random.default_rng(0).standard_normal(center.shape[1:], dtype=np.float32)
    center[:, np.hypot(i - SIDE / 2, j - SIDE / 2)[0] > 0.47 * SIDE] = np.nan
    matrix = np.diag([*SPACING_MM, 1.0])
    sequence = numbered_sequence(run, "quantiles", "sao2", "level")
    shares = np.linspace(0.025, 0.975, levels)
    for share in shares:
        item = slicer.vtkMRMLScalarVolumeNode()
        item.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        slicer.util.updateVolumeFromArray(item, center + np.float32(SPREAD * norm.ppf(share)))
        sequence.SetDataNodeAtValue(item, str(share))
    sequence.SetAttribute(LEVELS, json.dumps(shares.tolist()))
    place(run.node("median", "sao2", "vtkMRMLScalarVolumeNode"), center, matrix, None)
    return run


def measure(run: Any) -> dict[str, tuple[float, str]]:
    """Processor time of each part, and the longest time for which the thread of the GUI had to wait."""
    from INNDisplayLib import Division, ThresholdStep

    found: dict[str, tuple[float, str]] = {}

    def timed(name: str, work: Callable[[], Any]) -> None:
        start = time.process_time()
        work()
        found[f"{name}, processor time"] = time.process_time() - start, "s"

    wanted = {
        "first of a session": {"division": Division(smallest=30)},
        "probability": {},
        "probability, lines": {"has_contours": True},
        "probability, regions": {"division": Division()},
        "probability, regions without islands": {"division": Division(smallest=30)},
    }
    for number, (name, options) in enumerate(wanted.items()):
        step = ThresholdStep(run, "sao2", 0.5 + 0.01 * number, **options)
        timed(name, step.compute)
        timed(f"{name}, into the scene", step.place)
    step = ThresholdStep(run, "sao2", 0.55, True, Division(smallest=30))
    thread, waits = threading.Thread(target=step.compute), []
    thread.start()
    last = time.perf_counter()
    while thread.is_alive():
        time.sleep(_TICK_S)
        waits.append(time.perf_counter() - last - _TICK_S)
        last = time.perf_counter()
    found["longest wait of the GUI while it is computed"] = max(waits), "s"
    return found


if __name__ == "__main__":
    main()
