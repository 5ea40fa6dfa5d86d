"""Dyes: what a table says, what it must not say, and how users add their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_inn.physics.dyes import read_dyes
from monai_inn.problems import Oximetry, create

HEADER = "dye,peak_nm,fwhm_nm,height"


def test_the_absorbance_has_its_peaks_and_its_widths():
    indocyanine, *_ = read_dyes()
    assert indocyanine.name == "indocyanine green"
    (peak, width, height), (second, *_) = indocyanine.bands
    assert (peak, height) == (805, 1)
    alone = indocyanine._replace(bands=indocyanine.bands[:1])
    np.testing.assert_allclose(alone.absorbance([peak, peak + width / 2, peak - width / 2]), [1, 0.5, 0.5])
    assert indocyanine.absorbance(second) > alone.absorbance(second)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([HEADER, "blue,0.665,0.045,1"], "is none in nanometres"),
        (["dye,peak_um,fwhm_um,height", "blue,0.665,0.045,1"], "no column 'peak_nm'"),
        (["peak_nm,fwhm_nm,height", "665,45,1"], "no column 'dye'"),
        ([HEADER, "blue,665,45,-1"], "has the height -1"),
        ([HEADER, "blue,665,900,1"], "is none in nanometres"),
    ],
)
def test_a_table_in_other_units_is_refused_in_words(tmp_path, lines, complaint):
    (tmp_path / "dyes.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=complaint):
        Oximetry("imec_ssm4x4_470_620", dyes=tmp_path / "dyes.csv")


def test_own_dyes_are_looked_for_and_travel_with_the_configuration(tmp_path):
    (tmp_path / "dyes.csv").write_text(f"{HEADER}\npatent blue,550,60,1\npatent blue,520,50,0.5\n")
    problem = Oximetry("imec_ssm4x4_470_620", dyes=tmp_path / "dyes.csv")
    again = create("oximetry", **json.loads(json.dumps(problem.to_config())), **problem.tensors)
    for one in (problem, again):
        assert "absorption like that of patent blue" in one.application.deviations()["dye"]
    assert again.identity == problem.identity != Oximetry("imec_ssm4x4_470_620").identity
    assert "dyes" not in Oximetry("imec_ssm4x4_470_620").to_config()
