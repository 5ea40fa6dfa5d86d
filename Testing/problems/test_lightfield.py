"""Light fields of two layers: textures against their covariance, exact posteriors against brute force."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import stats

from monai_inn.applications.lightfield.application import standardised
from monai_inn.applications.lightfield.grid import Grid
from monai_inn.applications.lightfield.problem import CELLS
from monai_inn.applications.lightfield.textures import beams, covariance, draw_layers, places
from monai_inn.cli import main
from monai_inn.inferers.pixels import Pixels
from monai_inn.problems import LightField
from monai_inn.seeding import stream

SMALL = LightField(3, 5)
SMALL_GRID = Grid(nodes=31, cells=64, shares=8, contrasts=7)


@pytest.fixture(scope="module")
def simulations():
    return SMALL.simulate(400, seed=0)


@pytest.fixture(scope="module")
def layers(simulations):
    return SMALL.layers(simulations[1], SMALL_GRID)


def test_a_layer_shifts_by_its_disparity_from_view_to_view():
    generator = torch.Generator().manual_seed(0)
    epi = draw_layers(torch.tensor([1.0, -2.0]), 5, 9, 1.0, generator).unflatten(1, (9, 5))
    torch.testing.assert_close(epi[0, 1:, :-1], epi[0, :-1, 1:])  # f(u + 1 + s) = f(u + (s + 1))
    torch.testing.assert_close(epi[1, :-2, :-1], epi[1, 2:, 1:])


def test_textures_have_the_covariance_that_the_likelihood_takes():
    n = 40_000
    drawn = draw_layers(torch.full((n,), 0.7), 3, 5, 1.0, torch.Generator().manual_seed(0)).double()
    expected = covariance(torch.tensor(0.7, dtype=torch.float64), 3, 5, 1.0)
    torch.testing.assert_close(expected.diagonal(), torch.ones(15, dtype=torch.float64))
    # The variance of a product of unit normals is one plus their squared correlation.
    error = (drawn.T @ drawn / n - expected) / ((1 + expected.square()) / n).sqrt()
    assert float(error.abs().max()) < 5
    assert stats.kstest(drawn[:, 7].numpy(), "norm").pvalue > 1e-4


def test_light_is_shared_as_the_weight_says():
    weight = torch.tensor([0.0, 0.09, 1.0, 1.4])
    theta = torch.stack([torch.zeros(4), torch.ones(4), weight, torch.full((4,), 2.0)], 1)
    n = 20_000
    clean = SMALL.draw(theta.repeat_interleave(n, 0), stream(0)).unflatten(0, (4, n))
    share = torch.tensor([0.0, 0.3, 1.0, 1.0])
    expected = 4 * (share.square() + (1 - share).square())
    torch.testing.assert_close(clean.var(1).mean(1), expected, rtol=5 * math.sqrt(2 / n), atol=0)
    noisy = SMALL.noise(torch.zeros(n, 15), stream(1))
    assert float(noisy.std()) == pytest.approx(0.3, rel=5 / math.sqrt(30 * n))


def test_one_pixel_in_three_is_opaque_and_front_layers_take_any_share():
    weight = SMALL.prior.sample((30_000,), stream(0))[:, 2]
    opaque = float((weight > 1).float().mean())
    assert opaque == pytest.approx(1 / 3, abs=5 * math.sqrt(2 / 9 / 30_000))
    # A photon is of a layer of share b with probability b: the density of b is 2 b, whoever is in front.
    share = weight[weight <= 1].sqrt()
    assert stats.kstest(share.numpy(), lambda b: b**2).pvalue > 1e-4


def test_the_grid_holds_the_likelihood_at_the_centres_of_its_cells(simulations, layers):
    """Interpolation, symmetry of the shares and prior masses, each cell for itself."""
    for row in range(5):
        log_mass = layers.log_cells(row)
        near = torch.nonzero(log_mass > log_mass.max() - 12)
        cells = near[torch.randperm(len(near), generator=stream(0))[:200]]
        assert float(errors(layers, row, cells, simulations[1][row], SMALL).max()) < 0.02


def test_an_opaque_layer_of_high_contrast_does_not_make_the_grid_swing():
    """Where two layers meet the log likelihood bends within .05 px, by hundreds of nats."""
    problem = LightField()
    theta = torch.tensor([[0.064, 1.0, 1.2, 1.15], [1.807, 1.0, 1.2, 1.53], [0.108, 1.0, 1.2, 1.75]])
    y = problem.noise(problem.draw(theta, stream(1)), stream(2))
    layers = problem.layers(y, Grid()._replace(cells=64, shares=2, contrasts=3))
    for row in range(3):
        mass = layers.log_cells(row).exp()
        drawn = torch.multinomial((mass / mass.max()).flatten(), 200, True, generator=stream(3))
        cells = torch.stack(torch.unravel_index(drawn, mass.shape), 1)
        assert float(errors(layers, row, cells, y[row], problem).mean()) < 0.15


def errors(layers, row, cells, y, problem):
    """Errors of the log mass of cells ``(n, 4)``, nats."""
    grid, (b, c, i, j) = layers.grid, cells.T
    share = torch.where(b < grid.shares, (b + 0.5) / grid.shares, 1.0).double()
    disparity = (torch.stack([i, j], 1) + 0.5) / grid.cells * 4 - 2
    log_contrast = 0.25 * (-2.8 + 5.6 / grid.contrasts * (c + 0.5))
    theta = torch.cat([disparity, torch.stack([share.square(), log_contrast.exp()], 1)], 1)
    prior = torch.where(share < 1, 2 * share / grid.shares * 2 / 3, torch.tensor(1 / 3, dtype=torch.float64))
    edges = torch.linspace(-2.8, 2.8, grid.contrasts + 1, dtype=torch.float64)[1:-1]
    ranks = torch.cat([torch.zeros(1), torch.special.ndtr(edges), torch.ones(1)]).diff()
    expected = problem.log_likelihood(theta, y) + (prior * ranks[c]).log() - 2 * math.log(grid.cells)
    return (layers.log_cells(row)[b, c, i, j] - expected).abs()


def test_the_grid_equals_weighed_draws_of_the_prior(simulations, layers):
    n = 10_000
    theta = SMALL.prior.sample((n,), stream(3)).double()
    for row in range(2):
        level = SMALL.log_likelihood(theta, simulations[1][row])
        weight = level.softmax(0)
        effective = 1 / float(weight.square().sum())
        assert effective > 150
        error = math.sqrt(1 / effective - 1 / n)
        evidence = float(level.logsumexp(0)) - math.log(n)
        found = float(layers.log_cells(row).flatten().logsumexp(0))
        assert found == pytest.approx(evidence, abs=5 * error + 0.01)
        cumulative = layers.log_disparity()[row].exp().cumsum(0)[15::16]
        edges = torch.linspace(-1, 2, 4)
        expected = torch.stack([weight[theta[:, 0] < edge].sum() for edge in edges])
        tolerance = 5 * (expected * (1 - expected) / effective).clamp_min(0).sqrt() + 0.01
        assert bool(((cumulative - expected).abs() < tolerance).all())
        torch.manual_seed(0)
        drawn = layers.sample(row, 5000)
        assert bool(SMALL.space.contains(drawn).all())
        mean = (weight[:, None] * theta).sum(0)
        spread = (weight[:, None] * (theta - mean).square()).sum(0).sqrt()
        off = (drawn.mean(0) - mean).abs() / spread
        assert float(off.max()) < 5 * math.sqrt(1 / effective + 1 / 5000)


def test_the_exact_posterior_is_calibrated_on_simulations(simulations, layers):
    theta, _ = simulations
    cumulative = layers.log_disparity().exp().cumsum(-1)
    place = (theta[:, 0] + 2) / 4 * SMALL_GRID.cells
    cell = place.long().clamp_max(SMALL_GRID.cells - 1)
    upper = cumulative.gather(1, cell[:, None])[:, 0]
    lower = torch.where(cell > 0, cumulative.gather(1, (cell - 1).clamp_min(0)[:, None])[:, 0], 0.0)
    rank = torch.lerp(lower, upper, (place - cell).double())
    assert stats.kstest(rank.numpy(), "uniform").pvalue > 1e-4
    # Ranks of others' posteriors are not uniform about their own truth: the middle is right too often.
    others = cumulative.roll(1, 0).gather(1, cell[:, None])[:, 0]
    assert float((rank - 0.5).abs().mean()) == pytest.approx(0.25, abs=5 * 0.144 / 20)
    assert float((others - 0.5).abs().mean()) > 0.25 + 5 * 0.144 / 20


def sharp(disparity, other, share, n=24):
    """Exact masses of the disparity's cells of small EPIs with little noise, and centres of the cells."""
    problem = LightField(5, 7, noise_sd=0.1)
    theta = torch.tensor([disparity, other, share**2 if share < 1 else 1.2, 1.0]).expand(n, -1)
    y = problem.noise(problem.draw(theta, stream(5)), stream(6))
    grid = Grid(nodes=33, cells=128, shares=6, contrasts=5)
    found = problem.layers(y, grid)
    centres = (torch.arange(grid.cells) + 0.5) / grid.cells * 4 - 2
    return found, centres


def test_two_layers_are_two_modes_and_an_opaque_one_is_one():
    found, centres = sharp(-1.0, 0.8, 0.5)
    both = torch.stack([(centres - d).abs() < 0.25 for d in (-1.0, 0.8)]).double()
    mass = found.log_disparity().exp() @ both.T
    assert float((mass.min(1).values > 0.1).double().mean()) > 0.7
    # A likelihood of a single layer has to choose.
    single = found.log_single().exp() @ both.T
    assert float(single.min(1).values.median()) < 0.02
    found, centres = sharp(-1.0, 0.8, 1.0)
    mass = found.log_disparity().exp()[:, (centres + 1).abs() < 0.25].sum(1)
    assert float(mass.median()) > 0.9


def test_the_network_starts_from_a_coarse_posterior_that_is_nearly_exact(simulations, layers):
    cells = 64
    level = SMALL.features(simulations[1])
    start = level[:, :CELLS].exp().unflatten(1, (cells, -1)).sum(-1)
    start = start / start.sum(-1, keepdim=True)
    exact = layers.log_disparity().exp()
    divergence = (exact * (exact / start).log()).sum(-1)
    prior = (exact * (exact * cells).log()).sum(-1)
    assert float(divergence.mean()) < 0.1 * float(prior.mean())
    opaque = layers.masses()[:, 1].sum(-1)
    assert float((level[:, CELLS + CELLS // 4].exp() - opaque).abs().mean()) < 0.1
    assert SMALL.features(1e3 * simulations[1]).isfinite().all()


@pytest.mark.slow  # recording is always tested with other bundles
def test_features_are_recorded_for_any_number_of_pixels(simulations):
    class Features(torch.nn.Module):
        def forward(self, y):
            return SMALL.features(y)

    y = simulations[1][:20]
    expected = SMALL.features(y)  # as before any export: the grid's tables are made once, and not recorded
    free = ({0: torch.export.Dim("pixels", min=2)},)
    recorded = torch.export.export(Features(), (y[:7],), dynamic_shapes=free, strict=False).module()
    torch.testing.assert_close(recorded(y), expected, rtol=1e-4, atol=1e-4)


def test_waves_are_strongest_along_their_own_disparity():
    u, s = places(9, 13)
    waves = beams(9, 13, 2.0).unflatten(1, (2, -1))
    order, disparity = 3, 13 / (18 * 3)  # the beam after the middle one of the third frequency
    y = torch.cos(2 * math.pi / 13 * order * (u + s * disparity)).float()
    power = torch.einsum("c,cwf->wf", y, waves).square().sum(0)
    assert int(power.argmax()) == 5 + 11 + 8 + 1
    assert waves.shape[-1] == 5 + 11 + 17 + 3 * 18


def test_what_cannot_be_a_light_field_is_refused():
    for options, words in (
        ({"views": 1}, "views = 1; give an odd number of at least 3"),
        ({"views": 8}, "views = 8; give an odd number"),
        ({"columns": 12}, "columns = 12; give an odd number"),
        ({"noise_sd": 0.0}, "noise_sd = 0.0; give a positive"),
        ({"calibration": (800.0, 2.0)}, "give three positive numbers"),
        ({"calibration": (800.0, -2.0, 100.0)}, "give three positive numbers"),
        ({"calibration": (800.0, 0.1, 100.0)}, "beyond infinity"),
    ):
        with pytest.raises(ValueError, match=words):
            LightField(**options)
    broken = torch.zeros(2, 15)
    broken[1, 3] = math.nan
    assert SMALL.is_valid(broken).tolist() == [True, False]
    with pytest.raises(ValueError, match="NaN"):
        SMALL.layers(broken)


def test_depth_follows_from_disparity_by_triangulation():
    problem = LightField(calibration=(800.0, 2.0, 100.0))
    depth = problem.derive(torch.tensor([[0.0], [2.0], [-2.0]]))[:, 0]
    # A point at depth Z is seen at focal · x / Z; what is in focus is moved back by focal · x / focus.
    expected = torch.tensor([100.0, 1 / (1 / 100 + 2 / 1600), 1 / (1 / 100 - 2 / 1600)])
    torch.testing.assert_close(depth, expected)
    assert LightField(**problem.to_config()).derived[0].name == "depth"


def textured(*shape):
    return MetaTensor(torch.rand(*shape, generator=torch.Generator().manual_seed(0)))


def test_brightness_and_gain_do_not_change_what_is_inferred():
    views = textured(3, 40, 50).as_tensor()
    torch.testing.assert_close(standardised(5 * views + 3), standardised(views), rtol=1e-3, atol=1e-4)
    made = standardised(views)
    assert float(made.std()) == pytest.approx(1, abs=0.05)
    views[:, 10:20, 20:30] = 0.5
    assert bool(standardised(views)[:, 10:20, 20:30].isfinite().all())
    views[1, 3, 4] = math.nan
    made = standardised(views)
    assert int(made.isnan().sum()) == 3
    assert bool(made[:, 3, 4].isnan().all())
    with pytest.raises(ValueError, match="no texture"):
        standardised(torch.ones(3, 20, 20))


def test_light_fields_are_matched_or_refused():
    application = SMALL.application
    stack = textured(3, 20, 30)
    matched = application.match(stack, "a.npz")
    assert matched.shape == (3, 20, 30)
    rows = torch.stack([textured(3, 20, 30).as_tensor() * 0, stack.as_tensor(), stack.as_tensor() * 0], 1)
    torch.testing.assert_close(application.match(MetaTensor(rows), "a.npz"), matched)
    for image, words in (
        (textured(1, 20, 30), "1 channels"),
        (textured(4, 20, 30), "4 channels"),
        (textured(3, 2, 20, 30), "even number of rows of views"),
        (textured(3, 20, 4), "at least 5 columns"),
        (textured(3, 20), "give views"),
    ):
        with pytest.raises(ValueError, match=words):
            application.match(image, "a.npz")


def test_an_image_without_a_view_is_left_out_where_it_is_missing():
    """NaN in one view: the pixels whose EPI holds it are not usable, and nothing is guessed there."""
    views = textured(3, 12, 20).as_tensor()
    views[0, 5, 10] = math.nan
    image = SMALL.application.match(MetaTensor(views), "a.npz")
    valid = Pixels(image.unsqueeze(0), SMALL).mask[0, 0]
    expected = torch.ones(12, 20)
    expected[5, 8:13] = 0  # two columns to either side
    torch.testing.assert_close(valid, expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--views", "8"), "views = 8; give an odd number of at least 3"),
        (("--views", "1"), "views = 1; give an odd number of at least 3"),
        (("--calibration", "800", "2", "900"), "beyond infinity"),
    ],
)
def test_the_command_line_refuses_what_is_no_camera(options, words, tmp_path, capsys):
    assert main(["simulate", "lightfield", "-n", "8", "-o", str(tmp_path / "out.zarr"), *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())
