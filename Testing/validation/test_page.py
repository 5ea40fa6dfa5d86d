"""The page of a report as people see and print it: names in words, no raw JSON, nothing cut off."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from known_cases import SEED

from monai_inn.cli import main
from monai_inn.metrics import ecdf_difference
from monai_inn.problems import Parameter, labels
from monai_inn.reports import printing
from monai_inn.validation import Cases, plots, write_report

PARAMETERS = (
    Parameter("sao2", "1", 0, 1, "oxygen saturation of the blood"),
    Parameter(
        "a_mie", "1/cm", 5, 50, "reduced scattering coefficient at 500 nm, mean over the top millimetre"
    ),
)


def page_of(tmp_path, source, count=2, **options):
    generator = torch.Generator().manual_seed(SEED)
    truth = torch.rand(300, count, generator=generator, dtype=torch.float64)
    samples = truth + 0.02 * torch.randn(31, 300, count, generator=generator) + 0.02
    parameters = PARAMETERS[:count]
    if count > 2:
        parameters = tuple(Parameter(f"x{i}", "1", -math.inf, math.inf) for i in range(count))
    cases = Cases(samples, truth, parameters, source, targets=(parameters[0].name, parameters[1].name))
    report = write_report(cases, tmp_path / "report", title="t", seed=SEED, **options)
    return report, (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


CAMERA = {"name": "tivita", "response": {"values": [0.018453, 0.0625]}}


@pytest.fixture(scope="module")
def of_files(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("files"), {"kind": "files", "samples": "s.npz"})


@pytest.fixture(scope="module")
def of_simulations(tmp_path_factory):
    source = {
        "kind": "simulations",
        "problem": "oximetry",
        "configuration": {"camera": CAMERA, "tissue": "skin"},
        "bundle": "b",
        "version": "0.2.0",
        "weights_sha256": "ab" * 32,
    }
    return page_of(tmp_path_factory.mktemp("simulations"), source)


def drawn_texts(page):
    """Texts inside the drawings, which matplotlib repeats as comments."""
    return [text for text in re.findall(r"<!-- (.*?) -->", page, flags=re.DOTALL)]


def without_drawings(page):
    return re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_a_label_is_the_description_up_to_its_first_comma():
    assert labels((p.name, p.description) for p in PARAMETERS) == {
        "sao2": "Oxygen saturation of the blood",
        "a_mie": "Reduced scattering coefficient at 500 nm",
    }
    assert labels([("v", "shift at point (0, 1)"), ("t", "")], begin=False) == {
        "v": "shift at point (0, 1)",
        "t": "t",
    }
    # Two that begin alike are told apart.
    assert labels([("a", "speed, first"), ("b", "speed, second")]) == {"a": "Speed (a)", "b": "Speed (b)"}


def test_parameters_are_named_in_words_with_their_units(tmp_path):
    report, page = page_of(tmp_path, {"kind": "files", "samples": "s.npz"}, mode_tolerance={"a_mie": 2.0})
    text = without_drawings(page)
    assert [p["name"] for p in report["parameters"]] == ["sao2", "a_mie"]
    for label in ("Oxygen saturation of the blood", "Reduced scattering coefficient at 500 nm"):
        assert text.count(label) >= 4
    # The short name stands in one column, as a symbol, and nowhere else.
    assert text.count("a_mie") == text.count("sao2") == 1
    assert text.count(">1/cm</td>") == 2
    assert "(± 2, in 1/cm)" in text
    assert report["parameters"][0]["verdict"].startswith("Oxygen saturation of the blood: intervals ")
    assert any("where oxygen saturation of the blood is estimated above" in e["verdict"]
               for e in report["conditional"])  # fmt: skip
    drawn = drawn_texts(page)
    assert not [text for text in drawn if "sao2" in text or "a_mie" in text]
    assert any("(1/cm)" in text for text in drawn)


@pytest.mark.parametrize("kind", ["simulations", "files"])
def test_a_verdict_on_simulations_says_so(request, kind):
    report, page = request.getfixturevalue(f"of_{kind}")
    told = [*re.findall(r'<span class="tag.*?</td>', page), *re.findall(r'<div class="box.*?</div>', page)]
    assert len(told) == 3
    assert all(("on simulations" in text) == (kind == "simulations") for text in told)
    assert ("simulations" in report["summary"]) == (kind == "simulations")


def test_held_out_images_are_not_called_simulations(tmp_path):
    report, page = page_of(tmp_path, {"kind": "held-out images", "problem": "labelled_images"})
    text = without_drawings(page)
    assert "simulations" not in report["summary"]
    assert "300 held-out images" in report["summary"]
    assert "Small deviation on held-out images" in text or "on held-out images." in text
    assert "Calibration on held-out images does not prove calibration on those of another source" in text
    assert "300 held-out images that were not used in training" in text


def test_the_page_holds_no_raw_json_and_nothing_that_only_a_mouse_shows(of_simulations):
    report, page = of_simulations
    assert report["source"]["configuration"]["camera"]["response"]["values"] == [0.018453, 0.0625]
    text = without_drawings(page)
    assert "0.018453" not in text
    assert not re.search(r"<pre|{&#34;|\[\d|{\"", text)
    assert not re.search(r"\stitle=|<details|:hover", page)
    assert "tivita" in text
    assert "skin" in text


def test_the_page_prints_whole(of_files):
    _, page = of_files
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@page { size: A4" in style
    printed = style[style.index("@media print") :]
    assert re.search(r"figure[^}]*break-inside: avoid", style)
    assert re.search(r"tr[^}]*break-inside: avoid", style)
    assert re.search(r"\.tag[^}]*color: #000", printed)
    assert "overflow-x" not in page
    # A table that is longer than a page repeats its head.
    assert page.count("<table") - page.count('<table class="facts"') == page.count("<thead>")


def test_many_parameters_get_drawings_that_fit_a_page(tmp_path):
    _, page = page_of(tmp_path, {"kind": "files", "samples": "s.npz"}, count=20)
    heights = [float(h) for h in re.findall(r'<svg[^>]*? height="([\d.]+)pt"', page)]
    # 72 points an inch; A4 is 11.7 inches high and drawings are at most shrunk.
    assert max(heights) <= 72 * 10.5


def test_a_bundle_is_named_with_version_and_checksum(gaussian_fit, tmp_path, monkeypatch):
    gaussian_fit.save(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path / "bundle")
    assert main(["validate", ".", "-o", str(tmp_path / "report"), "-n", "100", "--samples", "31"]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    metadata = json.loads((tmp_path / "bundle/configs/metadata.json").read_text(encoding="utf-8"))
    assert report["title"] == "bundle"
    assert report["source"]["version"] == metadata["version"]
    assert report["source"]["weights_sha256"] == metadata["monai_inn"]["weights_sha256"]
    text = without_drawings((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert metadata["monai_inn"]["weights_sha256"] in text
    for fact in (
        f"version {metadata['version']}",
        report["versions"]["monai_inn"],
        "Seed",
        report["made"][:10],
    ):
        assert fact in text


def test_bits_stand_in_the_page_in_words_and_only_where_they_were_measured(
    gaussian_fit, of_simulations, tmp_path
):
    assert "<h2>Information</h2>" not in of_simulations[1]
    validate = (
        "validate",
        str(tmp_path / "bundle"),
        "-o",
        str(tmp_path / "out"),
        "-n",
        "64",
        "--samples",
        "15",
    )
    gaussian_fit.save(tmp_path / "bundle")
    assert main(validate) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    page = without_drawings((tmp_path / "out" / "report.html").read_text())
    assert list(report["information"]["parameters"]) == ["x1", "x2", "x3", "x4"]
    assert "<td>Component 1 of the hidden vector</td>" in page.split("<h2>Information</h2>")[1]
    assert "<td>targets together</td>" in page
    assert "<td>all parameters together</td>" not in page  # there are no nuisances


def test_the_page_explains_its_words_and_says_how_to_cite_it(of_simulations):
    text = " ".join(without_drawings(of_simulations[1]).split())
    assert "How to cite</th><td>monai_inn" in text
    assert "bundle b 0.2.0, weights abababababab; seed 0" in text
    words = re.findall(r"<dt>(.*?)</dt>", text)
    for word in ("95 % interval", "Tolerance", "TARP", "Resimulation"):
        assert word in words


def test_a_report_of_four_parameters_is_printed_on_four_pages(tmp_path):
    if not any(shutil.which(name) for name in printing._BROWSERS):
        pytest.skip("no browser to print with")
    page_of(tmp_path, {"kind": "files", "samples": "s.npz"}, count=4, is_printed=True)
    pdf = (tmp_path / "report" / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type /Page\b", pdf)) <= 4


@pytest.mark.parametrize("count", [1, 6])
def test_no_words_of_a_drawing_are_cut_off(count, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "svg", lambda figure: shown.append(figure) or "")
    ranks = torch.randint(0, 32, (count, 400), generator=torch.Generator().manual_seed(SEED))
    counts = torch.stack([torch.bincount(row, minlength=32) for row in ranks])
    plots.ecdf_plot(["Parameter"] * count, ecdf_difference(counts))
    level, flat = np.linspace(0.1, 0.9, 9), np.zeros(9)
    plots.coverage_plot(["Parameter"] * count, level, level[:, None].repeat(count, 1), flat, flat)
    for figure in shown:
        figure.draw_without_rendering()
        box = figure.bbox
        heads = [text for axis in figure.axes for text in (axis.title, axis.xaxis.label, axis.yaxis.label)]
        heads += [text for text in (figure._supxlabel, figure._supylabel) if text is not None]
        written = [text for text in heads if text.get_text() and text.get_visible()]
        assert len(written) >= 3
        for text in written:
            place = text.get_window_extent()
            assert box.x0 <= place.x0, text
            assert box.y0 <= place.y0, text
            assert place.x1 <= box.x1, text
            assert place.y1 <= box.y1, text
