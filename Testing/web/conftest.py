"""A result folder, a viewer that shows it, and a browser; skipped with the reason where one is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from driver import CHROMIUM_FLAGS, Viewer, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "Testing" / "slicer"))  # made_registrations, which needs no Slicer


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result of the shipped example image."""
    for package in ("trame_slicer", "SimpleITK"):
        pytest.importorskip(package, reason=f"the viewer needs {package}")
    from monai_inn.reports import infer_image

    out = tmp_path_factory.mktemp("results") / "organs"
    image = ROOT / "Resources" / "organ_mosaic.hdr"
    infer_image("oximetry", image, out, samples=16, save_quantiles=8, save_samples=4, below={"sao2": 0.6})
    return out


@pytest.fixture(scope="session")
def viewer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    started = Viewer(folder, tmp_path_factory.mktemp("viewer") / "log.txt")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
    pytest.importorskip("PIL", reason="browser tests need pillow")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("browser tests need chromium (apt-get install chromium)")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def complaints() -> list[str]:
    """What went wrong in the page: errors, and requests that left this computer."""
    return []


@pytest.fixture
def page(browser: Browser, viewer: Viewer, complaints: list[str]) -> Iterator[Page]:
    """The viewer's page in a browser of its own, with the first map and nothing else changed."""
    with opened(browser, viewer, complaints) as shown:
        yield shown
        assert not complaints, complaints


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder that INN_SCREENSHOTS names, else a temporary one."""
    named = os.environ.get("INN_SCREENSHOTS")
    out = Path(named) if named else tmp_path_factory.mktemp("pictures")
    out.mkdir(parents=True, exist_ok=True)
    return out
