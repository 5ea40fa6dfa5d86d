"""The page of a report as people see and print it: names in words, no raw JSON, nothing cut off."""

import itertools
import json
import math
import re
import shutil

import pytest
import torch
from known_cases import SEED, gaussian_cases
from matplotlib.backends.backend_agg import FigureCanvasAgg

from monai_inn.cli import main
from monai_inn.problems import Parameter, labels
from monai_inn.reports import printing
from monai_inn.validation import Cases, write_report
from monai_inn.validation.conditional import conditional_plot
from monai_inn.validation.remarks import remarks

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


@pytest.mark.usefixtures("quick_drawings")
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


@pytest.mark.usefixtures("quick_drawings")
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


@pytest.mark.usefixtures("quick_drawings")
def test_bits_stand_in_the_page_in_words_and_only_where_they_were_measured(
    gaussian_fit, of_simulations, tmp_path
):
    assert "<h2>Sharpness</h2>" in of_simulations[1]
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
    section = page.split("<h2>Sharpness and information</h2>")[1].split("<h2>")[0]
    assert "<td>Component 1 of the hidden vector</td>" in section
    bits = f"{report['information']['parameters']['x1']['bits']:.2f}".replace("-", "−")
    assert f"<td>{bits}<span" in section
    assert "; the targets together " in section
    assert "all parameters together" not in section  # there are no nuisances


def test_the_page_explains_its_words_and_says_how_to_cite_it(of_simulations):
    text = " ".join(without_drawings(of_simulations[1]).split())
    assert "How to cite</th><td>monai_inn" in text
    assert "bundle b 0.2.0, weights abababababab; seed 0" in text
    words = re.findall(r"<dt>(.*?)</dt>", text)
    for word in ("95 % interval", "Tolerance", "TARP", "Resimulation"):
        assert word in words


def test_nuisances_stand_in_one_table_and_in_no_drawing(tmp_path):
    report, page = page_of(tmp_path, {"kind": "files", "samples": "s.npz"}, count=5)
    assert report["targets"] == ["x0", "x1"]
    assert not [text for text in drawn_texts(page) if text.lower() in ("x2", "x3", "x4")]
    table = without_drawings(page).split("<h2>Nuisances</h2>")[1].split("</table>")[0]
    assert re.findall(r"<code>(\w+)</code>", table) == ["x2", "x3", "x4"]
    assert re.findall(r"<code>(\w+)</code>", page.split("<h2>Nuisances</h2>")[0]) == ["x0", "x1"]


@pytest.mark.usefixtures("quick_drawings")
def test_crossed_limits_are_remarked_on(of_files, tmp_path):
    report, page = of_files
    assert any(remark.startswith("Calibration error above ") for remark in report["remarks"])
    assert all(remark.replace("'", "&#39;") in page for remark in report["remarks"])
    exact = gaussian_cases(400, seed=1)  # by chance other seeds cross one of the many limits
    assert write_report(exact, tmp_path / "exact", title="exact", seed=SEED)["remarks"] == []
    page = (tmp_path / "exact" / "report.html").read_text(encoding="utf-8")
    assert "No figure crosses the limit that an exact posterior keeps to." in page
    assert "<h2>Limits that were crossed</h2>" not in page


def crossing(**changes):
    """A report of which everything keeps to its limits but what is changed."""
    parameter = {
        "name": "x", "description": "", "calibration_error": 0.01, "calibration_error_noise_floor": 0.03,
        "sbc_p": 0.4, "sbc_inside_envelope": True,
    }  # fmt: skip
    resimulation = {"ratio": 1.0, "low": 0.9, "high": 1.1, "p": 0.5}
    rate = {"nominal": 0.05, "measured": 0.05, "low": 0.03, "high": 0.07}
    sets = {"level": 0.9, "coverage": {"sick": {"value": 0.9, "low": 0.8, "high": 0.95}}}
    parts = {
        "parameter": parameter,
        "tarp": {"p": 0.3},
        "resimulation": resimulation,
        "error": {"value": 0.02},
        "sets": sets,
        "alarms": rate,
    }
    parts |= {name: parts[name] | change for name, change in changes.items()}
    return {
        "parameters": [parts["parameter"]],
        "joint": {"tarp": parts["tarp"], "resimulation": parts["resimulation"]},
        "classes": {
            "calibration_error": parts["error"],
            "calibration_error_if_exact": 0.03,
            "sets": [parts["sets"]],
        },
        "trust": {"false_alarms": [parts["alarms"]]},
    }


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"parameter": {"calibration_error": 0.0324}}, "Calibration error above 3.00 %: X (3.24 %). "),
        ({"parameter": {"sbc_p": 0.01}}, "p-value of ranks below 0.05: X (0.01). "),
        ({"parameter": {"sbc_inside_envelope": False}}, "Ranks outside the 95 % envelope: X. "),
        ({"tarp": {"p": 0.01}}, "All parameters together: p-value of TARP 0.01, below 0.05."),
        ({"resimulation": {"low": 1.02}}, "Resimulation: the misfit of posterior draws is 1.000 times "),
        ({"error": {"value": 0.04}}, "Expected calibration error 0.040, above 0.030, "),
        ({"alarms": {"measured": 0.09, "low": 0.06}}, "False alarms: 9.00 % (6.00 % – 7.00 %), where 5 % "),
        ({"sets": {"level": 0.96}}, "Sets of classes for 96 % of cases hold sick in only 90.0 % "),
    ],
)  # fmt: skip
def test_each_limit_has_its_remark(changes, remark):
    assert remarks(crossing()) == []
    (found,) = remarks(crossing(**changes))
    assert found.lower().startswith(remark.lower())


@pytest.mark.parametrize("bundle", ["oximetry", pytest.param("perfusion", marks=pytest.mark.slow)])
def test_a_report_of_a_shipped_bundle_is_printed_on_four_pages(bundle, tmp_path):
    if not any(shutil.which(name) for name in printing._BROWSERS):
        pytest.skip("no browser to print with")
    out = tmp_path / "report"
    assert main(["validate", bundle, "-o", str(out), "-n", "100", "--samples", "31", "--pdf"]) == 0
    pdf = (out / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type /Page\b", pdf)) <= 4


def test_numbers_in_the_fields_do_not_touch():
    names = ["a", "b", "c", "d"]

    def entry(by: str, parameter: str, number: int) -> dict:
        off = {"value": -0.13, "p_corrected": 0.5}
        ends = {"bin": number, "low": number, "high": number + 1.0, "unit": "1"}
        return {"by": by, "parameter": parameter, **ends, "width": off | {"value": 0.87}, "shift": off}

    entries = [entry(by, name, k) for by in names for name in names for k in range(5)]
    words = dict.fromkeys(names, "Power of the decay of scattering with wavelength")
    figure = conditional_plot.__wrapped__(entries, words, names, names)
    FigureCanvasAgg(figure).draw()
    for part in figure.subfigs:
        for axis in part.axes:
            boxes = [text.get_window_extent() for text in axis.texts[:5]]
            apart = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
            assert min(apart) > 5  # pixels, a digit: browsers have wider fonts
