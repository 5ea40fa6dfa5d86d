"""The module's panel with a tiny bundle and image, driven as a person would.

The child process is the real `monai-inn`, or (``replay``) a script in place of Slicer's Python that gives out
what the real one has computed once; it can be made to wait or to fail, and costs no time. A test for which
the child itself matters lists the bundles by the script and then calls ``use_real_python``.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from open_module import OpenModule, app, replace_python

# What follows exists only after that import.
# isort: split
import slicer
import slicer.util
import vtk
from INNUncertaintyLib import WORKER, Child, Worker, python_path, write_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monai_inn.fitted import FittedPosterior

__all__ = [
    "NO_BUNDLES",
    "SPACING",
    "Panel",
    "add_image",
    "app",
    "center_of",
    "complaint_of",
    "dies",
    "done",
    "drop",
    "every_node",
    "is_alive",
    "kind_of",
    "members",
    "opened_panel",
    "panel",
    "panel_without_bundles",
    "record",
    "replay",
    "shown",
    "sphere",
    "use_real_python",
    "view",
]

SOURCE = Path(__file__).parents[2] / "SlicerINN" / "INNUncertainty" / "INNUncertainty.py"
SPACING = 0.5, 0.25, 2.0
_REAL_HOME = slicer.app.slicerHome
_REAL_WORKER = Worker()  # for all tests: a start takes longer than what they ask for; ends with its input
_SAMPLES, _STORED = 8, 3
NO_BUNDLES = "#!/bin/sh\necho '{{\"bundles\": []}}'\n"
# Arguments are -m monai_inn VERB ...; of infer: BUNDLE IMAGE -o OUT ...
_REPLAY = """#!/bin/sh
here='{folder}'
echo $$ > "$here/pid"
echo "$@" >> "$here/calls"
if [ "$3" = bundles ]; then cat "$here/bundles.json"; exit 0; fi
last=
for word in "$@"; do
  if [ "$last" = --preview ] && [ -e "$here/quick" ]; then cp -rL "$here/result" "$word"; fi
  last=$word
done
echo 'PROGRESS 0.500 halfway' >&2
while [ -e "$here/hold" ]; do sleep 0.02; done
if [ -e "$here/complaint" ]; then cat "$here/complaint" >&2; exit 2; fi
cp -r "$here/result" "$7"
cat "$here/infer.json"
"""


def add_image(array: np.ndarray, name: str = "Tissue") -> slicer.vtkMRMLVolumeNode:
    """A volume ``(K, J, I, C)`` or ``(K, J, I)`` of the scene, turned so that no axis is a world axis."""
    kind = "vtkMRMLVectorVolumeNode" if array.ndim == 4 else "vtkMRMLScalarVolumeNode"
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * SPACING, (10, -20, 30)
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name, nodeClassName=kind)
    # As after loading a file: what stores volumes by default writes one or three components, no more.
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def sphere(image: slicer.vtkMRMLVolumeNode, radius: float = 1.0) -> tuple:
    """A segmentation with a ball, given as a surface, in the middle of an image, and the segment's ID."""
    bounds = np.zeros(6)
    image.GetRASBounds(bounds)
    source = vtk.vtkSphereSource()
    source.SetCenter(*bounds.reshape(3, 2).mean(1))
    source.SetRadius(radius)
    source.Update()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawing")
    return node, node.AddSegmentFromClosedSurfaceRepresentation(source.GetOutput(), "Tumor", (1.0, 0.0, 0.0))


def center_of(volume: slicer.vtkMRMLVolumeNode, k: int, j: int, i: int) -> tuple[float, float, float]:
    """World position of a voxel of a volume without transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix.MultiplyPoint((i, j, k, 1))[:3]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def dies(pid: int, seconds: float = 120.0) -> bool:
    """Whether a process ends: one that was killed does when the system comes to it."""
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_alive(pid)


def members(group: int) -> list[int]:
    """The running processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            found += [int(path.parent.name)] if state != "Z" and int(number) == group else []
    return found


def use_real_python(monkeypatch: pytest.MonkeyPatch, *, alone: bool = False) -> None:
    """From now on children are the real `monai-inn`, in the process that waits or ``alone`` in their own."""
    monkeypatch.setattr(slicer.app, "slicerHome", _REAL_HOME)
    run = (lambda arguments: Child(python_path(), arguments)) if alone else _REAL_WORKER.run
    monkeypatch.setattr(WORKER, "run", run)


def complaint_of(*command: str) -> str:
    """What the real command writes when it refuses."""
    from monai_inn.cli import main

    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
        assert main([*command, "--json", "--progress-lines"]) == 2
    return said.getvalue()


class Panel(OpenModule):
    """The open module, and what a person does with it."""

    SOURCE = SOURCE

    def prepare(self, folder: Path, image: slicer.vtkMRMLNode | None = None) -> None:
        """Choose a bundle and an image, and few samples."""
        self.ui.bundleFolderEdit.currentPath = str(folder)
        self.settle()
        self.choose(self.ui.bundleBox, str(folder.resolve()))
        self.ui.samplesBox.value, self.ui.storedSamplesBox.value = _SAMPLES, _STORED
        self.ui.imageSelector.setCurrentNode(image)

    def choose(self, box, value: object) -> None:
        """Select the item with a value in a combo box."""
        index = box.findData(value)
        assert index >= 0, f"{value!r} is not offered"
        box.setCurrentIndex(index)

    def apply(self) -> None:
        """Press Apply and wait for the end."""
        assert self.ui.applyButton.enabled, self.status
        self.ui.applyButton.click()
        assert self.ui.applyButton.text == "Cancel"
        self.settle()

    def start(self) -> int:
        """Press Apply and wait until the stand-in, which must be on hold, is at work; its process ID."""
        assert self.ui.applyButton.enabled, self.status
        self.ui.applyButton.click()
        app.wait_until(lambda: self.logic.inference.child.share == 0.5)
        return int((self.replay / "pid").read_text())

    def left_behind(self) -> list[Path]:
        """Temporary folders that are still there."""
        return [*Path(slicer.app.temporaryPath).glob("INNUncertainty-*")]


@contextmanager
def opened_panel() -> Iterator[Panel]:
    """The open module in an empty scene; in the end nothing is left behind, and no error was shown."""
    app.reset()
    opened = Panel()
    opened.settle()
    yield opened
    opened.module.close()
    assert app.errors == []
    assert opened.left_behind() == []


def drop(*paths: Path) -> bool:
    """Drop files on the window; whether a module takes them."""
    taken = app.drop(*paths)
    app.process_events()
    return taken


def view():
    """What the axial view shows."""
    return app.slice_view("Red").composite


def shown() -> slicer.vtkMRMLVolumeNode | None:
    """The map that lies over the image in the slice views."""
    found = {app.slice_view(name).composite.GetForegroundVolumeID() for name in ("Red", "Green", "Yellow")}
    assert len(found) == 1, "the views differ"
    return slicer.mrmlScene.GetNodeByID(found.pop() or "")


def kind_of(node) -> str:
    """What a node of a result shows."""
    return node.GetAttribute("INN.map")


def every_node() -> set[str]:
    """Names of all nodes of the scene."""
    return {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}


def record(fit: FittedPosterior, spectra: np.ndarray, folder: Path) -> None:
    """Write a bundle, and what `monai-inn` says of it and makes of an image."""
    from monai_inn.cli import main

    app.reset()
    fit.save(folder / "bundle")
    write_image(add_image(spectra), folder / "image.nrrd")
    options = ["--samples", str(_SAMPLES), "--save-samples", str(_STORED), "--save-quantiles", str(_SAMPLES)]
    infer = [
        "infer",
        str(folder / "bundle"),
        str(folder / "image.nrrd"),
        "-o",
        str(folder / "result"),
        *options,
    ]
    for name, command in (("bundles", ["bundles", str(folder)]), ("infer", infer)):
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(StringIO()) as said,
            redirect_stderr(StringIO()),
        ):
            patch.setattr(
                "monai_inn.reports.figures.map_figure", lambda *_: None
            )  # slow; no module looks at it
            assert main([*command, "--json"]) == 0
        json.loads(said.getvalue())
        (folder / f"{name}.json").write_text(said.getvalue(), encoding="utf-8")


@pytest.fixture
def replay(recorded, tmp_path, monkeypatch) -> Path:
    """Folder of a stand-in for Slicer's Python: `hold` makes it wait, `complaint` fail, `quick` preview."""
    place = tmp_path / "replay"
    replace_python(place, _REPLAY.replace("cp -r", "cp -rL"), monkeypatch)
    for name in ("bundles.json", "infer.json"):
        shutil.copy(recorded / name, place)
    (place / "result").symlink_to(recorded / "result")
    return place


@pytest.fixture
def panel_without_bundles(tmp_path, monkeypatch):
    """The open module in an empty scene, without a bundle to choose."""
    replace_python(tmp_path / "python", NO_BUNDLES, monkeypatch)
    with opened_panel() as opened:
        yield opened


@pytest.fixture
def panel(replay, recorded, spectra):
    """The open module with image and bundle chosen; nothing has been inferred."""
    app.reset()
    image = add_image(spectra)
    opened = Panel()
    opened.settle()
    opened.prepare(recorded / "bundle", image)
    opened.replay, opened.image = replay, image
    yield opened
    opened.module.close()
    assert app.errors == []
    assert opened.left_behind() == []


@pytest.fixture
def done(panel):
    """The panel after an inference."""
    panel.apply()
    return panel
