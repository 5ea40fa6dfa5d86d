"""Posterior maps over images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.inferers.likelihood.evidence import model_probability
    from monai_inn.inferers.modules.map_network import MapNetwork
    from monai_inn.inferers.modules.sample_network import SampleNetwork
    from monai_inn.inferers.posterior import PosteriorInferer

__all__ = ["MapNetwork", "PosteriorInferer", "SampleNetwork", "model_probability"]

_HOMES = {
    "MapNetwork": "modules.map_network",
    "PosteriorInferer": "posterior",
    "SampleNetwork": "modules.sample_network",
    "model_probability": "likelihood.evidence",
}

# The list of bundles needs their warnings alone, and training no images: neither waits for MONAI.
__getattr__ = lazy_attributes(__name__, _HOMES)
