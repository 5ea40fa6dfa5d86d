"""The measured curve of a clicked voxel with its predictive band, as a drawing and in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
from driver import as_new, click_image, says, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

for package in ("trame_slicer", "SimpleITK"):
    pytest.importorskip(package, reason=f"the viewer needs {package}")

BREAST = Path(__file__).parents[2] / "Resources" / "breast_dce"
SIDE, FRAMES, LOST = 14, 25, 10
VOXEL = 7, 12
"""Column and row of a voxel that lacks a frame."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the example, in which one voxel lacks a frame."""
    import nibabel

    from monai_inn.reports import figures, infer_image

    folder = tmp_path_factory.mktemp("breast")
    whole = nibabel.load(BREAST.with_suffix(".nii.gz"))
    part = np.asarray(whole.dataobj, np.float32)[20 : 20 + SIDE, 20 : 20 + SIDE]
    part[VOXEL[0], VOXEL[1], 0, LOST] = np.nan
    nibabel.save(nibabel.Nifti1Image(part, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / "breast.nii.gz")
    (folder / "breast.json").write_bytes(BREAST.with_suffix(".json").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "map_figure", lambda *_, **__: None)
        infer_image(
            "perfusion", folder / "breast.nii.gz", folder / "out", samples=32, save_quantiles=16, adequacy=39
        )
    return folder / "out"


def curve(**more):
    from monai_inn.viewer.display import VoxelCurve

    places = np.array([0.0, 10.0, 30.0])
    known = {"quantity": "concentration [mM]", "axis": "time [s]", "interval": 0.9, "positions": places}
    values = {"measured": places / 30, "low": places / 30 - 1, "median": places / 30, "high": places / 30 + 1}
    return VoxelCurve(**known | values | more)


def test_a_drawing_shows_values_where_they_are() -> None:
    from monai_inn.viewer.curve_chart import BOTTOM, LEFT, RIGHT, TOP, draw_curve

    drawn = ElementTree.fromstring(draw_curve(curve(), True))
    points = [(float(c.get("cx")), float(c.get("cy"))) for c in drawn.iter("circle")]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert (x1 - x0) / (x2 - x0) == pytest.approx(1 / 3, abs=0.002)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(1 / 3, abs=0.02)
    assert y2 < y0  # larger values are higher
    band = drawn.find("path[@class='band']").get("d")[1:-1].split("L")
    corners = np.array([[float(number) for number in corner.split()] for corner in band])
    assert corners.shape == (6, 2)
    assert ((corners >= (LEFT, TOP)) & (corners <= (RIGHT, BOTTOM))).all()
    assert (y0 - corners[5, 1]) == pytest.approx(corners[0, 1] - y0, abs=0.11)
    texts = [text.text for text in drawn.iter("text")]
    assert {"concentration [mM]", "time [s]"} <= {*texts}
    assert any("90%" in text for text in texts)
    ticks = [float(text) for text in texts if text.lstrip("-").replace(".", "").isdigit()]
    assert {0.0, 10.0, 20.0, 30.0, -1.0, 1.0, 2.0} <= {*ticks}


def test_a_drawing_of_strange_values_and_words() -> None:
    from monai_inn.viewer.curve_chart import draw_curve

    flat = {part: np.zeros(3) for part in ("measured", "low", "median", "high")}
    single = {part: np.ones(1) for part in ("positions", *flat)}
    for more in (flat, single):
        text = draw_curve(curve(quantity="<img src=x>", axis="{{1}}", **more), False)
        drawn = ElementTree.fromstring(text)
        assert drawn.get("class") == "curve withheld"
        assert not [*drawn.iter("img")]
        assert "nan" not in text
        assert "inf" not in text


def test_curves_are_read_from_the_disk_when_they_are_looked_at(result: Path, tmp_path: Path) -> None:
    import nibabel
    from monai_inn.viewer.display import ResultError, read_curve, read_result

    read = read_result(result)
    files = {file.parameter: file.mapped() for file in read.files if file.kind == "curve"}
    for part, values in files.items():
        assert isinstance(values.base, np.memmap)
        stored = np.asarray(nibabel.load(result / f"curve_{part}.nii").dataobj)
        np.testing.assert_array_equal(values, stored.transpose(2, 1, 0, 3))
    voxel = 0, VOXEL[1], VOXEL[0]
    found = read_curve(read.record, lambda part: files[part][voxel])
    assert (found.quantity, found.axis) == (
        "concentration in the tissue [mM]",
        "time since the first frame [s]",
    )
    times = json.loads(BREAST.with_suffix(".json").read_text())["time"]
    assert found.positions.tolist() == pytest.approx(times[:LOST] + times[LOST + 1 :])
    assert np.isfinite([found.measured, found.low, found.high]).all()
    assert read_curve(read.record, lambda part: None) is None
    assert read_curve(read.record, lambda part: np.full(FRAMES, np.nan)) is None
    assert read_curve(read.record, lambda part: np.ones(FRAMES - 1)) is None
    assert read_curve({}, lambda part: files[part][voxel]) is None
    (file, *_) = [file for file in read.files if file.kind == "curve"]
    for content in (b"", file.path.read_bytes()[:-1]):
        cut = type(file)(tmp_path / "cut.nii", file.kind, file.parameter, file.unit, ())
        cut.path.write_bytes(content)
        with pytest.raises(ResultError, match="truncated or damaged"):
            cut.mapped()


@pytest.fixture(scope="module")
def breast(
    browser: Browser, result: Path, all_complaints: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    with served(browser, result, tmp_path_factory.mktemp("viewer") / "log.txt", all_complaints) as page:
        yield page


def test_a_click_draws_the_curve_of_the_voxel(
    breast: Page, result: Path, complaints: list[str], keep: Callable[..., None]
) -> None:
    import nibabel

    page = as_new(breast)
    assert page.locator("#series svg").count() == 0
    for column, row, points in ((VOXEL[0], VOXEL[1], FRAMES - 1), (VOXEL[0], VOXEL[1] + 1, FRAMES)):
        click_image(page, column, row, (SIDE, SIDE))
        says(page, "#where", f"column {column}, row {row}")
        says(page, "#series", "time since the first frame [s]")
        says(page, "#series", "concentration in the tissue [mM]")
        says(page, "#series", "95%")
        assert page.locator("#series .point").count() == points
        assert page.locator("#series .band").count() == 1
    page.locator("#series").scroll_into_view_if_needed()
    keep(page, "curve")
    text = page.locator("#series text").evaluate_all(
        "all => all.every(t => { const a = t.getBBox(), b = t.ownerSVGElement.viewBox.baseVal;"
        "return a.x >= 0 && a.y >= 0 && a.x + a.width <= b.width && a.y + a.height <= b.height; })"
    )
    assert text, "a text of the drawing is clipped"
    valid = np.asarray(nibabel.load(result / "valid.nii.gz").dataobj)[4:, 4:, 0]  # a button is in the corner
    column, row = (int(index[0]) + 4 for index in (valid == 0).nonzero())
    click_image(page, column, row, (SIDE, SIDE))
    says(page, "#line", "NOT USABLE")
    assert page.locator("#series svg").count() == 0


def test_a_result_without_curves_draws_none(page: Page) -> None:
    click_image(page, 40, 40, (96, 128))
    says(page, "#where", "column 40, row 40")
    assert page.locator("#curve svg").count() == 1
    assert page.locator("#series svg").count() == 0
