"""Recalibration repairs what is wrong by a known amount, leaves the rest alone, and keeps its promise."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, chi, kstest, kstwobign
from torch import nn

import monai_inn
from monai_inn.bundles import map_network
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers import PosteriorInferer
from monai_inn.inferers.levels import QuantileLevels
from monai_inn.inferers.summaries import (
    calibrated_quantiles,
    interval_levels,
    quantiles,
    shared_latents,
    sorted_last,
    summarise,
)
from monai_inn.metrics.calibration.error import calibration_noise_floor
from monai_inn.networks.flows.bases import AdjustedNormal
from monai_inn.networks.posterior import assemble
from monai_inn.problems import LinearGaussian, Parameter, ParameterSpace
from monai_inn.training.measure import measure
from monai_inn.validation.recalibration import recalibrate, recalibrate_bundle
from monai_inn.validation.simulated import fit_adjustment, latent_p_value, level_p_values, truth_levels

SEED = 0


def exact(groups: tuple[int, ...] = (2,), spread: float = 1.0, shift: float = 0.0) -> FittedPosterior:
    """The exact posterior of two parameters as a flow, its samples spread and shifted (in posterior sd)."""
    problem = LinearGaussian(num_parameters=2, num_observations=2)
    problem.targets = problem.targets[: groups[0]]
    network = assemble(
        2,
        2,
        groups,
        encoder={"out_channels": 2, "width": 8},
        flow={"num_blocks": 1, "hidden_channels": (), "coupling": "affine"},
        density={"members": 2, "num_blocks": 1, "hidden_channels": (4,)},
        num_ood_scores=100,
    )
    network.encoder.network = nn.Identity()
    q = problem.reference_posterior(torch.eye(2, dtype=torch.float64))
    covariance = q.covariance_matrix[0]
    sd = covariance.diagonal().sqrt()
    rho = covariance[0, 1] / sd.prod()
    rest = (1 - rho.square()).sqrt()
    with torch.no_grad():
        for parameter in network.flow.parameters():
            parameter.zero_()
        centring, last = network.flow.stack.centring, network.flow.stack.blocks[-1][0]
        centring.weight[0, :2] = q.mean.T
        centring.bias[0, :2, 0] = shift * sd
        centring.bias[0, 2:, 0] = -(spread * sd).log()
        for blocks in network.flow.stack.blocks:
            for block in blocks:
                block.mixing.rotation.copy_(torch.eye(block.mixing.rotation.shape[1]))
        last.mixing.log_scale[0, -1] = -rest.log()
        last.second_given_first.weights[0][0, 1, 0] = -rho / rest
    return FittedPosterior(problem, network, {})


def section(fitted: FittedPosterior) -> dict:
    return fitted.card["recalibration"]


@pytest.mark.parametrize("groups", [(2,), (1, 1)])
def test_the_exact_network_of_these_tests_is_exact(groups):
    fitted = exact(groups)
    theta, y = fitted.problem.simulate(50, seed=1)
    expected = fitted.problem.reference_posterior(y).log_prob(theta)
    with torch.no_grad():
        assert torch.allclose(fitted.posterior(y).log_prob(theta), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("groups", "spread", "shift"),
    [((2,), 0.6, 0.0), ((2,), 1.6, 0.0), ((2,), 1.0, 0.4), ((1, 1), 1.0, 0.4), ((1, 1), 0.7, -0.3)],
)
def test_a_wrong_posterior_becomes_the_exact_one(groups, spread, shift):
    n, wrong = 2000, exact(groups, spread, shift)
    fixed = recalibrate(wrong, n, seed=SEED)
    about, floor = section(fixed), calibration_noise_floor(n).upper
    assert about["status"] == "repaired"
    for entry in about["groups"]:  # a shift of the first alone is too small in the second to be sure of
        assert entry["is_repaired"] or entry["latent_p_before"] >= about["p_limit"]
    assert min(entry["level_p_before"] for entry in about["targets"].values()) < about["p_limit"]
    if spread != 1:  # central intervals hardly notice a shift
        assert min(about["calibration_error_before"].values()) > 5 * floor
    # The repair has a sampling error of its own; 2.5 floors are 3.5 standard deviations of both together.
    assert max(about["calibration_error_after"].values()) < 2.5 * floor
    # KL divergence of two Gaussians of spread 1 and c, d apart, in nats a parameter.
    along = torch.linalg.inv(
        torch.linalg.cholesky(wrong.problem.reference_posterior(torch.zeros(1, 2)).covariance_matrix[0])
    )
    sd = wrong.problem.reference_posterior(torch.zeros(1, 2)).variance[0].sqrt()
    squared = float((along @ (shift * sd)).square().sum())
    gain = 2 * math.log(spread) + (2 + squared) / (2 * spread**2) - 1
    sigma = math.sqrt(((1 - spread**-2) ** 2 * 2 * 2 / 4 + squared / spread**4) / n)
    assert about["nll_before"] - about["nll_after"] == pytest.approx(gain, abs=4 * sigma + 40 / n)
    for entry in about["targets"].values():
        assert abs(entry["coverage_after"] - 0.95) < 4 * math.sqrt(2 * 0.95 * 0.05 / n)
    assert abs(about["region_coverage_after"] - 0.95) < 4 * math.sqrt(2 * 0.95 * 0.05 / n)


def test_a_wrong_common_factor_costs_few_knots_and_is_found():
    z = torch.randn(4000, 3, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64) / 0.6
    fit = fit_adjustment(z)
    base = AdjustedNormal([3], len(fit.radius))
    base.set(0, fit)
    assert float(base.spread(0)) == pytest.approx(1 / 0.6, rel=4 / math.sqrt(2 * 3 * 4000))
    assert latent_p_value(base.double().pull(z)) > 0.01


def test_a_mixture_of_spreads_needs_the_radius():
    generator = torch.Generator().manual_seed(SEED + 1)
    spread = torch.where(torch.rand(10_000, 1, generator=generator) < 0.5, 0.5, 2.0).double()
    z = spread * torch.randn(10_000, 2, generator=generator, dtype=torch.float64)
    fit = fit_adjustment(z[:8000])
    assert len(fit.radius) >= 4
    base = AdjustedNormal([2], len(fit.radius))
    base.set(0, fit)
    radius = base.double().pull(z[8000:]).norm(dim=1)
    # The fit's sampling error counts like that of a second sample.
    statistic = kstest(radius.numpy(), chi(2).cdf).statistic
    assert kstwobign.sf(statistic * math.sqrt(2000 * 8000 / 10_000)) > 1e-3
    with pytest.raises(ValueError, match="20 latents are too few for a fit; give at least 50"):
        fit_adjustment(z[:20])


def test_exact_posteriors_are_left_alone():
    repeats, fitted = 40, exact()
    touched = sum(
        section(recalibrate(fitted, 250, seed=100 * SEED + s))["status"] != "none needed"
        for s in range(repeats)
    )
    assert touched <= binom.ppf(0.999, repeats, 0.01)


def test_tests_keep_their_rate_on_exact_latents_and_levels():
    generator, found = torch.Generator().manual_seed(SEED + 5), []
    for _ in range(200):
        z = torch.randn(300, 4, generator=generator, dtype=torch.float64)
        u = torch.rand(300, 2, generator=generator, dtype=torch.float64)
        found.append(min(latent_p_value(z), *level_p_values(u)) < 0.01 / 3)
    assert sum(found) <= binom.ppf(0.999, 200, 0.01)


def test_what_is_left_alone_is_the_same_bit_for_bit(gaussian_fit):
    fitted = exact()
    same = recalibrate(fitted, 250)
    assert section(same)["statement"].startswith("No test on 250 simulations")
    assert same.network.config == fitted.network.config
    image = fitted.problem.simulate(30, seed=9)[1].T.reshape(2, 5, 6)
    maps, expected = same.maps(image, below={"x1": 0.2}), fitted.maps(image, below={"x1": 0.2})
    assert all(torch.equal(maps[name], expected[name]) for name in expected)
    assert "recalibration" not in fitted.card


def test_only_the_group_that_needs_it_is_touched():
    fitted = exact((1, 1))
    with torch.no_grad():  # the nuisance parameter alone becomes over-confident
        last = fitted.network.flow.stack.blocks[1][0]
        last.mixing.log_scale += math.log(2)
        last.second_given_first.weights[0] *= 2
    fixed = recalibrate(fitted, 1000, seed=SEED)
    about = section(fixed)
    assert [entry["spread"] for entry in about["groups"]] == [1.0, pytest.approx(2, rel=0.1)]
    assert fixed.network.level_scores is None
    assert about["guarantee"].startswith("None for intervals")
    image = fitted.problem.simulate(30, seed=9)[1].T.reshape(2, 5, 6)
    maps, expected = fixed.maps(image), fitted.maps(image)
    assert all(torch.equal(maps[name], expected[name]) for name in expected)


def test_an_earlier_recalibration_is_replaced():
    once = recalibrate(exact(spread=0.6), 400)
    twice = recalibrate(once, 400)
    assert section(twice) == section(once)
    for name, value in once.network.state_dict().items():
        assert torch.equal(value, twice.network.state_dict()[name])


@pytest.mark.parametrize("interval", [0.5, 0.9, 0.95])
def test_coverage_follows_its_exact_law(interval):
    n, generator = 199, torch.Generator().manual_seed(SEED + 7)
    k = math.floor((n + 1) * (1 - interval) / 2 + 1e-9)
    coverage = []
    for _ in range(300):  # levels of the truth of a biased, over-confident posterior: u³ instead of u
        scores = torch.rand(1, n, generator=generator, dtype=torch.float64).pow(3).sort().values
        low, high = QuantileLevels(scores).at(((1 - interval) / 2, (1 + interval) / 2))
        coverage.append(float(high.pow(1 / 3) - low.pow(1 / 3)))
    law = beta(n + 1 - 2 * k, 2 * k)
    assert kstest(coverage, law.cdf).pvalue > 0.01
    assert interval - 1e-9 <= law.mean() < interval + 2 / (n + 1)


def test_levels_that_too_few_cases_cannot_give_are_the_outermost():
    levels = QuantileLevels(torch.tensor([[0.2, 0.4, 0.7]]))
    assert levels.at((0.1, 0.25, 0.5, 0.75, 0.9)).flatten().tolist() == pytest.approx([0, 0.2, 0.4, 0.7, 1])
    assert levels.at((0.4, 0.6)).flatten().tolist() == pytest.approx([0.2, 0.7])  # outwards, never inwards


@given(n=st.integers(3, 60), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_probability_undoes_the_levels_and_is_monotone(n, seed):
    generator = torch.Generator().manual_seed(seed)
    levels = QuantileLevels(torch.rand(2, n, generator=generator, dtype=torch.float64).sort().values)
    nominal = [j / 10 for j in range(1, 10)]
    at = levels.at(nominal)
    assert bool((at.diff(dim=0) >= 0).all())
    for column in range(2):
        back = levels.probability(at[:, column], column)
        assert (back - torch.tensor(nominal, dtype=torch.float64)).abs().max() <= 1 / n + 1 / (n + 1)
        ends = levels.probability(torch.tensor([0.0, 1.0], dtype=torch.float64), column)
        assert ends.tolist() == [0, 1]


def test_uniform_levels_give_plain_quantiles():
    samples = torch.randn(64, 5, 2, generator=torch.Generator().manual_seed(SEED))
    levels = QuantileLevels((torch.arange(1, 400) / 400).expand(2, -1))
    found = calibrated_quantiles(sorted_last(samples), interval_levels(0.9), levels)
    assert torch.allclose(found, quantiles(sorted_last(samples), (0.05, 0.5, 0.95)), atol=1e-5)


def test_every_parameter_is_read_at_levels_of_its_own():
    samples = torch.randn(64, 5, 2, generator=torch.Generator().manual_seed(SEED))
    scores = torch.stack([torch.arange(1, 400) / 400, (torch.arange(1, 400) / 400).square()])
    space = LinearGaussian(num_parameters=2).space
    maps = summarise(samples, space, 0.9, {"x2": 0.3}, QuantileLevels(scores))
    ordered = sorted_last(samples)
    for name, level in (("interval_low", 0.05), ("median", 0.5), ("interval_high", 0.95)):
        expected = torch.stack(
            [quantiles(ordered, [level])[0, :, 0], quantiles(ordered, [level**2])[0, :, 1]], 1
        )
        assert torch.allclose(maps[name], expected, atol=1e-5)
    share = (samples[..., 1] < 0.3).float().mean(0)
    assert torch.allclose(maps["probability_below"][:, 0], share.sqrt(), atol=2 / 399)


def test_intervals_in_maps_hold_the_truth_as_often_as_they_say():
    fitted = recalibrate(exact(spread=0.6, shift=0.4), 2000, seed=SEED)
    n, interval = 3000, 0.9
    theta, y = fitted.problem.simulate(n, seed=11 + SEED)
    maps = PosteriorInferer(fitted.problem, samples=512, interval=interval)(
        y.T.reshape(1, 2, n), fitted.network
    )
    low, high = maps["interval_low"][0], maps["interval_high"][0]
    truth = theta.T
    inside = (truth > low) & (truth < high)
    spread = math.sqrt(interval * (1 - interval) * (1 / n + 1 / 2000))
    assert (inside.float().mean(1) - interval).abs().max() < 4 * spread + 1 / 512


def test_the_preview_is_spread_like_typical_latents():
    fitted = exact(spread=0.6)
    y = fitted.problem.simulate(20, seed=1)[1]
    fixed = recalibrate(fitted, 1000, seed=SEED)
    with torch.no_grad():
        before, after = fitted.network.preview_quantiles(y), fixed.network.preview_quantiles(y)
    assert torch.equal(after[..., 2], before[..., 2])
    ratio = (after[..., 4] - after[..., 2]) / (before[..., 4] - before[..., 2])
    assert torch.allclose(ratio, torch.tensor(1 / 0.6), rtol=0.1)


def test_joint_region():
    fitted = exact()
    theta, y = fitted.problem.simulate(4000, seed=SEED)
    assert fitted.region_radius(0.9) == pytest.approx(chi.ppf(0.9, 2))
    # For a Gaussian posterior the region is the ellipse of its covariance.
    q = fitted.problem.reference_posterior(y)
    difference = (theta - q.mean).unsqueeze(-1)
    squared = (difference.mT @ q.precision_matrix @ difference).flatten()
    expected = squared < chi.ppf(0.9, 2) ** 2
    inside = fitted.is_inside(theta, y, 0.9)
    assert (inside != expected).float().mean() < 1e-3  # rounding at the edge
    fixed = recalibrate(exact(spread=0.6), 400, seed=SEED)
    assert fixed.region_radius(0.9999) == math.inf
    share = fixed.is_inside(theta, y, 0.9).float().mean()
    assert abs(float(share) - 0.9) < 4 * math.sqrt(0.09 * (1 / 4000 + 1 / 400))
    with pytest.raises(ValueError, match=r"level = 1\.5 is not a probability"):
        fitted.region_radius(1.5)


def test_few_simulations_are_refused():
    with pytest.raises(ValueError, match="n = 199 simulations are too few to repair a posterior"):
        recalibrate(exact(), 199)


@pytest.fixture(scope="module")
def repaired(smallest_camera_fit, tmp_path_factory):
    """A recalibrated bundle of an untrained network, made as the command line does, and its card."""
    folder = tmp_path_factory.mktemp("recalibrated")
    smallest_camera_fit.save(folder / "before")
    return folder, recalibrate_bundle(folder / "before", folder / "after", n=250)


def test_bundle_round_trip(smallest_camera_fit, repaired, image):
    folder, about = repaired
    again = monai_inn.load(folder / "after")
    assert about["status"] == again.card["recalibration"]["status"] == "repaired"
    assert again.network.config["recalibration_cases"] == 250
    expected = recalibrate(smallest_camera_fit, 250)
    state = expected.network.state_dict()
    assert state.keys() == again.network.state_dict().keys()
    assert all(torch.equal(value, again.network.state_dict()[name]) for name, value in state.items())
    assert measure(again, 100, 1) == measure(expected, 100, 1)
    card = (folder / "after/docs/README.md").read_text()
    for text in ("## Recalibration", "**Guaranteed.**", "at least 1 − α", "**Not guaranteed.**"):
        assert text in card
    assert "## Recalibration" not in (folder / "before/docs/README.md").read_text()
    assert "base" not in monai_inn.load(folder / "before").network.config
    maps, before = again.maps(image), smallest_camera_fit.maps(image)
    assert not torch.equal(maps["median"], before["median"])
    assert torch.equal(maps["waic"], before["waic"])


def test_exports_of_a_recalibrated_bundle_give_the_same_maps(repaired, image):
    network, batch = map_network(repaired[0] / "after", samples=32), image[None]
    expected = network(batch)
    with torch.no_grad():
        traced = torch.jit.trace(network, batch, check_trace=False)
        dynamic = ({2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
        exported = torch.export.export(network, (batch,), dynamic_shapes=dynamic).module()
        for recorded in (traced, exported):
            assert torch.allclose(recorded(batch)[:, :-2], expected[:, :-2], rtol=1e-4, atol=2e-3)
            assert recorded(batch[..., :3]).shape == (*expected.shape[:3], 3)


def test_samples_of_a_recalibrated_network_carry_gradients(repaired):
    fitted = monai_inn.load(repaired[0] / "after")
    y = fitted.problem.simulate(4, seed=1)[1]
    q = fitted.posterior(y)
    draws = q.rsample((3,))
    q.base.log_prob(q.space.to_latent(draws.detach())).sum().backward()
    assert draws.requires_grad
    assert all(torch.isfinite(p.grad).all() for p in fitted.network.flow.parameters() if p.grad is not None)
    latents = shared_latents(5, len(fitted.problem.targets), 0)
    with torch.no_grad():
        lead = q.base.leading(len(fitted.problem.targets))
        # Random weights squeeze some directions by orders of magnitude, which costs digits on the way back.
        assert torch.allclose(lead.latent(lead.push(latents)), latents.expand(-1, 4, -1), atol=1e-2)


def test_a_bundle_that_needs_nothing_says_so(repaired, tmp_path, monkeypatch):
    monkeypatch.setattr("monai_inn.validation.recalibration._ALPHA", 0.0)  # whatever the network
    about = recalibrate_bundle(repaired[0] / "before", tmp_path / "same", n=200)
    assert about["status"] == "none needed"
    assert "Recalibration\n\nNone needed." in (tmp_path / "same/docs/README.md").read_text()
    weights = "models/model.safetensors"
    assert (tmp_path / "same" / weights).read_bytes() == (repaired[0] / "before" / weights).read_bytes()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not a bundle"):
        recalibrate_bundle("oximetry", tmp_path, n=200)


def test_levels_of_an_angle_do_not_depend_on_where_its_circle_begins():
    """Directions about 0° and about 180°, where the circle is cut: the same levels."""
    space = ParameterSpace([Parameter("direction", "deg", -180.0, 180.0, is_periodic=True)])
    spread = 10 * torch.randn(1023, 1, 1, generator=torch.Generator().manual_seed(SEED))
    offsets = torch.tensor([[-12.0], [-3.0], [0.0], [8.0]])
    found = []
    for centre in (0.0, 180.0):
        samples, theta = (((values + centre + 180) % 360) - 180 for values in (spread, offsets))
        latent = space.to_latent(samples.double()).float().expand(-1, 4, -1)
        q = SimpleNamespace(base=SimpleNamespace(sample=lambda shape, latent=latent: latent[: shape[0]]))
        problem = SimpleNamespace(space=space, targets=("direction",))
        fitted = SimpleNamespace(problem=problem, target_posterior=lambda rows, q=q: q)
        found.append(truth_levels(fitted, theta, torch.zeros(4, 1)))
    below = (spread[:, 0, 0] < offsets).double().mean(1, keepdim=True)
    assert torch.allclose(found[0], below, atol=2e-3)
    assert torch.allclose(found[1], below, atol=2e-3)
