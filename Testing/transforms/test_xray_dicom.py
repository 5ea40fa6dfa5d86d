"""What DICOM says of contrast, spacing and C-arm, as the standard has it."""

from io import BytesIO

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image
from pydicom.dataset import Dataset
from xray_files import XA_GEOMETRY, modality_table, write_dicom, write_xa

from monai_inn.applications.registration import read_xray

GREY = np.random.default_rng(0).integers(100, 60000, (6, 9)).astype(np.uint16)


def assert_one_line(error, path):
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message.strip()


def assert_grey(xray, expected=GREY):
    np.testing.assert_array_equal(xray.values.numpy(), np.asarray(expected, np.float32))


def test_angiogram_with_its_geometry(tmp_path):
    xray = read_xray(write_xa(tmp_path / "x.dcm", GREY, spacing=(0.2, 0.25)))
    assert_grey(xray)
    assert xray.contrast == "intensity"
    assert xray.spacing_mm == (0.2, 0.25)
    assert xray.geometry == {
        "lao_deg": 30.5,
        "cra_deg": -12.25,
        "source_detector_mm": 1020.0,
        "source_isocentre_mm": 850.0,
        "imager_spacing_mm": (0.2, 0.25),
    }
    assert xray.notes == ("LIN pixels without a sign: larger is taken as more photons.",)


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113", "x.dcm", "x.DICOM"])
def test_dicom_files_of_any_ending(tmp_path, name):
    assert_grey(read_xray(write_xa(tmp_path / name, GREY)))


def test_radiograph_without_geometry_is_read_and_noted(tmp_path):
    xray = read_xray(write_dicom(tmp_path / "x.dcm", GREY, "DX"))
    assert_grey(xray)
    assert (xray.geometry, xray.spacing_mm, xray.contrast) == (None, None, None)
    notes = " ".join(xray.notes)
    for part in (
        "No pixel spacing",
        "No LAO/RAO angle, CRA/CAU angle, distance from source to detector",
        "dark or",
    ):
        assert part in notes


def test_distance_to_the_patient_is_that_to_the_isocentre_in_fluoroscopy_only(tmp_path):
    distances = {"DistanceSourceToPatient": "700", "DistanceSourceToDetector": "1000"}
    assert read_xray(write_dicom(tmp_path / "x.dcm", GREY, "RF", **distances)).geometry == {
        "source_detector_mm": 1000.0,
        "source_isocentre_mm": 700.0,
    }
    assert read_xray(write_dicom(tmp_path / "x.dcm", GREY, "DX", **distances)).geometry == {
        "source_detector_mm": 1000.0
    }
    own = {"DistanceSourceToIsocenter": 785.5}
    geometry = read_xray(write_xa(tmp_path / "x.dcm", GREY, **own)).geometry
    assert geometry["source_isocentre_mm"] == pytest.approx(785.5)


def test_enhanced_angiogram_keeps_its_geometry_in_functional_groups(tmp_path):
    def group(name, **attributes):
        outer, inner = Dataset(), Dataset()
        for keyword, value in attributes.items():
            setattr(inner, keyword, value)
        setattr(outer, name, [inner])
        return outer

    shared = group("FramePixelDataPropertiesSequence", ImagerPixelSpacing=["0.3", "0.3"])
    frames = [
        group("PositionerPositionSequence", PositionerPrimaryAngle=str(angle), PositionerSecondaryAngle="1")
        for angle in (-20, 40)
    ]
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}
    write_dicom(tmp_path / "x.dcm", np.stack([GREY, GREY]), **groups)
    for number, angle in ((1, -20), (2, 40)):
        xray = read_xray(tmp_path / "x.dcm", frame=number)
        assert xray.geometry == {"lao_deg": angle, "cra_deg": 1.0, "imager_spacing_mm": (0.3, 0.3)}
        assert xray.spacing_mm == (0.3, 0.3)


def test_angles_of_a_turning_c_arm_are_those_of_the_first_frame(tmp_path):
    turning = XA_GEOMETRY | {"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngleIncrement": ["0", "2"]}
    write_xa(tmp_path / "x.dcm", np.stack([GREY, GREY]), **turning)
    assert read_xray(tmp_path / "x.dcm", frame=1).geometry["lao_deg"] == 30.5
    second = read_xray(tmp_path / "x.dcm", frame=2)
    assert "lao_deg" not in second.geometry
    assert any("turns" in note for note in second.notes)


@pytest.mark.parametrize(
    ("attributes", "spacing"),
    [
        ({"PixelSpacing": ["0.2", "0.25"]}, (0.2, 0.25)),
        ({"PixelSpacing": ["0.2", "0.2"], "ImagerPixelSpacing": ["0.3", "0.3"]}, (0.3, 0.3)),
        ({"NominalScannedPixelSpacing": ["0.1", "0.1"]}, (0.1, 0.1)),
        ({"PixelSpacing": ["0.2", "0.2"], "PixelSpacingCalibrationType": "GEOMETRY"}, None),
        (
            {
                "PixelSpacing": ["0.2", "0.2"],
                "PixelSpacingCalibrationType": "GEOMETRY",
                "DistanceSourceToDetector": "1200",
                "DistanceSourceToPatient": "800",
            },
            (0.3, 0.3),
        ),
        ({"ImagerPixelSpacing": ["0", "0.3"]}, None),
    ],
)
def test_spacing_on_the_detector(tmp_path, attributes, spacing):
    xray = read_xray(write_dicom(tmp_path / "x.dcm", GREY, "DX", **attributes))
    assert xray.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    keys = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
    silent = spacing and any(k in attributes for k in keys)
    assert any("spacing" in note.lower() for note in xray.notes) != bool(silent)


@pytest.mark.parametrize(
    ("relation", "sign", "photometric", "contrast", "values"),
    [
        ("LIN", 1, "MONOCHROME2", "intensity", "as stored"),
        ("LIN", 1, "MONOCHROME1", "intensity", "as stored"),
        ("LIN", -1, "MONOCHROME1", "intensity", "inverted"),
        ("LIN", -1, "MONOCHROME2", "intensity", "inverted"),
        ("LIN", None, "MONOCHROME2", "intensity", "as stored"),
        ("LIN", None, "MONOCHROME1", None, "inverted"),
        ("LOG", 1, "MONOCHROME1", "attenuation", "inverted"),
        ("LOG", -1, "MONOCHROME2", "attenuation", "as stored"),
        ("DISP", 1, "MONOCHROME2", None, "as stored"),
        (None, None, "MONOCHROME2", None, "as stored"),
        (None, None, "MONOCHROME1", None, "inverted"),
    ],
)
def test_contrast_is_that_of_stored_numbers_else_that_of_screens(
    tmp_path, relation, sign, photometric, contrast, values
):
    known = {"PixelIntensityRelationship": relation, "PixelIntensityRelationshipSign": sign}
    known = {k: v for k, v in known.items() if v is not None}
    grey = GREY >> 4
    xray = read_xray(write_dicom(tmp_path / "x.dcm", grey, "DX", bits=12, photometric=photometric, **known))
    assert xray.contrast == contrast
    expected = grey.astype(float) if values == "as stored" else 4095.0 - grey
    if relation == "LOG":
        expected -= np.percentile(expected, 0.1)
        assert any("neither origin nor unit" in note for note in xray.notes)
    np.testing.assert_allclose(xray.values, expected, atol=1e-3)


@pytest.mark.parametrize("relation", ["LOG", "DISP"])
def test_modality_table_of_fluoroscopy_makes_pixels_linear(tmp_path, relation):
    """Stored: the logarithm of the photons. The table of the file leads back to them."""
    photons = GREY.astype(float)
    stored = np.rint(4095 * np.log(photons) / np.log(65535)).astype(np.uint16)
    table = modality_table(np.rint(np.exp(np.arange(4096) / 4095 * np.log(65535))))
    known = {"PixelIntensityRelationship": relation, "ModalityLUTSequence": table}
    xray = read_xray(write_dicom(tmp_path / "x.dcm", stored, "XA", bits=12, **known))
    assert xray.contrast == "intensity"
    # Half a step of the logarithm, and half a photon.
    np.testing.assert_allclose(xray.values, photons, rtol=0.5 * np.log(65535) / 4095 + 1e-6, atol=0.51)


def test_overlay_in_unused_bits_is_no_part_of_the_image(tmp_path):
    grey = GREY >> 4
    assert_grey(read_xray(write_xa(tmp_path / "x.dcm", grey | np.uint16(0x8000), bits=12)), grey)


def test_signed_pixels_and_rescaling(tmp_path):
    signed = (GREY.astype(int) - 30000).astype(np.int16)
    assert_grey(read_xray(write_dicom(tmp_path / "x.dcm", signed, "CR")), signed)
    known = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": -1}
    assert_grey(read_xray(write_dicom(tmp_path / "x.dcm", signed, "DX", **known)), 32767.0 - signed)
    scale = {"RescaleSlope": "0.5", "RescaleIntercept": "-10"}
    assert_grey(read_xray(write_dicom(tmp_path / "x.dcm", GREY, "CR", **scale)), GREY * 0.5 - 10)


def test_remarks_of_a_file_on_its_processing(tmp_path):
    known = {
        "PresentationIntentType": "FOR PRESENTATION",
        "FieldOfViewHorizontalFlip": "YES",
        "PixelPaddingValue": int(GREY[0, 0]),
    }
    notes = " ".join(read_xray(write_dicom(tmp_path / "x.dcm", GREY, "DX", **known)).notes)
    for part in ("for presentation", "mirrored or turned", "are padding"):
        assert part in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Modality": "CT"}, "modality CT, expected an X-ray"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR, expected MONOCHROME1"),
        ({"PixelData": None}, "without a whole image"),
    ],
)
def test_dicom_that_is_no_grey_xray(tmp_path, change, message):
    path = write_xa(tmp_path / "x.dcm", GREY)
    image = pydicom.dcmread(path)
    for keyword, value in change.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    image.save_as(path)
    with pytest.raises(ValueError, match=message) as error:
        read_xray(path)
    assert_one_line(error, path)


def test_compression_that_cannot_be_read_says_what_to_do(tmp_path):
    path = write_xa(tmp_path / "x.dcm", GREY)
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    image.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    image.save_as(path)
    with pytest.raises(ValueError, match=r"compressed as JPEG Lossless.*export it uncompressed") as error:
        read_xray(path)
    assert_one_line(error, path)


def test_lossless_compression_is_read(tmp_path):
    path = write_xa(tmp_path / "x.dcm", GREY)
    image = pydicom.dcmread(path)
    image.compress(pydicom.uid.RLELossless)
    image.save_as(path)
    assert_grey(read_xray(path))


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_lossless_is_read(tmp_path, frames, bits):
    """Written by GDCM; its numbers are those of the uncompressed file, the rescaling applied once."""
    numbers = np.random.default_rng(0).integers(0, 2**bits, (frames, 24, 32)).astype(f"u{bits // 8}")
    known = {"RescaleSlope": "2", "RescaleIntercept": "5", "bits": bits, "photometric": "MONOCHROME1"}
    plain = write_dicom(tmp_path / "plain.dcm", numbers, "DX", **known)
    packed = write_dicom(tmp_path / "packed.dcm", numbers, "DX", **known)
    image = pydicom.dcmread(packed)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(tmp_path / "one.dcm"))
    parts = []
    for one in numbers:
        writer.Execute(sitk.GetImageFromArray(one[None]))
        written = pydicom.dcmread(tmp_path / "one.dcm")
        assert written.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
        parts.append(pydicom.encaps.get_frame(written.PixelData, 0, number_of_frames=1))
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    image.PixelData = pydicom.encaps.encapsulate(parts)
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.save_as(packed)
    for frame in range(1, frames + 1):
        ours, theirs = read_xray(packed, frame=frame), read_xray(plain, frame=frame)
        assert torch.equal(ours.values, theirs.values)
        assert ours.notes == theirs.notes


def test_jpeg_of_eight_bits_is_read(tmp_path):
    """Lossy: of a smooth image no grey value is off by more than 2 of 255."""
    y, x = np.mgrid[:64, :64]
    grey = np.rint(120 + 60 * np.sin(x / 20) * np.cos(y / 25)).astype(np.uint8)
    path, stream = write_dicom(tmp_path / "x.dcm", grey, "DX", bits=8), BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=95)
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    image.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.save_as(path)
    assert (read_xray(path).values - torch.from_numpy(grey).float()).abs().max() <= 2
