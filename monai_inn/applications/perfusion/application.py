"""What people see of perfusion: curves of contrast agent over time."""

from __future__ import annotations

from monai_inn.problems.application import Application

__all__ = ["CurveApplication", "DiffusionApplication"]

_CHANNELS = {
    "tissue": "concentration of contrast agent in the tissue, in mM",
    "artery": "concentration of contrast agent in the plasma of the artery, in mM",
    "time": "time since the first frame, in s",
}


class CurveApplication(Application):
    """Curves of contrast agent in a tissue and in an artery."""

    modality = "DCE-MRI"
    unexplained = "a curve that no tissue has behind such an artery"
    references = (
        "Tofts et al., Estimating kinetic parameters from dynamic contrast-enhanced T1-weighted MRI of a "
        "diffusable tracer: standardized quantities and symbols, 1999",
        "Sourbron and Buckley, Tracer kinetic modelling in MRI: estimating perfusion and capillary "
        "permeability, 2012",
    )

    @property
    def data_source(self) -> str:
        """Where training data come from."""
        return f"{super().data_source.removesuffix('.')}; no patient data."

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            "Concentrations in, not signals. An artery that was measured too small by a factor makes the "
            "transfer constant and the volume fractions too large by the same factor, and nothing in the "
            "curves tells.",
            "The artery is that of the plasma; one of whole blood is divided by one minus the haematocrit.",
            "The bolus arrives after the first frame. Frames are instants; how long each takes is not in the "
            "simulation.",
            *super().limits,
        )

    def channel_text(self, name: str) -> str:
        """Return what a column is, with its unit."""
        kind, _, frame = name.partition(" ")
        return f"{_CHANNELS[kind]}, frame {frame}"


class DiffusionApplication(Application):
    """Signals of diffusion-weighted images at several b-values."""

    modality = "diffusion-weighted MRI"
    unexplained = "signals that no tissue has at such b-values"
    references = (
        "Le Bihan et al., Separation of diffusion and perfusion in intravoxel incoherent motion MR imaging, "
        "1988",
    )

    @property
    def data_source(self) -> str:
        """Where training data come from."""
        return f"{super().data_source.removesuffix('.')}; no patient data."

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            "Two compartments, each with one diffusion coefficient: above 1000 s/mm² tissue often has more "
            "than one.",
            "At usual noise the pseudo-diffusion coefficient is hardly known; its interval says so.",
            "All signals of a voxel have the same echo and repetition time; directions are not told apart.",
            *super().limits,
        )

    def channel_text(self, name: str) -> str:
        """Return what a column is, with its unit."""
        kind, _, entry = name.partition(" ")
        said = {"signal": "magnitude, in any unit", "b": "b-value in s/mm²"}[kind]
        return f"{said}, image {entry}"
