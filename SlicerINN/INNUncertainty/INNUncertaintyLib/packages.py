"""What the module needs in Slicer's Python, and how it gets there: never without being asked."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import slicer.util
from slicer.i18n import tr as _

__all__ = ["REQUIREMENTS", "install", "is_installed", "python_path"]

REQUIREMENTS = ["monai_inn[io]>=0.1"]


def python_path() -> str:
    """The Python of this application, for child processes.

    Raises:
        FileNotFoundError: if it is not where Slicer has it.
    """
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    path = Path(slicer.app.slicerHome) / "bin" / name
    if not path.exists():
        raise FileNotFoundError(_("{path} is missing; install Slicer again.").format(path=path))
    return str(path)


def is_installed(*further: str) -> bool:
    """Whether `monai-inn` can be started; looks at metadata and imports nothing.

    Args:
        further: modules that a verb needs besides.
    """
    try:
        importlib.metadata.version("monai_inn")
    except importlib.metadata.PackageNotFoundError:
        return False
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "monai", *further))


def install(requirements: Sequence[str] = tuple(REQUIREMENTS), further: Sequence[str] = ()) -> bool:
    """Ask, then install what is missing; returns whether it is all there.

    PyTorch comes by the extension of that name, which finds the build for the graphics card.

    Args:
        requirements: packages for pip.
        further: modules that must be there afterwards.
    """
    if is_installed(*further):
        return True
    text = _(
        "This module needs these packages in Slicer's own Python:\n\n"
        "  PyTorch (200 MB to 3 GB, by the PyTorch extension)\n"
        "  {packages} with MONAI, SciPy, nibabel (about 150 MB)\n\n"
        "They are downloaded from the Python package index. Download and install them now?"
    ).format(packages=", ".join(requirements))
    if not slicer.util.confirmOkCancelDisplay(text, windowTitle=_("Install packages")):
        return False
    _install_torch()
    slicer.util.pip_install([*requirements])
    importlib.invalidate_caches()
    return is_installed(*further)


def _install_torch() -> None:
    if importlib.util.find_spec("torch") is not None:
        return
    try:
        import PyTorchUtils
    except ImportError as error:
        raise RuntimeError(
            _("The PyTorch extension is missing; install it with the Extensions Manager and restart Slicer.")
        ) from error
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=">=2.8") is None:
        raise RuntimeError(_("PyTorch could not be installed; see the Python console for the reason."))
