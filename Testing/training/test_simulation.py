from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Uniform

from monai_inn.applications.oximetry.problem import Oximetry
from monai_inn.problems import LinearGaussian, Simulated, create
from monai_inn.training.simulation import open_simulations, simulate_to_zarr

ROWS = 5000


@pytest.fixture(scope="module")
def problem() -> LinearGaussian:
    return LinearGaussian()


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    opened = open_simulations(path)
    return opened.theta[:], opened.y[:]


@pytest.mark.parametrize(("workers", "chunk"), [(1, 1024), (1, 8192), (2, 2048)])
def test_numbers_depend_on_neither_chunks_nor_workers(tmp_path, problem, workers, chunk):
    simulate_to_zarr(problem, ROWS, tmp_path / "set", seed=3, workers=workers, chunk=chunk)
    theta, y = arrays(tmp_path / "set")
    expected = problem.simulate_clean(ROWS, seed=3)
    assert theta.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(theta, expected[0].numpy())
    np.testing.assert_array_equal(y, expected[1].numpy())


def test_optical_simulation_is_the_same_for_any_chunk(tmp_path):
    problem = Oximetry("imec_ssm4x4_460_600")
    for chunk in (1024, 3072):
        simulate_to_zarr(problem, 2500, tmp_path / str(chunk), chunk=chunk)
    for one, other in zip(arrays(tmp_path / "1024"), arrays(tmp_path / "3072"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_set_knows_its_problem(tmp_path, problem):
    made = simulate_to_zarr(problem, 100, tmp_path / "set", seed=7)
    assert len(made) == 100
    assert made.seed == 7
    copy = create(made.problem["name"], **made.problem["config"])
    assert torch.equal(copy.matrix, problem.matrix)


def test_progress_counts_rows(tmp_path, problem):
    seen: list[tuple[int, int]] = []
    simulate_to_zarr(
        problem, 2500, tmp_path / "set", chunk=1024, progress=lambda done, n: seen.append((done, n))
    )
    assert seen == [(1024, 2500), (2048, 2500), (2500, 2500)]
    simulate_to_zarr(
        problem, 2500, tmp_path / "set", progress=lambda *_: pytest.fail("nothing was left to do")
    )


class _Interrupted(LinearGaussian):
    """Fails after some calls, as a full disk or a keyboard interrupt would."""

    calls = 0
    allowed = 2

    def simulate_clean(self, n, seed=0, first_block=0):
        type(self).calls += 1
        if type(self).calls > self.allowed:
            raise KeyboardInterrupt
        return super().simulate_clean(n, seed, first_block)


def test_an_interrupted_run_keeps_its_chunks_and_goes_on(tmp_path, problem):
    with pytest.raises(KeyboardInterrupt):
        simulate_to_zarr(_Interrupted(), ROWS, tmp_path / "set", chunk=1024)
    with pytest.raises(RuntimeError, match="3 of 5 chunks are missing"):
        open_simulations(tmp_path / "set")
    seen: list[int] = []
    simulate_to_zarr(problem, ROWS, tmp_path / "set", chunk=4096, progress=lambda done, _: seen.append(done))
    assert seen == [3072, 4096, 5000]
    np.testing.assert_array_equal(arrays(tmp_path / "set")[1], problem.simulate_clean(ROWS)[1].numpy())


SCRIPT = """
import os, sys, time
from monai_inn.problems import LinearGaussian
from monai_inn.training.simulation import simulate_to_zarr

class Held(LinearGaussian):
    def simulate_clean(self, n, seed=0, first_block=0):
        if first_block >= 4:
            while os.getppid() == self.parent:  # until it is killed
                time.sleep(0.01)
            os._exit(0)
        return super().simulate_clean(n, seed, first_block)

if __name__ == "__main__":
    tell = lambda done, n: print(done, flush=True)
    held = Held()
    held.parent = os.getpid()
    simulate_to_zarr(held, 20_000, sys.argv[1], chunk=1024, workers=2, progress=tell)
"""


@pytest.mark.slow  # with workers; test_training_kills has it without
def test_a_killed_run_goes_on(tmp_path, problem):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    # Workers that outlive their parent end at their next message; the set is whole whatever they still write.
    with pytest.raises(RuntimeError, match="are missing"):
        open_simulations(tmp_path / "set")
    assert [p.name for p in tmp_path.glob(".*")] == []
    simulate_to_zarr(problem, 20_000, tmp_path / "set")
    theta, y = arrays(tmp_path / "set")
    expected = problem.simulate_clean(20_000)
    np.testing.assert_array_equal(theta, expected[0].numpy())
    np.testing.assert_array_equal(y, expected[1].numpy())


def test_workers_take_what_only_this_function_knows(tmp_path, problem):
    class Local(LinearGaussian):
        twice = staticmethod(lambda y: 2 * y)

        def forward(self, theta):
            return self.twice(super().forward(theta))

    simulate_to_zarr(Local(), 3000, tmp_path / "set", workers=2, chunk=1024)
    np.testing.assert_array_equal(arrays(tmp_path / "set")[1], 2 * problem.simulate_clean(3000)[1].numpy())
    function = Simulated.of_function({"a": Uniform(0.5, 2.0)}, lambda row: row + np.random.standard_normal(2))
    simulate_to_zarr(function, 3000, tmp_path / "function", seed=1, workers=2, chunk=1024)
    expected = function.simulate_clean(3000, seed=1)[1].numpy()
    np.testing.assert_array_equal(arrays(tmp_path / "function")[1], expected)


def test_a_failing_worker_is_reported(tmp_path):
    """Last of all that ask for workers, who end by it."""

    class Broken(LinearGaussian):
        def forward(self, theta):
            raise ValueError("no such tissue")

    with pytest.raises(RuntimeError, match="no such tissue"):
        simulate_to_zarr(Broken(), 3000, tmp_path / "set", workers=2, chunk=1024)


@pytest.mark.parametrize(
    ("other", "options", "words"),
    [
        (LinearGaussian(num_parameters=5), {}, "another problem"),
        (LinearGaussian(), {"seed": 1}, "seed 0 there, 1 asked for"),
        (LinearGaussian(), {"n": 2000}, "n 1000 there, 2000 asked for"),
    ],
)
def test_another_run_is_not_mixed_in(tmp_path, problem, other, options, words):
    simulate_to_zarr(problem, 1000, tmp_path / "set")
    with pytest.raises(ValueError, match=words):
        simulate_to_zarr(other, path=tmp_path / "set", **{"n": 1000, **options})


def test_other_folders_are_refused(tmp_path, problem):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="no training set"):
        simulate_to_zarr(problem, 10, tmp_path / "photos")
    with pytest.raises(ValueError, match="no training set"):
        open_simulations(tmp_path / "nothing")


@pytest.mark.parametrize("options", [{"n": 0}, {"workers": 0}, {"chunk": 1000}, {"chunk": 0}])
def test_bad_numbers_are_refused(tmp_path, problem, options):
    with pytest.raises(ValueError, match="positive"):
        simulate_to_zarr(problem, path=tmp_path / "set", **{"n": 10, **options})
    assert list(tmp_path.iterdir()) == []


def test_more_rows_than_the_disk_holds_are_refused(tmp_path, problem):
    """Once the list of chunks of 10^20 rows took all memory of the machine."""
    with pytest.raises(
        ValueError, match=r"1,000,000,000,000,000 simulations of .* take .* GB; ask for fewer"
    ):
        simulate_to_zarr(problem, 10**15, tmp_path / "far" / "set")
    assert not list(tmp_path.iterdir())
