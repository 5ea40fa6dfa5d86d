"""What means the same at every site: a linear model with known risks, equal sites, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest

import monai_inn
from monai_inn.cli import main
from monai_inn.metrics import independence_test
from monai_inn.testproblems.sites import CauseAndEffect
from monai_inn.training import Recipe, fit

RECIPE = Recipe(
    num_simulations=8192, posterior_steps=150, density_steps=2, explanation_steps=2, preview_steps=2,
    preview_observations=64, batch_size=512, held_out=512, guard=200, measured=600,
)  # fmt: skip
SMALL = {
    "encoder": {"width": 32, "num_blocks": 1, "out_channels": 4},
    "flow": {"num_blocks": 1, "hidden_channels": (32,), "coupling": "affine"},
    "density": {"num_blocks": 1, "hidden_channels": (16,)},
}
REVERSED = {"slopes": (-1.0, -1.0), "spreads": (0.5, 0.5)}


def trained(problem, weight=2000.0, seed=0, **others):
    options = {"recipe": RECIPE, "network": SMALL, "members": 2, "seed": seed} | others
    return fit(problem, invariant_over="site", invariance=weight, **options)


@pytest.fixture(scope="module")
def invariant():
    return trained(CauseAndEffect())


def risk(fitted) -> float:
    """Mean squared error of the posterior mean where the effect has the opposite sign."""
    theta, y = CauseAndEffect(**REVERSED).simulate(4000, seed=99)
    with torch.no_grad():
        mean = fitted.target_posterior(y).sample((64,)).mean(0)
    return float((mean - theta[:, :1]).square().mean())


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.29, 0.71), (-0.4, 1.3)])
def test_risks_in_closed_form_are_those_of_simulations(weights):
    problem = CauseAndEffect(0.7, (1.5, 1.5), (0.6, 0.6))
    theta, y = problem.simulate(40_000, seed=3)
    squared = (y @ torch.tensor(weights) - theta[:, 0]).square()
    error = float(squared.std()) / math.sqrt(len(squared))
    assert abs(float(squared.mean()) - problem.risk(weights, 1.5, 0.6)) < 4 * error


def test_pooled_weights_are_those_of_one_site_by_hand():
    problem = CauseAndEffect(1.0, (1.0, 1.0), (0.5, 0.5))
    assert problem.pooled == pytest.approx((0.2, 0.8))
    assert problem.risk(problem.pooled, -1.0, 0.5) == pytest.approx(5.96)
    assert problem.risk((1.0, 0.0), -1.0, 0.5) == 1.0


def test_pooled_weights_have_the_least_error_over_all_sites():
    problem = CauseAndEffect(0.7, (1.0, 2.0, -0.5), (0.3, 0.6, 0.9))
    theta, y = problem.simulate(100_000, seed=4)
    found = torch.linalg.lstsq(y.double(), theta[:, :1].double()).solution.flatten().tolist()
    assert found == pytest.approx(problem.pooled, abs=0.02)


def test_the_effect_is_not_used_and_an_unseen_site_is_answered_as_well_as_can_be(invariant):
    gates = invariant.card["invariance"]["gates"]
    assert gates["effect"] < 0.1 < 0.5 < gates["cause"]
    assert risk(invariant) < 1.15
    assert invariant.warnings == [w for w in invariant.warnings if "site" not in w]


@pytest.mark.slow  # a training; that with invariance is always tested
def test_without_invariance_the_unseen_site_is_answered_badly_and_the_card_says_why():
    plain = trained(CauseAndEffect(), weight=0.0)
    assert risk(plain) > 4
    assert plain.card["invariance"]["p_value"] < 0.01
    assert any("still depends on the site" in w for w in plain.warnings)


@pytest.mark.slow  # two more trainings; sites that differ are always tested
def test_sites_that_are_alike_do_no_harm_and_are_said_to_tell_nothing():
    problem = CauseAndEffect(slopes=(1.0,) * 4, spreads=(0.5,) * 4)
    fitted = trained(problem)
    theta, y = problem.simulate(4000, seed=98)
    with torch.no_grad():
        mean = fitted.target_posterior(y).sample((64,)).mean(0)
    best = problem.risk(problem.pooled, 1.0, 0.5)
    assert float((mean - theta[:, :1]).square().mean()) < 1.15 * best
    assert any("cannot be told apart" in w for w in fitted.warnings)


def test_a_bundle_keeps_gates_and_figures(invariant, tmp_path):
    invariant.save(tmp_path / "bundle")
    loaded = monai_inn.load(tmp_path / "bundle")
    y = CauseAndEffect().simulate(8, seed=5)[1]
    theta = torch.zeros(8, 1)
    assert torch.equal(
        loaded.target_posterior(y).log_prob(theta), invariant.target_posterior(y).log_prob(theta)
    )
    assert loaded.card["invariance"] == invariant.card["invariance"]
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert "## Invariance over site" in card
    assert "| effect |" in card


def test_p_values_of_the_true_mechanism_are_uniform():
    """Ten seeds, and ten parts of each: what cause and outcome leave is independent of cause and site."""
    p = []
    for seed in range(10):
        theta, y = CauseAndEffect().simulate(500, seed)
        left, cause, site = theta[:, :1] - y[:, :1], y[:, :1], theta[:, 1].long()
        for rows in torch.arange(500).split(50):
            p.append(independence_test(left[rows], cause[rows], site[rows], permutations=99).p_value)
    jitter = torch.rand(len(p), generator=torch.Generator().manual_seed(0)).double()
    assert kstest(torch.tensor(p).double() - jitter / 100, "uniform").pvalue > 0.01


def table(counts=(700, 700), seed=0):
    """Outcome, number of the site, and the features of so many rows at each."""
    problem = CauseAndEffect()
    theta, y = problem.simulate(sum(counts), seed)
    site = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).float()
    return torch.stack([theta[:, 0], site], 1), y


def test_finished_simulations_name_their_sites_in_the_last_column():
    theta, x = table((800, 800, 800))
    tiny = Recipe(posterior_steps=3, density_steps=2, preview_steps=2, preview_observations=64, batch_size=64)
    fitted = fit(
        theta=theta, x=x, names=("outcome", "hospital"), invariant_over="hospital", recipe=tiny, network=SMALL
    )
    assert fitted.problem.targets == ("outcome",)
    assert list(fitted.card["invariance"]["sites"]) == ["0", "1", "2"]
    assert fitted.card["invariance"]["weight"] == 2000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"invariance": -1.0}, "invariance = -1.0 over 'site'; give a finite weight, at least 0"),
        ({"invariance": math.nan}, "invariance = nan"),
        ({"invariant_over": "hospital"}, "unknown parameter 'hospital'; this problem has outcome, site"),
        ({"invariant_over": "outcome"}, "'outcome' is a target; give one behind the targets"),
        ({"invariant_over": None}, "invariance = 100.0 over None; give .* the parameter of the sites"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        fit(CauseAndEffect(), **{"invariant_over": "site", "invariance": 100.0, "recipe": RECIPE} | options)


def test_the_command_line_refuses_in_one_line(capsys, tmp_path):
    words = (
        "fit",
        "cause_and_effect",
        "-o",
        str(tmp_path / "b"),
        "--invariant-over",
        "site",
        "--invariance",
        "-1",
    )
    assert main(list(words)) == 2
    assert "monai-inn: invariance = -1.0 over 'site'; give a finite weight" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        ((1400,), ("outcome", "site"), "two or more sites"),
        ((1400, 10), ("outcome", "site"), r"site '1' has \d of 98\d simulations; give at least 100"),
        (
            (1400, 0, 10),
            ("outcome", "site"),
            r"'site', holds \[0.0, 2.0\]; .* the numbers 0, 1, … of two or more sites",
        ),
        (
            (700, 700),
            ("site", "outcome"),
            "last column of theta, 'outcome', holds .* over 'site' give it that name",
        ),
    ],
)
def test_bad_tables(counts, names, message):
    theta, x = table(counts)
    with pytest.raises(ValueError, match=message):
        fit(theta=theta, x=x, names=names, invariant_over="site", recipe=RECIPE)
