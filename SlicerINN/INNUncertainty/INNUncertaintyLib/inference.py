"""One inference: the image goes to a file, a child process works, its result comes into the scene."""

from __future__ import annotations

from pathlib import Path

import slicer.util
from INNDisplayLib import Run, read_result, store
from slicer.i18n import tr as _

from .job import Job
from .parameters import PanelState

__all__ = ["Inference"]


_QUANTILES = 16


class Inference(Job):
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
        self.run, self._has_earlier = run, run is not None
        self._see(state)
        self.name = f"{self.name}, {Path(state.bundle).name}"
        super().__init__(state)

    def _see(self, state: PanelState) -> None:
        self.image_id, self.name = state.image.GetID(), state.image.GetName()

    def _arguments(self, state: PanelState) -> list[str]:
        arguments = self._command(state, self._written(state.image, "image"))
        return arguments if self._has_earlier else [*arguments, "--preview", str(self.folder / "preview")]

    def _command(self, state: PanelState, path: str) -> list[str]:
        """Words of the command for a file or a pattern of files."""
        coherent = ["--save-samples", str(state.storedSamples), "--adaptive"]
        return [
            "infer", state.bundle, path, "-o", str(self.folder / "result"),
            "--samples", str(state.samples), "--save-quantiles", str(min(_QUANTILES, state.samples)),
            "--false-alarm", str(state.falseAlarm), "--adequacy", str(state.adequacy),
            *(["--reweight"] if state.reweight else coherent), "--no-picture",
        ]  # fmt: skip

    def preview(self) -> Run | None:
        """Put the quick result into the scene, once, when it is there; ``None`` before and after that."""
        folder = self.folder / "preview"
        if self.run is not None or not (folder / "result.json").is_file():
            return None
        self.run = self._store(folder, _("{name} (preview)").format(name=self.name))
        return self.run

    def finish(self) -> Run:
        """Put the result into the scene; see ``Job``. Without one the preview goes, too."""
        try:
            return super().finish()
        except BaseException:
            self._forget_preview()
            raise

    def _take(self) -> Run:
        return self._store(self.folder / "result", self.name)

    def cancel(self) -> None:
        """End it and leave nothing behind."""
        super().cancel()
        self._forget_preview()

    def _store(self, folder: Path, name: str) -> Run:
        image = slicer.mrmlScene.GetNodeByID(self.image_id)  # may have been deleted meanwhile
        return store(slicer.mrmlScene, read_result(folder), name, image, self.run)

    def _forget_preview(self) -> None:
        if self.run is not None and not self._has_earlier:
            self.run.remove()
