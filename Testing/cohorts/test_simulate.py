"""Simulations on a dask cluster: the numbers are those of one process, whatever happens to workers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from monai_inn.cli import main
from monai_inn.problems import LinearGaussian
from monai_inn.training import open_simulations, simulate_to_zarr

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not know this folder

ROWS, CHUNK = 9000, 1024


class Watched(LinearGaussian):
    """Writes down which blocks are simulated; one kills its worker the first time, another may fail."""

    folder = Path()
    fails = False

    def simulate_clean(self, n, seed=0, first_block=0):
        made = self.folder / f"made{first_block}"
        if first_block == 5 and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if first_block == 7 and self.fails:
            raise ValueError("no such tissue")
        with made.open("a") as log:
            log.write("x")
        return super().simulate_clean(n, seed, first_block)


def watched(folder: Path, fails: bool = False) -> LinearGaussian:
    problem = Watched()
    problem.folder, problem.fails = folder, fails
    return problem


def check(path: Path) -> None:
    stored, expected = open_simulations(path), LinearGaussian().simulate_clean(ROWS, seed=3)
    np.testing.assert_array_equal(stored.theta[:], expected[0].numpy())
    np.testing.assert_array_equal(stored.y[:], expected[1].numpy())


def test_a_killed_worker_costs_one_chunk(scheduler, tmp_path):
    seen = []
    simulate_to_zarr(
        watched(tmp_path), ROWS, tmp_path / "set", seed=3, chunk=CHUNK, scheduler=scheduler,
        progress=lambda done, n: seen.append((done, n)),
    )  # fmt: skip
    assert (tmp_path / "killed").exists()
    assert [done for done, _ in seen][-1] == ROWS
    assert len(seen) == 9
    check(tmp_path / "set")


def test_a_run_goes_on_where_it_stopped_here_or_there(scheduler, nobody, tmp_path):
    (tmp_path / "killed").touch()  # nobody is killed
    with pytest.raises(RuntimeError, match="no such tissue"):
        simulate_to_zarr(
            watched(tmp_path, fails=True), ROWS, tmp_path / "set", seed=3, chunk=CHUNK, scheduler=scheduler
        )
    with pytest.raises(RuntimeError, match="are missing"):
        open_simulations(tmp_path / "set")
    simulate_to_zarr(LinearGaussian(), ROWS, tmp_path / "set", seed=3)
    check(tmp_path / "set")
    simulate_to_zarr(LinearGaussian(), ROWS, tmp_path / "set", seed=3, scheduler=nobody)  # nothing is left


def test_bad_clusters_are_refused_in_one_line(nobody, tmp_path, capsys):
    simulate = ["simulate", "linear_gaussian", "-n", "10", "-o", str(tmp_path / "set"), "--scheduler", nobody]
    assert main(simulate) == 2
    assert "no dask scheduler answers there" in capsys.readouterr().err
    assert main([*simulate, "--workers", "2"]) == 2
    assert "those of a scheduler are its own" in capsys.readouterr().err
