from __future__ import annotations

import math

import numpy as np
import pytest

from monai_inn.physics.chromophores import CHROMOPHORES, absorption_per_cm, wavelength_range_nm


@pytest.mark.parametrize("near_nm", [500.0, 529.0, 545.0, 570.0, 584.0, 797.0])
def test_haemoglobins_cross_at_isosbestic_points(near_nm):
    wavelength = np.arange(near_nm - 8, near_nm + 8.01, 0.25)
    difference = absorption_per_cm("oxyhaemoglobin", wavelength) - absorption_per_cm(
        "deoxyhaemoglobin", wavelength
    )
    crossing = wavelength[:-1][np.diff(np.sign(difference)) != 0]
    assert crossing.size
    assert min(abs(crossing - near_nm)) <= 4.0


@pytest.mark.parametrize(
    ("name", "low", "high", "peak_nm"),
    [
        ("oxyhaemoglobin", 400, 430, 415),
        ("oxyhaemoglobin", 530, 555, 542),
        ("oxyhaemoglobin", 565, 590, 576),
        ("deoxyhaemoglobin", 420, 450, 433),
        ("deoxyhaemoglobin", 545, 570, 556),
        ("deoxyhaemoglobin", 745, 775, 758),
        ("water", 940, 1000, 972),
        ("fat", 900, 950, 930),
    ],
)
def test_peaks_are_where_they_are_known_to_be(name, low, high, peak_nm):
    wavelength = np.arange(low, high + 1.0)
    assert wavelength[absorption_per_cm(name, wavelength).argmax()] == pytest.approx(peak_nm, abs=3)


def test_whole_blood_at_800_nm():
    saturation = 0.7
    blood = saturation * absorption_per_cm("oxyhaemoglobin", 800.0)
    blood += (1 - saturation) * absorption_per_cm("deoxyhaemoglobin", 800.0)
    assert float(blood) == pytest.approx(4.28, abs=0.005)


def test_molar_tables_are_on_base_ten():
    # 20 933 and 20 862 1/(cm M) at 500 nm, Prahl's compilation.
    factor = math.log(10) * 150 / 64500
    assert float(absorption_per_cm("oxyhaemoglobin", 500.0)) == pytest.approx(20932.8 * factor, rel=1e-3)
    assert float(absorption_per_cm("deoxyhaemoglobin", 500.0)) == pytest.approx(20862 * factor, rel=1e-3)


def test_melanin_follows_one_power_law_across_its_table_edge():
    wavelength = np.arange(300.0, 1000.0)
    law = 6.6e11 * wavelength**-3.33
    np.testing.assert_allclose(absorption_per_cm("melanin", wavelength), law, rtol=0.02)


@pytest.mark.parametrize("name", CHROMOPHORES)
def test_absorption_is_finite_and_not_negative(name):
    low, high = wavelength_range_nm()
    values = absorption_per_cm(name, np.arange(low, high + 1))
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert values.max() > 0


@pytest.mark.parametrize(("name", "wavelength"), [("chlorophyll", 500.0), ("water", 1001.0), ("fat", np.nan)])
def test_unknown_names_and_wavelengths_are_refused(name, wavelength):
    with pytest.raises(ValueError, match=r"choose one of|cover"):
        absorption_per_cm(name, wavelength)
