"""The out-of-distribution benchmark: its sets are what they say, its verdicts follow from known scores."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from monai_inn.problems import Observation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEED = 0
pytest.importorskip("sklearn", reason="the baselines need scikit-learn")


class Camera:
    """A stand-in with the scanner's bands and white noise of 0.2 % of white."""

    name = "tivita"
    centre_nm = tuple(500 + i * 500 / 99 for i in range(100))

    def noise(self, y, generator=None):
        return y + 2e-3 * torch.randn(y.shape, generator=generator)


class Problem:
    """Simulations that cover the organs: mixtures of their measured means, tilted and bent at random."""

    observation = Observation.pixel(*(f"band {i}" for i in range(100)))

    def __init__(self, means):
        self.means = torch.as_tensor(means, dtype=torch.float32)

    def simulate(self, n, seed=0):
        g = torch.Generator().manual_seed(seed)
        weight = torch.distributions.Exponential(1.0)
        torch.manual_seed(seed)
        mixture = weight.sample((n, len(self.means))).square()
        y = mixture @ self.means / mixture.sum(1, keepdim=True)
        x = torch.linspace(-1, 1, 100)
        bends = torch.randn(n, 5, generator=g) @ torch.stack([torch.cos(k * x * 1.5 + k) for k in range(5)])
        y = y / y.mean(1, keepdim=True) * (1 + 0.06 * bends).clamp_min(0.1)
        y = y * (0.1 * 4 ** torch.rand(n, 1, generator=g))
        return torch.zeros(n, 1), Camera().noise(y, g)

    def features(self, y):
        logs = (y.clamp_min(1e-3 * y.mean(-1, keepdim=True))).log()
        return (logs - logs.mean(-1, keepdim=True))[..., :-1]

    def is_valid(self, y):
        return torch.isfinite(y).all(-1) & ((y <= 0).float().mean(-1) <= 0.25)


class GaussianPosterior:
    """Ensemble of Gaussian densities of the features, each fitted to a twentieth of the simulations."""

    def __init__(self, problem, members=5, each=1000):
        self.problem = problem
        x = problem.features(problem.simulate(members * each, seed=1)[1]).double()
        self.members = [
            torch.distributions.MultivariateNormal(part.mean(0), part.T.cov() + 1e-6 * torch.eye(99))
            for part in x.split(each)
        ]

    def density_log_prob(self, y):
        x = self.problem.features(y).double()
        return torch.stack([member.log_prob(x) for member in self.members])

    def waic(self, y):
        from monai_inn.metrics import waic

        return waic(self.density_log_prob(y))

    def misfit(self, y):
        return self.waic(y).unsqueeze(-1)

    def posterior_width(self, y):
        return y.std(-1) / y.mean(-1)


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    import ood
    import ood_data
    import ood_scorers
    import ood_table

    sys.path.remove(str(BENCHMARKS))
    # Intervals are rough here: the tests ask for their side of zero only.
    ood._BOOTSTRAPS = 20
    return SimpleNamespace(ood=ood, data=ood_data, scorers=ood_scorers, table=ood_table)


@pytest.fixture(scope="module")
def sets(bench):
    return bench.data.build(170, seed=SEED, camera=Camera())


def test_sets_have_the_shape_they_promise(bench, sets):
    assert sets.pooled().shape == (170, 100)
    assert sum("skin" in name or "icg" in name for name in sets.inside) == 0
    everything = {**sets.outside, **sets.dial}
    assert {y.shape for y in everything.values()} == {(170, 100)}
    assert {y.dtype for y in everything.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(y).all() for y in everything.values())
    again = bench.data.build(170, seed=SEED, camera=Camera())
    assert all(np.array_equal(again.outside[name], y) for name, y in sets.outside.items())
    assert set(sets.notes) <= set(sets.outside)


def test_organ_sets_follow_the_measured_mean_and_spread(bench):
    from monai_inn.physics import tissue_spectra

    n = 3400
    drawn = bench.data.build(n, seed=SEED + 1, camera=Camera()).inside["pig liver"]
    _, spectra = tissue_spectra.load("pig_organs")
    mean, sd = spectra["pig liver"]
    shape = drawn / drawn.sum(1, keepdims=True)
    assert np.abs(shape.mean(0) / mean - 1).max() < 5 * (sd / mean).max() / len(drawn) ** 0.5 + 0.02
    noise = 2e-3 / (0.1 * mean / mean.mean())
    # A share of the sum varies at most by what the band and the sum vary; four standard errors of an sd.
    largest = sd / mean + sd.sum() / mean.sum() + noise
    assert bool((shape.std(0) / mean < (1 + 4 / (2 * len(drawn)) ** 0.5) * largest).all())
    assert np.median(shape.std(0) / sd) > 0.4


def test_disturbances_do_what_their_name_says(bench, sets):
    assert (np.sort(sets.outside["shuffled bands"], 1) > 0).mean() > 0.95
    tops = (sets.outside["saturated"] == sets.outside["saturated"].max(1, keepdims=True)).sum(1)
    assert tops.min() >= 9
    assert tops.max() <= 50
    assert 1e-3 < sets.outside["dark"].mean() < 3e-3
    at_660 = np.abs(bench.data.CENTRE_NM - 660).argmin()
    away = np.abs(bench.data.CENTRE_NM - 760).argmin()
    ratio = [float(np.median(y[:, at_660] / y[:, away])) for y in sets.dial.values()]
    expected = ratio[0] * np.exp(-np.array(bench.data.DYE_CONCENTRATIONS))
    np.testing.assert_allclose(ratio, expected, rtol=0.12)
    assert np.all(np.diff(ratio[2:]) < 0)
    with pytest.raises(ValueError, match="made for 'tivita'"):
        bench.data.build(10, 0, SimpleNamespace(name="rgb", centre_nm=(600.0, 550.0, 450.0)))


def test_a_useless_and_a_perfect_score_get_their_figures(bench, sets):
    problem = Problem(np.stack([y.mean(0) for y in sets.inside.values()]))
    marked = {name: torch.as_tensor(y) for name, y in sets.outside.items()}
    secret = {tuple(row[:3].tolist()) for y in marked.values() for row in y}

    def perfect(y):
        return torch.tensor([float(tuple(row[:3].tolist()) in secret) for row in y])

    scorers = {"waic": lambda y: (y[:, 7] * 1e6) % 1, "oracle": perfect, "ensemble nll": perfect}
    report = bench.ood.evaluate(scorers, problem, sets, n=500, seed=SEED)
    for name in ("pig kidney_icg", "phantom inclusion", "shuffled bands", "specular"):
        scores = report["sets"][name]["scores"]
        assert scores["oracle"]["auroc"][0] == 1.0
        assert scores["oracle"]["fpr_at_95_tpr"][0] == 0.0
        assert abs(scores["waic"]["auroc"][0] - 0.5) < 4 * 0.5 / 170**0.5
        assert report["sets"][name]["beats_waic"]["oracle"][1] > 0
        assert any(line.startswith(f"WAIC loses on {name}, AUROC") for line in bench.table.losses(report))
    # Without dye nothing is to be found; one 95 % interval in twenty misses zero all the same.
    assert all(gain[0] < 4 * 0.5 / 170**0.5 for gain in report["sets"]["dye 0"]["beats_waic"].values())


def test_the_whole_benchmark_on_a_gaussian_ensemble(bench, sets):
    problem = Problem(np.stack([y.mean(0) for y in sets.inside.values()]))
    posterior = GaussianPosterior(problem)
    scorers = {
        **bench.scorers.of_bundle(posterior, problem.simulate(1000, seed=5)[1]),
        **bench.scorers.of_features(problem.features, problem.simulate(3000, seed=6)[1]),
    }
    report = json.loads(json.dumps(bench.ood.evaluate(scorers, problem, sets, n=2000, seed=SEED)))
    assert set(report["false_alarm"]) == set(scorers)
    for entry in report["false_alarm"].values():
        low, high = entry["expected_99"]
        assert low - 0.005 < entry["measured"] < high + 0.005
    for name in ("shuffled bands", "dark", "white balance led", "wrong camera"):
        assert report["sets"][name]["scores"]["waic"]["auroc"][0] > 0.9
    null = report["sets"]["dye 0"]["scores"]["waic"]["auroc"]
    assert abs(null[0] - 0.5) < 4 * (0.25 / 170 * 2) ** 0.5
    dial = [report["sets"][f"dye {c:g}"]["scores"]["waic"]["auroc"][0] for c in bench.data.DYE_CONCENTRATIONS]
    assert dial[-1] > 0.95
    assert dial == sorted(dial) or np.diff(dial).min() > -0.03
    waic = [row["median_waic"] for row in report["order"]]
    assert waic == sorted(waic, reverse=True)
    text = bench.table.table(report)
    assert "False alarms at 0.05" in text
    assert all(name in text for name in (*sets.inside, *sets.outside, *scorers))


@pytest.mark.slow  # the benchmark itself is always tested
def test_command_prints_json_and_refuses_in_one_line(bench, sets, monkeypatch, capsys):
    import monai_inn

    problem = Problem(np.stack([y.mean(0) for y in sets.inside.values()]))
    posterior = GaussianPosterior(problem, each=300)
    monkeypatch.setattr(bench.ood, "_BOOTSTRAPS", 2)
    monkeypatch.setattr(monai_inn, "load", lambda path: posterior, raising=False)
    monkeypatch.setattr(sys, "argv", ["ood.py", "--n", "34", "--training", "400", "--json"])
    assert bench.ood.main() == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 34
    assert report["order"][0]["set"] in {"dark", "shuffled bands", "white balance led"}

    problem.observation = Observation.pixel("red", "green", "blue")
    assert bench.ood.main() == 2
    assert capsys.readouterr().err.splitlines() == [
        "ood: the bundle reads 3 bands, the sets have 100 (tivita)."
    ]
