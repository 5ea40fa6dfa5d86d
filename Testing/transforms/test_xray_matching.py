"""From an X-ray to the observation of the detector: contrast, resampling, fields of view."""

import dataclasses

import numpy as np
import pytest
import torch
from pose_problems import project_points
from xray_files import intensity

from monai_inn.applications.registration import Xray, match_detector
from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.problems import PoseRegistration

DETECTOR = Detector(rows=32, columns=32, spacing_mm=6.4)
BLOCK = 4
ROUNDING = 4 * 2.0**-24


@pytest.fixture(scope="module")
def truth():
    """Brightest line integral, and the observation (C,) and line integrals (128, 128) of a pose."""
    problem = PoseRegistration()
    assert problem.detector == DETECTOR
    observation = problem.forward(torch.tensor([[25.0, -10.0]]))[0].float()
    image = (observation.double() * problem.brightest).reshape(32, 32).numpy()
    return problem.brightest, observation, np.kron(image, np.ones((BLOCK, BLOCK)))


def made(values, **known):
    return Xray("x.png", torch.as_tensor(np.asarray(values), dtype=torch.float32), **known)


def scaled(values, spacing=6.4, **known):
    return made(values, spacing_mm=(spacing, spacing), contrast="attenuation", is_scaled=True, **known)


def observed(*args, **kwargs):
    return match_detector(*args, **kwargs)[0]


def test_contrast_must_be_known_and_given_contrast_wins(truth):
    brightest, _, image = truth
    with pytest.raises(
        ValueError, match=r"give --contrast intensity \(bone dark\) or attenuation \(bone bright\)"
    ):
        match_detector(made(image, spacing_mm=(1.6, 1.6)), DETECTOR, brightest)
    with pytest.raises(ValueError, match="contrast 'dark', expected intensity"):
        match_detector(scaled(image, 1.6), DETECTOR, brightest, contrast="dark")
    xray = made(intensity(image), spacing_mm=(1.6, 1.6), contrast="attenuation")
    found, notes = match_detector(xray, DETECTOR, brightest, contrast="intensity")
    assert found.max() == pytest.approx(image.max() / brightest, rel=1e-2)
    assert notes[0] == "Taken as intensity, as asked for, although the file says attenuation."


def test_integers_of_attenuation_need_a_scale(truth):
    xray = made(np.arange(1024).reshape(32, 32), spacing_mm=(6.4, 6.4), contrast="attenuation")
    with pytest.raises(ValueError, match="grey values have no scale; give --scale"):
        match_detector(xray, DETECTOR, 5.0)
    found, notes = match_detector(xray, DETECTOR, 5.0, scale=0.01)
    torch.testing.assert_close(found, torch.arange(1024) * 0.01 / 5, rtol=1e-6, atol=0)
    assert notes == ["Grey value 0 counts as unattenuated."]
    with pytest.raises(ValueError, match="a scale was given with an intensity image"):
        match_detector(xray, DETECTOR, 5.0, scale=0.01, contrast="intensity")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"scale": 0.0}, "scale = 0"),
        ({"scale": float("nan")}, "scale = nan"),
        ({"unattenuated": float("inf")}, "unattenuated = inf"),
        ({"spacing_mm": 0.0}, "spacing_mm = 0"),
        ({"spacing_mm": (1.0, -1.0)}, "spacing_mm = "),
        ({"contrast": "intensity", "unattenuated": -1.0}, "expected a grey value above 0"),
    ],
)
def test_arguments_that_cannot_be(truth, argument, message):
    with pytest.raises(ValueError, match=message):
        match_detector(scaled(truth[2], 1.6), DETECTOR, 5.0, **argument)
    with pytest.raises(ValueError, match="brightest = 0"):
        match_detector(scaled(truth[2], 1.6), DETECTOR, 0.0)


def test_pixels_without_photons_count_as_half_of_the_fewest():
    values = np.full((32, 32), 1000.0)
    values[3, 4], values[5, 6], values[7, 8] = 0, -5, 20
    xray = made(values, spacing_mm=(6.4, 6.4), contrast="intensity")
    found, notes = match_detector(xray, DETECTOR, 1.0)
    image = found.reshape(32, 32)
    assert image[3, 4] == image[5, 6] == pytest.approx(np.log(100))
    assert image[7, 8] == pytest.approx(np.log(50))
    assert "0.20% of the pixels got no photons; they count as 10." in notes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((32, 32), 7.0), "every pixel is 7, the image is empty"),
        (np.zeros((32, 32)), "every pixel is 0, the image is empty"),
        (np.where(np.eye(32) > 0, np.nan, 1.0), r"3\.12% of the pixels are NaN or infinite"),
        (np.where(np.eye(32) > 0, np.inf, 1.0), "NaN or infinite"),
        (-np.arange(1024.0).reshape(32, 32), "expected a grey value above 0"),
    ],
)
@pytest.mark.parametrize("contrast", ["intensity", "attenuation"])
def test_images_in_which_nothing_can_be_found(values, message, contrast):
    if contrast == "attenuation" and "grey value" in message:
        return
    xray = dataclasses.replace(scaled(values), contrast=contrast)
    with pytest.raises(ValueError, match=message) as error:
        match_detector(xray, DETECTOR, 1.0)
    assert str(error.value).startswith("x.png: ")
    assert "\n" not in str(error.value)


def test_field_of_view_that_shows_nothing():
    values = np.ones((64, 64))
    values[0] = 5
    with pytest.raises(ValueError, match="shows nothing, the same value everywhere"):
        match_detector(scaled(values), DETECTOR, 1.0)


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_whole_factors_are_plain_averages(factor):
    values = np.random.default_rng(0).random((32 * factor, 32 * factor))
    found = observed(scaled(values, 6.4 / factor), DETECTOR, 1.0).reshape(32, 32)
    plain = torch.nn.functional.avg_pool2d(torch.as_tensor(values, dtype=torch.float32)[None], factor)[0]
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [(33, 50), (47, 32), (100, 101), (1000, 31), (20, 17)])
def test_means_are_kept_and_ramps_are_exact_at_any_factor(size):
    height = width = 32 * 6.4
    spacing = (height / size[0], width / size[1])
    noise = np.random.default_rng(1).random(size)
    known = {"spacing_mm": spacing, "contrast": "attenuation", "is_scaled": True}
    found = observed(made(noise, **known), DETECTOR, 1.0)
    assert float(found.double().mean()) == pytest.approx(np.float32(noise).mean(), rel=1e-6)

    def ramp(rows, columns):
        y, x = (np.arange(rows) + 0.5) * height / rows, (np.arange(columns) + 0.5) * width / columns
        return 0.02 * y[:, None] - 0.01 * x[None] + 3

    found = observed(made(ramp(*size), **known), DETECTOR, 1.0).reshape(32, 32)
    np.testing.assert_allclose(found, ramp(32, 32), rtol=1e-6)


@pytest.mark.parametrize("view", ["detector", "source"])
def test_a_point_lies_where_geometry_says(view):
    """A cropped X-ray of another spacing and size, and points of the world, seen by both detectors."""
    fine = Detector(rows=700, columns=811, spacing_mm=0.37, view=view)
    coarse = dataclasses.replace(DETECTOR, view=view)
    camera = camera_to_world(torch.tensor([20.0, -8.0, 4.0, 3.0, -2.0, 10.0]), fine, torch.zeros(3))
    for point in torch.tensor([[0.0, 0, 0], [-31.0, 20, 44], [25.0, -9, -50]]):
        column, row = project_points(point[None], camera, fine)[0].tolist()
        y, x = np.mgrid[:700, :811]
        blob = np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) * (0.37 / 7.0) ** 2)
        found, notes = match_detector(scaled(blob, 0.37), coarse, 1.0)
        image = found.reshape(32, 32).double()
        image[image < 1e-6] = 0
        at = torch.arange(32.0, dtype=torch.float64)
        centre = torch.stack([(image * at).sum(), (image * at[:, None]).sum()]) / image.sum()
        expected = project_points(point[None], camera, coarse)[0].double()
        assert (centre - expected).abs().max() <= 0.1
        assert any("Cropped about the centre from 259 × 300.1 mm" in note for note in notes)


def test_mirror_reverses_columns(truth):
    brightest, _, image = truth
    plain = observed(scaled(image, 1.6), DETECTOR, brightest).reshape(32, 32)
    mirrored, notes = match_detector(scaled(image, 1.6), DETECTOR, brightest, mirror=True)
    torch.testing.assert_close(mirrored.reshape(32, 32), plain.flip(-1), rtol=0, atol=0)
    other_side = observed(scaled(image[:, ::-1].copy(), 1.6), DETECTOR, brightest)
    torch.testing.assert_close(mirrored, other_side, rtol=0, atol=1e-6)
    assert "Columns were reversed, as asked for." in notes


def test_small_field_of_view_is_refused_and_a_little_small_one_is_extended(truth):
    brightest, observation, image = truth
    with pytest.raises(
        ValueError, match=r"is 179\.2 × 204\.8 mm on the detector, the bundle needs 204\.8 × 204\.8 mm"
    ):
        match_detector(scaled(image[8:-8], 1.6), DETECTOR, brightest)
    with pytest.raises(ValueError, match=r"is 200\.4 × 200\.4 mm"):
        match_detector(scaled(image, 204.8 * 0.9785 / 128), DETECTOR, brightest)
    found, notes = match_detector(scaled(image[1:-1, 1:-1], 1.6), DETECTOR, brightest)
    torch.testing.assert_close(found, observation, rtol=0, atol=1e-6)  # blocks go on as they were
    assert any("its edge was extended" in note for note in notes)


def test_larger_field_of_view_is_cropped_about_the_centre(truth):
    brightest, observation, image = truth
    larger = np.pad(image, ((24, 24), (10, 10)), constant_values=3.0)
    found, notes = match_detector(scaled(larger, 1.6), DETECTOR, brightest)
    torch.testing.assert_close(found, observation, rtol=0, atol=ROUNDING)
    assert any("Cropped about the centre from 281.6 × 236.8 mm" in note for note in notes)


def test_spacing_that_is_given_wins_and_unknown_spacing_needs_the_detectors_shape(truth):
    brightest, observation, image = truth
    found, notes = match_detector(scaled(image, 1.0), DETECTOR, brightest, spacing_mm=1.6)
    torch.testing.assert_close(found, observation, rtol=0, atol=ROUNDING)
    assert any("1.6 × 1.6 mm as given; the file says 1 × 1 mm" in note for note in notes)
    unknown = dataclasses.replace(scaled(image), spacing_mm=None)
    torch.testing.assert_close(observed(unknown, DETECTOR, brightest), observation, rtol=0, atol=ROUNDING)
    cut = dataclasses.replace(unknown, values=unknown.values[:120])
    with pytest.raises(
        ValueError, match=r"spacing is unknown and the shape, 120 × 128 pixels, .* give --spacing"
    ):
        match_detector(cut, DETECTOR, brightest)
    wide = np.pad(image, ((0, 0), (8, 8)), constant_values=3.0)
    found = observed(
        dataclasses.replace(unknown, values=torch.as_tensor(wide).float()),
        DETECTOR,
        brightest,
        spacing_mm=(1.6, 1.6),
    )
    torch.testing.assert_close(found, observation, rtol=0, atol=ROUNDING)


def test_distances_of_the_file_are_compared(truth):
    def at(**geometry):
        return scaled(truth[2], 1.6, geometry=geometry)

    with pytest.raises(ValueError, match="was 1200 mm from the source, the bundle expects 1020 mm"):
        match_detector(at(source_detector_mm=1200.0), DETECTOR, truth[0])
    plain = observed(at(), DETECTOR, truth[0])
    found, notes = match_detector(
        at(source_detector_mm=1035.0, source_isocentre_mm=700.0), DETECTOR, truth[0]
    )
    torch.testing.assert_close(found, plain)
    assert any("isocentre was 700 mm from the source, 850 mm in the bundle" in note for note in notes)
    parallel = dataclasses.replace(DETECTOR, beam="parallel")
    torch.testing.assert_close(observed(at(source_detector_mm=1200.0), parallel, truth[0]), plain)


def test_brightness_far_from_the_bundles_is_noted(truth):
    brightest, _, image = truth
    for factor, is_far in ((1.0, False), (50.0, True), (0.01, True)):
        notes = match_detector(scaled(image * factor, 1.6), DETECTOR, brightest)[1]
        assert any("check contrast" in note for note in notes) == is_far
