"""The command that prints who is flagged: folders of spectra that it refuses, in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HEADER = "species,tissue,wavelength_nm,mean_l1,sd_l1"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    import trust

    sys.path.remove(str(BENCHMARKS))
    return trust


@pytest.fixture
def fewer_starts(monkeypatch):
    """The fits of these tests need no search all over the prior."""
    monkeypatch.setattr("monai_inn.applications.oximetry.learning._STARTS", 2048)


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


@pytest.mark.usefixtures("fewer_starts")
def test_the_share_of_an_organ_is_its_misfit_over_the_number_of_the_others(bench):
    from monai_inn.problems import Oximetry

    problem = Oximetry("tivita")
    theta, _ = problem.simulate(3, seed=1)
    made = problem.forward(theta).double()
    bump = torch.exp(-0.5 * ((torch.arange(100.0) - 50) / 3).square()).double()
    organs = {"a": made[:1], "b": made[1:2], "c": made[2:] * (0.1 * bump).exp()}
    shares = bench.own_share(problem, organs)
    assert all(abs(float(share.mean())) < 1e-6 for share in shares.values())
    assert all(float(shares[name].abs().max()) < 0.01 for name in "ab")
    assert 0.02 < float(shares["c"].max()) < 0.05  # 0.1 over 2, less what the fit follows
    assert 45 < int(shares["c"].argmax()) < 55
    again = {**organs, "d": made[:1], "e": made[1:2]}
    half = bench.own_share(problem, again)["c"]
    torch.testing.assert_close(half, shares["c"] / 2, atol=2e-3, rtol=0.1)


@pytest.mark.usefixtures("fewer_starts")
def test_real_tissue_is_judged_without_the_share_of_its_organ(bench, monkeypatch):
    from types import SimpleNamespace

    import numpy as np

    from monai_inn.problems import Oximetry

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import real_tissue

    names = (
        "pig kidney",
        "pig kidney_physiological",
        "pig liver",
        "human stomach",
        "human skin",
        "pig kidney_icg",
    )
    curves = {name: row for name, row in real_tissue.spectra(None).items() if name in names}
    found = real_tissue.left_out(SimpleNamespace(problem=Oximetry("tivita")), curves)
    change = {name: np.log(found[name] / curves[name]) for name in names}
    np.testing.assert_allclose(change["pig kidney"], change["pig kidney_physiological"], atol=1e-5)
    assert all(np.abs(change[name]).max() > 1e-3 for name in ("pig kidney", "pig liver", "human stomach"))
    assert all((change[name] == 0).all() for name in ("human skin", "pig kidney_icg"))
