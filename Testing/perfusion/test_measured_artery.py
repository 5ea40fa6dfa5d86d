"""Tables of arterial curves: units in the header, times that cover the frames, or one line."""

from __future__ import annotations

import numpy as np
import pytest
from dce_files import write_artery
from osipi import breast

from monai_inn.applications.perfusion.series.measured_artery import arrival_of, read_artery, read_times

TIMES = np.array([0.0, 10.0, 25.0, 60.0])
VALUES = np.array([0.0, 1.0, 4.0, 2.0])


@pytest.mark.parametrize(
    ("header", "time", "value", "fluid"),
    [
        ("time_s,plasma_mM", 1, 1, "plasma"),
        ("Time (min),Cb [mmol/L]", 60, 1, "blood"),
        ("t / ms,blood µM", 1e-3, 1e-3, "blood"),
        ("time [seconds],concentration", 1, 1, ""),
        ("times sec,Cp umol/l", 1, 1e-3, "plasma"),
    ],
)
def test_units_are_those_of_the_header(tmp_path, header, time, value, fluid):
    found = read_artery(write_artery(tmp_path / "aif.csv", TIMES, VALUES, header))
    np.testing.assert_allclose(found.times_s, time * TIMES)
    np.testing.assert_allclose(found.values_mm, value * VALUES)
    assert found.fluid == fluid
    assert read_times(found.path) == tuple(found.times_s)


def test_one_curve_of_several_columns(tmp_path):
    path = tmp_path / "aif.csv"
    path.write_text("# of a patient\nframe,time_s,signal,plasma_mM\n1,0,80,0\n2,5,90,2\n")
    assert read_artery(path).values_mm.tolist() == [0, 2]


def test_curves_are_linear_between_times(tmp_path):
    found = read_artery(write_artery(tmp_path / "aif.csv", TIMES, VALUES))
    np.testing.assert_allclose(found.at(np.array([0, 5, 20, 60.0])), [0, 0.5, 3, 2])
    np.testing.assert_allclose(found.at(np.array([0, 30, 60.1])), [0, 4 - 2 / 7, 2], rtol=1e-6)  # rounded


@pytest.mark.parametrize("frames", [[0, 30, 61], [-2, 10, 20], [0, 60, 120]])
def test_frames_that_are_not_covered_are_refused(tmp_path, frames):
    found = read_artery(write_artery(tmp_path / "aif.csv", TIMES, VALUES))
    with pytest.raises(
        ValueError, match=r"the curve runs from 0 to 60 s, but the frames from .* covers them"
    ):
        found.at(np.array(frames, float))


def test_minutes_called_seconds_are_told(tmp_path):
    found = read_artery(write_artery(tmp_path / "aif.csv", TIMES / 60, VALUES))
    with pytest.raises(ValueError, match=r"from 0 to 1 s, .* looks like minutes, so name .* time_min"):
        found.at(np.array([0.0, 30, 60]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,plasma_mM\n0,0\n1,1\n", "the unit of the column 'time' is not given; name it time_s or"),
        ("frame,plasma_mM\n0,0\n1,1\n", "expected one of times; name it time_s"),
        ("time_s,time_min,plasma_mM\n0,0,0\n1,1,1\n", "expected one of times"),
        ("time_s,a,b\n0,0,0\n1,1,1\n", "columns time_s, a, b, expected a time and one concentration"),
        ("time_s,plasma,blood\n0,0,0\n1,1,1\n", "expected a time and one concentration"),
        ("time_s,plasma_mM\n0,0\n1,x\n", "'x' is not a number"),
        ("time_s,plasma_mM\n5,0\n1,1\n", "each later than the one before; sort them"),
        ("time_s,plasma_mM\n5,0\n", "expected two times at least"),
        ("0,0\n1,1\n", "no header line"),
    ],
)
def test_tables_that_are_not_clear_are_refused(tmp_path, text, message):
    (tmp_path / "aif.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_artery(tmp_path / "aif.csv")


def test_the_arrival_is_before_the_rise_to_the_peak():
    assert arrival_of(breast()[1].numpy()) == 4
    assert arrival_of(np.array([0, 0, 5.0, 3, 1])) == 2
    assert arrival_of(np.array([5.0, 3, 1])) == 0
    # Noise long before the bolus is not its arrival.
    assert arrival_of(np.array([0, 1.2, 0, np.nan, 0.3, 4, 10.0, 6, 7])) == 5
    generator = np.random.default_rng(0)
    curve = np.array([0.0] * 8 + [4, 10, 6, 5, 4, 3, 3, 3])
    noisy = curve + 0.3 * generator.normal(size=(1000, curve.size))
    found = np.array([arrival_of(one) for one in noisy])
    assert (found <= 8).all()
    assert (found >= 7).mean() > 0.9
