"""`monai-inn compare`: the change between two results has its closed form, and is a result like any other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cli_commands import refused, run
from scipy.stats import norm

sys.path.append(str(Path(__file__).parents[1] / "slicer"))  # made_results, which needs no Slicer

from made_results import (
    AFFINE,
    PARAMETERS,
    SHAPE,
    UNTRUSTED,
    UNUSABLE,
    turned,
    write_image_result,
    write_result,
)

NAMES = [row["name"] for row in PARAMETERS]
BAD = np.zeros(SHAPE, bool)
BAD[UNTRUSTED] = BAD[UNUSABLE] = True


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Two days of normal posteriors: the second has .1 of each range more."""
    place = tmp_path_factory.mktemp("days")
    return write_result(place / "day 1"), write_result(place / "day 8", seed=1, shift=0.1)


@pytest.fixture(scope="module")
def change(days, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "change"
    assert run("compare", *days, "-o", out) == 0
    return out


def array(folder, name):
    """Voxels ``(K, J, I, …)`` of a file."""
    (path,) = folder.glob(f"{name}.nii*")
    values = np.asarray(nibabel.load(path).dataobj)
    return values.transpose(2, 1, 0, *range(3, values.ndim))


def laws(folder, name):
    """Center and standard deviation of the normal posteriors of a made result."""
    reach = norm.ppf(0.975) - norm.ppf(0.025)
    return array(folder, f"median_{name}"), array(folder, f"interval_width_{name}") / reach


@pytest.mark.parametrize("name", NAMES)
def test_two_normal_posteriors_have_the_normal_difference(days, change, name):
    """Two per cent of its standard deviation is what ``difference_quantiles`` promises."""
    (old, old_spread), (new, new_spread) = (laws(day, name) for day in days)
    total, valid = np.hypot(old_spread, new_spread), array(change, "valid") > 0
    record = json.loads((change / "result.json").read_text())
    (entry,) = (e for e in record["files"] if (e["map"], e["parameter"]) == ("quantiles", f"{name}_change"))
    exact = (new - old)[..., None] + total[..., None] * norm.ppf(entry["levels"])
    off = np.abs(array(change, f"quantiles_{name}_change") - exact)[valid] / total[valid][:, None]
    assert off[:, 1:-1].max() < 0.02
    width = 2 * norm.ppf(0.975) * total
    np.testing.assert_allclose(array(change, f"interval_width_{name}_change")[valid], width[valid], rtol=0.02)


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    """An angle that has moved by nine tenths of a turn, which is a tenth backwards, and a class."""
    place = tmp_path_factory.mktemp("turns")
    return turned(write_result(place / "day 1")), turned(write_result(place / "day 8", seed=1, shift=0.9))


def test_an_angle_turns_the_short_way_and_a_class_is_left_out(turns, tmp_path, capsys):
    assert run("compare", *turns, "-o", tmp_path / "out") == 0
    warning = (
        "vhb left out: classes have no difference; compare the class_probability maps of the two results."
    )
    assert f"WARNING: {warning}" in capsys.readouterr().out.splitlines()
    record = json.loads((tmp_path / "out/result.json").read_text())
    assert record["warnings"] == [warning]
    assert [row["name"] for row in record["parameters"]] == ["sao2_change", "a_mie_change"]
    row = record["parameters"][1]
    assert (row["low"], row["high"], row["turn"], row["width"]) == (-22.5, 22.5, 45, 45)
    (old, old_spread), (new, new_spread) = (laws(day, "a_mie") for day in turns)
    exact, total = (
        np.angle(np.exp(2j * np.pi * (new - old) / 45)) * 45 / (2 * np.pi),
        np.hypot(old_spread, new_spread),
    )
    valid = array(tmp_path / "out", "valid") > 0
    median, width = (
        array(tmp_path / "out", f"{k}_a_mie_change")[valid] for k in ("median", "interval_width")
    )
    np.testing.assert_allclose(median, exact[valid], atol=0.01)
    np.testing.assert_allclose(width, 2 * norm.ppf(0.975) * total[valid], rtol=0.02)
    assert run("compare", tmp_path / "out", tmp_path / "out", "-o", tmp_path / "again") == 0


def test_nothing_but_a_class_is_refused_in_one_line(turns, tmp_path, capsys):
    both = [shutil.copytree(day, tmp_path / day.name) for day in turns]
    for day in both:
        (row,) = (
            row for row in json.loads((day / "result.json").read_text())["parameters"] if "is_class" in row
        )
        changed(day, parameters=[row])
    line = refused(capsys, "compare", *both, "-o", tmp_path / "out")
    assert (
        "day 8: has nothing but the class vhb, and classes have no difference; compare the class_prob" in line
    )
    assert not (tmp_path / "out").exists()


def test_no_result_but_an_older_comparison_is_replaced(days, change, tmp_path, capsys):
    one = Path(shutil.copytree(days[0], tmp_path / "one"))
    assert "another kind than compare" in refused(capsys, "compare", one, days[1], "-o", one)
    assert json.loads((one / "result.json").read_text()).get("command") != "compare"
    again = shutil.copytree(change, tmp_path / "again")
    assert run("compare", *days, "-o", again) == 0


def test_a_voxel_is_withheld_where_it_is_in_either(days, change, tmp_path):
    valid, ood = array(change, "valid") > 0, array(change, "ood")
    np.testing.assert_array_equal(~valid | (np.nan_to_num(ood) > 0), BAD)
    assert np.isnan(array(change, "median_vhb_change")[UNUSABLE]).all()
    silent = array(change, "uninformative_vhb_change")
    assert np.nansum(silent) == 2 * 3 * 7


def test_the_record_says_what_was_compared(change):
    record = json.loads((change / "result.json").read_text())
    assert record["command"] == "compare"
    assert record["change"] == {"first": "day 1", "second": "day 8", "resampled": False}
    assert [row["name"] for row in record["parameters"]] == [f"{name}_change" for name in NAMES]
    assert record["bundle"]["path"] == ""
    usable = SHAPE[0] * SHAPE[1] * SHAPE[2] - SHAPE[0]
    assert record["summary"]["valid_pixels"] == usable
    found = record["summary"]["trusted_pixels"]["sao2_change"]
    median, width = (array(change, f"{kind}_sao2_change")[~BAD] for kind in ("median", "interval_width"))
    assert found["median_of_medians"] == pytest.approx(np.median(median), rel=1e-4)
    assert found["median_interval_width"] == pytest.approx(np.median(width), rel=1e-4)
    higher = array(change, "quantiles_sao2_change")[~BAD][:, 0] > 0  # the lowest level is the interval's end
    assert found["share_higher"] == pytest.approx(higher.mean(), abs=1e-4)
    assert 0 < found["share_higher"] < 1
    assert found["share_lower"] == 0


def test_the_change_in_words(days, tmp_path, capsys):
    assert run("compare", *days, "-o", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "day 8 minus day 1, medians over the other pixels:"
    assert re.fullmatch(
        r"  Change of oxygen saturation of the blood: \+0\.\d+, interval width 0\.\d+; lower in 0\.0%, "
        r"higher in \d+\.\d%",
        lines[2],
    )
    assert "monai-inn view" in lines[-2]


def test_the_page_of_a_change_says_what_it_is(change):
    from monai_inn.viewer.words import facts

    record = json.loads((change / "result.json").read_text())
    assert "day 8 minus day 1, whose errors are taken as independent" in facts(record)


def test_a_change_is_exported_like_any_result(change, tmp_path):
    assert run("export", change, "-o", tmp_path / "out", "--format", "csv", "--format", "html") == 0
    assert "<td>day 8 minus day 1" in (tmp_path / "out/record.html").read_text()


def test_the_viewer_and_slicer_read_a_change(change):
    pytest.importorskip("slicer.util")
    from monai_inn.viewer.display import read_result

    result = read_result(change)
    assert result.parameters[0].label == "Change of oxygen saturation of the blood"
    assert result.find("photo") is not None


def test_samples_serve_where_no_quantiles_are(tmp_path):
    both = [write_image_result(tmp_path / name, synthetic="") for name in ("a", "b")]
    assert run("compare", *both, "-o", tmp_path / "out") == 0
    valid = array(tmp_path / "out", "valid") > 0
    assert np.abs(array(tmp_path / "out", "median_flair_change")[valid]).max() < 1e-3
    assert array(tmp_path / "out", "interval_width_flair_change")[valid].min() > 0


def test_the_change_of_a_synthetic_image_says_so(tmp_path):
    both = [
        write_image_result(tmp_path / name, synthetic=said) for name, said in (("a", ""), ("b", "SYNTHETIC"))
    ]
    for kind in ("mean", "median", "interval_width"):  # made results do not write it into their files
        path = both[1] / f"{kind}_flair.nii.gz"
        image = nibabel.load(path)
        image.header["descrip"] = b"SYNTHETIC"
        nibabel.save(image, path)
    assert run("compare", *both, "-o", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out/result.json").read_text())["synthetic"] == "SYNTHETIC"
    assert run("export", tmp_path / "out", "-o", tmp_path / "exported") == 0


def changed(folder, **more):
    """The same result with another record."""
    path = folder / "result.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | more))


def other_unit(folder):
    changed(folder, parameters=[row | {"unit": "%"} for row in PARAMETERS])


def other_bundle(folder):
    changed(folder, bundle={"name": "retrained", "path": "/bundles/made", "version": "2"})


def other_place(folder):
    moved = AFFINE.copy()
    moved[:3, 3] += 2
    for path in folder.glob("*.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), moved), path)


def other_size(folder):
    for path in folder.glob("*.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj)[1:], AFFINE), path)


def no_posterior(folder):
    files = json.loads((folder / "result.json").read_text())["files"]
    changed(folder, files=[entry for entry in files if entry["map"] not in ("quantiles", "samples")])


def lost_file(folder):
    (folder / "quantiles_vhb.nii.gz").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_unit, "day 9: sao2 is in %, but in .*day 1 in 1; give two results in one unit"),
        (other_bundle, r"by another bundle \(retrained 2\) than .*day 1 \(made\).* by one bundle"),
        (other_place, "on another grid than .*day 1.*resample the later image"),
        (other_size, r"\(15, 12, 2\) pixels on another grid than .*\(16, 12, 2\)"),
        (no_posterior, "neither quantiles nor samples of sao2 are stored; .*--save-quantiles 16"),
        (lost_file, "quantiles_vhb.nii.gz: is missing; copy the folder as a whole"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(days, tmp_path, capsys, spoil, message):
    later = write_result(tmp_path / "day 9")
    spoil(later)
    line = refused(capsys, "compare", days[0], later, "-o", tmp_path / "out")
    assert re.search(message, line), line
    assert [entry.name for entry in tmp_path.iterdir()] == ["day 9"]


def test_other_parameters_and_folders_are_refused_in_one_line(days, tmp_path, capsys):
    image = write_image_result(tmp_path / "image", synthetic="")
    line = refused(capsys, "compare", days[0], image, "-o", tmp_path / "out")
    assert "image: has flair, but " in line
    assert "has sao2, vhb, a_mie; give two results of the same parameters" in line
    line = refused(capsys, "compare", days[0], tmp_path / "none", "-o", tmp_path / "out")
    assert "none: no such folder" in line
    assert "is not a result of inference" in refused(capsys, "compare", *days, "-o", tmp_path)


def test_a_scene_is_not_needed(days, tmp_path):
    """The display library has its numbers without Slicer's packages."""
    absent = "sys.modules['slicer'] = sys.modules['SimpleITK'] = None"
    code = f"import sys; {absent}; from monai_inn.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "compare", *map(str, days), "-o", str(tmp_path / "out")]
    assert subprocess.run(command, capture_output=True).returncode == 0
