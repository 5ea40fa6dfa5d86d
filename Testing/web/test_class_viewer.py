"""Classified images in a real browser: alarm, words, and evidence that follows the choice of classes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import Viewer, choose, heard, press, says, watch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytest.importorskip("trame_slicer", reason="the viewer needs trame_slicer")
_PICTURE = "document.getElementById('map').src"


def classified(folder: Path) -> Path:
    """The classes of an X-ray that the bundle was measured on, and of the same inverted."""
    import monai_inn as mi
    from monai_inn.applications.classification.classifying import classify

    row = mi.load("chest_xray").problem.tensors["images"][0].reshape(28, 28).byte().numpy()
    for name, pixels in (("usual", row), ("inverted", 255 - row)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    classify("chest_xray", [folder / "usual.png", folder / "inverted.png"], folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer of them."""
    folder = tmp_path_factory.mktemp("classes")
    viewer = Viewer(classified(folder), folder / "log.txt")
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
    assert page.evaluate("window.isWatching"), "it says when the viewer has ended, as that of maps does"
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


def test_slices_of_a_volume_are_cut_across_its_last_axis(
    browser: Browser, tmp_path: Path, complaints: list[str], keep: Callable[..., None]
) -> None:
    """Of 4 × 10 × 6 voxels: a picture is 4 columns and 10 rows, and the brightest place is found again."""
    folder = classified(tmp_path)
    images = np.full((2, 4, 10, 6, 1), 50, np.uint8)
    images[0, 3, 8, 5] = 250
    np.save(folder / "images.npy", images)
    np.save(folder / "evidence.npy", np.ones((2, 1, 4, 10, 6), np.float32))
    viewer = Viewer(folder, tmp_path / "log.txt")
    try:
        page: Page = browser.new_page(viewport={"width": 1280, "height": 800})
        watch(page, complaints)
        page.goto(viewer.address)
        page.wait_for_selector("#map[src^='data:']")
        says(page, ".controls", "4 of 6")
        press(page, "slice", "End")
        says(page, ".controls", "6 of 6")
        source = page.locator("#seen").get_attribute("src")
        assert source is not None
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        assert seen.shape == (10, 4)
        assert np.argwhere(seen == 250).tolist() == [[8, 3]]
        keep(page, "classes_of_a_volume")
        page.close()
    finally:
        viewer.stop()
