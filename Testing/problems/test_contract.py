"""The contract of problems: every registered one keeps it, and each way to break it is noticed."""

from __future__ import annotations

import pytest
import torch
from pose_problems import SMALL

from monai_inn import problems
from monai_inn.applications.registration.projection import spine_phantom
from monai_inn.problems import Derived, LinearGaussian, Parameter
from monai_inn.problems.registry import PROBLEMS


def made(name: str) -> problems.InverseProblem:
    """A small problem of that name."""
    coarse = spine_phantom(spacing_mm=6.0)
    small = {
        "registration": {
            "volume": coarse.values,
            "affine": coarse.affine.tolist(),
            "detector": SMALL,
            "noise": {"sd": 0.1},
        },
        "oximetry": {"camera": "imec_ssm4x4_460_600"},
        "accelerated_mr": {"images": None, "spectrum": torch.ones(2, 16, 16), "coils": 1, "centre": 2},
        "contrast_translation": {"size": [16, 16]},
        # A report draws a panel for each pixel.
        "disc_ct": {"side": 16, "angles": 12},
        "gaussian_field": {"side": 16},
        "lesion_field": {"side": 16},
        "lightfield": {"views": 3, "columns": 5},
        "outbreak": {"most": 12},
        "reported_cases": {"most": 12, "particles": 8},
        "ricker": {"most": 12, "particles": 8},
        "photoacoustics": {"wavelengths_nm": [700, 760, 850]},
        "simulated": {},
    }
    if name == "simulated":
        prior = {"a": torch.distributions.Uniform(0.0, 1.0), "b": torch.distributions.Normal(0.0, 2.0)}
        return problems.Simulated.of_function(prior, lambda row: row + torch.randn(2))
    return problems.create(name, **small.get(name, {}))


@pytest.mark.usefixtures("quick_drawings")
@pytest.mark.parametrize("name", problems.names())
def test_every_problem_keeps_the_contract(name, monkeypatch):
    # The 2,048 simulations are too few for more, whose features would take most of the time.
    monkeypatch.setattr("monai_inn.training.run._WHITENING_ROWS", 2000)
    problems.check_problem(made(name))


@pytest.mark.parametrize("name", problems.names())
def test_what_is_computed_of_observations_stays_on_their_device(name, monkeypatch):
    """On the device ``meta``, which computes nothing: a tensor of the processor among its own is an error."""
    # Conjugate gradients look at their residuals.
    monkeypatch.setattr("monai_inn.applications.accelerated_mr.gaussian._MOST_STEPS", 0)
    problem = made(name)
    y = problem.simulate(3)[1].to("meta")
    for compute in (problem.features, problem.density_features, problem.explained_features, problem.is_valid):
        assert compute(y).is_meta, compute.__name__


def test_the_contract_includes_the_drawings_of_a_report(monkeypatch):
    def broken(figure):
        raise ValueError("cannot be drawn")

    monkeypatch.setattr("monai_inn.validation.plots.svg", broken)
    with pytest.raises(ValueError, match="cannot be drawn"):
        problems.check_problem(made("linear_gaussian"))


class Honest(LinearGaussian):
    """Keeps the contract; each of the others breaks it at one point."""

    name = "honest"


class Unregistered(LinearGaussian):
    name = "unregistered"


class NoUnit(Honest):
    def __init__(self, **options):
        super().__init__(**options)
        self.parameters = (Parameter("x1", "", -torch.inf, torch.inf), *self.parameters[1:])


class OtherTargets(Honest):
    def __init__(self, **options):
        super().__init__(**options)
        self.targets = ("x2",)


class WrongShape(Honest):
    def forward(self, theta):
        return super().forward(theta)[..., :2]


class Double(Honest):
    def forward(self, theta):
        return super().forward(theta).double()


class Coupled(Honest):
    def features(self, y):
        return y - y.mean(0)


class OutOfBounds(Honest):
    def __init__(self, **options):
        super().__init__(**options)
        self.parameters = tuple(Parameter(p.name, "1", -0.5, 0.5) for p in self.parameters)

    @property
    def prior(self):
        return torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4))


class OtherPrior(Honest):
    @property
    def prior(self):
        prior = super().prior
        prior.log_prob = lambda theta: torch.full(theta.shape[:-1], -torch.inf)
        return prior


class Unseeded(Honest):
    def noise(self, y, generator=None):
        return y + torch.randn(y.shape)


class FarInEachChannel(Honest):
    def lack_of_fit(self, y, made):
        return (y - made).abs()


class DerivedTwice(Honest):
    derived = (Derived("x1", "1", 0.0, 1.0, of=lambda theta: theta[..., 0]),)


class DerivedOfNothing(Honest):
    derived = (Derived("root", "1", 0.0, 1.0, of=lambda theta: theta[..., 0].sqrt()),)


class DerivedBelowZero(Honest):
    derived = (Derived("twice", "1", 0.1, 1.0, scale="log", of=lambda theta: 2 * theta[..., 0]),)


class Upside(Honest):
    def log_likelihood(self, theta, y):
        return -super().log_likelihood(theta, y)


class OneNumber(Honest):
    def log_likelihood(self, theta, y):
        return super().log_likelihood(theta, y).sum()


class Forgetful(Honest):
    def to_config(self):
        return {}


class Renaming(Honest):
    def __init__(self, noise_sd, rate=1.0):
        super().__init__(noise_sd=noise_sd)
        self.speed = rate


class LastDigit(Honest):
    """Each object sees observations a little otherwise, which no argument says."""

    made = 0

    def __init__(self, noise_sd):
        super().__init__(noise_sd=noise_sd)
        self.scale = 1 + 2e-6 * LastDigit.made
        LastDigit.made += 1

    def features(self, y):
        return self.scale * super().features(y)


BROKEN = {
    Upside: "likelier under other parameters than their own",
    OneNumber: "log_likelihood returned \\(\\), expected \\(8,\\)",
    Unregistered: "is not registered",
    NoUnit: "has no unit",
    OtherTargets: "expected the first of the parameters",
    WrongShape: r"forward returned the shape \(64, 2\), expected \(64, 3\)",
    Double: "forward returned torch.float64",
    Coupled: "depends on the other rows",
    OutOfBounds: "outside their bounds",
    OtherPrior: "no finite log density at its own draws",
    FarInEachChannel: r"lack_of_fit returned the shape \(64, 3\), expected \(64,\)",
    DerivedTwice: "names must be unique",
    DerivedOfNothing: "derived quantity 'root' of draws of the prior is not finite",
    DerivedBelowZero: "'twice' has a logarithmic scale, and is not positive",
    Unseeded: "the same seed gives other simulations",
    Renaming: "has no attribute 'rate', which its constructor takes",
    Forgetful: "made anew from to_config and tensors simulates something else",
    LastDigit: "a bundle gives other numbers than what was saved, if only in the last digit",
}


@pytest.mark.parametrize("cls", BROKEN)
def test_each_breach_is_named(cls, monkeypatch):
    if cls is not Unregistered:
        cls.name = cls.__name__.lower()
        monkeypatch.setitem(PROBLEMS.known, cls.name, cls)
    with pytest.raises(ValueError, match=BROKEN[cls]):
        problems.check_problem(cls(noise_sd=0.2))
