"""Posterior maps over images."""

from monai_inn.inferers.fitted import FittedPosterior
from monai_inn.inferers.map_network import MapNetwork
from monai_inn.inferers.posterior import PosteriorInferer

__all__ = ["FittedPosterior", "MapNetwork", "PosteriorInferer"]
