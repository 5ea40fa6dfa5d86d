"""A network that learns interiors of planets, and the verb that asks it; one small training for all."""

from __future__ import annotations

import csv

import pytest
import torch
from scipy.stats import ks_2samp

import monai_inn as mi
from monai_inn.cli import main
from monai_inn.problems import Planets
from monai_inn.training import Recipe

TABLE = """name,mass_earth,mass_up,mass_down,radius_earth,radius_up,radius_down
K2-111 b,5.58,0.74,-0.73,1.82,0.11,-0.09
=puffed,1,0.05,-0.05,3.5,0.05,-0.05
Jupiter,317.8,0.1,-0.1,11.2,0.1,-0.1
"""


@pytest.fixture(scope="module")
def fitted() -> mi.FittedPosterior:
    network = {
        "flow": {"hidden_channels": (48, 48), "num_blocks": 3},
        "encoder": {"width": 64},
        "density": {"hidden_channels": (8,), "members": 2},
    }
    recipe = Recipe(100_000, 300, 60, 20, 64, 512, measured=1000, held_out=1000, guard=500)
    return mi.fit(Planets(), recipe=recipe, network=network, seed=0)


@pytest.fixture(scope="module")
def bundle(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planets") / "bundle"
    fitted.save(folder)
    return folder


@pytest.mark.slow  # a training of half a minute
def test_posterior_is_calibrated(fitted):
    card = fitted.card
    for name in fitted.problem.targets:
        assert card["parameters"][name]["calibration_error"] < card["calibration_noise_floor_95"] + 0.02


@pytest.mark.slow  # of the same training
def test_posteriors_of_planets_are_near_the_exact_ones(fitted):
    planets = fitted.problem
    y = torch.tensor([[5.58, 1.82, 0.735, 0.1], [1.94, 1.521, 0.28, 0.108], [2.0, 1.1, 0.1, 0.04]])
    torch.manual_seed(0)
    with torch.no_grad():
        found = planets.fractions(fitted.posterior(y).sample((4000,)))
    exact = planets.fractions(planets.reference_posterior(y).sample((4000,)))
    for one, other in zip(found.flatten(1).T, exact.flatten(1).T, strict=True):
        assert ks_2samp(one.numpy(), other.numpy()).statistic < 0.12


@pytest.mark.slow  # of the same training
def test_one_network_knows_what_errors_mean(fitted):
    """The same planet measured ten times as well: the water is better known, the model's error as before."""
    y = torch.tensor([[2.0, 1.4, 0.4, 0.15], [2.0, 1.4, 0.04, 0.015]])
    torch.manual_seed(0)
    with torch.no_grad():
        water, _, mass, off = fitted.posterior(y).sample((2000,)).std(0).T
    assert float(water[0] / water[1]) > 1.5
    assert float(mass[0] / mass[1]) > 5
    torch.testing.assert_close(off, torch.full((2,), 0.03), rtol=0.25, atol=0)


@pytest.mark.slow  # of the same training
def test_the_verb_answers_a_table(bundle, tmp_path, capsys):
    (tmp_path / "planets.csv").write_text(TABLE)
    out = tmp_path / "interiors.csv"
    assert main(["interiors", str(bundle), str(tmp_path / "planets.csv"), "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "K2-111 b: core 0." in text
    assert "Jupiter: not usable" in text
    first, puffed, jupiter = csv.DictReader(out.open())
    assert (first["verdict"], puffed["verdict"], jupiter["verdict"]) == (
        "explained",
        "not explained",
        "not usable",
    )
    assert puffed["name"] == "'=puffed"  # no formula of a spreadsheet
    assert jupiter["water"] == ""
    assert 0 < float(first["water_low"]) < float(first["water"]) < float(first["water_high"]) < 1
    assert main(["interiors", str(bundle), str(tmp_path / "planets.csv"), "-o", str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "b.csv").read_bytes() == out.read_bytes()


def test_the_verb_refuses_what_it_cannot_read(fit_without_training, tmp_path, capsys, gaussian_fit):
    table, out, bundle = tmp_path / "planets.csv", tmp_path / "out.csv", tmp_path / "bundle"
    table.write_text(TABLE)
    fit_without_training(Planets()).save(bundle)
    gaussian_fit.save(tmp_path / "other")
    (tmp_path / "negative.csv").write_text(TABLE.replace("5.58,0.74", "5.58,-0.74"))
    for source, named, words in (
        (tmp_path / "other", table, "is a bundle of linear_gaussian; give one that `fit planets` wrote"),
        (bundle, tmp_path / "none.csv", "none.csv"),
        (bundle, tmp_path / "negative.csv", "K2-111 b has mass 5.58 ± -0.74"),
    ):
        assert main(["interiors", str(source), str(named), "-o", str(out)]) == 2
        line = capsys.readouterr().err.strip()
        assert words in line
        assert len(line.splitlines()) == 1
        assert not out.exists()
    assert main(["interiors", str(bundle), str(table), "-o", str(out)]) == 0
    assert "Jupiter: not usable" in capsys.readouterr().out
    assert [row["name"] for row in csv.DictReader(out.open())] == ["K2-111 b", "'=puffed", "Jupiter"]
