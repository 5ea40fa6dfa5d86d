"""Which shipped bundle the training of a registration starts from."""

from __future__ import annotations

from monai_inn.applications.classification.problem import LabelledImages
from monai_inn.fitted.metadata import donor_of
from monai_inn.problems import LinearGaussian, PoseRegistration


def test_a_registration_of_the_same_parameters_starts_from_the_shipped_one():
    assert donor_of(PoseRegistration()) == "lumbar_spine"
    assert donor_of(PoseRegistration(free={"lao": (-180, 180), "cra": (-20, 20)})) is None
    assert donor_of(PoseRegistration(free={"lao": (-180, 180)})) is None
    assert donor_of(LinearGaussian()) is None


def test_images_that_no_simulator_makes_start_anew_whatever_bundle_has_two_classes():
    """The parameter of ``chest_xray`` is a class from 0 to 2, too."""
    assert donor_of(LabelledImages()) is None
