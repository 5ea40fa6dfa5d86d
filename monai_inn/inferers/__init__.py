"""Posterior maps over images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.inferers.map_network import MapNetwork
    from monai_inn.inferers.posterior import PosteriorInferer
    from monai_inn.inferers.sample_network import SampleNetwork

__all__ = ["MapNetwork", "PosteriorInferer", "SampleNetwork"]

_HOMES = {
    "MapNetwork": "map_network",
    "PosteriorInferer": "posterior",
    "SampleNetwork": "sample_network",
}

# The list of bundles needs their warnings alone, and training no images: neither waits for MONAI.
__getattr__ = lazy_attributes(__name__, _HOMES)
