"""Commands one after the other in one process: what is answered, interrupted, survived, and left the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_commands import run
from forked import Forked

import monai_inn
from monai_inn import worker
from monai_inn.networks.kernels.spline import spline
from monai_inn.worker import _IDLE_S

ROOT = Path(monai_inn.__file__).parents[1]
# In the place of the command line: what it gets, without torch or MONAI.
_STUB = """
import os, sys, time
from monai_inn import worker
def command(words):
    what = words[0]
    if what == 'wait':
        try:
            print('PROGRESS 0.5', what, file=sys.stderr)
            while True: time.sleep(0.01)
        except KeyboardInterrupt:
            print('tidied up', file=sys.stderr)
            return 130
    print('PROGRESS 0.5', what, file=sys.stderr)
    if what == 'stubborn':
        try:
            while True: time.sleep(0.01)
        except KeyboardInterrupt:
            raise
    if what == 'refuse': sys.exit(2)
    if what == 'quit': sys.exit('a reason')
    if what == 'fail': raise ZeroDivisionError('by zero')
    if what == 'die': os._exit(7)
    if what == 'noise': os.write(1, b'from a library\\n')
    if what == 'warn':
        import warnings
        warnings.warn('careful', stacklevel=1)
    print(*words)
    return 0
worker._EARLY, worker._load_late, worker.cli.main = (), lambda: None, command
worker._IDLE_S, worker._MOST_BYTES = {idle}, {most}
worker.main()
"""


class Talk:
    """A worker, its lines and answers."""

    def __init__(self, process: subprocess.Popen[str] | Forked) -> None:
        self.process = process

    def tell(self, text: str) -> None:
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ask(self, job: object, *words: str) -> None:
        self.tell(json.dumps({"job": job, "arguments": words}))

    def hear(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def answer(self, job: object, *words: str) -> tuple[int, str, list[str]]:
        """Code, output and lines of standard error of a command."""
        self.ask(job, *words)
        assert self.hear() == {"job": job}
        return self.rest(job)

    def rest(self, job: object) -> tuple[int, str, list[str]]:
        lines = []
        while "code" not in (message := self.hear()):
            assert message["job"] == job
            lines.append(message["line"])
        assert message["job"] == job
        return message["code"], message["output"], lines

    def end(self) -> int:
        """Close its standard input; the code that it ends with."""
        self.process.stdin.close()
        return self.process.wait(60)


@contextmanager
def talking(source: str):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-S", "-c", source], **pipes, text=True, env=environment
    ) as process:
        try:
            yield Talk(process)
        finally:
            process.kill()


@pytest.fixture
def stub():
    with talking(_STUB.format(idle=_IDLE_S, most=1 << 40)) as talk:
        yield talk


def test_jobs_are_answered_one_after_the_other(stub):
    assert stub.answer(1, "first", "word") == (0, "first word\n", ["PROGRESS 0.5 first"])
    assert stub.answer("b", "ä \"'") == (0, "ä \"'\n", ["PROGRESS 0.5 ä \"'"])
    assert stub.end() == 0


def test_jobs_that_come_early_wait(stub):
    stub.ask(1, "first")
    stub.ask(2, "second")
    assert stub.hear() == {"job": 1}
    assert stub.rest(1)[1] == "first\n"
    assert stub.hear() == {"job": 2}
    assert stub.rest(2)[1] == "second\n"


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("refuse", 2, "PROGRESS 0.5 refuse"),
        ("quit", 1, "PROGRESS 0.5 quit"),
        ("fail", 1, "ZeroDivisionError: by zero"),
    ],
)
def test_failure_ends_the_job_alone(stub, what, code, line):
    answer = stub.answer(1, what)
    assert (answer[0], answer[1], answer[2][-1]) == (code, "", line)
    assert stub.answer(2, "next")[0] == 0


@pytest.mark.parametrize("what", ["wait", "stubborn"])
def test_cancel_interrupts_the_running_job_once(stub, what):
    stub.ask(1, what)
    assert [stub.hear(), stub.hear()] == [{"job": 1}, {"job": 1, "line": f"PROGRESS 0.5 {what}"}]
    stub.tell('{"cancel": 1}\n{"cancel": 1}')
    code, _, lines = stub.rest(1)
    assert (code, lines) == (130, ["tidied up"] if what == "wait" else [])
    assert stub.answer(2, "next")[:2] == (0, "next\n")


def test_cancel_of_another_job_is_harmless(stub):
    stub.tell('{"cancel": 9}')
    stub.ask(1, "first")
    stub.tell('{"cancel": 0}')
    assert stub.hear() == {"job": 1}
    assert stub.rest(1)[0] == 0


def test_canceled_before_it_begins(stub):
    stub.ask(1, "wait")
    assert stub.hear() == {"job": 1}
    assert "line" in stub.hear()
    stub.ask(2, "never")
    stub.tell('{"cancel": 2}')
    stub.tell('{"cancel": 1}')
    assert stub.rest(1)[0] == 130
    assert [stub.hear(), stub.rest(2)[0]] == [{"job": 2}, 130]
    stub.tell('{"cancel": 2}')
    assert stub.answer(3, "next")[:2] == (0, "next\n")


def test_garbage_is_not_answered(stub):
    stub.process.stdin.buffer.write(b"\xff\xfe not text\n")
    stub.process.stdin.buffer.flush()
    for line in ("", "nothing", "[]", "3", "null", '{"job": 1}', '{"job": 1, "arguments": "infer"}'):
        stub.tell(line)
    assert stub.answer(2, "next")[:2] == (0, "next\n")


def test_what_libraries_print_comes_between_no_messages(stub):
    assert stub.answer(1, "noise")[:2] == (0, "noise\n")
    stub.process.stdin.close()
    assert stub.process.stderr.read() == "from a library\n"


def test_warnings_are_those_of_each_job(stub):
    lines = [stub.answer(job, "warn")[2] for job in (1, 2)]
    assert lines[0] == lines[1]
    assert any("careful" in line for line in lines[0])


def test_a_job_ends_with_standard_input(stub):
    stub.ask(1, "wait")
    assert stub.hear() == {"job": 1}
    assert stub.end() == 0


def test_a_job_that_is_about_to_begin_ends_with_standard_input_too():
    late = """
import threading
begin = worker._Jobs._begin
def late(*job):
    [thread.join() for thread in threading.enumerate() if thread.daemon]  # which listens to standard input
    return begin(*job)
worker._Jobs._begin = late
worker.main()
"""
    stub = _STUB.format(idle=_IDLE_S, most=1 << 40)
    with talking(stub.removesuffix("worker.main()\n") + late) as talk:
        talk.ask(1, "wait")
        assert talk.hear() == {"job": 1}
        talk.process.stdin.close()
        assert talk.rest(1) == (130, "", [])
        assert talk.process.wait(60) == 0


def test_crash_says_nothing_more(stub):
    stub.ask(1, "die")
    assert stub.hear() == {"job": 1}
    assert stub.process.wait(60) == 7


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system tells no memory")
def test_a_process_that_has_grown_ends_after_its_job_and_by_ctrl_c():
    with talking(_STUB.format(idle=_IDLE_S, most="worker._resident_bytes() + (32 << 20)")) as talk:
        assert talk.answer(1, "first")[0] == 0
        assert talk.process.poll() is None
        talk.process.send_signal(signal.SIGINT)
        assert talk.process.wait(60) == 0
    grown = _STUB.replace("print(*words)", "worker.kept = b'x' * (1 << 27); print(*words)")
    with talking(grown.format(idle=_IDLE_S, most="worker._resident_bytes() + (32 << 20)")) as talk:
        assert talk.answer(1, "first")[1] == "first\n"
        assert talk.process.wait(60) == 0


def test_what_inferences_load_is_loaded_when_the_first_job_is_done():
    source = _STUB.replace("lambda: None", "lambda: print('loading', file=sys.__stderr__, flush=True)")
    with talking(source.format(idle=_IDLE_S, most=1 << 40)) as talk:
        assert talk.answer(1, "first")[0] == 0
        assert talk.process.stderr.readline() == "loading\n"
    spline.cache_clear()
    worker._load_late()
    assert spline.cache_info().currsize == 2


def test_idle_process_ends():
    with talking(_STUB.format(idle=0.1, most=1 << 40)) as talk:
        assert talk.process.wait(60) == 0


def test_infers_to_the_last_byte_as_a_process_of_its_own(camera_fit, tmp_path, capsys, monkeypatch):
    """Also after another job, one that failed, and one that was canceled."""
    camera_fit.save(tmp_path / "bundle")
    _, y = camera_fit.problem.simulate(12, seed=1)
    import numpy as np

    np.savez(tmp_path / "image.npz", image=y.T.reshape(-1, 4, 3).numpy())
    words = ["infer", str(tmp_path / "bundle"), str(tmp_path / "image.npz"), "--samples", "8"]
    words += ["--save-samples", "2", "--json"]
    monkeypatch.setattr(worker, "_MOST_BYTES", 1 << 40)  # a fork counts the memory of its parent
    with Forked(worker.main) as process:
        talk = Talk(process)
        assert talk.answer(1, *words, "-o", str(tmp_path / "first"), "--seed", "3")[0] == 0
        code, _, lines = talk.answer(2, "infer", "nothing", "nowhere", "-o", str(tmp_path / "no"))
        assert (code, len(lines)) == (2, 1)
        talk.ask(3, "simulate", "two_moons", "-n", "100000000", "-o", str(tmp_path / "data.zarr"))
        assert talk.hear() == {"job": 3}
        time.sleep(0.2)
        talk.tell('{"cancel": 3}')
        assert talk.rest(3)[0] == 130
        code, output, _ = talk.answer(4, *words, "-o", str(tmp_path / "there"))
        assert code == 0
        process.stdin.close()
        assert process.wait() == 0
    capsys.readouterr()
    assert run(*words, "-o", tmp_path / "here") == 0
    ours, theirs = json.loads(capsys.readouterr().out), json.loads(output)
    assert theirs["summary"] == ours["summary"]
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "there").iterdir())
    for name in files:
        if name != "result.json":  # which says when and where
            assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name
