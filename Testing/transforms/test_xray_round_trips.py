"""Round trips: a problem's own image, written as an X-ray of each kind and read back."""

import numpy as np
import pytest
import torch
from xray_files import intensity, write_dicom, write_nifti, write_picture, write_xa

from monai_inn.applications.registration import match_detector, read_xray
from monai_inn.applications.registration.carm import Detector
from monai_inn.problems import PoseRegistration

DETECTOR = Detector(rows=32, columns=32, spacing_mm=6.4)
BLOCK = 4
ROUNDING = 4 * 2.0**-24


@pytest.fixture(scope="module")
def truth():
    """Brightest line integral, and the observation (C,) and line integrals (128, 128) of a pose."""
    problem = PoseRegistration()
    assert problem.detector == DETECTOR
    observation = problem.forward(torch.tensor([[25.0, -10.0]]))[0].float()
    image = (observation.double() * problem.brightest).reshape(32, 32).numpy()
    return problem.brightest, observation, np.kron(image, np.ones((BLOCK, BLOCK)))


def observed(*args, **kwargs):
    return match_detector(*args, **kwargs)[0]


def quantisation(line_integrals, bits):
    """Largest error of line integrals when photons are rounded to whole numbers of ``2^bits - 1``."""
    worst = -np.log1p(-0.5 / ((2**bits - 1) * np.exp(-line_integrals)))
    return float(worst.max())


def test_round_trip_of_line_integrals(tmp_path, truth):
    brightest, observation, image = truth
    xray = read_xray(write_nifti(tmp_path / "x.nii", np.float32(image)))
    found, notes = match_detector(xray, DETECTOR, brightest, contrast="attenuation")
    assert (found.shape, found.dtype) == ((1024,), torch.float32)
    assert (found - observation).abs().max() <= ROUNDING
    assert notes == ["Values were taken as line integrals of attenuation as they are."]


@pytest.mark.parametrize("given", [None, 65535.0])
def test_round_trip_of_photons_in_a_picture(tmp_path, truth, given):
    brightest, observation, image = truth
    xray = read_xray(write_picture(tmp_path / "x.png", intensity(image)))
    found, notes = match_detector(xray, DETECTOR, brightest, contrast="intensity", unattenuated=given)
    assert (found - observation).abs().max() <= quantisation(image, 16) / brightest + ROUNDING
    assert any("Spacing unknown" in note for note in notes)
    assert any("99.9th percentile" in note for note in notes) == (given is None)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("modality", ["XA", "DX", "inverted DX"])
def test_round_trip_of_photons_in_dicom(tmp_path, truth, bits, modality):
    """MONOCHROME1 is another way to store the same X-ray."""
    brightest, observation, image = truth
    photons, path = intensity(image, bits), tmp_path / "x.dcm"
    linear = {"PixelIntensityRelationship": "LIN", "ImagerPixelSpacing": ["1.6", "1.6"]}
    if modality == "XA":
        write_xa(path, photons, bits=bits)
    elif modality == "DX":
        write_dicom(path, photons, "DX", bits, PixelIntensityRelationshipSign=1, **linear)
    else:
        inverted = (2**bits - 1 - photons).astype(np.uint16)
        write_dicom(path, inverted, "DX", bits, "MONOCHROME1", PixelIntensityRelationshipSign=-1, **linear)
    found, _ = match_detector(read_xray(path), DETECTOR, brightest)
    assert (found - observation).abs().max() <= quantisation(image, bits) / brightest + ROUNDING


def test_round_trip_of_a_logarithm_and_of_grey_line_integrals(tmp_path, truth):
    brightest, observation, image = truth
    step = image.max() / 4000
    grey = np.rint(image / step).astype(np.uint16)
    known = {"PixelIntensityRelationship": "LOG", "ImagerPixelSpacing": ["1.6", "1.6"]}
    tolerance = step / 2 / brightest + ROUNDING
    for sign, pixels in ((-1, grey + 90), (1, 4095 - grey)):
        path = write_dicom(tmp_path / "x.dcm", pixels, "DX", 12, PixelIntensityRelationshipSign=sign, **known)
        found = observed(read_xray(path), DETECTOR, brightest, scale=step)
        assert (found - observation).abs().max() <= tolerance
    xray = read_xray(write_picture(tmp_path / "x.png", grey + np.uint16(50)))
    found = observed(xray, DETECTOR, brightest, contrast="attenuation", scale=step, unattenuated=50)
    assert (found - observation).abs().max() <= tolerance


def test_inverted_flag_without_relationship_means_what_screens_show(tmp_path, truth):
    brightest, observation, image = truth
    photons, path = intensity(image), tmp_path / "x.dcm"
    spacing = {"ImagerPixelSpacing": ["1.6", "1.6"]}
    write_dicom(path, 65535 - photons, "CR", 16, "MONOCHROME1", **spacing)
    found = observed(read_xray(path), DETECTOR, brightest, contrast="intensity")
    assert (found - observation).abs().max() <= quantisation(image, 16) / brightest + ROUNDING


def test_radiograph_without_geometry_or_spacing(tmp_path, truth):
    brightest, observation, image = truth
    path = write_dicom(tmp_path / "x.dcm", intensity(image), "DX")
    found = observed(read_xray(path), DETECTOR, brightest, contrast="intensity")
    assert (found - observation).abs().max() <= quantisation(image, 16) / brightest + ROUNDING
    path = write_dicom(tmp_path / "x.dcm", intensity(image[:100]), "DX")
    with pytest.raises(ValueError, match="the spacing is unknown") as error:
        match_detector(read_xray(path), DETECTOR, brightest, contrast="intensity")
    assert str(error.value).startswith(f"{path}: ")
