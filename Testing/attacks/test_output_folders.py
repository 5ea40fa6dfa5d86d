"""Where results are written: mount points, links, the shell's own folder, and files of somebody else."""

from __future__ import annotations

import errno
import gc
import json
import os
import subprocess
from pathlib import Path

import pytest
from attacked import attempt, files_in, made_result

from monai_inn import drafts
from monai_inn.folders import new_folder

TABLES = {"export.json", "summary.csv", "pixels.csv.gz"}


@pytest.fixture
def result(tmp_path):
    return made_result(tmp_path / "result")


@pytest.fixture
def mounted(tmp_path):
    """A folder that is a file system of its own, as `docker -v` makes."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def exported(capsys, result, out, *formats):
    code, _, complaint = attempt(capsys, "export", result, "-o", out, *(f"--format={f}" for f in formats))
    assert (code, complaint) == (0, "")


def test_mount_points_are_written_into_again_and_again(result, mounted, capsys):
    exported(capsys, result, mounted, "csv")
    (mounted / "mine.txt").write_text("mine")
    exported(capsys, result, mounted, "html")
    assert files_in(mounted) == {"export.json", "record.html", "mine.txt"}


def test_training_sets_go_to_mount_points_too(mounted, capsys):
    arguments = ("simulate", "linear_gaussian", "-n", 8, "-o", mounted)
    assert attempt(capsys, *arguments)[0] == 0
    assert attempt(capsys, *arguments)[0] == 0
    assert {path.name for path in mounted.iterdir()} >= {"theta", "y"}
    assert not [path for path in mounted.iterdir() if len(path.name) > 32]


def test_links_stay_and_what_they_point_at_is_written(result, tmp_path, capsys):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for formats in (("csv",), ("html",)):
        exported(capsys, result, tmp_path / "link", *formats)
    assert (tmp_path / "link").is_symlink()
    assert files_in(tmp_path / "real") == {"export.json", "record.html"}
    (tmp_path / "dangling").symlink_to("later")
    exported(capsys, result, tmp_path / "dangling", "csv")
    assert (tmp_path / "dangling").is_symlink()
    assert files_in(tmp_path / "later") == TABLES


def test_links_in_a_circle_are_one_line(result, tmp_path, capsys):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    code, _, complaint = attempt(capsys, "export", result, "-o", tmp_path / "a", "--format=csv")
    assert code == 2
    assert len(complaint.splitlines()) == 1


def test_the_folder_that_a_shell_is_in_stays(result, tmp_path, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for formats in (("csv",), ("html",)):
        exported(capsys, result, ".", *formats)
    assert set(os.listdir(".")) == {"export.json", "record.html"}


@pytest.mark.parametrize("out", ["..", "/"])
def test_folders_above_are_refused(result, tmp_path, capsys, monkeypatch, out):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, complaint = attempt(capsys, "export", result, "-o", out, "--format=csv")
    assert code == 2
    assert "exists and is not an export" in complaint
    assert files_in(tmp_path) == {f"result/{name}" for name in files_in(result)}


def test_only_files_of_the_older_export_are_removed(result, tmp_path, capsys):
    out = tmp_path / "out"
    exported(capsys, result, out, "nifti", "html")
    (out / "nifti/notes.txt").write_text("mine")
    (out / "nifti/more").mkdir()
    (out / "mine.html").write_text("mine")
    exported(capsys, result, out, "csv")
    assert files_in(out) == TABLES | {"nifti/notes.txt", "mine.html"}
    assert (out / "nifti/more").is_dir()
    exported(capsys, result, out, "nifti")
    (out / "nifti/notes.txt").unlink()
    (out / "nifti/more").rmdir()
    exported(capsys, result, out, "csv")
    assert not (out / "nifti").exists()


def test_a_record_cannot_have_other_files_removed(result, tmp_path, capsys):
    out, precious = tmp_path / "out", tmp_path / "precious.txt"
    exported(capsys, result, out, "csv")
    precious.write_text("mine")
    (out / "linked").symlink_to(tmp_path)
    record = json.loads((out / "export.json").read_text())
    names = [
        "../precious.txt",
        str(precious),
        "linked/precious.txt",
        "",
        ".",
        "a\0b",
        "linked",
        7,
        None,
    ]
    record["files"] += [{"file": name} for name in names]
    (out / "export.json").write_text(json.dumps(record))
    exported(capsys, result, out, "html")
    assert precious.read_text() == "mine"
    assert files_in(out) == {"export.json", "record.html", "linked"}


def test_a_finished_result_that_cannot_be_published_is_kept(result, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    exported(capsys, result, out, "csv")
    replace = os.replace

    def busy(source, target):
        if Path(target).parent == out and Path(target).name == "record.html":
            raise OSError(errno.EBUSY, "Device or resource busy")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    code, _, complaint = attempt(capsys, "export", result, "-o", out, "--format=html")
    assert code == 2
    (kept,) = [path for path in out.iterdir() if path.is_dir()]
    assert str(kept) in complaint
    assert len(complaint.splitlines()) == 1
    assert (kept / "record.html").is_file()
    assert not (out / "export.json").exists()  # incomplete, and nothing claims otherwise
    monkeypatch.setattr(os, "replace", replace)
    exported(capsys, result, out, "csv")
    assert files_in(out) == TABLES


def test_a_new_folder_that_cannot_be_published_is_kept(result, tmp_path, capsys, monkeypatch):
    def busy(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", busy)
    monkeypatch.setattr(os, "replace", busy)
    code, _, complaint = attempt(capsys, "export", result, "-o", tmp_path / "out", "--format=csv")
    assert code == 2
    (kept,) = [path for path in tmp_path.iterdir() if path != result]
    assert str(kept) in complaint
    assert files_in(kept) == TABLES


@pytest.mark.parametrize("step", range(1, 7))
def test_ctrl_c_while_files_are_moved_comes_after_the_last_one(result, tmp_path, capsys, monkeypatch, step):
    out = tmp_path / "out"
    exported(capsys, result, out, "csv", "nifti")
    (out / "mine.txt").write_text("mine")
    replace, calls = os.replace, []

    def pressed(source, target):
        calls.append(target)
        if len(calls) == step:
            raise KeyboardInterrupt
        replace(source, target)
        if len(calls) == step + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", pressed)
    code, _, complaint = attempt(capsys, "export", result, "-o", out, "--format=html", "--format=csv")
    assert code == 130
    assert len(complaint.splitlines()) == 1
    assert files_in(out) == TABLES | {"record.html", "mine.txt"}
    assert len(calls) == 7


@pytest.mark.parametrize("when", ["between making and locking", "before the block begins"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_interrupt_leaves_no_draft_whenever_it_comes(tmp_path, monkeypatch, when, kind):
    if kind == "folder":
        context = new_folder(tmp_path / "out", "record.json", "a result")
    else:
        context = drafts.replacing(tmp_path / "out")
    if when == "between making and locking":

        def interrupt(path, *, wait):
            raise KeyboardInterrupt

        monkeypatch.setattr(drafts, "_lock", interrupt)
        with pytest.raises(KeyboardInterrupt), context:
            pass
    else:
        context.__enter__()
        assert list(tmp_path.iterdir())
        del context
        gc.collect()
    assert not list(tmp_path.iterdir())
