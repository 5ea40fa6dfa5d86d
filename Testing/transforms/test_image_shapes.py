"""Every transform on volumes, on images whose bands are last, and with or without an affine."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import EnsureChannelFirst

from monai_inn.transforms import (
    CalibrateReflectance,
    CalibrateReflectanced,
    MarkInvalidPixels,
    MarkInvalidPixelsd,
    MatchCamera,
    MatchCamerad,
    NormaliseSpectrum,
    NormaliseSpectrumd,
    OutOfDistributionMask,
    OutOfDistributionMaskd,
    PosteriorMaps,
    PosteriorMapsd,
    SelectBands,
    SelectBandsd,
)

BANDS, NANOMETRES = ("a", "b", "c"), (500.0, 510.0, 520.0)
CAMERA = SimpleNamespace(name="three", band_names=BANDS, centre_nm=NANOMETRES)
LABELS = {"wavelength_nm": NANOMETRES, "band_names": BANDS}
AFFINE = torch.diag(torch.tensor([-2.0, 3.0, 4.0, 1.0], dtype=torch.float64))


class KnownPosterior:
    """The sum of the bands of an image or a batch."""

    def maps(self, image, *, samples, interval, seed, batched):
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        total = plain.sum(1 if batched else 0, keepdim=True)
        return {"median": MetaTensor(total), "ood": MetaTensor((total > 1.5).float())}


KNOWN = KnownPosterior()
# Each with its dictionary form; both must do the same.
TRANSFORMS = {
    "SelectBands": (SelectBands(indices=[2, 0]), SelectBandsd("image", indices=[2, 0])),
    "SelectBands by name": (SelectBands(names=["c"]), SelectBandsd("image", names=["c"])),
    "CalibrateReflectance": (
        CalibrateReflectance(white=[2.0, 3.0, 4.0], dark=0.5),
        CalibrateReflectanced("image", white=[2.0, 3.0, 4.0], dark=0.5),
    ),
    "NormaliseSpectrum": (NormaliseSpectrum(), NormaliseSpectrumd("image")),
    "MatchCamera": (MatchCamera(camera=CAMERA), MatchCamerad("image", camera=CAMERA)),
    "MarkInvalidPixels": (MarkInvalidPixels(), MarkInvalidPixelsd("image")),
    "PosteriorMaps": (
        PosteriorMaps(posterior=KNOWN, names=["median"]),
        PosteriorMapsd("image", posterior=KNOWN, names=["median"]),
    ),
    "OutOfDistributionMask": (
        OutOfDistributionMask(posterior=KNOWN),
        OutOfDistributionMaskd("image", posterior=KNOWN),
    ),
}
ADDED = {
    "MarkInvalidPixels": "valid",
    "PosteriorMaps": "image_median",
    "OutOfDistributionMask": "image_untrusted",
}


def pixels(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape))) + 0.1


def same(first, second):
    np.testing.assert_allclose(np.asarray(first), np.asarray(second), rtol=1e-6)


def results(name: str, image):
    """What the array and the dictionary form return; the mask of marked pixels in place of their image."""
    array, dictionary = TRANSFORMS[name]
    direct = array(image)
    if name == "MarkInvalidPixels":
        direct = direct.meta["valid"]
    return direct, dictionary({"image": image})[ADDED.get(name, "image")]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("depth", [2, 3])
def test_volumes_are_their_slices(name, depth):
    """A slice of the result is the result of a slice, also of a volume as deep as it has bands."""
    volume = MetaTensor(pixels(3, depth, 4, 5), affine=AFFINE.clone(), meta=dict(LABELS))
    for found in results(name, volume):
        assert found.shape[1:] == (depth, 4, 5)
        for z in range(depth):
            slice_ = MetaTensor(volume.as_tensor()[:, z], affine=AFFINE.clone(), meta=dict(LABELS))
            same(np.asarray(found)[:, z], results(name, slice_)[0])


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 2, 4, 5)])
def test_the_affine_goes_along_and_none_is_needed(name, shape):
    image = MetaTensor(pixels(*shape), affine=AFFINE.clone(), meta=dict(LABELS))
    array, dictionary = TRANSFORMS[name]
    torch.testing.assert_close(array(image).affine, AFFINE)
    torch.testing.assert_close(dictionary({"image": image})[ADDED.get(name, "image")].affine, AFFINE)
    if name == "SelectBands by name":
        return  # a plain array has no names
    with_affine = results(name, image)[0]
    for plain in (image.as_tensor(), image.as_tensor().numpy(), MetaTensor(image.as_tensor())):
        for found in results(name, plain):
            same(found, with_affine)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(4, 5, 3), (2, 4, 5, 3)])
def test_bands_that_are_last_are_refused_where_labels_tell(name, shape):
    image = MetaTensor(pixels(*shape), affine=AFFINE.clone(), meta=dict(LABELS))
    for transform in TRANSFORMS[name]:
        data = {"image": image} if transform is TRANSFORMS[name][1] else image
        with pytest.raises(ValueError, match=r"shape \(.*expected \(bands, \*spatial\); move") as error:
            transform(data)
        assert str(shape) in str(error.value)
        assert "\n" not in str(error.value)


def test_bands_that_are_last_are_refused_where_the_number_tells():
    with pytest.raises(ValueError, match=r"shape \(4, 5, 3\), expected 3 bands first .* they are last"):
        MatchCamera(camera=CAMERA)(pixels(4, 5, 3))
    with pytest.raises(ValueError, match=r"reference has shape \(3,\), image \(4, 5, 3\)"):
        CalibrateReflectance(white=[2.0, 3.0, 4.0])(pixels(4, 5, 3))


def test_bands_that_were_last_are_welcome_once_they_are_first():
    image = MetaTensor(pixels(4, 5, 3), affine=AFFINE.clone(), meta=dict(LABELS))
    moved = EnsureChannelFirst(channel_dim=-1)(image)
    assert MatchCamera(camera=CAMERA)(moved).shape == (3, 4, 5)
    assert NormaliseSpectrum()(moved).shape == (3, 4, 5)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(), (3,), (0, 4, 5), (3, 0, 5)])
def test_what_is_no_image_is_refused(name, shape):
    for transform in TRANSFORMS[name]:
        data = torch.zeros(shape)
        with pytest.raises(ValueError, match=r"image has shape .*expected"):
            transform({"image": data} if transform is TRANSFORMS[name][1] else data)


def test_our_posterior_takes_a_volume_as_deep_as_it_has_bands(gaussian_fit):
    _, y = gaussian_fit.problem.simulate(60, seed=2)
    bands = y.shape[1]
    volume = y[:48].T.reshape(bands, -1)[:, : bands * 4].reshape(bands, bands, 2, 2)
    found = PosteriorMaps(posterior=gaussian_fit, names=["median"], samples=8)(volume)
    flat = PosteriorMaps(posterior=gaussian_fit, names=["median"], samples=8)(volume.reshape(bands, -1, 1))
    np.testing.assert_allclose(np.asarray(found).reshape(len(found), -1), np.asarray(flat)[..., 0], rtol=1e-5)
