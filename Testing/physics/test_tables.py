"""Tables as spreadsheets write them, read to the same numbers; what is ambiguous is refused in words."""

from __future__ import annotations

import codecs

import numpy as np
import pytest

from monai_inn.physics import cameras
from monai_inn.physics.tables import read_table

PLAIN = "# by hand\nwavelength_nm,red,green\n500,0.1,0.9\n510,0.5,0.5\n520,0.9,0.125\n"
NUMBERS = [[500, 0.1, 0.9], [510, 0.5, 0.5], [520, 0.9, 0.125]]


def german(text: str) -> str:
    """The same table with semicolons and decimal commas."""
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        german(PLAIN).encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        german(PLAIN).replace(";", "\t").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        codecs.BOM_UTF8 + PLAIN.encode(),
        codecs.BOM_UTF8 + german(PLAIN).encode(),
        PLAIN.encode("utf-16"),
        PLAIN.replace("\n", ",\n").encode(),  # one empty column
        PLAIN.replace("\n", ",,\n").encode() + b",,,,\n",  # two, and an empty row
        german(PLAIN).replace("\n", ";;\n").encode() + b"\n;;;;\n",
        PLAIN.replace("0.125", "0.125,").encode(),  # in one row only
        b"wavelength_nm,red,green\n500,10%,90 %\n510,50%,0.5\n520,90.0%,12.5%\n",
        b"wavelength_nm;red;green\n500;10%;90 %\n510;50%;50%\n520;90,0%;12,5 %\n",
        b'"wavelength_nm","red","green"\n"500","0.1","0.9"\n510,0.5,0.5\n520,0.9,0.125\n',
    ],
)
def test_one_table_in_many_ways_has_the_same_numbers(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    table = read_table(path)
    assert table.header == ("wavelength_nm", "red", "green")
    np.testing.assert_allclose(table.numbers(), NUMBERS, rtol=1e-15)
    np.testing.assert_array_equal(table.numbers("green")[:, 0], table.numbers()[:, 2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (german(PLAIN).replace(";", ","), "has 5 cells, but the header names 3. .*semicolons"),
        ('wavelength_nm,red,green\n500,"0,1","0,9"\n', "'0,1' has a decimal comma, and commas separate"),
        (german(PLAIN).replace("0,5", "0.5"), "'0,1' has a decimal comma and '0.5' a decimal point"),
        (german(PLAIN).replace("0,1", "1.000,1"), "'1.000,1' is not a number"),
        ("500;0,1;0,9\n510;0,5;0,5\n", "no header line"),
        (PLAIN.replace("0.9\n", "0.9,7\n", 1), "data row 1 has 4 cells, but the header names 3"),
        (PLAIN.replace("0.5,0.5", "0.5,"), "'' is not a number"),
        (PLAIN.replace("0.5,0.5", "0.5,%"), "'%' is not a number"),
        (",,\n,,\n", "is empty"),
        ("# nothing\n", "is empty"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_table(path).numbers()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("Wellenlänge;rot;grün\n500;1;2\n".encode("latin-1"))
    with pytest.raises(ValueError, match="in UTF-8"):
        read_table(path)


def rows(*values: float) -> str:
    """A table of a band ``a`` of these responses, and a flat band ``b``, from 500 nm on."""
    lines = [f"{500 + 10 * i},{value},1" for i, value in enumerate(values)]
    return "\n".join(["wavelength_nm,a,b", *lines])


def test_a_little_below_zero_is_dark_signal(tmp_path):
    path = tmp_path / "camera.csv"
    path.write_text(rows(-0.02, 0.5, 1, -0.0199))
    camera = cameras.load(path)
    np.testing.assert_allclose(camera.response[0, [0, 5, 10, 20, 30]], [0, 0.25, 0.5, 1, 0])
    path.write_text(rows(0, 0.5, 1, -0.0201))
    with pytest.raises(ValueError, match=r"data row 4, band 'a': negative response -0.0201, more than 2%"):
        cameras.load(path)


def test_a_band_that_is_nowhere_positive_is_refused(tmp_path):
    path = tmp_path / "camera.csv"
    path.write_text(rows(0, -1e-9, 0))
    with pytest.raises(ValueError, match="negative response -1e-09"):
        cameras.load(path)
    path.write_text(rows(0, 0, 0))
    with pytest.raises(ValueError, match="band 'a' sees nothing"):
        cameras.load(path)
