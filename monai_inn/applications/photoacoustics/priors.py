"""Parameters of a vessel below layered tissue, and their ranges."""

from __future__ import annotations

from monai_inn.problems.parameters import Parameter

__all__ = ["DEEPEST_MM", "parameters"]

DEEPEST_MM = 25.0

_TARGETS = (
    Parameter("so2", "1", 0.0, 1.0, "oxygen saturation of the vessel"),
    Parameter("depth", "mm", 0.5, DEEPEST_MM, "depth of the vessel below the skin"),
)
_TISSUE = (
    Parameter("tissue_so2", "1", 0.0, 1.0, "oxygen saturation of the blood in the tissue"),
    Parameter("vhb", "1", 0.003, 0.15, "blood volume fraction of the tissue that holds the vessel", "log"),
    Parameter("vhb_ratio", "1", 1 / 3, 3.0, "blood volume of the upper tissue over that of the lower", "log"),
    Parameter("water", "1", 0.2, 0.9, "water volume fraction of the lower tissue"),
    Parameter("fat", "1", 0.0, 1.0, "lipid share of the lower tissue that is not water", "square"),
    Parameter("upper_water", "1", 0.1, 0.9, "water volume fraction of the upper tissue"),
    Parameter("upper_fat", "1", 0.0, 1.0, "lipid share of the upper tissue that is not water", "square"),
    Parameter("a_mie", "1/cm", 5.0, 40.0, "reduced scattering coefficient at 500 nm", "log"),
    Parameter("b_mie", "1", 0.3, 2.5, "power of the decay of scattering with wavelength"),
    Parameter("a_mie_ratio", "1", 0.5, 2.0, "scattering of the upper tissue over that of the lower", "log"),
    Parameter("melanin", "1", 0.003, 0.35, "melanosome volume fraction of the epidermis", "log"),
    Parameter("d_epidermis", "mm", 0.04, 0.15, "thickness of the epidermis"),
    Parameter("vessel_radius", "µm", 20.0, 1000.0, "radius of the vessel", "log"),
)


def parameters(views: int) -> tuple[Parameter, ...]:
    """Return the parameters of a vessel that is seen from ``views`` sides; each further one has its depth."""
    further = tuple(
        Parameter(f"depth_{view}", "mm", 0.5, DEEPEST_MM, f"depth of the vessel in view {view}")
        for view in range(2, views + 1)
    )
    shares = tuple(
        Parameter(_numbered("upper_share", view), "1", 0.0, 1.0, f"upper tissue's share of the depth{where}")
        for view in range(1, views + 1)
        for where in ([f" in view {view}"] if view > 1 else [""])
    )
    return (*_TARGETS, *further, *_TISSUE, *shares)


def _numbered(name: str, view: int) -> str:
    return name if view == 1 else f"{name}_{view}"
