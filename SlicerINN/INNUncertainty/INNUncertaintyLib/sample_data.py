"""The image that comes with the module, offered where Slicer offers sample data."""

from pathlib import Path

__all__ = ["register_sample_data"]


def register_sample_data():
    """Tell Slicer's Sample Data module of the organs; nothing is downloaded for them."""
    import SampleData

    folder = Path(__file__).parents[1] / "Resources" / "SampleData"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="INN Uncertainty",
        sampleName="INNOrganMosaic",
        uris=(folder / "organ_mosaic.nrrd").as_uri(),
        fileNames="organ_mosaic.nrrd",
        nodeNames="organs",
        thumbnailFileName=str(folder / "organ_mosaic.png"),
    )
