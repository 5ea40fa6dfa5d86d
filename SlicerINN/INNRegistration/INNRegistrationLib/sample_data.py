"""A patient to try the module on: the CT of a torso and a simulated X-ray, both part of the module."""

from pathlib import Path

import slicer.util

from .parameters import Bone

__all__ = ["load_torso", "register_sample_data"]

_SPACING_MM = 1.125  # of the X-ray's pixels; pictures do not say it


def register_sample_data():
    """Tell Slicer's Sample Data module of the torso; nothing is downloaded for it."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="INN Registration",
        sampleName="INNTorso",
        nodeNames="torso",
        thumbnailFileName=str(_folder() / "torso.png"),
        customDownloader=load_torso,
    )


def load_torso(source=None):
    """Load the CT, and choose both for the panel of INN Registration; returns the volumes.

    Args:
        source: what Slicer passes to what loads its sample data.
    """
    from INNRegistration import INNRegistrationLogic

    volume = slicer.util.loadVolume(str(_folder() / "torso_ct.nii.gz"), {"name": "torso"})
    output = Path(slicer.app.temporaryPath) / "INNRegistration"
    output.mkdir(exist_ok=True)
    state = INNRegistrationLogic().getParameterNode()
    with slicer.util.NodeModify(state):
        state.ct, state.bundle, state.bone, state.spacing = volume, "", Bone.DARK, _SPACING_MM
        state.xray, state.output = str(_folder() / "torso_xray.png"), str(output)
    return [volume]


def _folder():
    return Path(__file__).parents[1] / "Resources" / "SampleData"
