"""Parameters of the layered model and their ranges, one set a kind of tissue."""

from __future__ import annotations

from monai_inn.problems.parameters import Parameter

__all__ = ["PARAMETERS", "nuisances"]

_INDEX = Parameter("n", "1", 1.33, 1.54, "refractive index")


def _targets(vhb_high: float, a_mie_low: float, a_mie_high: float) -> tuple[Parameter, ...]:
    """The parameters that maps show, the same for every tissue but for their ranges."""
    a_mie_text = "reduced scattering coefficient at 500 nm, mean over the top millimetre"
    return (
        Parameter("sao2", "1", 0.0, 1.0, "oxygen saturation of the blood"),
        Parameter("vhb", "1", 0.002, vhb_high, "blood volume fraction, mean over the top millimetre", "log"),
        Parameter("a_mie", "1/cm", a_mie_low, a_mie_high, a_mie_text),
        Parameter("b_mie", "1", 0.3, 3.0, "power of the decay of scattering with wavelength"),
    )


def _mixture(bilirubin_high: float) -> tuple[Parameter, ...]:
    """Chromophores next to blood, the same in all layers that hold them."""
    return (
        Parameter("water", "1", 0.0, 0.9, "water volume fraction"),
        Parameter("fat", "1", 0.0, 1.0, "lipid share of the volume that is not water", "square"),
        Parameter("bilirubin", "g/l", 0.0, bilirubin_high, "bilirubin concentration", "square"),
    )


_VESSELS = Parameter("vessel_radius", "µm", 2.0, 200.0, "radius of the vessels that hold the blood", "log")
_AXIS_SHIFT = Parameter("axis_shift", "nm", -3.0, 3.0, "error of the camera's wavelength axis")

PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "organ": (
        *_targets(vhb_high=0.3, a_mie_low=5.0, a_mie_high=50.0),
        *_mixture(bilirubin_high=1.0),
        Parameter("vhb_ratio_2", "1", 1 / 3, 3.0, "blood volume of layer 2 over layer 1", "log"),
        Parameter("vhb_ratio_3", "1", 1 / 3, 3.0, "blood volume of layer 3 over layer 1", "log"),
        Parameter("a_mie_ratio", "1", 0.5, 2.0, "scattering of layers 2 and 3 over layer 1", "log"),
        Parameter("d_1", "cm", 0.002, 0.2, "thickness of layer 1", "log"),
        Parameter("d_2", "cm", 0.002, 0.2, "thickness of layer 2", "log"),
        _INDEX,
    ),
    # Skin scatters more and holds less blood than organs (Jacques,
    # Phys. Med. Biol. 58, R37, 2013).
    "skin": (
        *_targets(vhb_high=0.1, a_mie_low=10.0, a_mie_high=80.0),
        *_mixture(bilirubin_high=0.2),
        Parameter("melanin", "1", 0.003, 0.35, "melanosome volume fraction of the epidermis", "log"),
        Parameter("vhb_ratio", "1", 1 / 3, 3.0, "blood volume of the deep over the upper dermis", "log"),
        Parameter("a_mie_ratio", "1", 0.5, 2.0, "scattering of the dermis over the epidermis", "log"),
        Parameter("d_1", "cm", 0.004, 0.015, "thickness of the epidermis"),
        Parameter("d_2", "cm", 0.002, 0.2, "thickness of the upper dermis"),
        _INDEX,
    ),
}


def nuisances(most_stray_light: float) -> tuple[Parameter, ...]:
    """Return what neither tissue nor maps are asked for, but spectra depend on."""
    stray = Parameter("stray_light", "1", 0.0, max(most_stray_light, 1e-6), "stray light")
    return _VESSELS, stray, _AXIS_SHIFT
