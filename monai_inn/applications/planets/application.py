"""What people see of planets: Earth units, core, mantle and water."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from monai_inn.problems.application import Application

if TYPE_CHECKING:
    from monai_inn.applications.planets.problem import Planets

__all__ = ["PlanetApplication"]

_CHANNELS = {
    "mass": "mass in Earth masses",
    "radius": "radius in Earth radii",
    "mass_error": "standard error of the mass in Earth masses",
    "radius_error": "standard error of the radius in Earth radii",
}


class PlanetApplication(Application):
    """Tables of planets."""

    problem: Planets
    modality = "catalogue of planets"
    result = "posterior"
    unexplained = "a radius that no planet of iron, silicate and water of this mass has"
    references = (
        "Haldemann et al., Exoplanet characterization using conditional invertible neural networks, 2022",
        "Seager et al., Mass-radius relationships for solid exoplanets, 2007",
    )
    task = "Posterior of the iron, silicate and water of a planet from its mass and radius"
    description = (
        "Conditional normalizing flow: for every planet the posterior of its water and of iron's share of "
        "the rest, whatever the errors of its mass and radius, and a score that tells whether the planet "
        "resembles the training data."
    )
    data_type = "tables of planets with mass, radius and their standard errors"
    limits = (
        "Planets without an atmosphere, cold, in layers that do not mix. Gas makes a radius larger, and is "
        "taken for water.",
        "The prior is flat over the fractions of iron, silicate and water. Mass and radius are two numbers: "
        "what they do not tell about three fractions is the prior's.",
        "Calibration holds on average over the prior, for data like the simulations.",
    )
    usage = (
        "monai-inn interiors . PLANETS.csv -o INTERIORS.csv",
        "monai-inn validate . -o REPORT",
    )

    def channel_text(self, name: str) -> str:
        """Return what a channel is."""
        return _CHANNELS[name]

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return planets with a thick atmosphere, and planets denser than iron."""
        puffed, dense = y.clone(), y.clone()
        puffed[:, 1] *= 2.5
        dense[:, 1] *= 0.4
        return {"atmosphere": puffed, "denser_than_iron": dense}
