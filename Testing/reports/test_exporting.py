"""Exports of a result: tables and pages say what the maps say, and appear complete or not at all."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from known_result import PARAMETERS, maps_of, refused, write_result

from monai_inn.cli import main
from monai_inn.reports.exporting import export_result

AFFINE = np.array([[0.0, -2.0, 0.0, 10.0], [-1.0, 0.0, 0.0, 20.0], [0.0, 0.0, -3.0, 5.0], [0, 0, 0, 1.0]])


@pytest.fixture
def result(tmp_path):
    return write_result(tmp_path / "result", AFFINE)


def pixel_rows(out):
    with gzip.open(out / "pixels.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_copies_are_a_result_themselves(result, tmp_path):
    report = export_result(result, tmp_path / "out", formats=("nifti",))
    copied = tmp_path / "out/nifti"
    names = {entry["file"] for entry in json.loads((copied / "result.json").read_text())["files"]}
    assert names | {"result.json"} == {path.name for path in copied.iterdir()}
    assert names == {"ood.nii.gz", "valid.nii.gz", "probability_below_sao2 < 0.6.nii.gz"} | {
        f"{kind}_{row['name']}.nii.gz" for kind in ("median", "interval_width") for row in PARAMETERS
    }
    for name in names:
        assert (copied / name).read_bytes() == (result / name).read_bytes()
    assert json.loads((tmp_path / "out/export.json").read_text()) == report
    assert all((tmp_path / "out" / entry["file"]).is_file() for entry in report["files"])
    export_result(copied, tmp_path / "again", formats=("nifti", "csv", "html"))


def test_pixels_are_those_of_the_maps(result, tmp_path):
    export_result(result, tmp_path / "out", formats=("csv",))
    rows = pixel_rows(tmp_path / "out")
    medians, trusted = maps_of(result)
    widths, _ = maps_of(result, "interval_width")
    quantiles = nibabel.load(result / "quantiles_a_mie.nii.gz").get_fdata()
    valid = nibabel.load(result / "valid.nii.gz").get_fdata() > 0
    assert [tuple(int(row[axis]) for axis in "ijk") for row in rows] == [
        tuple(p) for p in np.argwhere(valid).tolist()
    ]
    for row in rows:
        at = tuple(int(row[axis]) for axis in "ijk")
        position = [float(row[f"{axis} [mm]"]) for axis in "xyz"]
        np.testing.assert_allclose(position, (AFFINE @ (*at, 1))[:3], rtol=1e-6)
        assert (row["ood"] == "0") == trusted[at]
        for parameter in PARAMETERS:
            name, unit = parameter["name"], parameter["unit"]
            assert float(row[f"{name}_median [{unit}]"]) == pytest.approx(medians[name][at], rel=1e-6)
            assert float(row[f"{name}_interval_width [{unit}]"]) == pytest.approx(widths[name][at], rel=1e-6)
        ends = [float(row[f"a_mie_{end} [1/cm]"]) for end in ("low", "high")]
        np.testing.assert_allclose(ends, quantiles[at][[0, -1]], rtol=1e-6)


def test_an_export_is_not_replaced_by_one_of_a_result_in_it(result, tmp_path, capsys):
    out = tmp_path / "out"
    export_result(result, out, formats=["nifti"])
    assert "which would be lost" in refused(capsys, "export", out / "nifti", "-o", out, "--format", "csv")
    assert (out / "nifti" / "result.json").is_file()


def test_without_quantiles_there_are_no_ends(tmp_path):
    folder = write_result(tmp_path / "result", AFFINE, quantiles=False)
    export_result(folder, tmp_path / "out", formats=("csv",))
    heads = pixel_rows(tmp_path / "out")[0]
    assert not [head for head in heads if "_low" in head or "_high" in head]
    assert "a_mie_median [1/cm]" in heads


def test_summary_is_over_trusted_pixels(result, tmp_path):
    export_result(result, tmp_path / "out", formats=("csv",))
    with (tmp_path / "out/summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    medians, trusted = maps_of(result)
    modes, _ = maps_of(result, "mode_count")
    assert [(row["parameter"], row["unit"]) for row in rows] == [(p["name"], p["unit"]) for p in PARAMETERS]
    for row in rows:
        known = np.sort(medians[row["parameter"]][trusted])
        assert float(row["median_of_medians"]) == pytest.approx(known[(len(known) - 1) // 2], rel=1e-6)
        several = (modes[row["parameter"]][trusted] > 1).mean()
        assert float(row["share_multimodal"]) == pytest.approx(several, rel=1e-6)
        assert float(row["share_untrusted"]) == pytest.approx(6 / 102, rel=1e-6)
        assert (row["interval"], row["trusted_pixels"]) == ("0.95", str(trusted.sum()))


def test_nothing_usable_is_said_and_not_an_error(result, tmp_path):
    path = result / "valid.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((7, 5, 3), np.uint8), AFFINE), path)
    report = export_result(result, tmp_path / "out", formats=("csv", "html"))
    assert report["pixels"] == {"all": 105, "usable": 0, "withheld": 0}
    assert pixel_rows(tmp_path / "out") == []
    assert "All: 105 of 105 pixels hold no usable measurement" in (tmp_path / "out/record.html").read_text()


def test_equal_results_give_equal_tables(result, tmp_path):
    for name in ("a", "b"):
        export_result(result, tmp_path / name, formats=("csv",))
    assert (tmp_path / "a/pixels.csv.gz").read_bytes() == (tmp_path / "b/pixels.csv.gz").read_bytes()


def test_page_says_what_was_measured_and_asks_nothing_of_a_network(result, tmp_path):
    export_result(result, tmp_path / "out", formats=("html",))
    page = (tmp_path / "out/record.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", page)
    assert [source[:22] for source in re.findall(r'(?:src|href)="([^"]*)"', page)] == [
        "data:image/png;base64,"
    ]
    assert "default-src 'none'" in page
    banner = re.search(r'<div class="banner".*?</div>', page).group()
    assert "RESEARCH ONLY" in banner
    assert "Research only. Not a medical device." in banner
    for row in PARAMETERS:
        assert f'<code>{row["name"]}</code></td><td class="meaning">{row["unit"]}</td>' in page
    # Words instead of short names, which stand in the column of symbols alone.
    assert page.count("a_mie") == page.count("sao2") == 1
    assert "<td>Reduced scattering coefficient at 500 nm</td>" in page
    assert "overflow-x" not in page
    for said in (
        "Gewebe_ä.hdr", "cd" * 32, "made &amp; &lt;known&gt;, version 0.2.0", "ab" * 32, "tivita",
        "64 posterior samples", "interval 95 %", "false alarms allowed 5 %", "seed 4",
        "Oxygen saturation of the blood &lt; 0.6",
        "on 40,000 simulations: Oxygen saturation of the blood 0.20 %, Reduced scattering coefficient at "
        "500 nm not measured, Shift not measured",
        "5.88 % (6 of 102 usable pixels)", "2026-03-01", "torch 2.13.0",
    ):  # fmt: skip
        assert said in page, said


def test_bundle_that_nobody_measured_is_named(result, tmp_path):
    rewrite(result, bundle={"name": "new", "calibration": {"errors": {}}})
    export_result(result, tmp_path / "out", formats=("html",))
    assert "Not measured: nobody has checked" in (tmp_path / "out/record.html").read_text()


def test_verb_exports_what_infer_wrote(bundle, image_file, tmp_path, capsys):
    assert main(["infer", str(bundle), str(image_file), "-o", str(tmp_path / "r"), "--samples", "4"]) == 0
    capsys.readouterr()
    assert main(["export", str(tmp_path / "r"), "-o", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["formats"] == ["nifti", "csv", "html"]
    infer = json.loads((tmp_path / "r/result.json").read_text())["summary"]["trusted_pixels"]
    with (tmp_path / "out/summary.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            expected = infer[row["parameter"]]
            assert row["unit"] == expected["unit"]
            for key in ("median_of_medians", "median_interval_width"):
                assert float(row[key] or "nan") == pytest.approx(expected[key] or np.nan, 1e-4, nan_ok=True)
    assert main(["export", str(tmp_path / "r"), "-o", str(tmp_path / "out"), "--format", "csv"]) == 0
    assert "csv: " in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"export.json", "summary.csv", "pixels.csv.gz"}


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(folder, **changed):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "result.json").unlink(), "no result.json in it"),
        (lambda r: truncate(r / "result.json"), "is damaged"),
        (lambda r: (r / "result.json").write_text("[]"), "is not of type 'object'"),
        (lambda r: (r / "result.json").write_text('{"format_version": 9}'), "is a required property"),
        (lambda r: rewrite(r, settings={"interval": 0.9}), "has no setting false_alarm"),
        (lambda r: rewrite(r, files=[{"file": "a.nii.gz"}]), "is damaged"),
        (lambda r: rewrite(r, format_version=9), "has format 9"),
        (
            lambda r: truncate(r / "median_a_mie.nii.gz"),
            "median_a_mie.nii.gz: cannot be read, it is truncated",
        ),
        (lambda r: truncate(r / "quantiles_sao2.nii.gz"), "quantiles_sao2.nii.gz: cannot be read"),
        (lambda r: (r / "ood.nii.gz").unlink(), "ood.nii.gz: is missing"),
        (lambda r: (r / "ood.nii.gz").write_text("no map"), "ood.nii.gz"),
        (
            lambda r: nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2)), AFFINE), r / "ood.nii.gz"),
            "of different images",
        ),
        (lambda r: (r / "maps.png").unlink(), "maps.png: is missing"),
    ],
)
def test_damaged_results_are_one_clear_line(result, tmp_path, capsys, damage, message):
    damage(result)
    line = refused(capsys, "export", result, "-o", tmp_path / "out")
    assert message in line
    assert {p.name for p in tmp_path.iterdir()} == {"result"}


def test_results_of_ood_are_refused(bundle, image_file, tmp_path, capsys):
    assert main(["ood", str(bundle), str(image_file), "-o", str(tmp_path / "trust")]) == 0
    capsys.readouterr()
    line = refused(capsys, "export", tmp_path / "trust", "-o", tmp_path / "out")
    assert "no median of sao2" in line


def test_bad_arguments_are_one_clear_line(result, tmp_path, capsys, monkeypatch):
    line = refused(capsys, "export", result, "-o", tmp_path / "o", "--format", "docx")
    assert "invalid choice: 'docx'" in line
    assert "required: -o/--out" in refused(capsys, "export", result)
    line = refused(capsys, "export", result, "-o", tmp_path / "o", "--source", tmp_path)
    assert "add --format dicom" in line
    assert "is not an export" in refused(capsys, "export", result, "-o", result)
    assert "none: no such folder" in refused(capsys, "export", tmp_path / "none", "-o", tmp_path / "o")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    line = refused(capsys, "export", result, "-o", tmp_path / "o", "--format", "dicom")
    assert 'pip install "monai_inn[dicom]"' in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("cohort.json", "cohort.csv", "b/result.json", "a/result.json"), "give one of them, such as {}/a."),
        (("aim.json", "aim.png", "aim.csv"), "of another kind, open {}/aim.png."),
        (("bands.json", "bands.csv", "index.html"), "of another kind, open {}/index.html."),
        (("x.json", "left_out.png", "overview.png"), "of another kind, open {}/overview.png."),
        (("classification.json", "classes.csv"), "of another kind, open {}/classes.csv."),
        (("holiday.png",), "give the folder that `monai-inn infer` wrote."),
    ],
)
def test_a_folder_of_another_kind_says_what_to_open_instead(tmp_path, capsys, files, message):
    for name in files:
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_text("{}")
    line = refused(capsys, "export", tmp_path / "made", "-o", tmp_path / "out")
    assert line.rstrip().endswith(message.format(tmp_path / "made"))


def test_unwritable_folder(result, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write everywhere but where the kernel lets nobody
        locked = Path("/sys")
    assert "cannot be written" in refused(capsys, "export", result, "-o", locked / "out")
    assert "cannot be written" in refused(capsys, "export", result, "-o", result / "result.json/out")
