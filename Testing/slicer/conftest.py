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


@pytest.fixture
def scene(app):
    """An empty scene."""
    import slicer

    app.reset()
    return slicer.mrmlScene
