"""Masks of unusable pixels, cameras that match, and whole chains inside Compose."""

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, Flipd

import monai_inn.transforms as mit
from monai_inn.transforms import (
    CalibrateReflectance,
    CalibrateReflectanced,
    LoadMultispectral,
    LoadMultispectrald,
    MarkInvalidPixels,
    MarkInvalidPixelsd,
    MatchCamera,
    MatchCamerad,
    NormaliseSpectrum,
    NormaliseSpectrumd,
    SelectBands,
    SelectBandsd,
    read_multispectral,
)

AFFINE = torch.tensor([[-2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]], dtype=torch.float64)
CAMERA = SimpleNamespace(
    name="three", band_names=("a", "b", "c"), centre_nm=torch.tensor([500.0, 510.0, 520.0])
)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]


def an_image(values=None, **meta):
    """A MetaTensor (3, 2, 4) with an affine and band labels."""
    if values is None:
        values = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    labels = {"wavelength_nm": (500.0, 510.0, 520.0), "band_names": ("a", "b", "c")} | meta
    return MetaTensor(torch.as_tensor(values), affine=AFFINE.clone(), meta=labels)


def test_mark_invalid_pixels():
    good, none, negative = [0.1, 0.2, 0.3, 0.4], [0.0] * 4, [-0.1, -0.1, 0.3, 0.4]
    edge, missing, infinite = [-0.1, 0.2, 0.3, 0.4], [0.1, torch.nan, 0.3, 0.4], [0.1, 0.2, torch.inf, 0.4]
    spectra = torch.tensor([good, none, negative, edge, missing, infinite]).T[:, None]
    image = MetaTensor(spectra, affine=AFFINE)
    out = MarkInvalidPixels()(image)
    assert out.meta["valid"].tolist() == [[[True, False, False, True, False, False]]]
    assert out.meta["valid"].dtype == torch.bool
    np.testing.assert_array_equal(out, spectra)
    assert "valid" not in image.meta
    user = torch.tensor([[0, 1, 1, 1, 1, 1]])
    assert MarkInvalidPixels(mask=user).valid(image).tolist() == [[[False, False, False, True, False, False]]]
    assert MarkInvalidPixels(negative_fraction=0.0).valid(image).sum() == 1
    assert MarkInvalidPixels(saturation=0.4).valid(image).sum() == 0


def test_saturation_from_the_record_or_the_limit():
    image = torch.tensor([[[255.0, 1.0, 254.0]]])
    assert MarkInvalidPixels().valid(MetaTensor(image, meta={"saturation": 255.0})).tolist() == [
        [[False, True, True]]
    ]
    recorded = MetaTensor(
        image, meta={"saturation": 255.0, "saturated": torch.tensor([[[False, True, False]]])}
    )
    assert MarkInvalidPixels().valid(recorded).tolist() == [[[True, False, True]]]
    cropped = MetaTensor(image[..., :2], meta=recorded.meta)
    with pytest.raises(ValueError, match=r"shape \(1, 1, 3\), expected \(1, 1, 2\); mark .* before cropping"):
        MarkInvalidPixels().valid(cropped)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_negative_fraction_is_a_share(fraction):
    with pytest.raises(ValueError, match="expected a share in"):
        MarkInvalidPixels(negative_fraction=fraction)


def test_match_camera_accepts_and_fills_in():
    image = an_image(wavelength_nm=(502.0, 507.0, 525.0))
    assert MatchCamera(camera=CAMERA)(image) is image
    bare = MetaTensor(torch.zeros(3, 2, 2), affine=AFFINE)
    out = MatchCamera(camera=CAMERA)(bare)
    assert out.meta["wavelength_nm"] == (500.0, 510.0, 520.0)
    assert out.meta["band_names"] == ("a", "b", "c")
    assert "wavelength_nm" not in bare.meta


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            torch.zeros(25, 2, 2),
            r'^image has 25 bands, but camera "three" has 3; pass an image of that camera',
        ),
        (
            an_image(wavelength_nm=(500.0, 516.0, 530.0)),
            r'"three" differ by more than 5 nm in 2 of 3 bands: band 1 at 516 nm instead of 510 nm, ',
        ),
        (
            an_image(wavelength_nm=(520.0, 510.0, 500.0)),
            r"the same in another order: use SelectBands\(wavelength_nm",
        ),
    ],
)
def test_match_camera_says_what_differs(image, message):
    with pytest.raises(ValueError, match=message):
        MatchCamera(camera=CAMERA)(image)


PEAKS = SimpleNamespace(**vars(CAMERA), peaks_nm=(560.0, 480.0, 620.0))


@pytest.mark.parametrize("shift", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_match_camera_sorts_declared_peaks_to_the_bands(order, shift):
    values = torch.arange(24.0).reshape(3, 2, 4)
    labels = [PEAKS.peaks_nm[i] + shift for i in order]
    image = an_image(
        values[list(order)], wavelength_nm=tuple(labels), band_names=tuple("abc"[i] for i in order),
        saturation=23.0, saturated=(values == 23).any(0, keepdim=True),
    )  # fmt: skip
    out = MatchCamera(camera=PEAKS)(image)
    np.testing.assert_array_equal(out, values)
    assert out.meta["wavelength_nm"] == tuple(peak + shift for peak in PEAKS.peaks_nm)
    assert out.meta["band_names"] == ("a", "b", "c")
    assert torch.equal(out.meta["saturated"], image.meta["saturated"])
    torch.testing.assert_close(out.affine, AFFINE)
    assert MatchCamera(camera=PEAKS)(out) is out


def test_peaks_count_only_if_they_are_declared_and_near():
    image = an_image(wavelength_nm=(480.0, 560.0, 620.0))
    with pytest.raises(ValueError, match="differ by more than 5 nm in 3 of 3 bands"):
        MatchCamera(camera=CAMERA)(image)
    with pytest.raises(ValueError, match="differ by more than 5 nm in 3 of 3 bands"):
        MatchCamera(camera=PEAKS)(an_image(wavelength_nm=(481.1, 560.0, 620.0)))
    centres = an_image(wavelength_nm=(500.0, 510.0, 520.0))
    assert MatchCamera(camera=PEAKS)(centres) is centres


def test_peaks_that_rounding_makes_alike_stay_in_the_order_of_the_file():
    camera = SimpleNamespace(**vars(CAMERA), peaks_nm=(481.4, 480.6, 620.0))
    for given, order in (((481.45, 481.55, 620.0), [0, 1, 2]), ((480.6, 481.4, 620.0), [1, 0, 2])):
        image = an_image(torch.arange(24.0).reshape(3, 2, 4), wavelength_nm=given)
        np.testing.assert_array_equal(MatchCamera(camera=camera)(image), image[order])


def test_arrays_in_compose(tmp_path):
    cube = np.random.default_rng(0).integers(1, 4000, (3, 4, 5)).astype(np.uint16)
    np.savez(tmp_path / "image.npz", image=cube, affine=AFFINE.numpy(), wavelength_nm=[500, 510, 520])
    chain = Compose(
        [
            LoadMultispectral(),
            MarkInvalidPixels(),
            MatchCamera(camera=CAMERA),
            SelectBands(indices=[0, 2]),
            CalibrateReflectance(white=4000.0, dark=10.0),
            NormaliseSpectrum(),
        ]
    )
    out = chain(tmp_path / "image.npz")
    reflectance = (cube[[0, 2]] - 10.0) / 3990.0
    np.testing.assert_allclose(out, reflectance / np.abs(reflectance).sum(0), rtol=1e-5)
    torch.testing.assert_close(out.affine, AFFINE)
    assert out.meta["wavelength_nm"] == (500.0, 520.0)
    assert out.meta["valid"].shape == (1, 4, 5)


def test_dictionaries_in_compose_invert_and_follow_flips(tmp_path):
    cube = np.random.default_rng(0).integers(1, 4000, (3, 4, 5)).astype(np.uint16)
    cube[1, 2, 3] = 65535
    np.savez(tmp_path / "image.npz", image=cube, affine=AFFINE.numpy(), wavelength_nm=[500, 510, 520])
    chain = Compose(
        [
            LoadMultispectrald("image"),
            MarkInvalidPixelsd("image", valid_keys="valid"),
            MatchCamerad("image", camera=CAMERA),
            CalibrateReflectanced("image", white=4000.0, dark=10.0),
            Flipd(["image", "valid"], spatial_axis=1),
            NormaliseSpectrumd("image"),
        ]
    )
    item = chain({"image": tmp_path / "image.npz", "other": 1})
    assert item["other"] == 1
    assert (~item["valid"]).nonzero().tolist() == [[0, 2, 1]]
    torch.testing.assert_close(item["valid"].affine, item["image"].affine)
    loader = DataLoader(Dataset([{"image": tmp_path / "image.npz"}] * 2, chain), batch_size=2)
    batch = next(iter(loader))
    np.testing.assert_array_equal(batch["image"][1], item["image"])
    back = Compose(chain.transforms[3:]).inverse({"image": item["image"], "valid": item["valid"]})
    np.testing.assert_allclose(back["image"], cube.astype(np.float32), rtol=1e-6)
    torch.testing.assert_close(back["image"].affine, AFFINE)
    assert back["image"].meta["saturation"] == 65535.0


def test_dictionary_forms_with_several_and_missing_keys():
    data = {"a": an_image(), "b": an_image() * 2, "mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])}
    out = MarkInvalidPixelsd(["a", "b"], valid_keys=["va", "vb"], mask_key="mask")(data)
    assert out["va"].sum() == out["vb"].sum() == 7
    assert SelectBandsd(["a", "c"], names=["b"], allow_missing_keys=True)(data)["a"].shape == (1, 2, 4)
    with pytest.raises(KeyError):
        SelectBandsd(["a", "c"], names=["b"])(data)
    with pytest.raises(ValueError, match="2 keys but 1 valid_keys"):
        MarkInvalidPixelsd(["a", "b"])


@pytest.mark.parametrize("device", DEVICES)
def test_stays_on_the_device(device):
    image = an_image().to(device)
    chain = [CalibrateReflectance(white=[2.0, 3.0, 4.0]), NormaliseSpectrum(), SelectBands(indices=[0])]
    for transform in chain:
        image = transform(image)
        assert image.device.type == device
    assert MarkInvalidPixels(mask=np.ones((2, 4)))(image).meta["valid"].device.type == device


@pytest.mark.parametrize(
    "transform", [SelectBands(indices=[0]), NormaliseSpectrum(), CalibrateReflectance(white=2.0)]
)
def test_wrong_kinds_of_images(transform):
    with pytest.raises(ValueError, match=r"expected \(channels, \*spatial\)"):
        transform(torch.zeros(3))
    with pytest.raises(ValueError, match="expected real numbers"):
        transform(torch.zeros(3, 2, 2, dtype=torch.complex64))


def test_no_name_is_one_of_monai():
    import monai.transforms

    assert not set(mit.__all__) & set(dir(monai.transforms))


def test_settings_go_with_the_channels_that_are_chosen(tmp_path):
    """A b-value in another order than its image would be used with another image."""
    image = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(image, 0, -1)[:, :, None], np.eye(4)), tmp_path / "dwi.nii")
    (tmp_path / "dwi.bval").write_text("0 100 500 1000")
    order = [3, 0, 2]
    for chosen in (
        read_multispectral(tmp_path / "dwi.nii", bands=order),
        SelectBands(indices=order)(read_multispectral(tmp_path / "dwi.nii")),
    ):
        (values,) = chosen.meta["settings"].values()
        assert values == (1000, 0, 500)
        assert chosen.flatten(1)[:, 0].tolist() == order


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_labels_of_any_kind_go_with_the_channels(kind):
    chosen = SelectBands(indices=[2, 0])(
        MetaTensor(torch.rand(3, 2, 2), meta={"fwhm_nm": kind([1.0, 2.0, 3.0])})
    )
    assert chosen.meta["fwhm_nm"] == (3.0, 1.0)
