"""A cohort on two workers: kills, failures and interrupts, and nothing is done twice."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import cloudpickle
import pytest

from monai_inn.cohorts import run_cohort
from monai_inn.cohorts.cases import Case
from monai_inn.cohorts.run import _Work
from monai_inn.folders import new_folder

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not know this folder


def first_time(path: Path) -> bool:
    """Whether a case is handled for the first time, in any process."""
    marker = path.with_suffix(".tried")
    if marker.exists():
        return False
    marker.touch()
    return True


def handled(path: str, out: Path, factor: int) -> None:
    """Multiply the number in a file; the file's name says what goes wrong."""
    file = Path(path)
    log(file, "tried")
    if "corrupt" in file.stem:
        raise ValueError(f"{path}: is damaged;\nsend it again.")
    if "offline" in file.stem or ("hiccup" in file.stem and first_time(file)):
        raise OSError("the disk does not answer")
    if "deadly" in file.stem or ("killed" in file.stem and first_time(file)):
        os.kill(os.getpid(), signal.SIGKILL)
    with new_folder(out, "record.json", "a product") as draft:
        (draft / "record.json").write_text(json.dumps({"product": int(file.read_text()) * factor}))
    log(file, "done")
    if "late" in file.stem and first_time(file):
        os.kill(os.getpid(), signal.SIGKILL)


def log(file: Path, what: str) -> None:
    with (file.parent / "log").open("a") as lines:
        lines.write(f"{what} {file.stem}\n")


def logged(folder: Path, what: str) -> Counter[str]:
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    return Counter(name for verb, name in lines if verb == what)


def product(record):
    return {"product": record["product"]}


@pytest.fixture
def numbers(tmp_path):
    """Make files that hold their own number."""

    def make(*names: str) -> Path:
        folder = tmp_path / "numbers"
        folder.mkdir()
        for number, name in enumerate(names):
            (folder / f"{name}.txt").write_text(str(number))
        return folder

    return make


def cohort(folder: Path, scheduler: str | None = None, factor: int = 3, **options):
    return run_cohort(
        handled, "path", f"{folder}/*.txt", folder.parent / "out", {"factor": factor},
        record="record.json", figures=product, run={"command": "multiply", "factor": factor},
        scheduler=scheduler, **options,
    )  # fmt: skip


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder.parent / "out/cohort.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_fifty_cases_survive_two_killed_workers_and_a_corrupt_one_and_nothing_is_done_twice(
    numbers,
):
    wrong = {7: "killed", 18: "late", 25: "corrupt", 30: "hiccup", 41: "=1+1", 44: "offline"}
    names = [f"{wrong[k]}{k}" if k in wrong else f"n{k}" for k in range(50)]
    folder, seen = numbers(*names), []
    result = cohort(folder, workers=2, progress=lambda share, text: seen.append((share, text)))
    assert result["cohort"]["errors"]["offline44"] == "the disk does not answer"
    assert {k: result["cohort"][k] for k in ("cases", "done", "failed", "kept")} == {
        "cases": 50, "done": 48, "failed": 2, "kept": 0,
    }  # fmt: skip
    # Two workers died: one before a result was complete, one before it was told.
    good = set(names) - {"corrupt25", "offline44"}
    assert logged(folder, "done") == dict.fromkeys(good, 1)
    tried = logged(folder, "tried")
    tried.pop("corrupt25")  # its error may have been with the worker that was killed
    assert tried.pop("offline44") in (3, 4)  # one of its three errors, too
    again = {"killed7": 2, "hiccup30": 2}
    assert tried == dict.fromkeys(set(names) - {"corrupt25", "offline44"}, 1) | again
    rows = table(folder)
    assert list(next(iter(rows.values()))) == ["case", "path", "status", "seconds", "product", "error"]
    assert {row["case"]: row["product"] for row in rows.values() if row["status"] == "done"} == {
        name.replace("=", "'="): str(3 * k) for k, name in enumerate(names) if name in good
    }
    corrupt = rows["corrupt25"]
    assert corrupt["status"] == "failed"
    assert corrupt["error"] == f"{folder}/corrupt25.txt: is damaged; send it again."
    assert [share for share, _ in seen] == pytest.approx([k / 50 for k in range(1, 51)])
    assert seen[-1][1] == "50 of 50, 2 failed"
    out = folder.parent / "out"
    assert {path.name for path in out.iterdir()} == good | {"cohort.json", "cohort.csv"}


def test_going_on_does_what_is_missing_and_asks_no_scheduler_if_nothing_is(numbers, scheduler, nobody):
    folder = numbers("a", "b", "corrupt")
    cohort(folder, scheduler)
    assert logged(folder, "tried")["corrupt"] == 1  # what is wrong with a file stays wrong
    written = {p: p.stat().st_mtime_ns for p in (folder.parent / "out").rglob("record.json")}
    with (folder / "c.txt").open("w") as new:
        new.write("5")
    (folder / "corrupt.txt").rename(folder / "mended.txt")
    result = cohort(folder, scheduler)
    assert result["cohort"] == {"cases": 4, "done": 4, "failed": 0, "kept": 2, "errors": {}}
    assert logged(folder, "done") == dict.fromkeys(("a", "b", "c", "mended"), 1)
    assert {p: p.stat().st_mtime_ns for p in written} == written
    before = table(folder)
    assert cohort(folder, nobody)["cohort"] == result["cohort"] | {"kept": 4}
    assert table(folder) == before
    assert before["corrupt"]["status"] == "failed"  # as it was known; its file is gone


def test_an_interrupt_keeps_what_is_done_and_the_rest_follows(numbers, scheduler):
    folder = numbers(*(f"n{k}" for k in range(8)))

    def stop(share, text):
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cohort(folder, scheduler, progress=stop)
    before = {name for name, row in table(folder).items() if row["status"] == "done"}
    assert len(before) >= 3
    result = cohort(folder, scheduler)["cohort"]
    assert (result["done"], result["failed"]) == (8, 0)
    assert result["kept"] >= len(before)
    assert {name: logged(folder, "done")[name] for name in before} == dict.fromkeys(before, 1)


def test_a_summary_that_was_never_written_is_made_from_the_results(numbers, scheduler, nobody):
    folder = numbers("a", "b")
    cohort(folder, scheduler)
    record = folder.parent / "out/cohort.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"cases": []}))
    (folder.parent / "out/cohort.csv").unlink()
    assert cohort(folder, nobody)["cohort"]["kept"] == 2
    assert {name: row["product"] for name, row in table(folder).items()} == {"a": "0", "b": "3"}


def test_a_case_that_kills_every_worker_fails_alone(numbers):
    folder = numbers("a", "b", "deadly")
    errors = cohort(folder, workers=2)["cohort"]["errors"]
    assert errors.keys() == {"deadly"}
    assert errors["deadly"].startswith("kills its workers, even if it runs alone; maybe they lack memory")
    assert logged(folder, "done") == {"a": 1, "b": 1}


def test_a_scheduler_that_is_not_there_is_one_clear_line(numbers, nobody, tmp_path):
    folder = numbers("a")
    with pytest.raises(ConnectionError, match=r"tcp://127.0.0.1:9: no dask scheduler .*leave out") as refusal:
        cohort(folder, nobody)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ConnectionError, match="no dask scheduler answers there"):
        cohort(folder, "no/address:at:all")
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]


def test_the_folder_of_another_run_is_refused_and_left_alone(numbers, scheduler, nobody):
    folder = numbers("a")
    cohort(folder, scheduler)
    out = folder.parent / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"out: holds a cohort of another run \(factor 3 there, 4 now\)"):
        cohort(folder, nobody, factor=4)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", ["{", "[]", '{"run": {}}', '{"run": {}, "cases": [{"case": "a"}]}'])
def test_a_damaged_record_is_refused_in_one_line(numbers, nobody, damage):
    folder = numbers("a")
    out = folder.parent / "out"
    out.mkdir()
    (out / "cohort.json").write_text(damage)
    with pytest.raises(ValueError, match=r"cohort.json: is damaged .*choose another folder") as refusal:
        cohort(folder, nobody)
    assert "\n" not in str(refusal.value)


def test_a_folder_of_something_else_is_refused(numbers, nobody):
    folder = numbers("a")
    (folder.parent / "out").mkdir()
    (folder.parent / "out/cat.jpg").touch()
    with pytest.raises(ValueError, match=r"exists and is not a cohort \(cohort.json is missing\)"):
        cohort(folder, nobody)


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    work = _Work(handled, "path", {}, "record.json", product, tmp_path / "elsewhere")
    with pytest.raises(OSError, match="does not see this folder; it must be on a shared disk"):
        work(Case("a", "a.txt"))


def test_without_dask_the_extra_is_named(numbers, monkeypatch, tmp_path):
    folder = numbers("a")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'pip install "monai_inn\[cluster\]"'):
        cohort(folder, "tcp://127.0.0.1:9")
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]
