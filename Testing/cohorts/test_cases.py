"""Which files are the cases of a cohort, and how their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_inn.cohorts import is_pattern
from monai_inn.cohorts.cases import matching, named


def names(paths, known=None, reserved=()):
    return [case.name for case in named(paths, known or {}, reserved)]


def test_a_name_is_the_stem_and_more_of_the_path_where_that_is_taken():
    paths = ["/p/a/scan.hdr", "/p/a/scan.nrrd", "/p/b/scan.hdr", "/q/b/scan.hdr", "/p/b/liver.nii.gz"]
    assert names(paths) == ["scan", "scan.nrrd", "scan.hdr", "b_scan", "liver"]
    many = [f"/{k}/p/scan.npz" for k in range(5)]
    assert names(many) == ["scan", "scan.npz", "p_scan", "3_p_scan", "4_p_scan"]


def test_names_differ_on_disks_that_ignore_case_and_from_those_of_the_summary():
    assert names(["/a/Scan.npz", "/a/scan.npz"]) == ["Scan", "scan.npz"]
    assert names(["/cohort.json.npz"], reserved=("cohort.json",)) == ["cohort.json.npz"]


def test_all_names_differ_and_none_is_empty_or_hidden():
    paths = ["/a_b/c.x", "/a/b_c.x", "/a/b/c.x", "/b_c/x.x", "/.npz", "/...", "/a/.npz", "/a/-.x", "/c.x"]
    found = names(paths)
    assert len(set(found)) == len(paths)
    assert all(name and not name.startswith(".") and "/" not in name for name in found)


def test_files_that_join_later_do_not_rename_the_others():
    first = {case.path: case.name for case in named(["/b/scan.hdr"], {}, ())}
    assert names(["/a/scan.hdr", "/b/scan.hdr"], first) == ["scan.hdr", "scan"]


@pytest.mark.parametrize(
    ("text", "expected"), [("images/*.hdr", True), ("scan?.npz", True), ("s[12].npz", True), ("s.npz", False)]
)
def test_patterns(text, expected):
    assert is_pattern(text) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    path = tmp_path / "scan[1].npz"
    path.touch()
    assert not is_pattern(str(path))


def test_results_are_no_cases(tmp_path, monkeypatch):
    for name in ("b/x.npz", "a/x.npz", "out/x/map.npz", "output.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found = [Path(path).relative_to(tmp_path).as_posix() for path in matching("**/*.npz", Path("out"))]
    assert found == ["a/x.npz", "b/x.npz", "output.npz"]


def test_no_match_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"/\*\.hdr: no file matches; check the folder, and keep .* quotes"):
        matching(f"{tmp_path}/*.hdr", tmp_path / "out")
