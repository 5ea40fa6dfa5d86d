"""The viewer in a real browser: what a click, a key and a slider do, and who is let in."""

from __future__ import annotations

import http.client
import json
import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from driver import (
    LIMIT,
    Viewer,
    as_new,
    changed,
    choose,
    click_at,
    click_image,
    comes,
    heard,
    opened,
    press,
    refusals,
    rest,
    says,
    served,
    settled,
    without_its_program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

SHAPE = (96, 128)
"""Rows and columns of the example image."""
CORNER, LIVER = (1, 1), (40, 40)
"""Column and row of a pixel out of distribution, and of one inside."""


def test_map_opacity_and_threshold_change_the_picture(page: Page, keep: Callable[..., None]) -> None:
    choose(page, "kind", "Off")
    off = settled(page)
    keep(page, "off")
    choose(page, "kind", "Interval width")
    width = settled(page)
    keep(page, "interval_width")
    assert off.std() > 10, "the image is not drawn"
    assert changed(off, width) > 0.2

    assert press(page, "opacity", "Home") == 0
    assert changed(off, settled(page)) < 0.01, "a map of opacity 0 must leave the image as it is"
    assert press(page, "opacity", "End") == 1
    assert changed(width, settled(page)) > 0.2
    press(page, "opacity", "ArrowLeft", 8)

    choose(page, "kind", "Probability below")
    assert press(page, "threshold", "End") == 1
    all_below = settled(page)
    assert press(page, "threshold", "PageDown", 4) == pytest.approx(0.6)
    assert changed(all_below, settled(page)) > 0.01
    says(page, "#threshold", "Oxygen saturation of the blood below 0.6")
    keep(page, "probability_below")


def test_hidden_and_graded_parts_of_the_map_show_the_image(page: Page, keep: Callable[..., None]) -> None:
    choose(page, "kind", "Off")
    off = settled(page)
    choose(page, "kind", "Interval width")
    whole = settled(page)
    press(page, "hide_below", "End")
    says(page, "#hide_below", "0.95")
    assert changed(off, settled(page)) < 0.02
    press(page, "hide_below", "Home")
    page.locator("#graded").click(force=True)
    graded = settled(page)
    keep(page, "graded")
    page.locator("#graded").click(force=True)
    assert changed(off, graded) < changed(off, whole)


def test_every_kind_and_parameter_is_drawn_and_labelled(page: Page, keep: Callable[..., None]) -> None:
    choose(page, "parameter", "Blood volume fraction")
    for kind, said in {
        "Median": "Blood volume fraction, median",
        "One sample": "Blood volume fraction, one sample",
        "Number of modes": "Blood volume fraction, modes",
        "WAIC": "WAIC [nat]; ▲ limit of trust",
    }.items():
        choose(page, "kind", kind)
        says(page, "#legend", said)
        rest(page)
        keep(page, kind.lower().replace(" ", "_"))
    choose(page, "kind", "One sample")
    assert press(page, "sample", "Home") == 1
    before = settled(page)
    assert press(page, "sample", "End") == 4
    says(page, "#sample", "sample 4 of 4")
    assert changed(before, settled(page)) > 0.01
    choose(page, "parameter", "Reduced scattering coefficient at 500 nm")
    says(page, "#legend", "Reduced scattering coefficient at 500 nm, one sample [1/cm]")
    says(page, ".controls", "1/cm")
    choose(page, "parameter", "Oxygen saturation of the blood")


def test_a_click_reads_the_posterior(page: Page, keep: Callable[..., None]) -> None:
    choose(page, "parameter", "Oxygen saturation of the blood")
    choose(page, "kind", "Probability below")
    click_image(page, *LIVER, SHAPE)
    says(page, "#where", "column 40, row 40")
    assert not any(page.locator(".edge").all_inner_texts())  # a camera does not know how the patient lies
    line = page.locator("#line").inner_text()
    assert line.startswith("Oxygen saturation of the blood 0.")
    assert line.endswith("in distribution")
    assert "P(<" in line
    assert not page.locator("#warning").is_visible()
    assert page.locator("#curve svg .inside").count() == 1
    says(page, "#curve .label", "Oxygen saturation of the blood [no unit]")
    assert "%" in page.locator("#modes td").nth(1).inner_text()
    keep(page, "reading")


def test_regions_of_decision_follow_the_threshold(
    page: Page, folder: Path, keep: Callable[..., None]
) -> None:
    """They are those of the display library, whose numbers are tested with the Slicer module."""
    choose(page, "parameter", "Oxygen saturation of the blood")
    choose(page, "kind", "Off")
    off = settled(page)
    assert page.locator("#threshold").is_hidden()
    page.locator("#regions").click(force=True)
    says(page, "#regions_text", "Area: ")
    drawn = settled(page)
    assert changed(off, drawn) > 0.2
    says(page, "#segments", "unknown / not trusted")
    press(page, "threshold", "Home")
    says(page, "#regions_text", "Oxygen saturation of the blood < 0. Area: ")
    assert changed(drawn, settled(page)) > 0.1
    press(page, "threshold", "End")
    says(page, "#regions_text", "Oxygen saturation of the blood < 1. Area: ")
    says(page, "#regions_text", f"Not trusted, and in none of these numbers: {withheld(folder):,} mm²")
    press(page, "threshold", "PageDown", 4)
    page.locator("#is_above").click(force=True)
    says(page, "#regions_text", "Oxygen saturation of the blood > 0.6")
    assert press(page, "certain", "ArrowLeft", 5) == 90
    says(page, "#segments", "(P ≥ 0.9)")
    keep(page, "regions")
    before = settled(page)
    page.locator("#smallest").fill("400")
    assert changed(before, comes(page, lambda after: changed(before, after) > 0.002)) < 0.5
    keep(page, "regions_without_islands")
    assert press(page, "possible", "End") == 100
    says(page, "#regions_text", "these must be probabilities")
    press(page, "possible", "Home")
    says(page, "#regions_text", "Area: ")
    page.locator("#regions").click(force=True)
    assert changed(off, settled(page)) < 0.001
    assert page.locator("#regions_text").is_hidden()


def withheld(folder: Path) -> int:
    """Pixels of which no number must be used."""
    import SimpleITK

    flags = [
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / f"{n}.nii.gz")))
        for n in ("valid", "ood")
    ]
    return int(((flags[0] < 0.5) | (flags[1] > 0.5)).sum())


def test_numbers_out_of_distribution_come_with_their_warning(page: Page, keep: Callable[..., None]) -> None:
    choose(page, "parameter", "Oxygen saturation of the blood")
    choose(page, "kind", "Probability below")
    click_image(page, *CORNER, SHAPE)
    says(page, "#warning", "NOT EXPLAINED, out of distribution")
    assert page.locator("#line").is_hidden()
    says(page, "#curve .stamp", "do not use")
    keep(page, "out_of_distribution")


def test_pixels_without_a_measurement_carry_no_map(page: Page, folder: Path) -> None:
    import SimpleITK

    valid = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "valid.nii.gz")))[0]
    columns, rows = (~(valid > 0.5)).nonzero()
    choose(page, "kind", "Off")
    off = settled(page)
    choose(page, "kind", "Interval width")
    width = settled(page)
    scale = off.shape[1] / SHAPE[1]
    y = ((rows + 0.5 - SHAPE[0] / 2) * scale + off.shape[0] / 2).astype(int)
    x = ((columns + 0.5) * scale).astype(int)
    assert np.median(np.abs(off[y, x] - width[y, x])) < 5


def test_keys_toggle_the_map_and_move_the_pixel(page: Page) -> None:
    choose(page, "kind", "Median")
    click_image(page, *LIVER, SHAPE)
    on = settled(page)
    page.keyboard.press("u")
    off = settled(page)
    assert changed(on, off) > 0.2
    assert page.locator("#legend").inner_text() == ""
    page.keyboard.press("U")
    assert changed(on, settled(page)) < 0.001
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    says(page, "#where", "column 41, row 41")


def test_two_tabs_show_the_same(browser: Browser, page: Page, viewer: Viewer, complaints: list[str]) -> None:
    choose(page, "kind", "Median")
    with opened(browser, viewer, complaints) as other:
        says(other, "#legend", "Oxygen saturation of the blood, median")
        choose(other, "kind", "Interval width")
        # A click hits what is under the pointer although the other tab is smaller.
        other.set_viewport_size({"width": 1100, "height": 500})
        rest(other)
        page.mouse.move(0, 0)
        click_image(page, *LIVER, SHAPE)
        says(page, "#where", "column 40, row 40")
        click_image(other, 20, 20, SHAPE)
        says(other, "#where", "column 20, row 20")
        other.set_viewport_size({"width": 1280, "height": 800})
        says(page, "#legend", "95% width")
        assert changed(settled(other), settled(page)) < 0.01


def test_the_page_says_when_the_viewer_has_ended(
    browser: Browser, viewer: Viewer, keep: Callable[..., None]
) -> None:
    with opened(browser, viewer, []) as page, without_its_program(page):
        keep(page, "gone")


def test_a_reloaded_page_shows_what_it_showed(page: Page) -> None:
    choose(page, "kind", "Median")
    click_image(page, *LIVER, SHAPE)
    says(page, "#where", "column 40, row 40")
    page.mouse.move(0, 0)
    page.locator("#opacity [role=slider]").focus()  # the frame of the view that has the focus does not stay
    before = settled(page)
    choose(page, "kind", "Interval width")
    choose(page, "kind", "Median")
    page.reload()  # while a picture is on its way
    says(page, "#legend", "Oxygen saturation of the blood, median")
    says(page, "#where", "column 40, row 40")
    assert changed(before, settled(page)) == 0


@pytest.fixture(scope="module")
def strange_page(
    folder: Path, browser: Browser, all_complaints: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A stack of slices from a stranger: its texts are programs."""
    place = tmp_path_factory.mktemp("strange")
    made = stack(folder, place / "{{1+1}}", slices=3)
    record = json.loads((made / "result.json").read_text())
    attack = "<img src=x onerror=window.broken=1>{{ constructor.constructor('window.broken=1')() }}"
    record["parameters"][0].update(unit=attack, description=attack)
    record["bundle"].update(name=attack, calibration=None)
    record["image"]["is_oriented"] = True
    (made / "result.json").write_text(json.dumps(record))
    with served(browser, made, place / "log.txt", all_complaints) as page:
        yield page


@pytest.fixture
def strange(strange_page: Page, complaints: list[str]) -> Page:
    return as_new(strange_page)


def click_stack(page: Page) -> None:
    """Click a voxel of the large view."""
    box = page.locator("#views").bounding_box()
    assert box is not None
    click_at(page, box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)


def test_a_stack_has_three_views(strange: Page, keep: Callable[..., None]) -> None:
    assert settled(strange).std() > 10
    says(strange, "#threshold", " below 0.6")  # as inference was asked
    assert strange.locator(".plane").all_inner_texts() == ["Axial", "Coronal", "Sagittal"]
    assert strange.locator(".edge").all_inner_texts() == [*"RLAP", *"RLSI", *"APSI"]
    click_stack(strange)
    says(strange, "#where", "voxel i ")
    before = settled(strange)
    strange.mouse.wheel(0, -200)
    comes(strange, lambda after: changed(before, after) > 0.01)  # the wheel turns slices
    keep(strange, "stack")
    where = strange.locator("#where").inner_text()
    handle = strange.locator(".slices [role=slider]").first
    value = handle.get_attribute("aria-valuenow")
    handle.focus()
    handle.press("ArrowLeft")
    strange.wait_for_function(  # arrows move the slider that has the focus
        "([slider, value]) => slider.getAttribute('aria-valuenow') !== value",
        arg=[handle.element_handle(), value],
        timeout=1000 * LIMIT,
    )
    heard(strange)
    assert strange.locator("#where").inner_text() == where


def test_texts_of_a_result_are_never_run(strange: Page) -> None:
    """A result folder may come from anywhere."""
    click_stack(strange)
    says(strange, "#curve", "<img")
    says(strange, "h1", "{{1+1}}")
    says(strange, "#facts", "not measured")
    assert strange.evaluate("window.broken") is None


def stack(folder: Path, out: Path, slices: int) -> Path:
    """A copy of a result whose image has several slices, each shifted against the one before."""
    import SimpleITK

    shutil.copytree(folder, out)
    for path in [*out.glob("*.nii.gz"), *out.glob("*.nii")]:
        image = SimpleITK.ReadImage(str(path))
        array = SimpleITK.GetArrayFromImage(image)
        piled = np.concatenate([np.roll(array, 5 * n, -2) for n in range(slices)], -3)
        made = SimpleITK.GetImageFromArray(piled, isVector=False)
        made.SetDirection(image.GetDirection())
        made.SetSpacing([1, 1, 10, 1][: made.GetDimension()])
        SimpleITK.WriteImage(made, str(path))
    return out


def test_a_lone_sagittal_slice_is_shown_in_its_plane(
    folder: Path, browser: Browser, complaints: list[str], tmp_path: Path
) -> None:
    import SimpleITK

    shutil.copytree(folder, tmp_path / "sagittal")
    for path in [*(tmp_path / "sagittal").glob("*.nii.gz"), *(tmp_path / "sagittal").glob("*.nii")]:
        image = SimpleITK.ReadImage(str(path))
        direction = np.eye(image.GetDimension())
        direction[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # rows to the feet, columns to the back; LPS
        image.SetDirection(direction.ravel().tolist())
        SimpleITK.WriteImage(image, str(path))
    record = json.loads((tmp_path / "sagittal" / "result.json").read_text())
    record["image"]["is_oriented"] = True
    (tmp_path / "sagittal" / "result.json").write_text(json.dumps(record))
    with served(browser, tmp_path / "sagittal", tmp_path / "log.txt", complaints) as page:
        assert page.locator(".edge").all_inner_texts() == [*"APSI"]
        click_image(page, *LIVER, SHAPE)
        says(page, "#where", "column 40, row 40")
        says(page, "#line", "in distribution")


@pytest.mark.parametrize("size", [(1280, 800), (640, 400)], ids=["normal", "magnified"])
def test_nothing_is_clipped(page: Page, keep: Callable[..., None], size: tuple[int, int]) -> None:
    """Magnifying to 200 % leaves half of the pixels of the page's own measure."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    click_image(page, *CORNER, SHAPE)
    rest(page)
    keep(page, f"page_{size[0]}", full_page=True)
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0, "the page must not scroll sideways"
    page.mouse.wheel(0, 2000)
    use = page.locator("#use")
    assert use.inner_text() == "Research only. Not a medical device"
    box = use.bounding_box()
    assert box is not None
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= size[0]
    facts = page.locator("#facts").inner_text()
    for said in (
        "oximetry",
        "device tivita",
        "calibration error of Oxygen saturation of the blood",
        "pixels not explained",
    ):
        assert said in facts


def test_the_viewer_starts_without_what_takes_long_to_import(viewer: Viewer) -> None:
    assert "vtk" in viewer.modules
    assert not {"torch", "monai", "matplotlib"} & viewer.modules


def ask(viewer: Viewer, path: str, **headers: str) -> int:
    """Status of a request as it is: no client that cleans paths or keeps cookies."""
    connection = http.client.HTTPConnection(urlsplit(viewer.origin).netloc, timeout=LIMIT)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    status = connection.getresponse().status
    connection.close()
    return status


def known(viewer: Viewer) -> dict[str, str]:
    return {"Cookie": f"monai_inn_viewer_{urlsplit(viewer.origin).port}={viewer.token}"}


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize("path", ["/", "/index.html", "/vue.global.js", "/ws", "/nothing"])
def test_without_the_token_nothing_is_served(viewer: Viewer, path: str) -> None:
    upgrade = UPGRADE if path == "/ws" else {}
    assert ask(viewer, path, **upgrade) == 403
    assert ask(viewer, f"{path}?token={viewer.token.swapcase()}", **upgrade) == 403
    assert ask(viewer, f"{path}?token=", **known(viewer), **upgrade) == 403


def test_other_sites_get_nothing(viewer: Viewer) -> None:
    assert ask(viewer, "/index.html", **known(viewer)) == 200
    assert ask(viewer, "/ws", **known(viewer), **UPGRADE) == 101
    assert ask(viewer, "/ws", **known(viewer), **UPGRADE, Origin="http://evil.example") == 403
    assert ask(viewer, "/index.html", **known(viewer), Host="evil.example") == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets//etc/passwd",
        "/result.json",
        "/median_sao2.nii.gz",
        "/assets/",
    ],
)
def test_files_outside_the_page_cannot_be_read(viewer: Viewer, path: str) -> None:
    assert ask(viewer, path, **known(viewer)) in (400, 403, 404)


def test_damaged_folders_give_one_clear_line(folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "median_sao2.nii.gz").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    for line, message in zip(
        refusals(tmp_path / "log.txt", tmp_path / "empty", damaged),
        ("no result.json", "truncated"),
        strict=True,
    ):
        assert line.startswith(("ResultError: ", "ValueError: "))
        assert message in line


def test_a_taken_port_is_told(viewer: Viewer, folder: Path, tmp_path: Path) -> None:
    port = urlsplit(viewer.origin).port or 0
    (line,) = refusals(tmp_path / "log.txt", folder, port=port)
    assert f"Port {port} is taken" in line
