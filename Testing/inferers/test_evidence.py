"""Models are as probable as Bayes' rule says, whose evidence is known where all is normal."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from monai_inn.inferers.likelihood import evidence
from monai_inn.inferers.likelihood.evidence import model_probability
from monai_inn.problems import InverseProblem, Observation, Parameter

NOISE, LAMP_NOISE = 0.3, 0.2
MODELS = ("first", "both")


class Windows(InverseProblem):
    """Two rooms that one lamp lights, which is seen by itself, too; is there a window in both of them?

    A model without the second window is nested in that with both, at a second one of no light.
    """

    name = "windows"
    observation = Observation.pixel("first", "second", "lamp")

    def __init__(self, is_open: bool = False) -> None:
        self.is_open = is_open
        which = Parameter("model", "1", 0.0, 2.0, categories=MODELS)
        light = tuple(Parameter(n, "1", -math.inf, math.inf) for n in ("first", "second", "lamp"))
        self.parameters = (which, *light) if is_open else light
        self.targets = tuple(p.name for p in self.parameters[:-1])

    @property
    def rivals(self):
        return Windows(is_open=True)

    def forward(self, theta):
        first, second, lamp = theta[..., -3:].unbind(-1)
        second = torch.where(theta[..., 0] < 1, 0.0, second) if self.is_open else second
        return torch.stack([first + lamp, second + lamp, lamp], -1)

    def noise(self, y, generator=None):
        sd = torch.tensor([NOISE, NOISE, LAMP_NOISE])
        return y + sd * torch.randn(y.shape, generator=generator)

    def log_likelihood(self, theta, y):
        own = -0.5 * ((y[2] - theta[..., -1]) / LAMP_NOISE).square()
        return own + self.log_likelihoods(theta.unsqueeze(1), y.unsqueeze(0)).squeeze(1)

    def log_likelihoods(self, theta, y):
        return -0.5 * ((y - self.forward(theta)) / NOISE)[..., :2].square().sum(-1)

    def shared(self, y):
        return y[:, 2:]

    def draw_nuisances(self, y, n, seed, start):
        mean, sd = lamp(y[2])
        generator = torch.Generator().manual_seed(seed)
        return mean + sd * torch.randn(n, 1, generator=generator, dtype=torch.float64)


def lamp(seen):
    """Mean and standard deviation of the lamp, given what is seen of it alone."""
    precision = 1 + LAMP_NOISE**-2
    return seen.double() / LAMP_NOISE**2 / precision, precision**-0.5


def exact(y):
    """Probabilities ``(n, 2)`` of the models."""
    mean, sd = lamp(y[:, 2])
    mean = mean.unsqueeze(1).expand(-1, 2)
    rooms = [torch.tensor([1.0, second]).double() + NOISE**2 for second in (0, 1)]
    densities = [MultivariateNormal(mean, torch.diag(room) + sd**2).log_prob(y[:, :2]) for room in rooms]
    return torch.stack(densities, 1).softmax(1)


@pytest.fixture(scope="module")
def windows_fit(fit_without_training):
    return fit_without_training(Windows())


@pytest.fixture(scope="module")
def cases():
    """True models and observations."""
    theta, y = Windows(is_open=True).simulate(200, seed=3)
    return theta[:, 0].long(), y


@pytest.fixture(scope="module")
def found(windows_fit, cases):
    return model_probability(windows_fit, cases[1])


def test_probabilities_are_those_of_bayes_rule(found, cases):
    """Within five standard errors of the draws that count, a hundred at least for each model."""
    expected = exact(cases[1])
    error = (2 * expected[:, 0] * expected[:, 1] / math.sqrt(100)).unsqueeze(1) + 1e-4
    assert found.isfinite().all()
    assert ((found - expected).abs() / error).max() < 5
    torch.testing.assert_close(found.sum(1), torch.ones(200))


def test_a_model_is_right_as_often_as_it_is_probable(found, cases):
    probability, is_true = found[:, 1], (cases[0] == 1).float()
    for part in probability.argsort().split(50):
        p = probability[part].double()
        bound = 4 * math.sqrt(float((p * (1 - p)).sum())) / len(part)
        assert abs(float((is_true[part] - p).mean())) < bound + 0.01


def test_the_simpler_of_two_models_that_fit_is_more_probable(windows_fit):
    """With the second window the best fit is at least as good, but it asks for what need not be."""
    y = torch.tensor([[1.5, 0.6, 0.5]])
    simple, nested = model_probability(windows_fit, y)[0].tolist()
    assert simple > 2 * nested


def test_what_few_draws_tell_is_not_told(windows_fit, monkeypatch):
    monkeypatch.setattr(evidence, "_DRAWS", 8)
    monkeypatch.setattr(evidence, "_MOST_ROUNDS", 1)
    y = torch.tensor([[1.5, 1.0, 0.5], [1.5, 40.0, 0.5]])
    assert model_probability(windows_fit, y).isnan().all()  # of the second, however certain it looks


def test_one_model_alone_is_refused(gaussian_fit):
    with pytest.raises(ValueError, match="knows no several models with a likelihood"):
        model_probability(gaussian_fit, torch.zeros(1, 3))
