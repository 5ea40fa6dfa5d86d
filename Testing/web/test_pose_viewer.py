"""A registration in a real browser: poses, comparisons, the C-arm, and what is withheld."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import Viewer, changed, choose, heard, opened, press, refusals, says, settled
from made_registrations import write_registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def poses_viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    for package in ("trame_slicer", "SimpleITK"):
        pytest.importorskip(package, reason=f"the viewer needs {package}")
    place = tmp_path_factory.mktemp("registrations")
    started = Viewer(write_registration(place / "lateral", is_refined=True), place / "log.txt")
    yield started
    started.stop()


@pytest.fixture
def open_page(browser: Browser, complaints: list[str]) -> Iterator[Callable[[Viewer], Page]]:
    """Opens a viewer's page in a browser of its own."""
    with ExitStack() as pages:
        yield lambda viewer, *size: pages.enter_context(opened(browser, viewer, complaints, *size))
    assert not complaints, complaints


@pytest.fixture
def page(open_page: Callable[[Viewer], Page], poses_viewer: Viewer) -> Page:
    shown = open_page(poses_viewer)
    pose(shown, 0)
    choose(shown, "comparison", "Blend")
    return shown


def pose(page: Page, row: int) -> None:
    """Click a row of the table of poses, and wait until its numbers are there."""
    cells = page.locator("#poses tbody tr").nth(row).locator("td")
    cells.nth(2).click()
    says(page, "#values", cells.nth(2).inner_text())


def another(page: Page, before: NDArray[np.int64], row: int, column: int, share: float) -> bool:
    """Whether a view differs in so many of its pixels from what it showed before."""
    return changed(quarter(before, row, column), quarter(settled(page), row, column)) > share


def quarter(picture: NDArray[np.int64], row: int, column: int) -> NDArray[np.int64]:
    """One of the four views: X-ray, DRR; comparison, room."""
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    return picture[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]


def test_a_click_shows_another_pose(page: Page, pictures: Path) -> None:
    assert page.locator("#banner").get_attribute("class") == "banner ambiguous"
    says(page, "#banner", "Two poses explain this X-ray: 58 % at 70° LAO")
    assert page.locator("#poses tbody tr").count() == 2
    assert page.locator("#poses tbody tr").nth(0).locator("td").all_inner_texts()[:4] == [
        "1", "58 %", "70.0°", "6.0°",
    ]  # fmt: skip
    says(page, "#values", "70.0° ± 1.2°")
    says(page, "#values", "20.0 mm ± 6.0 mm")
    first = settled(page)
    pose(page, 1)
    says(page, "#values", "114.0° ± 2.0°")
    assert another(page, first, 0, 1, 0.05), "the DRR"
    assert another(page, first, 1, 1, 0.05), "the C-arm"
    assert changed(quarter(first, 0, 0), quarter(settled(page), 0, 0)) < 0.01, "the X-ray stays"
    choose(page, "comparison", "Difference")
    settled(page)
    page.screenshot(path=pictures / "viewer_registration.png")


def test_poses_can_be_chosen_by_the_keyboard(page: Page) -> None:
    page.locator("#poses button").nth(1).focus()
    page.keyboard.press("Enter")
    says(page, "#values", "114.0°")


def test_comparisons(page: Page) -> None:
    assert press(page, "share", "Home") == 0
    says(page, "#share", "0%")
    first = settled(page)
    pose(page, 1)
    assert changed(quarter(first, 1, 0), quarter(settled(page), 1, 0)) < 0.01, "the X-ray alone"
    assert press(page, "share", "End") == 1
    assert another(page, first, 1, 0, 0.05), "the DRR alone"
    choose(page, "comparison", "Checkerboard")
    says(page, "#views", "take turns")
    press(page, "fields", "Home")
    assert press(page, "fields", "ArrowRight", 6) == 8
    eight = settled(page)
    press(page, "fields", "Home")
    says(page, "#fields", "2 along the longer side")
    assert another(page, eight, 1, 0, 0.02)
    gray = settled(page)
    choose(page, "comparison", "Difference")
    says(page, "#views", "X-ray minus DRR")
    assert another(page, gray, 1, 0, 0.1)
    colors = quarter(settled(page), 1, 0)
    assert (np.ptp(colors, axis=-1) > 60).mean() > 0.03, "differences have colors"


def test_target_and_its_spread_are_told_and_drawn(page: Page) -> None:
    says(page, "#target", "R 4.0, A -30.0, S 120.0 mm. Target, 95 %: ± ")
    says(page, "#target", "mm along its axes")
    says(page, "#landmarks", "Mean distance of bone landmarks")
    says(page, "#landmarks", "Refined: LAO 70.0° ± 0.4°, CRA")
    room = quarter(settled(page), 1, 1)
    amber = (room[..., 0] > 150) & (room[..., 2] < 60)
    assert amber.sum() > 30, "the ellipsoid"


def test_untrusted_poses_are_withheld(
    open_page: Callable[[Viewer], Page], tmp_path: Path, pictures: Path
) -> None:
    viewer = Viewer(write_registration(tmp_path / "strange", is_trusted=False), tmp_path / "log.txt")
    try:
        page = open_page(viewer)
        assert page.locator("#banner").get_attribute("class") == "banner untrusted"
        says(page, "#banner", "OUT OF DISTRIBUTION. Do not use these poses")
        before = settled(page)
        assert quarter(before, 0, 0).std() > 10, "the X-ray is there"
        assert quarter(before, 0, 1)[40:].max() < 60, "no DRR"
        page.locator("#poses tbody tr").nth(1).click()
        heard(page)
        assert page.locator("#values").is_hidden()
        page.screenshot(path=pictures / "viewer_registration_untrusted.png")
        page.locator("#confirmed").click(force=True)
        says(page, "#values", "70.0°")
        pose(page, 1)
        assert another(page, before, 0, 1, 0.02), "the DRR"
        says(page, "#banner", "OUT OF DISTRIBUTION")
        shown = settled(page)
        page.locator("#confirmed").click(force=True)
        assert another(page, shown, 0, 1, 0.02), "it goes again"
        assert page.locator("#values").is_hidden()
    finally:
        viewer.stop()


@pytest.mark.parametrize("size", [(1280, 800), (640, 400)], ids=["normal", "magnified"])
def test_nothing_of_a_registration_is_clipped(
    open_page: Callable[..., Page], poses_viewer: Viewer, pictures: Path, size: tuple[int, int]
) -> None:
    page = open_page(poses_viewer, size)
    page.screenshot(path=pictures / f"poses_{size[0]}.png", full_page=True)
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    page.mouse.wheel(0, 2000)
    page.wait_for_timeout(300)
    box = page.locator("#banner").bounding_box()
    assert box is not None
    assert box["y"] >= 0, "the banner never scrolls away"
    assert page.locator("#use").inner_text() == "Research only. Not a medical device"
    says(page, "#reading", "WAIC -3.1 nat, limit of trust 6.2 nat")


def test_texts_of_a_registration_are_never_run(open_page: Callable[[Viewer], Page], tmp_path: Path) -> None:
    folder = write_registration(tmp_path / "{{1+1}}")
    record = json.loads((folder / "registration.json").read_text())
    attack = "<img src=x onerror=window.broken=1>{{ constructor.constructor('window.broken=1')() }}"
    record["ambiguity"]["statement"] = record["bundle"]["name"] = record["xray"]["path"] = attack
    record["parameters"][0]["description"] = attack
    (folder / "registration.json").write_text(json.dumps(record))
    viewer = Viewer(folder, tmp_path / "log.txt")
    try:
        page = open_page(viewer)
        says(page, "h1", "{{1+1}}")
        says(page, "#banner", "<img")
        assert page.evaluate("window.broken") is None
    finally:
        viewer.stop()


def test_damaged_registrations_give_one_clear_line(tmp_path: Path) -> None:
    folder = write_registration(tmp_path / "damaged")
    (folder / "drr_1.nii.gz").write_bytes(b"no image")
    (line,) = refusals(folder)
    assert line.startswith(("ResultError: ", "ValueError: "))
    assert "truncated" in line
