"""A result folder, a viewer that shows it, and a browser; skipped with the reason where one is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from driver import CHROMIUM_FLAGS, Viewer, as_new, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "Testing" / "slicer"))  # made_registrations, which needs no Slicer


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result of the shipped example image."""
    for package in ("trame_slicer", "SimpleITK"):
        pytest.importorskip(package, reason=f"the viewer needs {package}")
    from monai_inn.reports import figures, infer_image

    out = tmp_path_factory.mktemp("results") / "organs"
    image = ROOT / "Resources" / "organ_mosaic.hdr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "map_figure", lambda *_, **__: None)  # the viewer does not show it
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


@pytest.fixture(scope="session")
def all_complaints() -> list[str]:
    """What went wrong in any page: errors, and requests that left this computer."""
    return []


@pytest.fixture
def complaints(all_complaints: list[str]) -> Iterator[list[str]]:
    """The complaints up to the end of a test, which must be none."""
    yield all_complaints
    said = all_complaints.copy()
    all_complaints.clear()
    assert not said, said


@pytest.fixture(scope="session")
def shared_page(browser: Browser, viewer: Viewer, all_complaints: list[str]) -> Iterator[Page]:
    with opened(browser, viewer, all_complaints) as shown:
        yield shown


@pytest.fixture
def page(shared_page: Page, complaints: list[str]) -> Page:
    """The viewer's page. What it shows is the server's state: a test chooses all that it depends on."""
    return as_new(shared_page)


@pytest.fixture(scope="session")
def keep() -> Callable[..., None]:
    """Keeps a screenshot of a page in the folder that INN_SCREENSHOTS names; without it there is none."""
    named = os.environ.get("INN_SCREENSHOTS")
    if named:
        Path(named).mkdir(parents=True, exist_ok=True)

    def kept(page: Page, name: str, full_page: bool = False) -> None:
        if named:
            page.screenshot(path=Path(named) / f"{name}.png", full_page=full_page)

    return kept
