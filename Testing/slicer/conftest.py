"""Slicer's own scene and slice views, and a stand-in for its application; see ``shim``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXTENSION = HERE.parents[1] / "SlicerINN" / "INNUncertainty"
sys.path[:0] = [str(HERE), str(EXTENSION)]

from shim import install, missing_package  # noqa: E402

collect_ignore_glob = []
if (missing := missing_package()) is not None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def app():
    return install()


# Here and not in `driving`: a fixture that test files import is made anew for each of them.
@pytest.fixture(scope="session")
def spectra(camera_fit):
    """Simulated measurements ``(2, 6, 7, 16)``."""
    _, y = camera_fit.problem.simulate(2 * 6 * 7, seed=5)
    return y.numpy().reshape(2, 6, 7, -1).astype("float32")


@pytest.fixture(scope="session")
def recorded(camera_fit, spectra, tmp_path_factory):
    """Folder of a bundle, and of what `monai-inn` says of it and makes of an image."""
    from driving import record

    folder = tmp_path_factory.mktemp("recorded")
    record(camera_fit, spectra, folder)
    return folder


@pytest.fixture
def scene(app):
    """An empty scene."""
    import slicer

    app.reset()
    return slicer.mrmlScene
