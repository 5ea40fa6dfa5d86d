"""Bundles whose unknown is a whole image: what they take of the scene, and the run of their verb."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import slicer
from INNDisplayLib import SYNTHETIC, Run
from slicer.i18n import tr as _

from .bundles import Bundle
from .images import channels_of, file_name
from .inference import Inference
from .parameters import PanelState

__all__ = ["ImageInference", "missing_input"]


def missing_input(bundle: Bundle | None, state: PanelState) -> str:
    """What keeps a bundle from being applied to what is selected, in words; empty if nothing does."""
    takes = bundle.takes if bundle is not None else None
    if takes is None:
        if state.image is None:
            return _("Select an image.")
        return bundle.misfit(channels_of(state.image)) if bundle is not None else ""
    if takes["volumes"]:
        return next(filter(None, (_misfit(*each) for each in _volumes(takes, state))), "")
    if Path(state.file).is_file():
        return ""
    return _("Select a file: {files}.").format(files=bundle.entry["files"])


def _volumes(takes: dict[str, Any], state: PanelState) -> Iterator[tuple[str, slicer.vtkMRMLNode | None]]:
    """The names that a bundle has for its volumes, and what is selected for each."""
    return zip(takes["volumes"], chain([state.image], state.volumes, repeat(None)))  # noqa: B905


def _misfit(name: str, volume: slicer.vtkMRMLNode | None) -> str:
    """Why a volume cannot be the one of this name; empty if it can."""
    if volume is None:
        return _("Select the volume {name}.").format(name=name)
    if volume.IsA("vtkMRMLSequenceNode") or channels_of(volume).number != 1:
        text = _("{volume} cannot be {name}, which is a volume of one channel; select another one.")
    elif volume.GetAttribute(SYNTHETIC):
        text = _("{volume} is synthetic, nobody acquired it; select an acquired volume {name}.")
    else:
        return ""
    return text.format(volume=volume.GetName(), name=name)


class ImageInference(Inference):
    """A running inference of a whole image, by the verb that its bundle names.

    Args:
        state: volumes or file, and options.
        takes: what the bundle takes, see ``Bundle``.
        run: an earlier run that the result replaces in place.

    Raises:
        ValueError: if a volume cannot be used.
        OSError: if no temporary folder can be written, or Python cannot be started.
    """

    def __init__(self, state: PanelState, takes: dict[str, Any], run: Run | None = None) -> None:
        self._takes = takes
        super().__init__(state, run)

    def _see(self, state: PanelState) -> None:
        if self._takes["volumes"]:
            super()._see(state)
        else:
            self.image_id, self.name = "", Path(state.file).name

    def _arguments(self, state: PanelState) -> list[str]:
        words = [
            f"{name}={self._written(volume, file_name(f'{name}_{volume.GetName()}'), '.nii')}"
            for name, volume in _volumes(self._takes, state)
        ]
        noise = ["--noise-sd", str(state.noiseSd)] if "noise_sd" in self._takes and state.noiseSd else []
        return [
            self._takes["verb"], state.bundle, *(words or [state.file]), "-o", str(self.folder / "result"),
            "--samples", str(state.samples), "--keep", str(min(state.storedSamples, state.samples)), *noise,
        ]  # fmt: skip

    def preview(self) -> None:
        """There is none."""
