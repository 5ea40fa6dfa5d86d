"""Figures and files of results."""

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.reports.figures import map_figure
    from monai_inn.reports.results import infer_image, trust_image
    from monai_inn.reports.traversals import traversal_figure

__all__ = ["infer_image", "map_figure", "traversal_figure", "trust_image"]

_HOMES = {
    "infer_image": "results",
    "map_figure": "figures",
    "traversal_figure": "traversals",
    "trust_image": "results",
}

# Numbers must not cost an import of matplotlib.
__getattr__ = lazy_attributes(__name__, _HOMES)
