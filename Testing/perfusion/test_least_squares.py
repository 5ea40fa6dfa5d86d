from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from dce_files import ARTERY, CONCENTRATION, TIMES_S, write_nifti
from osipi import rows

from monai_inn.applications.perfusion.fitting.least_squares import fit_extended_tofts
from monai_inn.applications.perfusion.models.kinetics import Artery, extended_tofts, tissue_curve
from monai_inn.cli import main

TRUE = torch.tensor([[0.25, 0.3, 0.05, 2.0], [0.05, 0.15, 0.02, -3.0], [1.0, 0.6, 0.2, 0.5]]).double()


@pytest.fixture(scope="module")
def blood() -> Artery:
    row = rows("dce_DRO_data_extended_tofts")[0]
    return Artery(row["t"][::4], row["ca"][::4])


def curves(blood: Artery, parameters: torch.Tensor) -> torch.Tensor:
    ktrans, ve, vp, delay = parameters.unbind(-1)
    return tissue_curve(blood, extended_tofts(ktrans, ve, vp), blood.knots_s, delay)


def test_finds_what_made_a_curve(blood):
    found = fit_extended_tofts(curves(blood, TRUE), blood.values, blood.knots_s)
    torch.testing.assert_close(found.parameters, TRUE, rtol=1e-3, atol=1e-3)
    assert float(found.rms.max()) < 1e-5
    assert not bool(found.is_at_bound.any())


def test_finds_the_parameters_of_osipi_within_their_tolerances():
    """Theirs: ve .05, vp .025, Ktrans .005 + 10 %, delay 1 s."""
    table = [
        row for row in rows("dce_DRO_data_extended_tofts") if str(row["label"]).endswith(("highSNR", "_100"))
    ]
    found = fit_extended_tofts(torch.stack([row["C"] for row in table]), table[0]["ca"], table[0]["t"])
    names = ("Ktrans", "ve", "vp", "arterialdelay")
    expected = torch.stack([torch.stack([row[name] for name in names]) for row in table])
    most = torch.stack(
        [0.005 + 0.1 * expected[:, 0], *torch.tensor([[0.05], [0.025], [1.0]]).expand(-1, len(table))], 1
    )
    assert bool(((found.parameters - expected).abs() < most).all())


def test_says_what_ends_at_a_bound(blood):
    """A delay beyond the bounds, and a tissue without plasma."""
    tissues = torch.tensor([[0.25, 0.3, 0.05, 14.0], [0.25, 0.3, 0.0, 0.0]]).double()
    found = fit_extended_tofts(curves(blood, tissues), blood.values, blood.knots_s)
    assert found.is_at_bound[:, 2:].tolist() == [[False, True], [True, False]]
    assert float(found.parameters[0, 3]) == pytest.approx(10, abs=0.02)


def test_a_missing_value_is_refused(blood):
    curve = curves(blood, TRUE)
    curve[1, 3] = torch.nan
    with pytest.raises(ValueError, match="every value of tissue, artery and times; some are missing"):
        fit_extended_tofts(curve, blood.values, blood.knots_s)


def test_a_result_maps_where_the_usual_fit_ends_at_a_bound(tmp_path, capsys):
    """In as many voxels as were asked for; the figure stands in the record and in words."""
    settings = {"time": TIMES_S.tolist(), "artery": ARTERY.tolist()}
    path = write_nifti(tmp_path / "scan.nii.gz", CONCENTRATION, beside=settings)
    out = tmp_path / "out"
    command = ["infer", "perfusion", str(path), "-o", str(out), "--samples", "8", "--no-picture"]
    assert main([*command, "--usual-fit", "10"]) == 0
    said = capsys.readouterr().out
    found = nibabel.load(out / "at_bound.nii.gz").get_fdata()
    places = np.argwhere(np.isfinite(found))
    assert len(places) == 10
    voxels = np.stack([CONCENTRATION[:, i, j, k] for i, j, k in places])
    direct = fit_extended_tofts(*(torch.from_numpy(part).float() for part in (voxels, ARTERY, TIMES_S)))
    expected = direct.is_at_bound.any(1).double().numpy()
    np.testing.assert_array_equal(found[tuple(places.T)], expected)
    summary = json.loads((out / "result.json").read_text())["summary"]["usual_fit"]
    assert (summary["pixels"], summary["share_at_bound"]) == (10, expected.mean())
    assert f"least squares ends with a parameter at a bound in {expected.mean():.1%} of 10 pixels" in said


@pytest.mark.parametrize(
    ("bundle", "number", "message"),
    [("ivim", "5", "'ivim' has no usual fit"), ("perfusion", "-1", "usual_fit = -1; give the number")],
)
def test_a_usual_fit_that_cannot_be_is_refused_first(tmp_path, capsys, bundle, number, message):
    command = ["infer", bundle, str(tmp_path / "none.nii.gz"), "-o", str(tmp_path / "out")]
    assert main([*command, "--usual-fit", number]) == 2
    assert message in capsys.readouterr().err
