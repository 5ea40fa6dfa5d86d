"""The command that prints who is flagged: folders of spectra that it refuses, in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HEADER = "species,tissue,wavelength_nm,mean_l1,sd_l1"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    import trust

    sys.path.remove(str(BENCHMARKS))
    return trust


def table(tissue, sd=0.0005):
    return [f"pig,{tissue},{nm},{0.01 + nm * 1e-6},{sd}" for nm in range(500, 1001, 10)]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([HEADER, *table("heart")], "1 organ; give spectra of several"),
        ([HEADER, *table("heart", 0), *table("liver")], "sd_l1 of 'pig heart' is not above 0; give means"),
        ([HEADER, *table("heart"), *table("liver", -0.001)], "sd_l1 of 'pig liver' is not above 0"),
        (["wavelength_nm,heart", "500,0.1"], "no table there has the columns species, tissue"),
        ([HEADER, *table("heart")[:20], *table("liver")[:20]], "expected 500 to 1000"),
    ],
)
def test_a_folder_that_does_not_do_is_refused_in_one_line(
    bench, tmp_path, monkeypatch, capsys, rows, complaint
):
    (tmp_path / "organs.csv").write_text("\n".join(rows))
    monkeypatch.setattr(sys, "argv", ["trust.py", "--spectra", str(tmp_path)])
    assert bench.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert complaint in said.err


def test_fewer_spectra_than_organs_are_refused(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["trust.py", "--n", "5"])
    assert bench.main() == 2
    assert capsys.readouterr().err == "trust: --n 5: fewer spectra than the 16 organs; give more.\n"
