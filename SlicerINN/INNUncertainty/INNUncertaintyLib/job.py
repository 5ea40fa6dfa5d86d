"""A run of `monai-inn` and the files that it is given."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import slicer

from .images import make_savable, write_image
from .worker import WORKER

__all__ = ["Job"]


class Job:
    """A child with a temporary folder; ask ``poll`` for news until it says that it is over.

    A subclass says what the child is to do, and what is done with its result.

    Args:
        state: what the user has chosen.

    Raises:
        OSError: if no temporary folder can be written, or Python cannot be started.
    """

    def __init__(self, state: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="INNUncertainty-", dir=slicer.app.temporaryPath))
        try:
            self.child = WORKER.run(self._arguments(state))
        except BaseException:
            self._clean()
            raise

    def _arguments(self, state: Any) -> list[str]:
        """Words of the command; what it reads is written into the folder."""
        raise NotImplementedError

    def _written(self, image: slicer.vtkMRMLNode, name: str, ending: str = ".nrrd") -> str:
        """The file into which an image of the scene was written; it can be saved with the scene, too."""
        path = self.folder / f"{name}{ending}"
        make_savable(image)
        write_image(image, path)
        return str(path)

    def _take(self) -> Any:
        """Put what the child has left into the scene; the folder is there until this returns."""
        raise NotImplementedError

    def finish(self) -> Any:
        """Put the result into the scene, and leave nothing else behind.

        Raises:
            RuntimeError: if the child failed or was canceled.
            ResultError: if its result cannot be read.
        """
        try:
            self.child.result()
            return self._take()
        except RuntimeError as error:  # people have not seen that folder
            raise RuntimeError(str(error).replace(f"{self.folder}{os.sep}", "")) from error
        finally:
            self._clean()

    def poll(self) -> bool:
        """Whether it goes on; ``child.share`` and ``child.text`` say how far it is."""
        return self.child.poll()

    def cancel(self) -> None:
        """End it and leave nothing behind."""
        self.child.cancel()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
