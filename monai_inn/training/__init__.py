"""Simulation, training and measuring of posteriors."""

from monai_inn.training.engine import Progress
from monai_inn.training.fit import fit
from monai_inn.training.objectives.autoencoding import fit_autoencoder
from monai_inn.training.recipe import Recipe
from monai_inn.training.simulation import Simulations, open_simulations, simulate_to_zarr

__all__ = [
    "Progress",
    "Recipe",
    "Simulations",
    "fit",
    "fit_autoencoder",
    "open_simulations",
    "simulate_to_zarr",
]
