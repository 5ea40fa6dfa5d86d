"""Choice of bands, calibration and normalisation: exact values, inverses, metadata."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from monai.data.meta_tensor import MetaTensor

from monai_inn.transforms import (
    CalibrateReflectance,
    NormaliseSpectrum,
    SelectBands,
)

AFFINE = torch.tensor([[-2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]], dtype=torch.float64)


def an_image(values=None, **meta):
    """A MetaTensor (3, 2, 4) with an affine and band labels."""
    if values is None:
        values = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    labels = {"wavelength_nm": (500.0, 510.0, 520.0), "band_names": ("a", "b", "c")} | meta
    return MetaTensor(torch.as_tensor(values), affine=AFFINE.clone(), meta=labels)


@pytest.mark.parametrize(
    "choice",
    [{"indices": [2, -3]}, {"names": ["c", "a"]}, {"wavelength_nm": [522, 499], "tolerance_nm": 2.0}],
)
def test_select_bands(choice):
    image = an_image(units="counts")
    out = SelectBands(**choice)(image)
    np.testing.assert_array_equal(out, image[[2, 0]])
    assert out.meta["wavelength_nm"] == (520.0, 500.0)
    assert out.meta["band_names"] == ("c", "a")
    assert out.meta["units"] == "counts"
    torch.testing.assert_close(out.affine, AFFINE)
    assert image.meta["wavelength_nm"] == (500.0, 510.0, 520.0)


def test_select_bands_narrows_the_record_of_saturation():
    values = torch.tensor([[[255.0, 1.0]], [[1.0, 255.0]]])
    saturated = torch.tensor([[[True, True]]])
    image = MetaTensor(values, meta={"saturation": 255.0, "saturated": saturated})
    assert SelectBands(indices=[0])(image).meta["saturated"].tolist() == [[[True, False]]]
    assert image.meta["saturated"].all()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"indices": [3]}, r"image has 3 bands, counted from 0, but SelectBands asks for \[3\]"),
        ({"names": ["z"]}, r"image has no bands \['z'\]; it has \['a', 'b', 'c'\]"),
        (
            {"wavelength_nm": [505.2], "tolerance_nm": 4.0},
            "no band within 4 nm of 505.2 nm, the nearest is 510 nm",
        ),
    ],
)
def test_bands_that_do_not_exist(choice, message):
    with pytest.raises(ValueError, match=message):
        SelectBands(**choice)(an_image())


def test_select_bands_needs_one_choice():
    with pytest.raises(ValueError, match="got nothing; give one of"):
        SelectBands()
    with pytest.raises(ValueError, match="got indices and names"):
        SelectBands(indices=[0], names=["a"])
    with pytest.raises(ValueError, match="empty indices"):
        SelectBands(indices=[])
    with pytest.raises(ValueError, match="no wavelengths; select by indices"):
        SelectBands(wavelength_nm=[500])(torch.zeros(3, 2, 2))


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.expand(3, 2, 4), lambda x: x.reshape(3).numpy()])
def test_calibrate_reflectance(form):
    white, dark = torch.tensor([4.0, 2.0, 8.0])[:, None, None], torch.tensor([1.0, 1.0, 0.5])[:, None, None]
    image = an_image(units="counts", saturation=4095.0, saturated=torch.zeros(1, 2, 4, dtype=torch.bool))
    transform = CalibrateReflectance(white=form(white), dark=form(dark))
    out = transform(image)
    np.testing.assert_allclose(out, (image.numpy() - dark.numpy()) / (white - dark).numpy(), rtol=1e-6)
    assert out.meta["units"] == "reflectance"
    assert "saturation" not in out.meta
    assert "saturated" in out.meta
    back = transform.inverse(out)
    np.testing.assert_allclose(back, image, rtol=1e-6)
    assert back.meta["units"] == "counts"
    assert back.meta["saturation"] == 4095.0
    assert back.applied_operations == []
    assert image.meta["units"] == "counts"


@pytest.mark.parametrize("shape", [(4,), (1, 2, 4), (3, 2, 3), (2, 4)])
def test_references_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"white reference has shape \(.*\), image \(3, 2, 4\)"):
        CalibrateReflectance(white=torch.ones(shape))(an_image())


def test_dead_white_pixels_become_nan_and_dead_bands_are_refused():
    white = torch.full((3, 2, 4), 2.0)
    white[1, 0, 3] = 1.0
    out = CalibrateReflectance(white=white, dark=1.0)(an_image())
    assert out.isnan().nonzero().tolist() == [[1, 0, 3]]
    with pytest.raises(ValueError, match=r"not above the dark one in bands \[1\].*swapped"):
        CalibrateReflectance(white=torch.tensor([2.0, 0.5, 2.0]), dark=1.0)(an_image())


@settings(max_examples=60)
@given(
    values=arrays(np.float32, (4, 3, 2), elements=st.floats(-1e4, 1e4, width=32)),
    dark=st.floats(-100, 100),
    contrast=arrays(np.float64, 4, elements=st.floats(0.01, 1e4)),
)
def test_calibration_inverts(values, dark, contrast):
    transform = CalibrateReflectance(white=dark + contrast, dark=dark)
    back = transform.inverse(transform(MetaTensor(torch.from_numpy(values))))
    # One float32 rounding of the reflectance, carried back by the contrast; one of the result.
    eps = np.finfo(np.float32).eps
    limit = eps * (np.abs(values - dark) + np.abs(values)) + 1e-30
    assert (np.abs(back.numpy() - values) <= limit).all()


@settings(max_examples=80)
@given(
    values=array_shapes(min_dims=3, max_dims=4, max_side=5).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(-(2.0**99), 2.0**99, width=32))
    ),
    scale=st.sampled_from([2.0**-20, 1.0, 2.0**10]),
)
def test_normalised_spectra_have_unit_sum_and_invert(values, scale):
    image = MetaTensor(torch.from_numpy(values))
    transform = NormaliseSpectrum()
    out = transform(image)
    total = out.as_tensor().abs().double().sum(0)
    lit = torch.from_numpy(np.abs(values).sum(0) > 0)
    torch.testing.assert_close(total[lit], torch.ones_like(total[lit]), rtol=1e-6, atol=0)
    assert (total[~lit] == 0).all()
    back = transform.inverse(out)
    np.testing.assert_allclose(
        back.numpy(), values, rtol=3e-7, atol=float(np.abs(values).max()) * 1e-44 + 1e-44
    )
    # The exposure, here a power of two so that nothing rounds, drops out.
    exposed = transform(
        MetaTensor(torch.from_numpy(np.where(np.abs(values) > 1e-20, values, 0) * np.float32(scale)))
    )
    unexposed = transform(MetaTensor(torch.from_numpy(np.where(np.abs(values) > 1e-20, values, 0))))
    np.testing.assert_array_equal(exposed, unexposed)


def test_normalise_keeps_missing_bands_and_labels():
    values = torch.tensor([[[1.0, torch.nan]], [[3.0, torch.inf]], [[0.0, 2.0]]])
    transform = NormaliseSpectrum()
    out = transform(an_image(values, units="counts", saturation=9.0))
    np.testing.assert_array_equal(out, [[[0.25, np.nan]], [[0.75, np.inf]], [[0, 1]]])
    assert out.meta["units"] == "share of the spectrum's sum"
    assert "saturation" not in out.meta
    back = transform.inverse(out)
    np.testing.assert_array_equal(back, values)
    assert (back.meta["units"], back.meta["saturation"]) == ("counts", 9.0)
    with pytest.raises(RuntimeError, match="without its norms"):
        transform.inverse(torch.zeros(3, 1, 2))


def test_half_precision_and_integers_are_computed_in_float32():
    bright = torch.full((100, 1, 1), 60000.0, dtype=torch.float16)
    torch.testing.assert_close(NormaliseSpectrum()(bright), torch.full((100, 1, 1), 0.01))
    torch.testing.assert_close(
        NormaliseSpectrum()(np.array([[[1]], [[3]]])), torch.tensor([[[0.25]], [[0.75]]])
    )


@pytest.mark.parametrize(
    "references", [{"white": np.inf}, {"white": 2.0, "dark": -np.inf}, {"white": np.nan}]
)
def test_references_that_are_not_finite_are_refused(references):
    with pytest.raises(ValueError, match=r"bands \[0, 1, 2\], or not finite"):
        CalibrateReflectance(**references)(an_image())
