"""Results that somebody else made or changed: no file from elsewhere, no formula, no traceback."""

from __future__ import annotations

import csv
import gzip
import json
import os
import struct

import nibabel
import numpy as np
import pytest
from attacked import attempt, files_in, made_result

SECRET = b"the secret of another folder"


@pytest.fixture
def result(tmp_path):
    return made_result(tmp_path / "result")


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "private").mkdir()
    path = tmp_path / "private/id_rsa"
    path.write_bytes(SECRET)
    return path


def change(folder, **entries):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def refused(capsys, tmp_path, *arguments):
    before = files_in(tmp_path)
    code, out, complaint = attempt(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(complaint.splitlines()) == 1, complaint
    assert len(complaint) < 1200
    assert files_in(tmp_path) == before
    return complaint


@pytest.mark.parametrize("name", ["maps.png", "median_sao2.nii.gz", "result.json"])
def test_links_to_other_files_are_not_exported(result, elsewhere, tmp_path, capsys, name):
    (result / name).unlink()
    (result / name).symlink_to(elsewhere)
    complaint = refused(capsys, tmp_path, "export", result, "-o", tmp_path / "out")
    assert "leads out of its folder" in complaint


def test_names_in_a_record_do_not_lead_out(result, elsewhere, tmp_path, capsys):
    change(result, pictures=["../private/id_rsa"])
    assert "is missing" in refused(capsys, tmp_path, "export", result, "-o", tmp_path / "out")
    change(result, pictures=[str(elsewhere)])
    assert "is missing" in refused(capsys, tmp_path, "export", result, "-o", tmp_path / "out")


def test_pipes_and_folders_are_not_read(result, tmp_path, capsys):
    (result / "maps.png").unlink()
    os.mkfifo(result / "maps.png")
    assert "regular" in refused(capsys, tmp_path, "export", result, "-o", tmp_path / "out")


def test_names_and_units_are_no_formulas_in_tables(result, tmp_path, capsys):
    names = {"sao2": '=HYPERLINK("http://evil","x")', "a_mie": "@SUM(A1)", "shift": '-1+1, "two"\nlines'}
    record = json.loads((result / "result.json").read_text())
    for row in record["parameters"]:
        row["description"], row["unit"] = "\t=1+1", "+1"
        row["name"] = names[row["name"]]
    for entry in record["files"]:
        entry["parameter"] = names.get(entry["parameter"], entry["parameter"])
    (result / "result.json").write_text(json.dumps(record))
    code, _, complaint = attempt(
        capsys, "export", result, "-o", tmp_path / "out", "--format=csv", "--format=nifti"
    )
    assert (code, complaint) == (0, "")
    with (tmp_path / "out/summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["parameter"] for row in rows] == ["'" + name for name in names.values()]
    assert {row["unit"] for row in rows} == {"'+1"}
    assert {row["description"] for row in rows} == {"'\t=1+1"}
    with gzip.open(tmp_path / "out/pixels.csv.gz", "rt", newline="") as file:
        head, *pixels = csv.reader(file)
    assert not [cell for cell in head if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert len([cell for cell in head if cell.startswith("'")]) == 3 * 4
    values = np.array(pixels, float)  # numbers stay numbers, negative ones too
    assert (values < 0).any()
    copied = json.loads((tmp_path / "out/nifti/result.json").read_text())
    assert [row["name"] for row in copied["parameters"]] == list(names.values())


def damaged_record(**entries):
    return lambda folder: change(folder, **entries)


def text(content):
    return lambda folder: (folder / "result.json").write_text(content)


def settings(**entries):
    return lambda folder: change(
        folder, settings=json.loads((folder / "result.json").read_text())["settings"] | entries
    )


def volume(name, array):
    return lambda folder: nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name)


def claimed_size(folder):
    """A map whose header says that it has 10^12 voxels."""
    path = folder / "valid.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = struct.pack("<3h", 10_000, 10_000, 10_000)
    path.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize(
    "damage",
    [
        text("[" * 100_000),
        text('{"a":' * 100_000),
        text('{"format_version": NaN}'),
        text("\0"),
        text(""),
        lambda folder: (folder / "result.json").write_bytes(b"\xff\xfe"),
        damaged_record(format_version="1"),
        damaged_record(settings=[]),
        damaged_record(settings=None),
        settings(interval="0.95"),
        settings(interval=0),
        settings(interval=7),
        settings(false_alarm=None),
        settings(below=[1]),
        settings(below={"sao2": "0.6"}),
        settings(shrink="2"),
        damaged_record(parameters=[]),
        damaged_record(parameters={}),
        damaged_record(parameters=["sao2"]),
        damaged_record(parameters=[{"name": 5}]),
        damaged_record(files={}),
        damaged_record(files=[1]),
        damaged_record(files=[{"file": 1, "map": "median", "parameter": "sao2"}]),
        damaged_record(files=[{"file": "a\0b", "map": "median", "parameter": "sao2"}]),
        damaged_record(pictures=7),
        damaged_record(pictures=[7]),
        damaged_record(pictures=[""]),
        damaged_record(bundle=7),
        damaged_record(bundle={"name": {}}),
        damaged_record(bundle={"calibration": {"errors": {"sao2": "x"}}}),
        damaged_record(bundle={"calibration": {"simulations": "many"}}),
        damaged_record(image={}),
        damaged_record(image={"path": 7}),
        damaged_record(image={"path": "a", "sha256": [1]}),
        damaged_record(intended_use=7),
        damaged_record(versions=[]),
        damaged_record(created={}),
        claimed_size,
        volume("valid.nii.gz", np.ones((4, 3, 2), np.complex64)),
        volume("valid.nii.gz", np.ones((4, 3))),
        volume("ood.nii.gz", np.zeros((4, 3, 2, 2))),
        volume("quantiles_sao2.nii.gz", np.zeros((4, 3, 2, 1))),
        lambda folder: (folder / "valid.nii.gz").write_bytes(b""),
        lambda folder: (folder / "valid.nii.gz").write_bytes(gzip.compress(b"")),
    ],
)
def test_damaged_results_are_one_line(result, tmp_path, capsys, damage):
    damage(result)
    refused(capsys, tmp_path, "export", result, "-o", tmp_path / "out")
