"""A single observation, a batch, and one of any shape have the same answers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from monai_inn.inferers.pixels import Pixels, rows_of_all
from monai_inn.problems import Observation

ANSWERS = {
    "density_log_prob": 1,
    "waic": 0,
    "misfit": 0,
    "is_explained": 0,
    "p_value": 0,
    "posterior_width": 0,
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("fixture", ["gaussian_fit", "curve_fit"])
def test_observations_of_any_shape_are_answered_alike(fixture, name, request):
    fitted = request.getfixturevalue(fixture)
    rows = fitted.problem.simulate(6, seed=0)[1]

    def answer(y):
        torch.manual_seed(0)  # of the samples that widths come from
        return getattr(fitted, name)(y)

    whole, leading = answer(rows), ANSWERS[name]
    axis = whole.movedim(leading, 0)
    assert torch.equal(answer(rows.reshape(2, 3, -1)).flatten(leading, leading + 1), whole)
    assert answer(rows[:0]).shape == whole.narrow(leading, 0, 0).shape
    single = answer(rows[0])
    assert single.shape == axis[0].shape
    torch.testing.assert_close(single.float(), answer(rows[:1]).movedim(leading, 0)[0].float())


@pytest.mark.parametrize("form", [lambda y: y.double().numpy(), lambda y: y.tolist()], ids=["array", "list"])
def test_arrays_and_lists_are_answered_as_tensors_are(gaussian_fit, form):
    theta, y = gaussian_fit.problem.simulate(6, seed=0)
    for name in ANSWERS.keys() - {"posterior_width"}:
        answer = getattr(gaussian_fit, name)
        torch.testing.assert_close(answer(form(y)), answer(y), equal_nan=True)
    expected = gaussian_fit.posterior(y).log_prob(theta)
    torch.testing.assert_close(gaussian_fit.posterior(form(y)).log_prob(theta.numpy()), expected)
    assert torch.equal(gaussian_fit.is_inside(form(theta), form(y)), gaussian_fit.is_inside(theta, y))
    with pytest.raises(
        ValueError, match=r"observations have shape \(\), expected 3 channels on the last axis"
    ):
        gaussian_fit.posterior(1.0)


@pytest.mark.parametrize("fixture", ["gaussian_fit", "camera_fit"])
def test_p_values_are_those_of_the_maps_and_of_the_verdict(fixture, request):
    fitted = request.getfixturevalue(fixture)
    y = fitted.problem.simulate(200, seed=3)[1]
    y[::2] *= 1 + 0.5 * torch.rand(y[::2].shape, generator=torch.Generator().manual_seed(0))
    found = fitted.p_value(y)
    mapped = fitted.trust(y.T.reshape(-1, 10, 20), batched=False)["p_value"].flatten()
    torch.testing.assert_close(found, mapped.as_tensor(), equal_nan=True)
    assert 0 < float((found <= 0.05).float().mean()) < 1
    assert torch.equal(fitted.is_explained(y), found > 0.05)


def test_regions_of_one_observation(gaussian_fit):
    theta, y = gaussian_fit.problem.simulate(6, seed=0)
    targets = theta[:, : len(gaussian_fit.problem.targets)]
    whole = gaussian_fit.is_inside(targets, y)
    assert [bool(gaussian_fit.is_inside(t, row)) for t, row in zip(targets, y, strict=True)] == whole.tolist()


@pytest.mark.parametrize(("size", "spatial"), [((3, 5), (4, 6)), ((1, 3, 3), (3, 4, 2)), ((), (4, 3))])
def test_recorded_rows_are_those_of_the_maps(size, spatial):
    """Tools that record a network cannot gather pixels by their numbers."""
    observation = Observation.neighbourhood(size, "a", "b") if size else Observation.pixel("a", "b")
    problem = SimpleNamespace(observation=observation, is_valid=lambda y: torch.ones(len(y)).bool())
    image = torch.rand(2, 2, *spatial, generator=torch.Generator().manual_seed(0))
    gathered = Pixels(image, problem).rows(torch.arange(2 * math.prod(spatial)))
    assert torch.equal(rows_of_all(image, observation).flatten(0, -2), gathered)
