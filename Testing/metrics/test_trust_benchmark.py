"""The command that prints who is flagged: folders of spectra that it refuses, in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADER = "species,tissue,wavelength_nm,mean_l1,sd_l1"


def table(tissue):
    return [f"pig,{tissue},{nm},{0.01 + nm * 1e-6},0.0005" for nm in range(500, 1001, 10)]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([HEADER, *table("heart")], "1 organ; give spectra of several"),
        (["wavelength_nm,heart", "500,0.1"], "no table there has the columns species, tissue"),
        ([HEADER, *table("heart")[:20], *table("liver")[:20]], "expected 500 to 1000"),
    ],
)
def test_a_folder_that_does_not_do_is_refused_in_one_line(tmp_path, rows, complaint):
    (tmp_path / "organs.csv").write_text("\n".join(rows))
    command = [sys.executable, str(ROOT / "benchmarks/trust.py"), "--spectra", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr
