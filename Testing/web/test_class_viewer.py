"""Classified images in a real browser: alarm, words, and evidence that follows the choice of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from driver import Viewer, choose, heard, says, watch, without_its_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

pytest.importorskip("trame_slicer", reason="the viewer needs trame_slicer")
_PICTURE = "document.getElementById('map').src"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer of an X-ray that the bundle was measured on, and of the same inverted."""
    from PIL import Image

    import monai_inn as mi
    from monai_inn.applications.classification.classifying import classify

    folder = tmp_path_factory.mktemp("classes")
    row = mi.load("chest_xray").problem.tensors["images"][0].reshape(28, 28).byte().numpy()
    for name, pixels in (("usual", row), ("inverted", 255 - row)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    classify("chest_xray", [folder / "usual.png", folder / "inverted.png"], folder / "out")
    viewer = Viewer(folder / "out", folder / "log.txt")
    yield viewer
    viewer.stop()


def test_classes_evidence_and_alarm_are_shown(
    browser: Browser, shown: Viewer, complaints: list[str], keep: Callable[..., None]
) -> None:
    page: Page = browser.new_page(viewport={"width": 1280, "height": 800})
    watch(page, complaints)
    page.goto(shown.address)
    page.wait_for_selector("#map[src^='data:']")
    assert not page.locator("#alarm").is_visible()
    state = heard(page)
    first, second = state["first"], state["second"]
    says(page, "#probabilities", first)
    says(page, "#odds", f"nat for {first} against {second}")
    says(page, "#legend", f"nat: for {second}")
    before, odds = page.evaluate(_PICTURE), state["odds"]
    choose(page, "first", second)  # of two classes the other one takes the second place
    says(page, "#odds", f"nat for {second} against {first}")
    assert page.evaluate(_PICTURE) != before
    assert heard(page)["odds"].partition("At equal")[2] == odds.partition("At equal")[2]
    keep(page, "classes")
    choose(page, "image", "2. inverted.png – of no class")
    says(page, "#alarm", "Of no class it knows")
    says(page, "#reading", "black and white were exchanged")
    keep(page, "classes_of_none")
    page.close()


def test_the_page_says_when_the_viewer_has_ended(
    browser: Browser, shown: Viewer, keep: Callable[..., None]
) -> None:
    page: Page = browser.new_page()
    page.goto(shown.address)
    page.wait_for_selector("#map[src^='data:']")
    with without_its_program(page):
        keep(page, "classes_gone")
    page.close()
