"""Images to try the module on; nothing is downloaded for them."""

from pathlib import Path

import slicer.util

__all__ = ["load_organs", "register_sample_data"]

# What people choose, the name of the files, and that of the volume.
_SAMPLES = (("INNOrganMosaic", "organ_mosaic", "organs"), ("INNBreastDCE", "breast_dce", "breast"))


def register_sample_data():
    """Tell Slicer's Sample Data module of the organs, and of a breast with contrast agent over time."""
    import SampleData

    for sample, file, node in _SAMPLES:
        path = _path(file)
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="INN Uncertainty",
            sampleName=sample,
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=node,
            thumbnailFileName=str(path.with_suffix(".png")),
        )


def load_organs() -> slicer.vtkMRMLVolumeNode:
    """Load the organs, without the module Sample Data."""
    return slicer.util.loadVolume(str(_path("organ_mosaic")), {"name": "organs"})


def _path(file: str) -> Path:
    return Path(__file__).parents[1] / "Resources" / "SampleData" / f"{file}.nrrd"
