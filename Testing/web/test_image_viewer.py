"""The posterior of an unknown image in a real browser: images, samples that play, P above, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import LIMIT, Viewer, as_new, changed, choose, click_at, heard, opened, press, rest, says, settled
from made_results import OFFSETS, SYNTHETIC, write_image_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

SAMPLES = len(OFFSETS)


@pytest.fixture(scope="module")
def image_viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    pytest.importorskip("trame_slicer", reason="the viewer needs trame_slicer")
    place = tmp_path_factory.mktemp("images")
    viewer = Viewer(write_image_result(place / "translated"), place / "log.txt")
    yield viewer
    viewer.stop()


@pytest.fixture(scope="module")
def module_page(browser: Browser, image_viewer: Viewer, all_complaints: list[str]) -> Iterator[Page]:
    with opened(browser, image_viewer, all_complaints) as page:
        yield page


@pytest.fixture
def images(module_page: Page, complaints: list[str]) -> Page:
    page = as_new(module_page)
    if heard(page)["side_by_side"]:
        page.locator("#side_by_side").press("Space")
    choose(page, "picture", "mean")
    choose(page, "kind", "Off")
    return page


def captions(page: Page) -> list[str]:
    rest(page)
    return page.locator("#views .caption").all_inner_texts()


def click_voxel(page: Page) -> None:
    box = page.locator("#views").bounding_box()
    assert box is not None
    click_at(page, box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)


def test_the_page_says_that_the_image_is_synthetic(images: Page, keep: Callable[..., None]) -> None:
    assert images.locator("#synthetic").inner_text() == SYNTHETIC
    assert captions(images) == ["SYNTHETIC mean"] * 3
    keep(images, "image_mean")
    choose(images, "picture", "true image")
    assert captions(images) == ["true image"] * 3


def test_the_width_lies_over_the_mean_and_the_median(images: Page, keep: Callable[..., None]) -> None:
    mean = settled(images)
    assert mean.std() > 10
    choose(images, "kind", "Interval width")
    says(images, "#legend", "SYNTHETIC Flair image, 90% width [grey level]")
    width = settled(images)
    assert changed(mean, width) > 0.1
    keep(images, "image_width")
    choose(images, "picture", "median")
    assert captions(images) == ["SYNTHETIC median"] * 3
    assert changed(width, settled(images)) < changed(mean, width)


def test_only_maps_that_mean_something_are_offered(images: Page) -> None:
    images.locator("#kind").click(force=True)
    images.get_by_role("option").first.wait_for(timeout=1000 * LIMIT)
    offered = images.get_by_role("option").all_inner_texts()
    images.keyboard.press("Escape")
    assert offered == ["Off", "Interval width", "Probability above"]


def test_a_slider_steps_through_samples(images: Page) -> None:
    choose(images, "picture", "sample")
    assert press(images, "sample", "Home") == 1
    assert captions(images)[0] == f"SYNTHETIC sample 1 of {SAMPLES}"
    first = settled(images)
    assert press(images, "sample", "ArrowRight") == 2
    assert captions(images)[0] == f"SYNTHETIC sample 2 of {SAMPLES}"
    assert changed(first, settled(images)) > 0.05


def test_the_probability_above_a_threshold_follows_the_slider(
    images: Page, keep: Callable[..., None]
) -> None:
    choose(images, "kind", "Probability above")
    assert press(images, "threshold", "Home") == 0
    says(images, "#threshold", "Flair image above 0 grey level")
    low = settled(images)
    assert press(images, "threshold", "End") == 230
    says(images, "#threshold", "Flair image above 230 grey level")
    assert changed(low, settled(images)) > 0.1
    press(images, "threshold", "PageDown", 5)
    says(images, "#legend", "SYNTHETIC P(Flair image >")
    keep(images, "image_probability")


def test_a_voxel_lists_its_interval_and_its_samples(images: Page, keep: Callable[..., None]) -> None:
    choose(images, "kind", "Probability above")
    press(images, "sample", "Home")
    click_voxel(images)
    says(images, "#where", "voxel i ")
    line = images.locator("#line").inner_text()
    assert "90% " in line
    assert f"of {SAMPLES} samples > " in line
    values = images.locator("#values li").all_inner_texts()
    assert len(values) == SAMPLES
    assert all(value.endswith(" grey level") for value in values)
    share = np.mean([float(value.split()[0]) > heard(images)["threshold"] for value in values])
    assert f"{share:.0%} of" in line
    assert images.locator("#values li.chosen").inner_text() == values[0]
    press(images, "sample", "End")
    assert images.locator("#values li.chosen").inner_text() == values[-1]
    keep(images, "image_voxel")


def test_images_stand_side_by_side_and_move_together(images: Page, keep: Callable[..., None]) -> None:
    images.locator("#side_by_side").press("Space")
    images.wait_for_function("document.querySelectorAll('#views .caption').length === 3")
    rest(images)
    images.wait_for_function("document.activeElement.id === 'side_by_side'")
    press(images, "sample", "Home")
    choose(images, "kind", "Interval width")
    assert captions(images) == ["SYNTHETIC mean", f"SYNTHETIC sample 1 of {SAMPLES}", "true image"]
    boxes = [area.bounding_box() for area in images.locator("#views .remote-controlled-area").all()]
    assert len(boxes) == 3
    assert max(box["width"] for box in boxes) - min(box["width"] for box in boxes) <= 2
    assert images.locator(".plane").all_inner_texts() == ["Axial"] * 3
    choose(images, "picture", "t1")
    assert captions(images)[2] == "t1"
    keep(images, "image_side_by_side")
    handles = images.locator(".slices [role=slider]")
    handles.nth(0).focus()
    handles.nth(0).press("End")
    handles.nth(0).press("ArrowLeft")
    heard(images)
    moved = {handle.get_attribute("aria-valuenow") for handle in handles.all()}
    assert len(moved) == 1, "the views show the same slice"
    click_voxel(images)
    says(images, "#where", "voxel i ")
    images.locator("#side_by_side").press("Space")
    assert captions(images) == ["t1"] * 3


def test_nothing_plays_for_those_who_ask_for_less_motion(images: Page) -> None:
    assert not images.locator("#play").is_visible()
    assert images.locator(".playing").inner_text() == "Your system asks for less motion: use the slider."


def test_samples_play_one_after_the_other_until_they_are_stopped(
    images: Page, browser: Browser, image_viewer: Viewer, complaints: list[str]
) -> None:
    """The tab asks for one sample at a time; the next one once the picture of the last one is there."""
    press(images, "sample", "Home")
    with opened(browser, image_viewer, complaints, motion="no-preference") as page:
        page.evaluate("""() => {
            window.told = []; window.openRequests = 0; window.most = 0;
            const ask = window.trame.trigger.bind(window.trame);
            window.trame.trigger = async (name, ...rest) => {
                if (name !== "next_sample") {
                    return ask(name, ...rest);
                }
                const { pictures_asked, pictures_drawn } = window.trame.state.get();
                window.told.push(pictures_drawn >= pictures_asked);
                window.most = Math.max(window.most, ++window.openRequests);
                try { return await ask(name, ...rest); } finally { --window.openRequests; }
            };
        }""")
        button = page.locator("#play")
        assert button.inner_text().lower() == "play samples"
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(f"window.told.length > {SAMPLES}")  # all of them, and over again
        assert button.inner_text().lower() == "stop"
        assert button.get_attribute("aria-pressed") == "true"
        says(page, "#views .caption >> nth=0", "SYNTHETIC sample")
        button.press("Space")
        page.wait_for_function("!window.trame.state.get('playing')")
        rest(page)
        asked = page.evaluate("window.told.length")
        sample = heard(page)["sample"]
        page.wait_for_timeout(700)
        assert page.evaluate("window.told.length") == asked
        assert heard(page)["sample"] == sample
        assert page.evaluate("window.told.every(Boolean) && window.most === 1")
