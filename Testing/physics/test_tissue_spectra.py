from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_inn.physics import tissue_spectra
from monai_inn.physics.transport.layers import simulate_layers


@pytest.mark.parametrize(
    ("table", "count"), [("pig_organs", 9), ("human_rat_organs", 8), ("pig_kidney_states", 3)]
)
def test_organ_spectra_are_normalised(table, count):
    wavelength, spectra = tissue_spectra.load(table)
    assert len(spectra) == count
    assert wavelength.shape == (100,)
    for mean, sd in spectra.values():
        assert mean.sum() == pytest.approx(1.0, abs=0.01)
        assert (sd > 0).all()


def test_skin_has_one_curve_a_subject():
    wavelength, curves = tissue_spectra.subjects()
    assert len(curves) == 50
    _, summary = tissue_spectra.load("nist_skin_001_050")
    np.testing.assert_allclose(summary["skin"][0], np.mean(list(curves.values()), 0))
    assert wavelength[-1] == 1000


def test_unknown_table_and_means_without_subjects_are_refused():
    with pytest.raises(ValueError, match="pig_organs"):
        tissue_spectra.load("cat_organs")
    with pytest.raises(ValueError, match="means over subjects only"):
        tissue_spectra.subjects("pig_organs")


def test_phantoms_transmit_with_the_measured_shape():
    phantom = tissue_spectra.phantoms()["background_material_light"]
    assert (phantom.n, phantom.g) == (1.43, 0.7)
    assert phantom.thickness_cm == pytest.approx(0.23)
    pick = slice(None, None, 40)
    layer = [torch.from_numpy(v[pick])[:, None] for v in (phantom.mu_a_per_cm, phantom.mu_s_per_cm)]
    thickness = torch.tensor([phantom.thickness_cm], dtype=torch.float64)
    result = simulate_layers(*layer, torch.tensor([0.7]).double(), thickness, torch.tensor(1.43), 16)
    from monai_inn.physics.tables import DATA, read_table

    measured = read_table(DATA / "phantoms" / "background_material_light.csv").numbers("T_total")[pick, 0]
    assert np.corrcoef(result.transmitted.numpy(), measured)[0, 1] > 0.998
