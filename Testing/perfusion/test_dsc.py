"""The passage of a bolus as a problem: its curves, its units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dce_files import write_nifti
from osipi import rows
from test_susceptibility import ARTERY, CONCENTRATION, FRAMES, TIMES_S, signals

from monai_inn.applications.perfusion.dsc import PLASMA_G_PER_ML, BolusPassage
from monai_inn.applications.perfusion.models import acquisition, kinetics
from monai_inn.applications.perfusion.models.arteries import artery
from monai_inn.applications.perfusion.models.magnitudes import SUSCEPTIBILITY
from monai_inn.reports.image_files import read_image

PROBLEM = BolusPassage()
MOST = acquisition.BOLUS.most


@pytest.fixture(scope="module")
def simulated():
    return PROBLEM.simulate_clean(1024, seed=1)


def test_frames_are_those_that_are_described(simulated):
    times = PROBLEM.curves(simulated[1])[2]
    number, last = times.isfinite().sum(1), times.nan_to_num(0.0).amax(1)
    assert (int(number.min()), int(number.max())) == (acquisition.BOLUS.fewest, MOST)
    assert acquisition.BOLUS.lasting_s[0] - 1e-3 <= float(last.min())
    assert float(last.max()) <= acquisition.BOLUS.lasting_s[1] + 1e-3


def test_curves_are_flow_times_the_artery_that_has_passed(simulated):
    """In double precision, and with an area that is the blood volume times that of the artery."""
    theta, y = (part[:50].double() for part in simulated)
    tissue, blood, times = PROBLEM.curves(y)
    named = dict(zip(PROBLEM.space.names, theta.unbind(-1), strict=True))
    since = times - named["arrival"][:, None]
    passed = kinetics.passage_curve(artery(named), named["mtt"], named["spread"], since, named["delay"])
    cbf = PROBLEM.derive(theta)
    torch.testing.assert_close(cbf[:, 0], 60 * named["cbv"] / named["mtt"])
    torch.testing.assert_close(
        tissue, PLASMA_G_PER_ML / 6000 * cbf * passed, rtol=1e-3, atol=1e-3, equal_nan=True
    )
    curve = kinetics.concentration_at(artery(named), since)
    torch.testing.assert_close(blood, curve, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_equals_a_curve_of_osipi_in_their_units():
    """Theirs are volumes a volume of tissue without density and haematocrit: the artery takes both."""
    row = rows("dsc_data")[0]
    times = row["tr"] * torch.arange(len(row["C_aif"])).double()
    value = {
        name: torch.tensor([v]).double()
        for name, v in (("cbv", float(row["cbv"])), ("delay", 0.0), ("spread", 1.0))
    }
    value["mtt"] = 60 * value["cbv"] / float(row["cbf"])
    curve = kinetics.Artery(times, row["C_aif"] / PLASMA_G_PER_ML)
    made = PROBLEM.tissue(value, curve, times)[0]
    half = row["tr"] / 2 * row["cbf"] / 6000 * row["C_aif"]  # their rectangle rule
    noise = row["C_tis"][-80:].std()
    assert float((row["C_tis"] - half - made).std() / noise) == pytest.approx(1, abs=4 / (2 * 80) ** 0.5)


def test_noise_of_magnitudes_is_that_of_the_signal():
    """Small where there is no tracer, larger where it darkens the image, and without bias there."""
    generator = torch.Generator().manual_seed(0)
    tissue = torch.cat([torch.zeros(4000, 20), torch.full((4000, 20), 0.5)], 1).double()
    level = torch.full((4000, 1), 0.004).double()
    noisy = SUSCEPTIBILITY.draw(tissue, tissue == 0, level, generator)
    before, after = noisy.split(20, 1)
    # Twenty values tell their level but for a degree of freedom, which the baseline takes.
    assert float(before.square().mean().sqrt()) == pytest.approx(0.004 * 0.95**0.5, rel=0.02)
    assert float((after - 0.5).square().mean().sqrt() / before.square().mean().sqrt()) > 1.5
    assert abs(float(before.mean())) < 1e-4
    strong = SUSCEPTIBILITY.draw(10 * tissue, tissue == 0, level, generator)
    assert bool(strong.isfinite().all())  # a signal that has drowned in noise still has a magnitude


def test_what_is_simulated_can_be_inferred(simulated):
    noisy = PROBLEM.noise(simulated[1], torch.Generator().manual_seed(3))
    # The rest are acquisitions that end before the bolus has come: no artery of them has a peak.
    assert float(PROBLEM.is_valid(noisy).float().mean()) > 0.9
    assert float(PROBLEM.features(noisy).nan_to_num(0.0).abs().max()) < 25


def curves(path, values=CONCENTRATION, **beside):
    settings = {"time": TIMES_S.tolist(), "artery": ARTERY.tolist()} | beside
    kept = {k: v for k, v in settings.items() if v is not None}
    return read_image(write_nifti(path / "dsc.nii.gz", values, beside=kept), PROBLEM)


def test_an_image_becomes_rows(tmp_path):
    tissue, blood, times = PROBLEM.curves(curves(tmp_path, units="mM").as_tensor().movedim(0, -1)[1, 2, 0])
    np.testing.assert_allclose(tissue[:FRAMES], CONCENTRATION[:, 1, 2, 0], rtol=1e-5)
    np.testing.assert_allclose(blood[:FRAMES], ARTERY, rtol=1e-5)
    assert int(times.isfinite().sum()) == FRAMES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artery": None}, "70 channels without 'artery'"),
        ({"time": None}, "70 channels without 'time'"),
        ({"values": signals()}, "these look like signals; convert them"),
        ({"values": 60 * CONCENTRATION, "units": "1/s"}, "its values are in 1/s, expected mM; convert them"),
        ({"time": (TIMES_S / 60).tolist()}, "which looks like minutes"),
        ({"time": (5 * TIMES_S).tolist()}, "last 517.5 s in all, expected 60 to 384 s"),
    ],
)  # fmt: skip
def test_other_images_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        curves(tmp_path, **change)


def test_people_see_units_and_assumptions():
    application = PROBLEM.application
    assert application.modality == "DSC-MRI"
    text = " ".join(application.limits)
    for said in ("1.04 g/ml", "haematocrit of .25", "leakage", "ratio of the relaxivities"):
        assert said in text
    assert "volume fractions" not in text
    assert {p.name: p.unit for p in PROBLEM.shown} == {
        "cbv": "ml/100 g", "mtt": "s", "delay": "s", "cbf": "ml/100 g/min"
    }  # fmt: skip
