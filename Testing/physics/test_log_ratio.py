from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_inn.physics.log_ratio import helmert_basis, isometric_log_ratio


def spectra(count: int, bands: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, bands, generator=generator, dtype=dtype) + 0.05


@pytest.mark.parametrize("bands", [2, 3, 16, 100])
def test_basis_is_orthonormal_and_sums_to_zero(bands):
    basis = helmert_basis(bands)
    torch.testing.assert_close(basis @ basis.T, torch.eye(bands - 1).double(), rtol=0, atol=1e-13)
    assert float(basis.sum(1).abs().max()) < 1e-12


@given(st.integers(2, 40), st.integers(0, 1000))
def test_distances_are_those_of_centred_log_spectra(bands, seed):
    y = spectra(2, bands, seed)
    centred = y.log() - y.log().mean(-1, keepdim=True)
    expected = (centred[0] - centred[1]).norm()
    z = isometric_log_ratio(y)
    assert float((z[0] - z[1]).norm()) == pytest.approx(float(expected), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("exponent", [-20, -3, 1, 12])
def test_exposure_drops_out_to_the_last_bit(exponent):
    y = spectra(50, 16, dtype=torch.float32)
    y[:, 3] = -0.01
    torch.testing.assert_close(isometric_log_ratio(y * 2.0**exponent), isometric_log_ratio(y), rtol=0, atol=0)


@given(st.floats(1e-6, 1e6))
def test_exposure_drops_out_for_any_factor(factor):
    y = spectra(4, 9)
    torch.testing.assert_close(isometric_log_ratio(y * factor), isometric_log_ratio(y), rtol=0, atol=1e-12)


def test_dark_bands_are_raised_to_the_floor():
    y = torch.tensor([1.0, 1.0, -5e-4, 0.0])
    floored = torch.cat([y[:2], (y.mean() * 1e-3).expand(2)])
    torch.testing.assert_close(isometric_log_ratio(y), isometric_log_ratio(floored), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(isometric_log_ratio(torch.zeros(4))).all()


def test_is_differentiable_and_keeps_dtype():
    assert torch.autograd.gradcheck(isometric_log_ratio, spectra(3, 5).requires_grad_())
    assert isometric_log_ratio(spectra(3, 5).float()).dtype == torch.float32


def test_one_band_is_refused():
    with pytest.raises(ValueError, match="at least 2 bands"):
        isometric_log_ratio(torch.ones(3, 1))
