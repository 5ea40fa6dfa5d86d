"""A registration in a real browser: poses, comparisons, the C-arm, and what is withheld."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import as_new, changed, choose, heard, press, refusals, rest, says, served, settled
from made_registrations import TARGET, write_registration
from torso_case import aim_torso, register_torso, save_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def poses_page(
    browser: Browser, all_complaints: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    needed()
    place = tmp_path_factory.mktemp("registrations")
    folder = write_registration(place / "lateral", is_refined=True)
    write_aim(folder)
    with served(browser, folder, place / "log.txt", all_complaints) as page:
        yield page


@pytest.fixture(scope="module")
def strange_page(
    browser: Browser, all_complaints: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A registration from a stranger that is not to be trusted: its texts are programs."""
    needed()
    place = tmp_path_factory.mktemp("strange")
    folder = write_registration(place / "{{1+1}}", is_trusted=False)
    record = json.loads((folder / "registration.json").read_text())
    attack = "<img src=x onerror=window.broken=1>{{ constructor.constructor('window.broken=1')() }}"
    record["ambiguity"]["statement"] = record["bundle"]["name"] = record["xray"]["path"] = attack
    record["parameters"][0]["description"] = attack
    record["trust"]["statement"] += f" {attack}"
    (folder / "registration.json").write_text(json.dumps(record))
    with served(browser, folder, place / "log.txt", all_complaints) as page:
        yield page


def write_aim(folder: Path) -> None:
    """What `monai-inn aim` leaves of a path to the target, in the folder where it is looked for."""
    error = {"median": 1.0, "high": 3.0}
    ellipsoid = {
        "centre_ras_mm": TARGET.tolist(),
        "half_axes_mm": [3, 4, 9],
        "directions_ras": np.eye(3).tolist(),
    }
    breach = {"label": 29, "probability": 0.25, "standard_error": 0.02}
    record = {
        "command": "aim", "format_version": 1, "is_trusted": True,
        "settings": {"target": TARGET.tolist(), "entry": (TARGET - [0, 70, 0]).tolist(), "radius_mm": 5.0},
        "target": {"in_plane_mm": error, "depth_mm": error, "ellipsoid": ellipsoid},
        "line": {"tube_radius_mm": error, "breaches": [breach]},
    }  # fmt: skip
    (folder / "aim").mkdir()
    (folder / "aim" / "aim.json").write_text(json.dumps(record))


def needed() -> None:
    for package in ("trame_slicer", "SimpleITK"):
        pytest.importorskip(package, reason=f"the viewer needs {package}")


@pytest.fixture
def page(poses_page: Page, complaints: list[str]) -> Page:
    as_new(poses_page)
    pose(poses_page, 0)
    choose(poses_page, "comparison", "Blend")
    return poses_page


@pytest.fixture
def strange(strange_page: Page, complaints: list[str]) -> Page:
    return as_new(strange_page)


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


def test_a_click_shows_another_pose(page: Page, keep: Callable[..., None]) -> None:
    assert page.locator("#banner").get_attribute("class") == "banner ambiguous"
    says(page, "#banner", "Two poses explain this X-ray: 58 % at 70° LAO")
    assert page.locator("#poses tbody tr").count() == 2
    assert page.locator("#poses tbody tr").nth(0).locator("td").all_inner_texts()[:4] == [
        "1", "58 %", "70.0° LAO", "6.0° CRA",
    ]  # fmt: skip
    says(page, "#values", "70.0° LAO ± 1.2°")
    says(page, "#values", "20.0 mm ± 6.0 mm")
    first = settled(page)
    pose(page, 1)
    says(page, "#values", "114.0° LAO ± 2.0°")
    says(page, "#values", "6.0° CAU")
    assert another(page, first, 0, 1, 0.05), "the DRR"
    assert another(page, first, 1, 1, 0.05), "the C-arm"
    assert changed(quarter(first, 0, 0), quarter(settled(page), 0, 0)) < 0.01, "the X-ray stays"
    choose(page, "comparison", "Difference")
    rest(page)
    keep(page, "two_poses")


def test_picture_of_the_torso(
    browser: Browser, complaints: list[str], keep: Callable[..., None], tmp_path: Path
) -> None:
    """The docs' picture, which takes a real registration."""
    if not os.environ.get("INN_SCREENSHOTS"):
        pytest.skip("makes a picture for INN_SCREENSHOTS")
    folder = register_torso(tmp_path / "torso")
    aim_torso(folder)
    with served(browser, folder, tmp_path / "log.txt", complaints) as page:
        as_new(page)
        page.set_viewport_size({"width": 1280, "height": 902})
        says(page, "#aim", "Structure with label 28: touched in none of the poses.")
        rest(page)
        keep(page, "viewer_registration")
    path = Path(os.environ["INN_SCREENSHOTS"]) / "viewer_registration.png"
    from PIL import Image

    save_small(Image.open(path), path)


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
    says(page, "#landmarks", "Refined: 70.0° LAO ± 0.4°, 6.0° CRA")
    room = quarter(settled(page), 1, 1)
    amber = (room[..., 0] > 150) & (room[..., 2] < 60)
    assert amber.sum() > 30, "the ellipsoid"


def test_a_plan_is_told_and_drawn_with_the_pose_on_which_it_relies(page: Page) -> None:
    says(page, "#aim", "the target is off by at most 3.0 mm in the image and 3.0 mm in depth")
    says(page, "#aim", "The tube has a radius of 8.0 mm, of which 5.0 mm are the instrument.")
    says(page, "#aim", "Structure with label 29: touched in 25.0 % of the poses (± 2.0 %).")

    def green(picture: NDArray[np.int64]) -> int:
        room = quarter(picture, 1, 1)
        return int((room[..., 1] - room[..., [0, 2]].max(-1) > 40).sum())

    assert green(settled(page)) > 100, "the tube"
    pose(page, 1)
    assert green(settled(page)) == 0, "pose 2 has another plan"
    says(page, "#aim", "If the plan relies on pose 1")


def test_untrusted_poses_are_withheld(strange: Page, keep: Callable[..., None]) -> None:
    assert strange.locator("#banner").get_attribute("class") == "banner untrusted"
    says(strange, "#banner", "NOT TRUSTED. Do not use these poses")
    before = settled(strange)
    assert quarter(before, 0, 0).std() > 10, "the X-ray is there"
    assert quarter(before, 0, 1)[40:].max() < 60, "no DRR"
    strange.locator("#poses tbody tr").nth(1).click()
    heard(strange)
    assert strange.locator("#values").is_hidden()
    keep(strange, "viewer_registration_untrusted")
    strange.locator("#confirmed").click(force=True)
    says(strange, "#values", "70.0°")
    pose(strange, 1)
    assert another(strange, before, 0, 1, 0.02), "the DRR"
    says(strange, "#banner", "NOT TRUSTED")
    shown = settled(strange)
    strange.locator("#confirmed").click(force=True)
    assert another(strange, shown, 0, 1, 0.02), "it goes again"
    assert strange.locator("#values").is_hidden()


def test_texts_of_a_registration_are_never_run(strange: Page) -> None:
    says(strange, "h1", "{{1+1}}")
    says(strange, "#banner", "<img")
    assert strange.evaluate("window.broken") is None


@pytest.mark.parametrize("size", [(1280, 800), (640, 400)], ids=["normal", "magnified"])
def test_nothing_of_a_registration_is_clipped(
    page: Page, keep: Callable[..., None], size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    rest(page)
    keep(page, f"poses_{size[0]}", full_page=True)
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    column = "() => { const c = document.querySelector('.controls'); return c.scrollWidth - c.clientWidth; }"
    assert page.evaluate(column) <= 0, "the table of poses"
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    box = page.locator("#banner").bounding_box()
    assert box is not None
    assert box["y"] >= 0, "the banner never scrolls away"
    assert page.locator("#use").inner_text() == "Research only. Not a medical device"
    says(page, "#reading", "WAIC -3.1 nat, limit of trust 6.2 nat")


def test_damaged_registrations_give_one_clear_line(tmp_path: Path) -> None:
    folder = write_registration(tmp_path / "damaged")
    (folder / "drr_1.nii.gz").write_bytes(b"no image")
    (line,) = refusals(tmp_path / "log.txt", folder)
    assert line.startswith("ResultError: ")
    assert line.endswith(
        "drr_1.nii.gz: cannot be read; the file is truncated or damaged. Find the poses again."
    )
