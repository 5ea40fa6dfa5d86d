"""How long does a planner wait? From Apply to the overlay, and from a slider to the picture.

    OMP_NUM_THREADS=2 python benchmarks/planner.py [--side 512] [--json]

The module's own file runs on Slicer's scene with the stand-in of Testing/slicer, the inference in a child
process as in Slicer, with networks of the shipped size for a camera of 16 bands. They are trained for some
minutes, because samples are drawn as a posterior needs them. The peer of the exact result is its own preview.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from slicer_times import ROOT, install, options_of, report

CAMERA = "imec_ssm4x4_470_620"
_STEPS = 9


def main() -> None:
    """Measure and print."""
    about = {"side": (512, "pixels along each side"), "minutes": (3.0, "time of the training")}
    options = options_of(__doc__, **about)
    with tempfile.TemporaryDirectory() as folder:
        image = prepare(Path(folder) / "bundle", options.side, options.minutes)
        report(measure(Path(folder) / "bundle", image), options.json)


def prepare(bundle: Path, side: int, minutes: float) -> np.ndarray:
    """Train a bundle for so long and return an image ``(1, side, side, 16)`` of simulations."""
    import monai_inn

    problem = monai_inn.problems.Oximetry(CAMERA)
    monai_inn.fit(problem, minutes=minutes, seed=0).save(bundle)
    _, y = problem.simulate(4000, seed=1)
    pixels = np.resize(y.numpy().astype(np.float32), (side * side, y.shape[1]))
    return pixels.reshape(1, side, side, -1)


def measure(bundle: Path, image: np.ndarray) -> dict[str, tuple[float, str]]:
    """Drive the module and take the times."""
    app = install()
    import slicer
    import slicer.util
    from INNDisplayLib import runs

    module = app.load_module(ROOT / "SlicerINN/INNUncertainty/INNUncertainty.py")
    widget, ui = module.widget, module.widget.ui
    app.wait_until(lambda: ui.bundleBox.count > 1, 300)
    ui.bundleFolderEdit.currentPath = str(bundle)
    app.wait_until(lambda: ui.bundleBox.findData(str(bundle.resolve())) >= 0, 300)
    ui.bundleBox.setCurrentIndex(ui.bundleBox.findData(str(bundle.resolve())))
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "image")
    slicer.util.updateVolumeFromArray(volume, image)
    volume.CreateDefaultDisplayNodes()
    ui.imageSelector.setCurrentNode(volume)
    view, began = app.slice_view("Red"), time.monotonic()
    ui.applyButton.click()
    app.wait_until(lambda: runs(slicer.mrmlScene), 300)
    view.pixels()
    preview = time.monotonic() - began
    app.wait_until(lambda: widget.logic.inference is None, 3600)
    view.pixels()
    found = {"Apply to overlay": (preview, "s"), "Apply to exact result": (time.monotonic() - began, "s")}
    ui.kindBox.setCurrentIndex(ui.kindBox.findData("probability_below"))
    found["threshold to picture"] = (_redraw(app, view, ui.thresholdSlider, 0.3), "ms")
    found["opacity to picture"] = (_redraw(app, view, ui.opacitySlider, 0.2), "ms")
    module.close()
    return found


def _redraw(app: Any, view: Any, slider: Any, start: float) -> float:
    """Median time in milliseconds from a slider's step to the blended slice."""

    def step(value: float) -> float:
        began = time.perf_counter()
        slider.value = value
        app.process_events()
        view.pixels()
        return 1000 * (time.perf_counter() - began)

    return statistics.median(step(start + 0.02 * k) for k in range(_STEPS))


if __name__ == "__main__":
    main()
