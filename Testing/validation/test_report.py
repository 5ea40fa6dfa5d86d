"""The report as files: schema, one page without anything from outside, whole or not at all."""

import json
import re

import numpy as np
import pytest
import torch
from known_cases import SEED, described, gaussian_cases

from monai_inn.bundles import load
from monai_inn.cli import main
from monai_inn.problems.valid import fresh_simulations, valid_simulations
from monai_inn.training.measure import measure
from monai_inn.validation import Cases, Images, check_report, simulated_cases, validate, write_report


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "report"
    return write_report(gaussian_cases(800, width=0.7), folder, title="<too narrow>", seed=SEED), folder


def test_the_json_is_the_report_and_follows_the_schema(written):
    report, folder = written
    stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert stored == report
    check_report(stored)
    assert stored["seed"] == SEED
    assert stored["cases"] == 800
    assert set(stored["versions"]) >= {"monai_inn", "torch", "scipy"}
    stored["parameters"][0]["width"]["p"] = 2.0
    with pytest.raises(ValueError, match="at parameters/0/width/p"):
        check_report(stored)
    del stored["status"]
    stored["parameters"] = report["parameters"]
    with pytest.raises(ValueError, match="'status' is a required property"):
        check_report(stored)


def test_the_page_says_it_in_words_and_needs_nothing_from_outside(written):
    report, folder = written
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;too narrow&gt;" in page
    assert all(entry["verdict"].split(": ", 1)[1] in page for entry in report["parameters"])
    # Names of XML vocabularies are not links.
    outside = [url for url in re.findall(r"https?://[^\s\"'<>]+", page) if "w3.org" not in url]
    assert not outside
    assert not re.search(r"<(script|link|img|iframe)\b", page)
    # Width, coverage, ranks, regions, TARP.
    assert page.count("<svg") == 5


def test_the_same_seed_gives_the_same_page(written, tmp_path):
    _, folder = written
    write_report(gaussian_cases(800, width=0.7), tmp_path / "again", title="<too narrow>", seed=SEED)
    pages = [(path / "report.html").read_text(encoding="utf-8") for path in (folder, tmp_path / "again")]
    first, second = (re.sub(r"\d{4}-\d\d-\d\d[T ][\d:+]+", "", page) for page in pages)
    assert first == second


def test_images_are_shown_as_maps(tmp_path):
    generator = torch.Generator().manual_seed(SEED)
    truth = torch.randn(2 * 12 * 10, 1, generator=generator)
    samples = truth + torch.randn(50, len(truth), 1, generator=generator)
    pixel = torch.arange(len(truth))[30:]
    cases = Cases(samples[:, 30:], truth[30:], described("sao2"), images=Images((2, 12, 10), pixel))
    report = write_report(cases, tmp_path / "report", title="images")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Image 1: sao2" in page
    assert "Image 2: sao2" in page
    assert "Neighbours are not independent" in report["notes"][0]


@pytest.mark.usefixtures("quick_drawings")
def test_a_fitted_posterior_is_validated_on_its_own_simulations(gaussian_fit, tmp_path):
    cases = simulated_cases(gaussian_fit, 120, 31, seed=3)
    truth, y = fresh_simulations(gaussian_fit.problem, 120, seed=3)
    assert torch.equal(cases.truth, truth)
    assert cases.samples.shape == (31, 120, 4)
    # The residuals of the truth are the noise.
    assert float(cases.residuals[1].std()) == pytest.approx(0.3, rel=4 / (2 * 360) ** 0.5)
    with torch.no_grad():
        expected = gaussian_fit.posterior(y).log_prob(truth)
    torch.testing.assert_close(cases.log_prob, expected)
    report = write_report(cases, tmp_path / "report", title="untrained")
    assert report["status"] == "miscalibrated"
    assert report["joint"]["resimulation"]["low"] > 1
    assert [row["nominal"] for row in report["trust"]["false_alarms"]] == [0.01, 0.05, 0.1]


@pytest.mark.usefixtures("quick_drawings")
def test_a_training_and_validate_judge_alike(pose_fit):
    theta, y = valid_simulations(pose_fit.problem, 300, 5)  # angles are cut alike, too
    card = measure(pose_fit, 300, 5)["parameters"]
    report = validate(simulated_cases(pose_fit, simulations=(theta, y)), seed=SEED)[0]
    for entry in report["parameters"]:
        mine = card[entry["name"]]
        assert mine["status"] == entry["status"]
        for figure in ("width", "shift"):
            # Samples of another seed tell other ranks; the bounds are those of the cases themselves.
            reach = 0.3 * (entry[figure]["high"] - entry[figure]["low"])
            assert mine[figure]["value"] == pytest.approx(entry[figure]["value"], abs=reach)


@pytest.mark.usefixtures("quick_drawings")
def test_the_command_validates_bundles_and_files(gaussian_fit, tmp_path, capsys):
    gaussian_fit.save(tmp_path / "bundle")
    out = tmp_path / "report"
    assert main(["validate", str(tmp_path / "bundle"), "-o", str(out), "-n", "100", "--samples", "31"]) == 0
    assert "bundle: miscalibrated" in capsys.readouterr().out
    repaired = tmp_path / "repaired"
    arguments = ["validate", str(tmp_path / "bundle"), "-o", str(out), "-n", "400", "--samples", "31"]
    assert main([*arguments, "--recalibrate", str(repaired)]) == 0
    assert f"recalibration: repaired; bundle: {repaired}" in capsys.readouterr().out
    assert load(repaired).card["recalibration"]["status"] == "repaired"
    truth = np.random.default_rng(SEED).normal(size=(300, 1))
    np.savez(tmp_path / "cases.npz", samples=np.random.default_rng(1).normal(size=(63, 300, 1)), truth=truth)
    assert main(["validate", str(tmp_path / "cases.npz"), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["kind"] == "files"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{bundle}", "-o", "{tmp}/r", "-n", "10"], "10 cases are too few"),
        (["{bundle}", "-o", "{tmp}/r", "--samples", "1"], "1 posterior sample"),
        (["{bundle}", "-o", "{tmp}/r", "--truth", "x.csv"], "is a bundle and is validated on its own"),
        (["{tmp}/none.npz", "-o", "{tmp}/r"], "no such file"),
        (["{tmp}/none.npz", "-o", "{tmp}/r", "--recalibrate", "{tmp}/b"], "repairs bundles only"),
        (["{bundle}", "-o", "{tmp}/bundle"], "exists and is not a report"),
        (["{bundle}", "-o", "{tmp}/r", "--recalibrate", "{tmp}/r"], "give another folder"),
        (["{bundle}", "-o", "{tmp}/r", "--tolerance-width", "0"], "give a share between 0 and 1"),
    ],
)
def test_bad_input_costs_one_line_and_leaves_nothing(gaussian_fit, tmp_path, capsys, arguments, message):
    gaussian_fit.save(tmp_path / "bundle")
    filled = [a.format(bundle=tmp_path / "bundle", tmp=tmp_path) for a in arguments]
    assert main(["validate", *filled]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "r").exists()
