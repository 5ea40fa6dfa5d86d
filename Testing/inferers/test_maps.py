"""Maps of images: what they contain, what they must not invent, and that they do not depend on the walk."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

import monai_inn.inferers.posterior as walk
from monai_inn.inferers import MapNetwork, peaks
from monai_inn.inferers.peaks import count_peaks, histogram
from monai_inn.inferers.pixels import Pixels
from monai_inn.inferers.summaries import count_modes, quantiles, shared_latents, sorted_last
from monai_inn.training.run import merged


def assert_same_map(name, value, expected):
    """Equal but for rounding, which depends on how a processor's products group the pixels.

    WAIC is a variance, of untrained members here: two units in the last place of the image move it by up to
    7e-4 of itself, the other maps by 1e-5.
    """
    rtol = 5e-3 if name == "waic" else 1e-4
    torch.testing.assert_close(value.as_tensor(), expected.as_tensor(), rtol=rtol, atol=1e-4, msg=name)


def test_every_map_has_its_shape_unit_and_geometry(camera_fit, image):
    affine = torch.diag(torch.tensor([0.5, 0.25, 2.0, 1.0], dtype=torch.float64))
    maps = camera_fit.maps(MetaTensor(image, affine=affine), samples=16, below={"sao2": 0.6, "vhb": 0.05})
    channels = {name: len(value) for name, value in maps.items()}
    four = ("median", "mean", "interval_low", "interval_high", "interval_width", "mode_count")
    of_all = dict.fromkeys(("waic", "ood", "p_value", "reason", "valid"), 1)
    assert channels == dict.fromkeys((*four, "uninformative"), 4) | {"probability_below": 2} | of_all
    for value in maps.values():
        assert value.shape[1:] == (6, 7)
        assert torch.equal(value.affine, affine)
        assert len(value.meta["units"]) == len(value.meta["channel_names"]) == len(value)
    assert maps["median"].meta["channel_names"] == ["sao2", "vhb", "a_mie", "b_mie"]
    assert maps["median"].meta["units"] == ["1", "1", "1/cm", "1"]
    assert maps["probability_below"].meta["channel_names"] == ["sao2 < 0.6", "vhb < 0.05"]


def test_a_pixel_of_a_loaded_image_has_the_posterior_of_a_plain_tensor(camera_fit, image):
    drawn = []
    for pixel in (image[:, 2, 3], MetaTensor(image)[:, 2, 3]):
        torch.manual_seed(0)
        q = camera_fit.posterior(pixel)
        theta = q.sample((5,))
        drawn.append((type(theta), theta, q.log_prob(theta)))
    assert drawn[1][0] is torch.Tensor
    torch.testing.assert_close(drawn[0][1:], drawn[1][1:])


def test_values_are_ordered_and_inside_the_bounds(camera_fit, image):
    maps = {k: v.as_tensor() for k, v in camera_fit.maps(image, samples=32).items()}
    assert (maps["interval_low"] <= maps["median"]).all()
    assert (maps["median"] <= maps["interval_high"]).all()
    torch.testing.assert_close(maps["interval_width"], maps["interval_high"] - maps["interval_low"])
    space = camera_fit.problem.space.subset(camera_fit.problem.targets)
    assert space.contains(maps["median"].movedim(0, -1)).all()


def test_unusable_pixels_are_nan_in_every_map_and_leave_the_others_alone(camera_fit, image):
    whole = camera_fit.maps(image, samples=16)
    broken = image.clone()
    broken[3, 0, 0] = torch.nan
    broken[:, 2, 3] = 0
    broken[:, 5, 6] = -1
    broken[0, 1, 1] = torch.inf
    lost = torch.zeros(6, 7, dtype=torch.bool)
    lost[[0, 2, 5, 1], [0, 3, 6, 1]] = True
    for name, value in camera_fit.maps(broken, samples=16).items():
        if name == "valid":
            assert torch.equal(value[0].as_tensor() == 0, lost)
            continue
        assert value[:, lost].isnan().all(), name
        assert_same_map(name, value[:, ~lost], whole[name][:, ~lost])


def test_an_image_without_a_valid_pixel_has_every_map_and_no_value(camera_fit, image):
    maps = camera_fit.maps(torch.zeros_like(image), samples=8)
    assert set(maps) == set(camera_fit.maps(image, samples=8))
    assert all(value.isnan().all() for name, value in maps.items() if name != "valid")
    assert (maps["valid"] == 0).all()
    assert all(sample.isnan().all() for sample in camera_fit.draw(torch.zeros_like(image), 2))
    assert camera_fit.trust(torch.zeros_like(image))["waic"].isnan().all()


def test_maps_do_not_depend_on_the_chunk(camera_fit, image, monkeypatch):
    whole = camera_fit.maps(image, samples=16)
    monkeypatch.setattr(walk, "_PIXELS", 5)
    for name, value in camera_fit.maps(image, samples=16).items():
        assert_same_map(name, value, whole[name])


def test_same_seed_same_maps_and_another_seed_other_maps(camera_fit, image):
    first, again, other = (camera_fit.maps(image, samples=16, seed=s)["median"] for s in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_any_number_and_size_of_spatial_axes(gaussian_fit, shape):
    y = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    maps = gaussian_fit.maps(y, samples=8)
    assert {"median", "interval_width", "waic", "ood", "valid"} <= set(maps)
    for value in maps.values():
        assert value.shape[0] == 1
        assert value.shape[2:] == tuple(shape)
    if math.prod(shape):
        flat = gaussian_fit.maps(y.flatten(2), samples=8)["median"]
        torch.testing.assert_close(maps["median"].flatten(2), flat, rtol=1e-4, atol=1e-5)


def test_an_axis_that_may_be_bands_or_batch_is_asked_for(gaussian_fit):
    image = torch.randn(3, 3, 5)
    for call in (gaussian_fit.maps, gaussian_fit.trust, lambda x: next(gaussian_fit.draw(x, 1))):
        with pytest.raises(ValueError, match=r"\(3, 3, 5\).*batched=False.*batched=True"):
            call(image)
    single = gaussian_fit.maps(image, samples=8, batched=False)["median"]
    batch = gaussian_fit.maps(image, samples=8, batched=True)["median"]
    assert single.shape == (4, 3, 5)
    assert batch.shape == (3, 4, 5)
    torch.testing.assert_close(single[:, 0], gaussian_fit.maps(image[:, 0], samples=8)["median"])
    assert gaussian_fit.maps(torch.randn(2, 3, 5, 6), samples=8)["median"].shape == (2, 4, 5, 6)


def test_quantiles_and_probability_agree_with_a_large_independent_sample(camera_fit, image):
    """4096 Sobol points against 40,000 random draws, for one pixel.

    Independent draws would place a level with a standard deviation of at most sqrt(.25 / 4096) = .0078, Sobol
    points with less; the level is then measured to .0025. Three times the first is .023.
    """
    pixel = image[:, :1, :1]
    maps = camera_fit.maps(pixel, samples=4096, below={"sao2": 0.4})
    torch.manual_seed(0)
    draws = camera_fit.target_posterior(pixel[:, 0, 0]).sample((40_000,))
    for name, level in (("interval_low", 0.025), ("median", 0.5), ("interval_high", 0.975)):
        share = (draws < maps[name][:, 0, 0].as_tensor()).float().mean(0)
        assert (share - level).abs().max() < 0.023, (name, share)
    assert abs(float((draws[:, 0] < 0.4).float().mean()) - float(maps["probability_below"])) < 0.023
    width = draws.std(0)
    assert ((draws.mean(0) - maps["mean"][:, 0, 0].as_tensor()).abs() < 0.05 * width).all()


def test_samples_are_coherent_images_from_the_latents_of_the_maps(gaussian_fit):
    y = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    samples = torch.stack(list(gaussian_fit.draw(y, 64, seed=2))).as_tensor()
    assert samples.shape == (64, 4, 4, 5)
    maps = gaussian_fit.maps(y, samples=64, seed=2)
    ordered = samples.sort(0).values
    torch.testing.assert_close(maps["median"].as_tensor(), ordered[31:33].mean(0), rtol=1e-3, atol=1e-3)
    # Pixels with equal observations must agree in every sample: one latent serves all pixels.
    flat = y[:, :1, :1].expand(-1, 4, 5)
    for sample in gaussian_fit.draw(flat, 3):
        torch.testing.assert_close(sample[:, 0, 0], sample[:, 3, 4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_samples_beside_the_maps_are_those_that_are_drawn(camera_fit, image, adaptive):
    maps = camera_fit.maps(image, samples=64, keep=5, seed=2, adaptive=adaptive)
    drawn = torch.stack(list(camera_fit.draw(image, 5, seed=2)), 1)
    assert maps["samples"].meta["channel_names"][4:6] == ["sao2, sample 5", "vhb, sample 1"]
    assert_same_map("samples", maps["samples"], drawn.flatten(0, 1))
    with pytest.raises(ValueError, match="drawn everywhere"):
        camera_fit.maps(image, samples=64, keep=17 if adaptive else 65, adaptive=adaptive)


def test_false_alarms_on_fresh_simulations_are_what_was_asked_for(camera_fit):
    """400 held-out scores and 4000 fresh pixels: the rate is Beta(20, 381) plus binomial noise, sd .0114."""
    _, y = camera_fit.problem.simulate(4000, seed=11)
    maps = camera_fit.trust(y.T.reshape(-1, 40, 100), false_alarm=0.05)
    assert abs(float(maps["ood"].nanmean()) - 0.05) < 4 * 0.0114
    assert torch.equal(maps["ood"] > 0.5, maps["p_value"] <= 0.05)


def test_trust_alone_equals_the_trust_of_the_maps(camera_fit, image):
    image[:, 0, 0] = 0
    alone, full = camera_fit.trust(image), camera_fit.maps(image, samples=8)
    for name in ("waic", "ood", "valid"):
        torch.testing.assert_close(
            alone[name].as_tensor(), full[name].as_tensor(), rtol=1e-4, atol=1e-3, equal_nan=True
        )


def test_a_density_that_overflows_is_out_of_distribution(gaussian_fit):
    maps = gaussian_fit.trust(torch.full((3, 1, 1), 1e30))
    assert float(maps["ood"]) == 1
    assert float(maps["waic"]) == math.inf


def test_progress_runs_from_nothing_to_all(camera_fit, image, monkeypatch):
    monkeypatch.setattr(walk, "_PIXELS", 10)
    shares = []
    camera_fit.maps(image, samples=8, progress=shares.append)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert len(shares) > 4


def test_maps_compute_nothing_that_is_thrown_away(camera_fit, image, monkeypatch):
    def refuse(*_):
        raise AssertionError("maps do not need the preview")

    monkeypatch.setattr(type(camera_fit.network), "quick_given", refuse)
    camera_fit.maps(image, samples=8)


def test_pieces_are_equal_and_shared_out_evenly(camera_fit):
    """Three threads, at most 7 pixels a piece: 40 valid pixels make six pieces of six or seven."""
    y = camera_fit.problem.simulate(42, seed=5)[1].T.reshape(1, -1, 6, 7).clone()
    y[0, :, 0, :2] = 0
    pieces = Pixels(y, camera_fit.problem).pieces(7, threads=3)
    assert [len(piece) for piece in pieces] == [7, 7, 7, 7, 6, 6]
    assert torch.cat(pieces).tolist() == list(range(2, 42))


def test_the_first_valid_pixel_of_a_block_stands_for_it(camera_fit):
    """At most 12 of 5 x 7 pixels are asked: blocks of 2 x 2, those at the border smaller."""
    y = camera_fit.problem.simulate(35, seed=5)[1].T.reshape(-1, 5, 7).clone()
    y[:, 0, 0] = 0  # cannot be inferred; the next one stands for its block
    y[:, 4, 6] = 0  # alone in its block
    asked = y.clone()
    for row in range(0, 5, 2):
        for column in range(0, 7, 2):
            first = (0, 1) if (row, column) == (0, 0) else (row, column)
            asked[:, row : row + 2, column : column + 2] = y[:, first[0], first[1], None, None]
    asked[:, 0, 0] = 0
    for tell in (camera_fit.preview, camera_fit.trust):
        found, expected = tell(y, most=12), tell(asked)
        for name, value in found.items():
            torch.testing.assert_close(
                value.as_tensor(), expected[name].as_tensor(), rtol=5e-3, atol=1e-4, equal_nan=True, msg=name
            )
        assert torch.equal(tell(y, most=35)["valid"], found["valid"])


@given(
    sizes=st.lists(st.integers(1, 9), max_size=3),
    images=st.integers(1, 2),
    most=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_stand_ins_are_valid_few_and_near(gaussian_fit, sizes, images, most, seed):
    y = torch.randn(images, 3, *sizes, generator=torch.Generator().manual_seed(seed))
    y[(y[:, :1] > 0.5).expand_as(y)] = torch.nan
    pixels = Pixels(y, gaussian_fit.problem)
    every = pixels.stand_ins(most)
    stand_ins = every[pixels.valid]
    assert pixels.valid[stand_ins].all()
    assert len(stand_ins.unique()) <= max(most, images)
    assert torch.equal(stand_ins, every[stand_ins])
    asked = torch.cat(pixels.pieces(7, 2, every) or [stand_ins])
    assert asked.tolist() == stand_ins.unique().tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 1.5}, "interval = 1.5"),
        ({"samples": 1}, "at least 2"),
        ({"below": {"sa02": 0.6}}, "unknown parameter 'sa02'.*sao2"),
        ({"below": {"sao2": 60}}, "between 0 and 1"),
        ({"false_alarm": 0.0}, "not a rate"),
    ],
)
def test_bad_options_are_refused(camera_fit, image, options, message):
    with pytest.raises(ValueError, match=message):
        camera_fit.maps(image, **options)


def test_wrong_number_of_bands_names_both_counts(camera_fit):
    with pytest.raises(ValueError, match=r"\(1, 12, 4, 4\).*16 channels"):
        camera_fit.maps(torch.rand(12, 4, 4))


def test_missing_gpu_is_said(camera_fit):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="no CUDA GPU"):
        camera_fit.to("cuda")


@pytest.mark.parametrize("levels", [(0.025, 0.5, 0.975), (0.0, 1.0)])
def test_quantiles_follow_the_midpoint_rule_of_numpy(levels):
    x = torch.randn(31, 5, 2, generator=torch.Generator().manual_seed(0))
    expected = np.quantile(x.numpy(), levels, axis=0, method="hazen")
    np.testing.assert_allclose(quantiles(sorted_last(x), levels).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_modes_of_known_mixtures_are_counted():
    z = shared_latents(512, 1, 0).squeeze(-1)
    half = torch.arange(512)[:, None] % 2 == 0
    cases = torch.stack([z, torch.where(half, z - 4, z + 4), torch.where(half, z - 0.5, z + 0.5)], -1)
    counted = count_modes(sorted_last(cases.reshape(512, 1, 3)))
    assert counted.tolist() == [[1.0, 2.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_peaks_are_those_of_torch(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    ordered = torch.randn(200, 3, 77, generator=generator, dtype=dtype).sort(-1).values
    ordered[:50] = ordered[:50].round()
    ordered[0], ordered[1, 1] = 1.0, torch.nan
    density = torch.rand(200, 3, 48, generator=generator, dtype=dtype) ** 3

    def found():
        counts = histogram(ordered, 48)
        assert (counts.sum(-1) == 77).all()
        return counts, count_peaks(density, 0.05 * density.amax(-1)), count_peaks(counts, counts[..., 0])

    by_numba = found()
    monkeypatch.setattr(peaks, "_is_compiled", lambda _: False)
    for ours, expected in zip(by_numba, found(), strict=True):
        assert torch.equal(ours, expected)
        assert len(expected.unique()) > 3


@pytest.fixture(scope="module")
def map_network(camera_fit):
    problem = camera_fit.problem
    network = MapNetwork({"name": problem.name, **problem.to_config()}, camera_fit.network.config, samples=16)
    network.network.load_state_dict(camera_fit.network.state_dict())
    return network.eval()


def test_map_network_stacks_the_maps_and_keeps_the_geometry(camera_fit, map_network, image):
    image[:, 0, 0] = 0
    affine = torch.diag(torch.tensor([0.5, 0.25, 2.0, 1.0], dtype=torch.float64))
    out = map_network(MetaTensor(image, affine=affine)[None])
    maps = camera_fit.maps(image, samples=16)
    stacked = torch.cat([maps[name].as_tensor() for name in ("median", "interval_width", "waic", "ood")])
    torch.testing.assert_close(out[0].as_tensor(), stacked, equal_nan=True)
    assert torch.equal(out.affine, affine)
    assert len(map_network.channel_names) == out.shape[1]


def test_a_traced_network_gives_the_same_maps(camera_fit, image):
    """With one block a flow and two members, for the time that recording takes.

    An exported one does: `test_export_config_writes_a_program_for_any_size`.
    """
    problem = camera_fit.problem
    smaller = merged(
        camera_fit.network.config, {"flow": {"num_blocks": 1}, "density": {"num_blocks": 1, "members": 2}}
    )
    map_network = MapNetwork({"name": problem.name, **problem.to_config()}, smaller, samples=16).eval()
    fitting = map_network.state_dict()
    for name, value in camera_fit.network.state_dict().items():
        if f"network.{name}" in fitting:
            own = fitting[f"network.{name}"]
            own.copy_(value[: len(own)] if own.ndim else value)
    image[:, 0, 0] = 0
    batch, smaller = image[None], image[None, :, :4, :5]
    with torch.no_grad():
        expected, expected_smaller = map_network(batch), map_network(smaller)
        traced = torch.jit.trace(map_network, batch)
    # WAIC is a difference of large log densities: its rounding is relative to them.
    torch.testing.assert_close(traced(batch), expected, rtol=1e-4, atol=2e-3, equal_nan=True)
    torch.testing.assert_close(traced(smaller), expected_smaller, rtol=1e-4, atol=2e-3, equal_nan=True)
