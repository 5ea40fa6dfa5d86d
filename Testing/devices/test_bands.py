"""Bands chosen: closed forms, exhaustive search, one network for all choices."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import MultivariateNormal

from monai_inn import plain
from monai_inn.cli import main
from monai_inn.devices.figures import cautions
from monai_inn.devices.linear import Linearised
from monai_inn.devices.page import bands_page
from monai_inn.devices.search import best_set, even_set, random_sets
from monai_inn.problems import LinearGaussian, Oximetry
from monai_inn.problems.bands import SomeBands

CHANNELS = 9


def exact_bits(problem: LinearGaussian, chosen, targets) -> float:
    """Mutual information of some parameters with some channels, all other parameters unknown, bits."""
    a = problem.matrix[list(chosen)]
    noise = problem.noise_sd**2 * torch.eye(len(a), dtype=torch.float64)
    rest = a[:, [d for d in range(a.shape[1]) if d not in targets]]
    total = torch.logdet(noise + a @ a.T) - torch.logdet(noise + rest @ rest.T)
    return float(0.5 * total / math.log(2))


@pytest.fixture(scope="module")
def gaussian():
    return LinearGaussian(4, CHANNELS, noise_sd=0.4)


@pytest.mark.parametrize("names", [(), ("x2",), ("x4", "x1")])
def test_the_linear_criterion_is_the_closed_form(gaussian, names):
    """The covariance of the noise is estimated from 1,024 draws at each of 64 phantoms."""
    linear = Linearised(SomeBands(gaussian, [3], names), 3)
    targets = [gaussian.space.index(name) for name in names or gaussian.targets]
    sets = random_sets(CHANNELS, 3, 20, seed=0)
    expected = torch.tensor([exact_bits(gaussian, row.tolist(), targets) for row in sets])
    torch.testing.assert_close(linear.bits(sets).float(), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_and_swaps_equal_the_exhaustive_search(size, seed):
    problem = LinearGaussian(4, CHANNELS, noise_sd=0.4, matrix_seed=seed)

    def score(chosen):
        return torch.tensor([exact_bits(problem, row.tolist(), range(4)) for row in chosen])

    every = torch.tensor(list(itertools.combinations(range(CHANNELS), size)))
    best = every[score(every).argmax()]
    assert torch.equal(best_set(score, CHANNELS, size), best)


def test_a_set_of_all_channels_and_even_and_random_sets():
    assert torch.equal(best_set(lambda rows: rows.sum(1).double(), 3, 3), torch.arange(3))
    assert even_set(100, 3).tolist() == [0, 50, 99]
    assert even_set(9, 1).tolist() == [4]
    sets = random_sets(9, 4, 30, seed=1)
    assert all(len(set(row)) == 4 and row == sorted(row) for row in sets.tolist())


def test_some_bands_are_measured_with_all_of_the_light():
    camera = Oximetry("imec_ssm4x4_470_620")
    some = SomeBands(camera, [4], ("vhb",))
    assert some.targets == ("vhb",)
    assert some.space.names[:3] == ("vhb", "sao2", "a_mie")
    theta, y = some.simulate(50, seed=0)
    assert bool((y.isfinite().sum(1) == 4).all())
    same = theta[:, [some.space.names.index(name) for name in camera.space.names]]
    torch.testing.assert_close(some.forward(theta), camera.forward(same))
    features = some.features(y)
    assert bool((features.nanmean(1).abs() < 1e-5).all())
    torch.testing.assert_close(some.features(3 * y), features, equal_nan=True, atol=1e-5, rtol=0)
    assert bool(some.is_valid(y).all())
    lit = camera.with_light(4.0).camera
    assert lit.white_snr == pytest.approx([2 * snr for snr in camera.camera.white_snr])
    chosen = some.only(y, torch.tensor([1, 3]))
    assert torch.equal(chosen.isfinite().nonzero()[:, 1].unique(), torch.tensor([1, 3]))


def test_several_numbers_of_bands_are_drawn_alike_each_with_its_light():
    """Of 6,000 rows a share of each number has a standard deviation of .006; noise goes with the light."""
    some = SomeBands(Lit(), [2, 5, 3, 2])
    assert some.bands == (2, 3, 5)
    clean = torch.zeros(6000, CHANNELS)
    noisy = some.noise(clean, torch.Generator().manual_seed(0))
    numbers = noisy.isfinite().sum(1)
    for bands in some.bands:
        rows = numbers == bands
        assert float(rows.double().mean()) == pytest.approx(1 / 3, abs=0.025)
        values = noisy[rows][noisy[rows].isfinite()]
        expected = Lit.noise_sd * math.sqrt(bands / CHANNELS)
        assert float(values.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * len(values)))
    assert bool((noisy.isfinite().double().mean(0) - 10 / 27).abs().max() < 0.03)


class Lit(LinearGaussian):
    """Noise whose variance is inverse to the light."""

    noise_sd = 0.4

    def __init__(self, light=1.0):
        super().__init__(4, CHANNELS, noise_sd=Lit.noise_sd / math.sqrt(light))

    def with_light(self, share):
        return Lit(share)


@pytest.mark.parametrize(
    ("problem", "bands", "names", "message"),
    [
        ("linear_gaussian", 0, (), "bands = 0; give a number from 1 to 3"),
        ("linear_gaussian", 4, (), "bands = 4; give a number from 1 to 3"),
        ("oximetry", 1, (), "bands = 1; give a number from 2 to 100"),
        ("linear_gaussian", 2, ("sao2",), "unknown parameter 'sao2'"),
        ("linear_gaussian", 2, ("x1", "x1"), "name one twice"),
    ],
)
def test_what_cannot_be_chosen_is_refused(problem, bands, names, message):
    from monai_inn.problems import create

    with pytest.raises(ValueError, match=message):
        SomeBands(create(problem), [bands], names)


def test_no_number_of_bands_is_refused(gaussian, tmp_path):
    from monai_inn.devices import design_bands

    with pytest.raises(ValueError, match=r"no number of bands is given; give some, each from 1 to 9\."):
        design_bands(gaussian, [], tmp_path / "out")


def test_channels_that_are_missing_already_cannot_be_chosen(gaussian):
    with pytest.raises(ValueError, match="has no bands to choose"):
        SomeBands(SomeBands(gaussian, [3]), [2])


SMALL = {
    "flow": {"hidden_channels": (32, 32), "num_blocks": 2},
    "encoder": {"width": 48},
    "density": {"hidden_channels": (8,), "num_blocks": 2, "members": 2},
}


@pytest.fixture(scope="module")
def designed(tmp_path_factory):
    """Five channels of which two measure x1 alone, and well; the others measure noise almost only."""
    from monai_inn.devices import design_bands
    from monai_inn.training import Recipe

    out = tmp_path_factory.mktemp("bands") / "out"
    recipe = Recipe(16_384, 200, 20, 20, 64, 256, measured=64, held_out=512, guard=512)
    return design_bands(Few(), (2, 1), out, parameters=("x1",), recipe=recipe, network=SMALL, cases=400), out


class Few(LinearGaussian):
    def __init__(self) -> None:
        super().__init__(2, 5, noise_sd=0.3)
        self.matrix = torch.tensor([[0.1, 1.0], [1.0, 0.0], [0.0, 0.3], [0.8, 0.0], [0.05, 0.8]]).double()

    def to_config(self):
        return {}


@pytest.mark.parametrize(("place", "best", "spaced"), [(0, [1], [2]), (1, [1, 3], [0, 4])])
def test_one_network_finds_the_channels_that_tell_and_how_much(designed, place, best, spaced):
    record = designed[0]["choices"][place]
    assert record["bands"] == len(best)
    chosen, linear, even = record["sets"]
    assert chosen["channels"] == linear["channels"] == best
    assert even["channels"] == spaced
    expected = {name: exact_bits(Few(), row, (0,)) for name, row in (("chosen", best), ("even", spaced))}
    for entry, name in ((chosen, "chosen"), (even, "even")):
        error = (entry["bits"]["high"] - entry["bits"]["low"]) / 3.92
        assert abs(entry["bits"]["value"] - expected[name]) < 4 * error + 0.1
        assert entry["linear_bits"] == pytest.approx(expected[name], abs=0.03)
    gain = record["gains"]["even"]
    error = (gain["high"] - gain["low"]) / 3.92
    assert abs(gain["value"] - (expected["chosen"] - expected["even"])) < 4 * error + 0.1
    assert gain["low"] > 0.5
    assert record["gains"]["random"]["low"] > 0
    assert record["gains"]["linear"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_the_design_is_written_as_record_table_and_page(designed):
    record, out = designed
    assert json.loads((out / "bands.json").read_text()) == record
    rows = (out / "bands.csv").read_text().splitlines()
    assert rows[:2] == ["bands,set,channel,number,wavelength_nm", "1,chosen,y2,2,"]
    assert rows[4:6] == ["2,chosen,y2,2,", "2,chosen,y4,4,"]
    page = (out / "index.html").read_text()
    assert "Which bands, and how many, tell about component 1 of the hidden vector" in page
    record = record | {"out": "out", "warnings": ["The training took 9 minutes, 1 were given."]}
    assert "took 9 minutes" in bands_page(record)
    assert "took 9 minutes" in plain.designed(record)
    assert page.index("1 of 5 bands") < page.index("Chosen: y2.") < page.index("Chosen: y2, y4.")
    assert "src=" not in page


def test_a_training_that_exceeded_its_budget_is_spoken_of():
    late = SimpleNamespace(card={"training": {"overrun": "It took longer."}}, warnings=["A warning."])
    assert cautions(late) == ["A warning.", "It took longer."]
    assert cautions(SimpleNamespace(card={}, warnings=[])) == []


class Correlated(Few):
    @property
    def prior(self):
        return MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))


@pytest.mark.parametrize(
    ("names", "message"),
    [(("x1",), "choose for all of them: x1, x2"), (("x1", "x2"), "the training began")],
)
def test_parameters_whose_prior_is_unknown_are_refused_before_training(names, message, tmp_path, monkeypatch):
    """Of a prior with correlations only the density of all parameters is known."""
    from monai_inn.devices import designing

    def train(*_, **__):
        raise ValueError("the training began")

    monkeypatch.setattr(designing, "fit", train)
    with pytest.raises(ValueError, match=message):
        designing.design_bands(Correlated(), 2, tmp_path / "out", parameters=names)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bands", "99"), "leave nothing to choose"),
        (("--bands", "0"), "bands = 0; give a number from 2 to 100"),
        (("--bands", "4", "--parameter", "nothing"), "unknown parameter 'nothing'"),
        (("--bands", "4", "--cases", "7"), "cases = 7 phantoms are too few"),
        (("--bands", "4", "--device", "nothing"), "unknown camera 'nothing'"),
        (("--bands", "4", "--minutes", "1e-4"), "too short"),
    ],
)
def test_bad_input_costs_one_line_and_leaves_nothing(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("monai_inn.training.budget._OVERRUN_SECONDS", 0.0)  # however fast the machine is
    assert main(["design-bands", "oximetry", *arguments, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
