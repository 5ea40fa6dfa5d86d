"""MONAI bundles: the folders in which a trained posterior is shipped, loaded and run."""

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.bundles.retraining import BundleTrainer, TrainingSet
    from monai_inn.bundles.workflows import (
        BundleEvaluator,
        BundleExporter,
        image_items,
        map_network,
        sample_network,
    )
    from monai_inn.fitted.reading import load, shipped
    from monai_inn.fitted.writing import save

__all__ = [
    "BundleEvaluator",
    "BundleExporter",
    "BundleTrainer",
    "TrainingSet",
    "image_items",
    "load",
    "map_network",
    "sample_network",
    "save",
    "shipped",
]

_HOMES = {
    "BundleEvaluator": "workflows",
    "BundleExporter": "workflows",
    "BundleTrainer": "retraining",
    "TrainingSet": "retraining",
    "image_items": "workflows",
    "load": ".fitted.reading",
    "map_network": "workflows",
    "sample_network": "workflows",
    "save": ".fitted.writing",
    "shipped": ".fitted.reading",
}

# The command line asks for the names of shipped bundles, which must not cost an import of MONAI.
__getattr__ = lazy_attributes(__name__, _HOMES)
