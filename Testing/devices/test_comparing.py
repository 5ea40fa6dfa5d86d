"""Devices compared: exact bits on linear-Gaussian devices, one set of phantoms, resume, refusals."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch

from monai_inn.cli import main
from monai_inn.devices import compare_devices
from monai_inn.devices.comparing import check_devices
from monai_inn.devices.training import folder_of
from monai_inn.problems import LinearGaussian, Oximetry, Parameter, create
from monai_inn.problems.devices import settings_of
from monai_inn.problems.valid import fresh_simulations_of_each
from monai_inn.training import Recipe

SPECS = ("1", "2@noise_sd=0.1")
SMALL = {
    "flow": {"hidden_channels": (24, 24), "num_blocks": 2},
    "encoder": {"width": 24},
    "density": {"hidden_channels": (8,), "num_blocks": 2, "members": 2},
}
TINY = Recipe(4096, 60, 10, 5, 64, 256, measured=64, held_out=512, guard=512)
OPTIONS = {"recipe": TINY, "network": SMALL, "cases": 800}


class Two(LinearGaussian):
    """Two parameters, so that trainings are short."""

    @classmethod
    def of_device(cls, spec):
        device = LinearGaussian.of_device(spec)
        return cls(2, device.num_observations, device.noise_sd)


@pytest.fixture(scope="module")
def devices():
    return {spec: Two.of_device(spec) for spec in SPECS}


@pytest.fixture(scope="module")
def compared(devices, tmp_path_factory):
    out = tmp_path_factory.mktemp("devices") / "out"
    return compare_devices(devices, out, **OPTIONS), out


def closed_form(problem: LinearGaussian) -> torch.Tensor:
    a = problem.matrix
    variance = torch.linalg.inv(torch.eye(2).to(a) + a.T @ a / problem.noise_sd**2).diagonal()
    return -0.5 * variance.log2()


def test_bits_and_their_differences_are_those_of_the_closed_form(compared, devices):
    record, _ = compared
    exact = {name: closed_form(problem) for name, problem in devices.items()}
    for device in record["devices"]:
        for d, entry in enumerate(device["parameters"]):
            error = (entry["bits"]["high"] - entry["bits"]["low"]) / 3.92
            assert abs(entry["bits"]["value"] - float(exact[device["name"]][d])) < 4 * error + 0.1
    for entry in record["differences"]:
        d = ("x1", "x2").index(entry["parameter"])
        difference = float(exact[entry["first"]][d] - exact[entry["second"]][d])
        error = (entry["bits"]["high"] - entry["bits"]["low"]) / 3.92
        assert abs(entry["bits"]["value"] - difference) < 4 * error + 0.1
        assert entry["bits"]["high"] < 0  # the first device tells less, beyond doubt
        assert entry["interval_width_95"]["low"] > 0
    for device in record["devices"]:
        a = devices[device["name"]].matrix
        variance = torch.linalg.inv(torch.eye(2).to(a) + a.T @ a / devices[device["name"]].noise_sd ** 2)
        for d, entry in enumerate(device["parameters"]):
            # The prior inside an interval of 1.96 posterior sd around half a prior sd, about its median.
            half = 1.96 * float(variance[d, d]) ** 0.5
            ends = torch.special.ndtr(torch.tensor([0.5 - half, 0.5 + half]))
            assert abs(entry["width_over_prior"]["value"] - float(ends.diff()) / 0.95) < 0.1
        assert entry["absolute_error"]["low"] > 0


def test_a_difference_is_that_of_the_devices_and_of_their_regions(compared):
    record, _ = compared
    first, second = record["devices"]
    for a, b, entry in zip(first["parameters"], second["parameters"], record["differences"], strict=True):
        assert entry["bits"]["value"] == pytest.approx(a["bits"]["value"] - b["bits"]["value"], abs=1e-3)
        for one in (a, b):
            cases = [region["cases"] for region in one["regions"]]
            bits = [region["bits"]["value"] * region["cases"] for region in one["regions"]]
            mean = sum(bits) / sum(cases)
            assert sum(cases) == record["cases"]
            assert mean == pytest.approx(one["bits"]["value"], abs=1e-3)


@pytest.mark.usefixtures("quick_drawings")
def test_files_are_whole_and_need_nothing_from_outside(compared, capsys):
    record, out = compared
    assert json.loads((out / "devices.json").read_text()) == json.loads(json.dumps(record))
    page = (out / "index.html").read_text()
    words = page.replace("http-equiv", "").replace("http://www.w3.org", "").replace("https://", "http")
    assert "http" not in words[:3000]
    assert "src=" not in page
    for text in (*SPECS, "Component 1 of the hidden vector", "information, bits", "tells most"):
        assert text in page
    with (out / "devices.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [(spec, parameter) for spec in SPECS for parameter in ("x1", "x2")]
    assert [(row["device"], row["parameter"]) for row in rows] == expected
    assert float(rows[0]["bits"]) == record["devices"][0]["parameters"][0]["bits"]["value"]
    bundle = out / record["devices"][1]["bundle"]
    arguments = ["validate", str(bundle), "-o", str(out.parent / "report"), "-n", "64", "--samples", "15"]
    assert main(arguments) == 0


def test_what_is_trained_is_not_trained_again_and_gives_the_same(compared, devices, monkeypatch):
    record, out = compared

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("monai_inn.devices.training.fit_bundle", refuse)
    again = compare_devices(devices, out, **OPTIONS)
    assert {**again, "made": ""} == {**record, "made": ""}
    with pytest.raises(ValueError, match="other settings: seed differ"):
        compare_devices(devices, out, **OPTIONS, seed=1)
    other = dict(zip(devices, reversed(devices.values()), strict=True))
    with pytest.raises(ValueError, match="holds a bundle of another device"):
        compare_devices(other, out, **OPTIONS)


def test_devices_get_equal_trainings_and_the_same_phantoms(compared, devices):
    record, _ = compared
    assert len({(d["training"]["simulations"], d["training"]["steps"]) for d in record["devices"]}) == 1
    (one, _), (two, _) = fresh_simulations_of_each(list(devices.values()), 50, seed=0)
    assert torch.equal(one, two)
    cameras = [Oximetry("rgb_nikon_d5100"), Oximetry.of_device("imec_ssm4x4_470_620@light=0.1")]
    (one, y), (two, _) = fresh_simulations_of_each(cameras, 20, seed=0)
    assert torch.equal(one, two)
    assert y.shape[1] == 3


class WithGain(LinearGaussian):
    """A device with a further unknown of its own, which adds to every channel."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.parameters = (*self.parameters, Parameter("offset", "1", -1.0, 1.0))

    def forward(self, theta):
        return super().forward(theta[..., :2]) + theta[..., 2:]


def test_a_device_may_have_nuisances_of_its_own():
    plain = LinearGaussian(2, 1)
    pair = [plain, WithGain()]
    check_devices(dict(zip("ab", pair, strict=True)))
    (one, _), (two, y) = fresh_simulations_of_each(pair, 4000, seed=0)
    assert torch.equal(one, two[:, :2])
    residual = y - pair[1].forward(two)
    assert float(residual.std()) == pytest.approx(plain.noise_sd, rel=0.05)
    assert abs(float(torch.corrcoef(torch.cat([residual, two], 1).T)[0, 1:].abs().max())) < 0.07


def test_a_share_of_the_light_is_more_noise():
    usual, dark = (Oximetry.of_device(f"rgb_nikon_d5100{light}").camera for light in ("", "@light=0.25"))
    assert dark.white_snr == pytest.approx([snr / 2 for snr in usual.white_snr])
    assert dark.read_noise == pytest.approx(4 * usual.read_noise)
    assert dark.name == "rgb_nikon_d5100, light × 0.25"


class Narrow(LinearGaussian):
    """Another range of the first parameter."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.parameters = (Parameter("x1", "1", 0.0, 1.0), self.parameters[1])

    def to_config(self):
        return {}


def test_devices_that_cannot_be_compared_are_refused(devices, tmp_path):
    one = devices["1"]
    for others, message in (
        ({}, "1 device(s) given; a comparison needs at least two"),
        ({"b": LinearGaussian(3, 1)}, "their targets are x1, x2 and x1, x2, x3"),
        (
            {"b": create("inverse_ballistics")},
            "they belong to different problems",
        ),
        ({"a ": one}, "is given twice, or its folder would be"),
    ):
        with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
            check_devices({"a_": one, **others})
    with pytest.raises(ValueError, match="x1 is 0 to 1 for one and -inf to inf for the other"):
        check_devices({"a": Narrow(), "b": _as_narrow()})
    with pytest.raises(ValueError, match="cases = 50 phantoms are too few"):
        compare_devices(devices, tmp_path / "out", cases=50)
    with pytest.raises(ValueError, match="minutes = -1"):
        compare_devices(devices, tmp_path / "out", minutes=-1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="comparison of devices"):
        compare_devices(devices, tmp_path / "other", **OPTIONS)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["other", "thesis.txt"]


def _as_narrow():
    other = Narrow()
    other.parameters = LinearGaussian(2, 1).parameters
    return other


ONE_BAND = "wavelength_nm,b1\n500,0.1\n510,1\n520,0.1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("oximetry", "--device", "tivita", "--device", "none"), "unknown camera 'none'"),
        (("oximetry", "--device", "tivita", "--device", "tivita"), "given twice"),
        (("oximetry", "--device", "tivita"), "1 device(s) given"),
        (("oximetry", "--device", "tivita", "--workers", "0"), "--workers 0: give at least 1 process"),
        (("oximetry", "--device", "tivita@shade=1", "--device", "tivita"), "'shade=1' is not a setting"),
        (("oximetry", "--device", "tivita@light=-1", "--device", "tivita"), "light = -1"),
        (("oximetry", "--device", "tivita", "--device", "ONE"), "at least two bands"),
        (("two_moons", "--device", "a", "--device", "b"), "has no devices to compare"),
        (("linear_gaussian", "--device", "0", "--device", "2"), "give a number of observations"),
        (("nothing", "--device", "0", "--device", "2"), "nothing"),
        (("oximetry", "--device", "tivita", "--device", "rgb_nikon_d5100", "--minutes", "1e-4"), "too short"),
    ],
)
def test_bad_input_costs_one_line_and_leaves_nothing(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("monai_inn.training.budget._OVERRUN_SECONDS", 0.0)  # however fast the machine is
    (tmp_path / "one.csv").write_text(ONE_BAND)
    arguments = [str(tmp_path / "one.csv") if a == "ONE" else a for a in arguments]
    assert main(["compare-devices", *arguments, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not said.out
    assert not (tmp_path / "out").exists()


def test_settings_stand_behind_an_at_sign():
    known = ("light", "gain")
    assert settings_of("a", known) == ("a", {})
    assert settings_of("me@home/a.csv", known) == ("me@home/a.csv", {})
    assert settings_of("me@home/a.csv@light=.5,gain=2", known) == ("me@home/a.csv", {"light": 0.5, "gain": 2})
    for wrong in ("a@light=x", "a@light=nan", "a@other=1", "a@light=1,,"):
        with pytest.raises(ValueError, match="is not a setting; write NAME@SETTING=NUMBER with light, gain"):
            settings_of(wrong, known)
    with pytest.raises(ValueError, match="empty name"):
        settings_of("", known)
    assert folder_of("a b/c@light=0.5") == "a_b_c@light=0.5"
    assert math.isfinite(settings_of("a@light=1e3", known)[1]["light"])
