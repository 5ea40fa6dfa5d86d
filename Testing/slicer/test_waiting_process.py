"""The process that waits for runs, with a stand-in for the command line in it: lent, given back, lost."""

# ruff: noqa: E402 -- the parts of slicer exist only after install()

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
install()

from driving import dies
from INNUncertaintyLib import Worker
from test_child import LIMIT, ended, python, written

import monai_inn

__all__ = ["python"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
# The true worker, or else a run of its own as without it; `go` lets what waits end.
_SOURCE = """
import os, signal, sys, time
folder = {folder!r}
def command(words):
    what = words[0]
    if what == 'deaf': signal.signal(signal.SIGINT, signal.SIG_IGN)  # before anybody knows that it runs
    print('PROGRESS 0.5', what, file=sys.stderr)
    with open(folder + '/pid', 'w') as file: file.write(str(os.getpid()) + '\\n')
    if what == 'wait':
        while not os.path.exists(folder + '/go'): time.sleep(0.01)
    while what == 'deaf': time.sleep(0.01)
    if what == 'refuse':
        print('monai-inn: the image is too dark.', file=sys.stderr)
        sys.exit(2)
    if what == 'die': os._exit(7)
    if what == 'noise': os.write(1, b'from a library\\n'); os.write(2, b'a remark\\n')
    print('{{"words": ["' + '", "'.join(words) + '"], "pid": ' + str(os.getpid()) + '}}')
    return 0
if 'monai_inn.worker' in sys.argv:
    {before}
    sys.path.insert(0, {root!r})
    from monai_inn import worker
    worker._EARLY, worker._load_late, worker.cli.main = (), lambda: None, command
    worker.main()
else:
    command(sys.argv[3:])
"""
_ASKED = ["--json", "--progress-lines"]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path


@pytest.fixture
def made(python, folder, monkeypatch):
    """Makes a worker; ``before`` is what its process does before it listens."""
    workers = []

    def make(before: str = "") -> Worker:
        root = str(Path(monai_inn.__file__).parents[1])
        path = python(_SOURCE.format(folder=str(folder), before=before or "pass", root=root))
        monkeypatch.setattr("INNUncertaintyLib.worker.python_path", lambda: path)
        workers.append(Worker())
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


@pytest.fixture
def worker(made) -> Worker:
    return made()


def begun(run, folder):
    """The process in which a run that waits is at work."""
    end = time.monotonic() + LIMIT
    while run.share == 0 and time.monotonic() < end:
        assert run.poll()
        time.sleep(0.01)
    return int(written(folder / "pid"))


def test_runs_have_one_process(worker):
    worker.start()
    first = ended(worker.run(["bundles", "/ä b"])).result()
    assert first["words"] == ["bundles", "/ä b", *_ASKED]
    second = ended(worker.run(["infer"]))
    assert second.result() == {"words": ["infer", *_ASKED], "pid": first["pid"]}
    assert (second.share, second.text) == (0.5, "infer")


def test_a_run_beside_another_has_a_process_of_its_own(worker, folder):
    waiting = worker.run(["wait"])
    pid = begun(waiting, folder)
    beside = ended(worker.run(["beside"])).result()
    assert beside["pid"] != pid
    (folder / "go").touch()
    assert ended(waiting).result()["pid"] == pid
    assert ended(worker.run(["next"])).result()["pid"] == pid


def test_complaint_is_the_one_line_and_the_process_stays(worker):
    with pytest.raises(RuntimeError, match=r"^the image is too dark\.$"):
        ended(worker.run(["refuse"])).result()
    assert ended(worker.run(["next"])).result()["words"][0] == "next"


def test_canceled_run_leaves_the_process(worker, folder):
    run = worker.run(["wait"])
    pid = begun(run, folder)
    run.cancel()
    run.cancel()
    assert run.is_cancelled
    assert not run.poll()
    with pytest.raises(RuntimeError, match="Canceled; nothing was changed"):
        run.result()
    assert ended(worker.run(["next"])).result()["pid"] == pid


def test_process_that_does_not_listen_is_ended_and_another_started(worker, folder, monkeypatch):
    monkeypatch.setattr("INNUncertaintyLib.child._GRACE_S", 0.2)
    run = worker.run(["deaf"])
    pid = begun(run, folder)
    run.cancel()
    assert dies(pid)
    assert run.is_cancelled
    assert ended(worker.run(["next"])).result()["pid"] != pid


def test_cancel_after_the_end_is_harmless(worker):
    run = ended(worker.run(["first"]))
    run.cancel()
    assert not run.is_cancelled
    assert run.result()["words"][0] == "first"


def test_crash_is_a_failure_of_its_run_alone(worker):
    with pytest.raises(RuntimeError, match="code 7"):
        ended(worker.run(["die"])).result()
    assert ended(worker.run(["next"])).result()["words"][0] == "next"


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("raise ImportError('no torch')", "ImportError: no torch"),
        ("sys.exit(0)", "no message"),
        ("print('garbage'); print('[1]'); print('{\"job\": 77}'); sys.exit(1)", "[1]"),
    ],
)
def test_without_the_process_each_run_has_its_own_and_says_why(made, before, reason):
    run = ended(made(before).run(["first"]))
    assert run.result()["words"] == ["first", *_ASKED]
    assert f"starting anew, for the waiting process has ended ({reason})" in run.log


def test_a_run_of_its_own_is_canceled_as_ever(made, folder):
    run = made("sys.exit(1)").run(["wait"])
    pid = begun(run, folder)
    run.cancel()
    assert dies(pid)
    assert run.is_cancelled


def test_what_libraries_print_goes_into_the_log(worker):
    run = ended(worker.run(["noise"]))
    assert run.result()["words"][0] == "noise"
    ended(worker.run(["next"]))


def test_close_ends_process_and_run(worker, folder):
    run = worker.run(["wait"])
    pid = begun(run, folder)
    worker.close()
    worker.close()
    assert dies(pid)
    assert ended(worker.run(["next"])).result()["pid"] != pid


def test_missing_python_is_said(made, monkeypatch):
    worker = made()
    monkeypatch.setattr("INNUncertaintyLib.worker.python_path", lambda: "/nothing/here")
    with pytest.raises(OSError):
        worker.run(["first"])
