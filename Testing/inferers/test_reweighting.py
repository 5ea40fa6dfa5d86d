"""Draws of a network that count by the likelihood are those of the exact posterior, whatever the network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import monai_inn as mi
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.cli import main
from monai_inn.inferers import PosteriorInferer
from monai_inn.inferers.curves import PARTS, Curves
from monai_inn.inferers.likelihood import reweighting
from monai_inn.inferers.likelihood.importance import weighed_draws
from monai_inn.inferers.likelihood.reweighting import LEAST_EFFECTIVE, Reweighting, kl_from_exact
from monai_inn.problems import InverseProblem, LinearGaussian, Observation, Parameter

SAMPLES = 250
# Five standard errors of a mean, and of a standard deviation, of so many draws that count.
OFF, WIDER = 5 / math.sqrt(4 * SAMPLES), 5 / math.sqrt(8 * SAMPLES)


def assert_near(samples, mean, sd):
    """Means and standard deviations over the samples ``(S, n, D)`` are those of the exact posterior."""
    assert float(((samples.double().mean(0) - mean) / sd).abs().max()) < OFF
    assert float((samples.double().std(0) / sd - 1).abs().max()) < WIDER


class Lamp(InverseProblem):
    """Two rooms that one lamp lights: its strength is seen by itself, too, which all pixels share."""

    name = "lamp"
    parameters = tuple(Parameter(n, "1", -math.inf, math.inf) for n in ("first", "second", "lamp"))
    observation = Observation.pixel("first", "second", "lamp")
    targets = ("first", "second")
    noise_sd = torch.tensor([0.3, 0.5, 0.2])
    matrix = torch.tensor([[1.0, 0, 1], [0, 1, -1], [0, 0, 1]])

    def forward(self, theta):
        return theta @ self.matrix.to(theta).T

    def noise(self, y, generator=None):
        return y + self.noise_sd * torch.randn(y.shape, generator=generator)

    def is_valid(self, y):
        return y.isfinite().all(-1)

    def log_likelihood(self, theta, y):
        return -0.5 * ((y - self.forward(theta)) / self.noise_sd).square().sum(-1)

    def log_likelihoods(self, theta, y):
        return -0.5 * ((y - self.forward(theta)) / self.noise_sd)[..., :2].square().sum(-1)

    def shared(self, y):
        return y[:, 2:]

    def draw_nuisances(self, y, n, seed, start):
        assert start.event_shape == (3,)
        precision = 1 + 1 / self.noise_sd[2].double() ** 2
        mean = y[2].double() / self.noise_sd[2] ** 2 / precision
        generator = torch.Generator().manual_seed(seed)
        return mean + torch.randn(n, 1, generator=generator, dtype=torch.float64) / precision.sqrt()

    def exact(self, y):
        """Mean ``(n, 2)`` and standard deviation of the targets."""
        a = self.matrix.double() / self.noise_sd[:, None]
        covariance = torch.linalg.inv(torch.eye(3).double() + a.T @ a)
        mean = (y.double() / self.noise_sd) @ a @ covariance
        return mean[:, :2], covariance.diagonal().sqrt()[:2]

    def to_config(self):
        return {}


class Mirror(Lamp):
    """The second room tells far more of the lamp than the lamp itself does."""

    noise_sd = torch.tensor([0.3, 0.1, 0.5])
    matrix = torch.tensor([[1.0, 0, 1], [0, 0.05, 1], [0, 0, 1]])
    # Of a thousand draws of the lamp a fifth count at most; those in its tails are few.
    seen = torch.tensor([[1.0, 2.1, 0.3]])


@pytest.fixture(scope="module")
def lamp_fit(fit_without_training):
    return fit_without_training(Lamp())


@pytest.fixture(scope="module")
def vague_fit(fit_without_training):
    """Of a posterior that is so wide that draws of a network that nobody trained hit it."""
    return fit_without_training(LinearGaussian(3, 2, noise_sd=1.0))


def test_an_untrained_network_gives_the_exact_posterior(vague_fit):
    problem = vague_fit.problem
    y = problem.simulate(12, seed=4)[1]
    samples, share = Reweighting(problem, vague_fit.network, SAMPLES, 0)(y, problem.features(y))
    exact = problem.reference_posterior(y.double())
    assert_near(samples, exact.mean, exact.variance.sqrt())
    assert (share > 0).all()
    assert (share <= 1).all()


def test_the_distance_from_the_exact_posterior_is_that_of_its_own_draws(vague_fit):
    y = vague_fit.problem.simulate(8, seed=4)[1]
    exact = vague_fit.problem.reference_posterior(y.double())
    draws = exact.sample((4000,))
    with torch.no_grad():
        ratio = exact.log_prob(draws) - vague_fit.posterior(y).log_prob(draws.float()).double()
    error = ratio.std(0) * math.sqrt(1 / LEAST_EFFECTIVE + 1 / 4000)
    assert ((kl_from_exact(vague_fit, y, draws=1000) - ratio.mean(0)).abs() < 4 * error).all()


def test_no_distance_is_told_where_hardly_a_draw_counts(fit_without_training):
    fitted = fit_without_training(LinearGaussian(3, 3, noise_sd=1e-4))
    assert kl_from_exact(fitted, fitted.problem.simulate(2, seed=4)[1], draws=100).isnan().all()


def test_nuisances_that_pixels_share_are_drawn_once(lamp_fit, monkeypatch):
    problem, drawn = lamp_fit.problem, []
    draw = Lamp.draw_nuisances
    monkeypatch.setattr(Lamp, "draw_nuisances", lambda self, *a: drawn.append(a) or draw(self, *a))
    theta, _ = problem.simulate(12, seed=4)
    theta[6:, 2], theta[:6, 2] = theta[6, 2], theta[0, 2]  # two lamps, each seen once
    y = problem.noise(problem.forward(theta), torch.Generator().manual_seed(4))
    y[6:, 2], y[:6, 2] = y[6, 2], y[0, 2]
    reweighting = Reweighting(problem, lamp_fit.network, SAMPLES, 0)
    reweighting.nuisances.prepare(y)
    assert len(drawn) == 2
    samples, share = reweighting(y, reweighting.problem.features(y))
    assert (share > 0).all()
    assert_near(samples[..., :2], *problem.exact(y))


@pytest.mark.parametrize("most_memory", [None, -2.0])
def test_monte_carlo_answers_pixels_that_tell_more_of_the_nuisances(
    fit_without_training, monkeypatch, most_memory
):
    """Unless its particles are stuck: then the pixel is left to the network."""
    fitted = fit_without_training(Mirror())
    problem, y = fitted.problem, Mirror.seen
    if most_memory is not None:
        monkeypatch.setattr(reweighting, "_MOST_MEMORY", most_memory)
    for has_time in (False, True):
        weigh = Reweighting(problem, fitted.network, SAMPLES, 0, has_time)
        weigh.nuisances.prepare(y)
        samples, share = weigh(y, problem.features(y))
        assert bool(share > 0) is (has_time and most_memory is None)
        if share > 0:
            assert_near(samples[..., :2], *problem.exact(y))


def test_pixels_that_were_not_prepared_are_left_to_the_network(lamp_fit):
    y = lamp_fit.problem.simulate(2, seed=4)[1]
    reweighting = Reweighting(lamp_fit.problem, lamp_fit.network, SAMPLES, 0)
    reweighting.nuisances.prepare(y[:1])
    samples, share = reweighting(y, reweighting.problem.features(y))
    assert share[0] > 0
    assert share[1] == 0
    assert samples[:, 1].isnan().all()


def test_the_evidence_is_that_of_two_normals_and_impossible_draws_count_nothing():
    """One exact proposal, one that is narrower and beside it, one without a possible draw."""
    mean, sd = torch.tensor([0.0, 1.5, 0.0]).double(), torch.tensor([1.0, 0.5, 1.0]).double()

    def evaluate(latents, which, number):
        value = latents[..., 0]
        normal = torch.distributions.Normal(mean[which], sd[which])
        ratio = normal.log_prob(value) - torch.distributions.Normal(0.0, 1.0).log_prob(value) + 2.0
        return torch.where(which == 2, torch.nan, ratio), latents

    same, narrow, none = weighed_draws(evaluate, 3, 1, draws=500, wanted=400, most_rounds=4, seed=0)
    assert same.effective == pytest.approx(500)
    assert len(same.share) == 500
    assert same.log_evidence == pytest.approx(2.0)
    assert len(narrow.share) > 500
    assert narrow.effective >= 400
    assert narrow.log_evidence == pytest.approx(2.0, abs=5 / math.sqrt(400))
    found = float(narrow.share @ narrow.columns[1][:, 0])
    assert found == pytest.approx(1.5, abs=5 * 0.5 / math.sqrt(400))
    assert none.effective == 0
    assert len(none.share) == 2000


def test_a_posterior_far_away_is_approached_by_powers_of_its_weights():
    """One in a million draws lies there: without the powers, normals are fitted to the nearest alone."""
    mean, sd = torch.tensor([3.0, -2.0]).double(), 0.003
    normal, standard = torch.distributions.Normal(mean, sd), torch.distributions.Normal(0.0, 1.0)

    def evaluate(latents, which, number):
        return ((normal.log_prob(latents) - standard.log_prob(latents)).sum(-1),)

    (found,) = weighed_draws(evaluate, 1, 2, draws=500, wanted=300, most_rounds=12, seed=0)
    assert found.effective >= 300
    assert found.log_evidence == pytest.approx(0.0, abs=5 / math.sqrt(300))


def test_maps_are_exact_and_say_where_they_are_not(vague_fit):
    problem = vague_fit.problem
    y = problem.simulate(6, seed=4)[1]
    y[5] = 4e4  # so far from all draws that hardly one counts
    image = y.T.reshape(1, -1, 2, 3)
    weighed = vague_fit.maps(image, reweight=True, samples=SAMPLES)
    plain = vague_fit.maps(image, samples=SAMPLES)
    assert set(weighed) == {*plain, "efficiency"}
    assert weighed["efficiency"].meta["channel_names"] == ["efficiency"]
    share = weighed["efficiency"].flatten()
    assert share[5] == 0
    assert (share[:5] > 0).all()
    for name, column in plain.items():
        torch.testing.assert_close(weighed[name][..., 1, 2], column[..., 1, 2])
    exact = problem.reference_posterior(y[:5].double())
    found = weighed["mean"][0].flatten(1).T[:5]
    assert float(((found - exact.mean) / exact.variance.sqrt()).abs().max()) < OFF


def test_predicted_curves_are_those_of_the_weighed_posterior(vague_fit):
    """The network that nobody trained predicts what its prior does; the pixel that it keeps stays with it."""
    problem, draws = vague_fit.problem, 400
    y = problem.simulate(6, seed=4)[1]
    y[5] = 4e4
    inferer = PosteriorInferer(problem, samples=SAMPLES, adequacy=draws, reweight=True)
    found = torch.zeros(6, len(PARTS), y.shape[1])
    curves = Curves(torch.arange(y.shape[1]), 0.95, found.__setitem__)
    *_, (_, maps) = inferer.stream(y.T.reshape(1, -1, 2, 3), vague_fit.network, curves)
    assert maps["efficiency"].flatten()[5] == 0
    assert maps["adequacy"].isfinite().all()
    exact, matrix = problem.reference_posterior(y[:5].double()), problem.matrix.double()
    sd = ((matrix @ exact.covariance_matrix[0] @ matrix.T).diagonal() + problem.noise_sd**2).sqrt()
    off = (found[:5, 2] - exact.mean @ matrix.T) / sd
    assert float(off.abs().max()) < 5 * 1.25 / math.sqrt(draws)
    width = (found[:5, 3] - found[:5, 1]) / (2 * 1.96 * sd)
    assert float((width - 1).abs().max()) < 5 * 1.9 / math.sqrt(draws)
    assert (found[5, 3] < 20).all()


def test_numbers_do_not_depend_on_threads_and_company(lamp_fit):
    y = lamp_fit.problem.simulate(1, seed=4)[1] + torch.randn(
        150, 3, generator=torch.Generator().manual_seed(4)
    )
    y[:, 2] = y[0, 2]
    image = y.T.reshape(1, 3, 15, 10)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(lamp_fit.maps(image, samples=20, reweight=True))
    finally:
        torch.set_num_threads(before)
    for name, column in found[0].items():
        torch.testing.assert_close(column, found[1][name], rtol=1e-5, atol=1e-5, equal_nan=True)


def test_what_has_no_likelihood_is_refused(camera_fit):
    image = torch.rand(1, 16, 2, 2)
    with pytest.raises(ValueError, match="'oximetry' has no likelihood by which draws could be weighed"):
        camera_fit.maps(image, reweight=True)


@pytest.mark.parametrize("other", [{"adaptive": True}, {"keep": 2}])
def test_what_does_not_go_together_is_refused(gaussian_fit, other):
    with pytest.raises(ValueError, match="neither adaptive nor coherent"):
        gaussian_fit.maps(torch.rand(1, 3, 2, 2), reweight=True, **other)


def test_the_command_writes_the_map_and_says_how_many(vague_fit, tmp_path, capsys):
    vague_fit.save(tmp_path / "bundle")
    y = vague_fit.problem.simulate(6, seed=4)[1]
    np.savez(tmp_path / "y.npz", image=y.T.reshape(-1, 2, 3).numpy())
    command = ["infer", str(tmp_path / "bundle"), str(tmp_path / "y.npz"), "-o", str(tmp_path / "out")]
    command += ["--reweight", "--samples", "50", "--no-picture"]
    assert main(command) == 0
    assert "by the likelihood: 100.0% of the others" in capsys.readouterr().out
    assert (tmp_path / "out/efficiency.nii.gz").exists()
    assert main([*command[:4], str(tmp_path / "other"), *command[5:], "--save-samples", "2"]) == 2
    assert "reweighted samples are neither adaptive nor coherent" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_likelihoods_of_curves_are_those_of_each():
    """Frames that are missing in one of the tissues leave the others as they are."""
    problem = Perfusion()
    theta, y = problem.simulate(3, seed=2)
    y = y[:1].repeat(3, 1)
    y[1, 4 : 2 * 60 : 6] = torch.nan
    y[2, 0] = torch.nan
    rows = theta.repeat(4, 1, 1)
    found = problem.log_likelihoods(rows, y) + problem._log_likelihoods_of_artery(rows, y)
    for n in range(3):
        torch.testing.assert_close(found[:, n], problem.log_likelihood(rows[:, n], y[n]))


@pytest.mark.slow  # tempered Monte Carlo of one curve takes half a minute
def test_curves_of_a_shipped_bundle_agree_with_tempered_monte_carlo():
    fitted = mi.load("perfusion")
    problem = Perfusion(magnitude_share=0)
    y = problem.simulate(2, seed=1)[1][1:]
    number = len(problem.targets)
    exact = problem.exact_samples(y[0], 2000, 0, fitted.posterior(y[0]).base).samples[:, :number]
    reweighting = Reweighting(problem, fitted.network, SAMPLES, 0)
    reweighting.nuisances.prepare(y)
    samples, share = reweighting(y, reweighting.problem.features(y))
    assert share[0] > 0.1
    off = (samples[:, 0, :number].double().mean(0) - exact.mean(0)) / exact.std(0)
    assert float(off.abs().max()) < 0.2
    assert float((samples[:, 0, :number].double().std(0) / exact.std(0) - 1).abs().max()) < 0.15
