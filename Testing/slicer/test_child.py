"""The process that runs `monai-inn`, with scripts in place of Python: what it says, what it leaves."""

# ruff: noqa: E402 -- the parts of slicer exist only after install()

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
install()

from driving import dies, is_alive
from INNUncertaintyLib import Child

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
MUTE = "from signal import *; signal(SIGINT, SIG_IGN); signal(SIGTERM, SIG_IGN)"


@pytest.fixture
def python(tmp_path):
    """Makes an interpreter that runs given lines, whatever it is asked to run."""
    number = 0

    def make(source: str, folder: str = "bin") -> str:
        nonlocal number
        number += 1
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        script, launcher = place / f"source{number}.py", place / f"python{number}"
        script.write_text(source, encoding="utf-8")
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" -S "{script}" "$@"\nexit $?\n', encoding="utf-8")
        launcher.chmod(0o755)
        return str(launcher)

    return make


LIMIT = 120.0
"""Seconds after which a state that does not come is a failure."""


def ended(child: Child, seconds: float = LIMIT) -> Child:
    end = time.monotonic() + seconds
    while child.poll():
        assert time.monotonic() < end, "it goes on for ever"
        time.sleep(0.01)
    return child


def said(child: Child) -> list[str]:
    """Lines of the log without the seconds before each."""
    return [re.fullmatch(r"\d+\.\d s  (.*)", line)[1] for line in child.log.splitlines()]


def written(path: Path, seconds: float = LIMIT) -> str:
    end = time.monotonic() + seconds
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < end, f"{path.name} was never written"
        time.sleep(0.01)
    return path.read_text().strip()


def test_command_line_is_that_of_monai_inn(python):
    child = ended(
        Child(python("import json, sys; print(json.dumps({'given': sys.argv[1:]}))"), ["bundles", "/a b"])
    )
    assert child.result() == {"given": ["-m", "monai_inn", "bundles", "/a b", "--json", "--progress-lines"]}


def test_progress_is_heard_while_it_runs(python, tmp_path):
    go = tmp_path / "go"
    child = Child(
        python(
            "import os, sys, time\n"
            "print('PROGRESS 0.250 first part, slice 1', file=sys.stderr, flush=True)\n"
            f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
            "print('PROGRESS 1.000 done', file=sys.stderr)\n"
            "print('{\"n\": 1}')"
        ),
        [],
    )
    assert (child.share, child.text) == (0.0, "starting")
    end = time.monotonic() + LIMIT
    while child.share == 0 and time.monotonic() < end:
        assert child.poll()
        time.sleep(0.01)
    assert (child.share, child.text) == (0.25, "first part, slice 1")
    go.touch()
    assert ended(child).result() == {"n": 1}
    assert (child.share, child.text) == (1.0, "done")
    assert not child.poll()


def test_garbled_progress_goes_into_the_log(python):
    child = ended(
        Child(
            python(
                "import sys\n"
                "for rest in ('', ' half', ' 7 too much', ' -1 too little', ' nan strange'):\n"
                "    print('PROGRESS' + rest, file=sys.stderr)\n"
                "print(file=sys.stderr)\n"
                "print('{}')"
            ),
            [],
        )
    )
    assert child.result() == {}
    assert said(child) == ["PROGRESS", "PROGRESS half", "too much", "too little", "PROGRESS nan strange"]
    assert (child.share, child.text) == (0.0, "too little")


def test_time_that_is_left_is_told_from_the_pace(python, monkeypatch):
    child = Child(python("import time; time.sleep(1000)"), [])
    began = child._begun_s
    for share, passed, left in (
        (0.0, 50, None),
        (0.5, 1, None),
        (0.01, 50, None),
        (0.2, 10, 40),
        (1.0, 60, 0),
    ):
        child.share = share
        monkeypatch.setattr(time, "monotonic", lambda now=began + passed: now)
        assert child.left_s == (None if left is None else pytest.approx(left))
    monkeypatch.undo()
    child.cancel()


def test_error_is_the_one_line_of_the_command(python):
    child = ended(
        Child(
            python(
                "import sys\n"
                "print('some warning', file=sys.stderr)\n"
                "print('monai-inn: the image has 3 bands, give 16.', file=sys.stderr)\n"
                "print('PROGRESS 0.1 late', file=sys.stderr)\n"
                "sys.exit(2)"
            ),
            [],
        )
    )
    with pytest.raises(RuntimeError) as caught:
        child.result()
    assert str(caught.value) == "the image has 3 bands, give 16."


def test_missing_package_is_named(python):
    child = ended(
        Child(python("import sys; print('x: No module named monai_inn', file=sys.stderr); sys.exit(1)"), [])
    )
    with pytest.raises(RuntimeError, match="not installed in this Python"):
        child.result()


def test_unexpected_end_shows_the_last_line_and_keeps_the_log(python):
    child = ended(Child(python("for n in range(3): print(n)\nraise ZeroDivisionError('by zero')"), []))
    with pytest.raises(RuntimeError, match="code 1: ZeroDivisionError: by zero"):
        child.result()
    assert "Traceback" in child.log


def test_silent_end_is_said_so(python):
    with pytest.raises(RuntimeError, match="code 3: no message"):
        ended(Child(python("raise SystemExit(3)"), [])).result()


def test_success_without_a_result_is_a_failure(python):
    with pytest.raises(RuntimeError, match="code 0"):
        ended(Child(python("print('{not json')"), [])).result()


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getppid(), signal.SIGKILL)"]
)
def test_killed_by_the_system_means_memory(python, end):
    child = ended(Child(python(f"import os, signal\n{end}"), []))
    with pytest.raises(RuntimeError, match="memory ran out"):
        child.result()


def test_much_output_does_not_block(python):
    child = ended(
        Child(
            python(
                "import json, sys\n"
                "sys.stderr.write(('y' * 99 + '\\n') * 40_000)\n"
                "print(json.dumps({'x': 'z' * 4_000_000}))\n"
                "sys.stderr.write(('w' * 99 + '\\n') * 40_000)"
            ),
            [],
        )
    )
    assert len(child.result()["x"]) == 4_000_000
    assert said(child) == ["w" * 99] * 200


def test_output_that_is_not_text_does_not_stop_it(python):
    child = ended(
        Child(
            python(
                "import os\nos.write(2, b'caf\\xe9 \\xff\\n')\nprint('{\"name\": \"Gewebe \\u00e4\\u00f6\"}')"
            ),
            [],
        )
    )
    assert child.result() == {"name": "Gewebe äö"}
    assert said(child)[0].startswith("caf")


def test_cancel_lets_a_polite_child_tidy_up(python, tmp_path, monkeypatch):
    monkeypatch.setattr("INNUncertaintyLib.child._GRACE_S", LIMIT)
    ready, tidy = tmp_path / "ready", tmp_path / "tidy"
    child = Child(
        python(
            "import os, time\n"
            "try:\n"
            f"    open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
            "    while True: time.sleep(0.01)  # a signal just before one long sleep would wait for its end\n"
            f"except KeyboardInterrupt: open({str(tidy)!r}, 'w')"
        ),
        [],
    )
    pid = int(written(ready))
    child.cancel()
    assert tidy.exists()
    assert dies(pid)
    with pytest.raises(RuntimeError, match="Canceled; nothing was changed"):
        ended(child).result()


def test_cancel_asks_again_if_the_first_time_was_not_heard(python, tmp_path, monkeypatch):
    ready, heard, tidy = tmp_path / "ready", tmp_path / "heard", tmp_path / "tidy"
    child = Child(
        python(
            "import os, signal, time\n"
            "def deaf(*_):\n"
            "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"    open({str(heard)!r}, 'w').write('\\n')\n"
            "signal.signal(signal.SIGINT, deaf)\n"
            "try:\n"
            f"    open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
            "    while True: time.sleep(0.01)  # a signal just before one long sleep would wait for its end\n"
            f"except KeyboardInterrupt: open({str(tidy)!r}, 'w')"
        ),
        [],
    )
    written(ready)
    process = child._process._process
    wait, calls = process.wait, []

    def impatient(seconds=None):
        calls.append(seconds)
        if len(calls) == 1:  # the child may have heard it already
            written(heard)
            raise subprocess.TimeoutExpired("monai-inn", seconds)
        return wait(LIMIT)

    monkeypatch.setattr(process, "wait", impatient)
    child.cancel()
    assert tidy.exists()


def test_cancel_ends_stubborn_grandchildren(python, tmp_path):
    ready = tmp_path / "ready"
    grandchild = (
        f"{MUTE}; import os, time; open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(300)"
    )
    child = Child(
        python(
            f"{MUTE}\nimport subprocess, sys, time\n"
            f"subprocess.Popen([sys.executable, '-S', '-c', {grandchild!r}])\ntime.sleep(300)"
        ),
        [],
    )
    pid = int(written(ready))
    assert is_alive(pid)
    child.cancel()
    assert dies(pid)
    assert not ended(child).poll()
    assert child.is_cancelled


def test_cancel_ends_what_outlives_a_polite_child(python, tmp_path):
    ready = tmp_path / "ready"
    grandchild = (
        f"{MUTE}; import os, time; open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(300)"
    )
    child = Child(
        python(
            "import subprocess, sys, time\n"
            f"subprocess.Popen([sys.executable, '-S', '-c', {grandchild!r}])\n"
            "try: time.sleep(300)\nexcept KeyboardInterrupt: pass"
        ),
        [],
    )
    pid = int(written(ready))
    child.cancel()
    assert dies(pid)


def test_cancel_twice_and_after_the_end_is_harmless(python):
    child = Child(python("import time; time.sleep(300)"), [])
    child.cancel()
    child.cancel()
    assert child.is_cancelled
    done = ended(Child(python("print('{}')"), []))
    done.cancel()
    assert not done.is_cancelled
    assert done.result() == {}


def test_cancel_does_not_reach_this_process(python):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("interrupted"))
    try:
        Child(python("import time; time.sleep(300)"), []).cancel()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == []


def test_paths_with_spaces_and_umlauts(python):
    launcher = python("import json, sys; print(json.dumps(sys.argv[1:]))", folder="Größe von Föten")
    result = ended(Child(launcher, ["infer", "/tmp/Übung 1/Lösung.nrrd"])).result()
    assert result[3] == "/tmp/Übung 1/Lösung.nrrd"


def test_environment_is_the_one_given(python):
    source = (
        "import json, os; print(json.dumps([os.environ.get('INN_TEST'), os.environ.get('PYTHONUNBUFFERED')]))"
    )
    assert ended(Child(python(source), [], {"INN_TEST": "1"})).result() == ["1", "1"]


def test_interpreter_that_is_not_there(tmp_path):
    with pytest.raises(OSError):
        Child(str(tmp_path / "nothing"), [])
