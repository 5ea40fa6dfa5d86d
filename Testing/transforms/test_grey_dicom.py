"""DICOM images as a screen shows them: rescaling, windows and look-up tables, and which way is bright."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from xray_files import write_dicom

from monai_inn.reading.grey_dicom import read_displayed

RAMP = np.linspace(0, 4095, 54).round().astype(np.uint16).reshape(6, 9)
WINDOW = {"WindowCenter": "1000", "WindowWidth": "401"}  # from 799.5 to 1199.5, whose ends are shown


def grey(path):
    """Shares of white."""
    shown = read_displayed(path)
    low, high = shown.window
    found = (shown.values - low) / (high - low)
    return 1 - found if shown.is_inverted else found


@pytest.mark.parametrize("relation", ["LIN", "LOG"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_relationship_to_the_beam_does_not_change_what_is_shown(tmp_path, relation, sign):
    known = {"PixelIntensityRelationship": relation, "PixelIntensityRelationshipSign": sign}
    found = grey(write_dicom(tmp_path / "x.dcm", RAMP, "DX", bits=12, **known))
    np.testing.assert_allclose(found, RAMP / 4095)


def test_monochrome1_is_bright_where_numbers_are_small(tmp_path):
    found = grey(write_dicom(tmp_path / "x.dcm", RAMP, "CR", bits=12, photometric="MONOCHROME1"))
    np.testing.assert_allclose(found, 1 - RAMP / 4095)


def test_a_window_is_of_numbers_behind_the_rescaling(tmp_path):
    expected = np.clip((RAMP - 799.5) / 400, 0, 1)
    np.testing.assert_allclose(grey(write_dicom(tmp_path / "x.dcm", RAMP, "CR", bits=12, **WINDOW)), expected)
    scaled = {"RescaleSlope": "2", "RescaleIntercept": "-50", "WindowCenter": "1950", "WindowWidth": "801"}
    expected = np.clip((RAMP * 2.0 - 50 - 1549.5) / 800, 0, 1)
    path = write_dicom(tmp_path / "y.dcm", RAMP, "CT", bits=12, **scaled)
    np.testing.assert_allclose(grey(path), expected)
    values, window, _ = read_displayed(path, (0, 100))
    np.testing.assert_allclose(values, RAMP * 2.0 - 50)
    assert window == (0, 100)


def test_a_window_of_an_enhanced_image_is_found_in_its_groups(tmp_path):
    shown, group = Dataset(), Dataset()
    shown.WindowCenter, shown.WindowWidth = "1000", "401"
    group.FrameVOILUTSequence = [shown]
    path = write_dicom(tmp_path / "x.dcm", RAMP, bits=12, SharedFunctionalGroupsSequence=[group])
    np.testing.assert_allclose(grey(path), np.clip((RAMP - 799.5) / 400, 0, 1))


def test_a_table_of_eight_bits_with_more_entries_than_these_can_count(tmp_path):
    table = Dataset()
    entries = (np.arange(4096) // 16).astype("<u2")
    table.LUTDescriptor = [4096, 0, 8]
    table.add_new("LUTData", "OW", entries.tobytes())
    path = write_dicom(tmp_path / "x.dcm", RAMP, "DX", bits=12, VOILUTSequence=[table])
    np.testing.assert_allclose(grey(path), (RAMP // 16) / 255)


def test_without_a_window_signed_numbers_say_nothing_of_white(tmp_path):
    path = write_dicom(tmp_path / "x.dcm", RAMP.astype(np.int16) - 1000, "CT")
    assert read_displayed(path).window is None


def test_several_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 2 frames, expected one image"):
        read_displayed(write_dicom(tmp_path / "x.dcm", np.stack([RAMP, RAMP])))
