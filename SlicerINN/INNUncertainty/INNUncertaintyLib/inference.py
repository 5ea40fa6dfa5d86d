"""One inference: the image goes to a file, a child process works, its result comes into the scene."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import slicer
from INNDisplayLib import Run, read_result, store
from slicer.i18n import tr as _

from .child import Child
from .images import make_savable, write_image
from .packages import python_path
from .parameters import PanelState

__all__ = ["Inference"]

_QUANTILES = 16


class Inference:
    """A running inference; ask ``poll`` for news until it says that it is over, then ``finish`` it.

    A quick result from the network's preview head is there first. It is not shown in the place of an earlier
    run, whose numbers are better.

    Args:
        state: image, bundle and options.
        run: an earlier run that the result replaces in place.

    Raises:
        ValueError: if the image cannot be used.
        OSError: if no temporary folder can be written, or Python cannot be started.
    """

    def __init__(self, state: PanelState, run: Run | None = None) -> None:
        self.image_id, self.run = state.image.GetID(), run
        self._has_earlier = run is not None
        self.name = f"{state.image.GetName()}, {Path(state.bundle).name}"
        self.folder = Path(tempfile.mkdtemp(prefix="INNUncertainty-", dir=slicer.app.temporaryPath))
        try:
            path = self.folder / "image.nrrd"
            make_savable(state.image)
            write_image(state.image, path)
            arguments = [
                "infer", state.bundle, str(path), "-o", str(self.folder / "result"),
                "--samples", str(state.samples), "--save-samples", str(state.storedSamples),
                "--save-quantiles", str(min(_QUANTILES, state.samples)),
                "--false-alarm", str(state.falseAlarm),
            ]  # fmt: skip
            if run is None:
                arguments += ["--preview", str(self.folder / "preview")]
            self.child = Child(python_path(), arguments)
        except BaseException:
            self._clean()
            raise

    def poll(self) -> bool:
        """Whether it goes on; ``child.share`` and ``child.text`` say how far it is."""
        return self.child.poll()

    def preview(self) -> Run | None:
        """Put the quick result into the scene, once, when it is there; ``None`` before and after that."""
        folder = self.folder / "preview"
        if self.run is not None or not (folder / "result.json").is_file():
            return None
        self.run = self._store(folder, _("{name} (preview)").format(name=self.name))
        return self.run

    def finish(self) -> Run:
        """Put the result into the scene.

        Raises:
            RuntimeError: if the child failed or was canceled.
            ResultError: if its result cannot be read.
        """
        try:
            self.child.result()
            return self._store(self.folder / "result", self.name)
        except BaseException:
            self._forget_preview()
            raise
        finally:
            self._clean()

    def cancel(self) -> None:
        """End it and leave nothing behind."""
        self.child.cancel()
        self._forget_preview()
        self._clean()

    def _store(self, folder: Path, name: str) -> Run:
        image = slicer.mrmlScene.GetNodeByID(self.image_id)  # may have been deleted meanwhile
        return store(slicer.mrmlScene, read_result(folder), name, image, self.run)

    def _forget_preview(self) -> None:
        if self.run is not None and not self._has_earlier:
            self.run.remove()

    def _clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
