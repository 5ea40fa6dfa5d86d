"""Draw posteriors of images in viewer and Slicer: python docs/make_image_pictures.py MEASURED TRANSLATED.

The folders are what `monai-inn reconstruct` and `monai-inn translate` have written.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "Testing" / name) for name in ("web", "slicer")]
sys.path.insert(0, str(HERE.parent / "SlicerINN" / "INNUncertainty"))

from driver import CHROMIUM_FLAGS, Viewer, choose, click_at, opened, press, rest  # noqa: E402
from playwright.sync_api import Browser, sync_playwright  # noqa: E402

PICTURES = HERE / "images"
SIZE = (1280, 800)


def side_by_side(browser: Browser, folder: Path, log: Path) -> None:
    """Draw mean, sample and zero-filled image of measured k-space."""
    viewer = Viewer(folder, log)
    with opened(browser, viewer, [], SIZE, motion="no-preference") as page:
        page.locator("#side_by_side").press("Space")
        page.wait_for_function("document.querySelectorAll('#views .caption').length === 3")
        press(page, "opacity", "Home")
        press(page, "opacity", "ArrowRight", 7)
        box = page.locator("#views .remote-controlled-area").first.bounding_box()
        click_at(page, box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
        page.mouse.move(0, 0)
        rest(page)
        page.screenshot(path=PICTURES / "viewer_images.png")
    viewer.stop()


def width_over_mean(browser: Browser, folder: Path, log: Path) -> None:
    """Draw the width over the mean of a translated image, with a voxel that is read."""
    viewer = Viewer(folder, log)
    with opened(browser, viewer, [], SIZE, motion="no-preference") as page:
        choose(page, "kind", "Interval width")
        press(page, "opacity", "Home")
        press(page, "opacity", "ArrowRight", 9)
        box = page.locator("#views").bounding_box()
        click_at(page, box["x"] + 0.36 * box["width"], box["y"] + 0.42 * box["height"])
        page.mouse.move(0, 0)
        rest(page)
        page.screenshot(path=PICTURES / "viewer_synthetic.png")
    viewer.stop()


def panel(folder: Path) -> None:
    """Draw the module's panel after Apply on the contrasts of a translation."""
    from shim import install

    app = install()
    import slicer.util

    module = app.load_module(HERE.parent / "SlicerINN" / "INNUncertainty" / "INNUncertainty.py")
    widget, ui = module.widget, module.widget.ui
    app.wait_until(lambda: ui.bundleBox.count)
    ui.bundleBox.setCurrentIndex(ui.bundleBox.findText("contrast_translation"))
    t1, t2 = (
        slicer.util.loadVolume(str(folder / f"reference_{n}.nii.gz"), {"name": n}) for n in ("t1", "t2")
    )
    ui.imageSelector.setCurrentNode(t1)
    widget._further[0][1].setCurrentNode(t2)
    ui.applyButton.click()
    app.wait_until(lambda: widget.logic.inference is None, 600)
    ui.inputsSection.collapsed, ui.probeSection.collapsed = False, True
    module.panel.resize(440, 1080)
    app.grab_panel(module, PICTURES / "slicer_images.png")
    module.close()


def main() -> None:
    """Draw all of them."""
    measured, translated = map(Path, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as place, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium") or play.chromium.executable_path, args=CHROMIUM_FLAGS
        )
        side_by_side(browser, measured, Path(place) / "measured.txt")
        width_over_mean(browser, translated, Path(place) / "translated.txt")
        browser.close()
    panel(translated)


if __name__ == "__main__":
    main()
