"""Optical properties of layered tissue from physical quantities: blood, water, fat, pigments, scatterers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.physics.chromophores import absorption_per_cm

__all__ = ["ANISOTROPY", "LayerProperties", "absorption", "blood", "in_vessels", "scattering", "top_shares"]

ANISOTROPY = 0.9
"""Anisotropy g of the scattering, the usual value in soft tissue (Jacques 2013).

Diffuse light depends on it almost only through mu_s' = mu_s (1 - g), the similarity relation: at equal mu_s'
it differs by 3e-3 at most between g = 0.8 and 0.95 over the prior of organs (benchmarks/optics.py). So g
cannot be recovered from diffuse light and is not a parameter.
"""

_REFERENCE_NM = 500.0
_CM_PER_UM = 1e-4
_TOP_CM = 0.1
_THIN = 1e-30  # keeps the quotient finite without blood


class LayerProperties(NamedTuple):
    """What radiative transfer needs to know of a stack of ``L`` layers at ``W`` wavelengths.

    Attributes:
        mu_a_per_cm: absorption coefficient, shape ``(…, L, W)``.
        mu_s_per_cm: scattering coefficient, shape ``(…, L, W)``.
        thickness_cm: thickness, shape ``(…, L)``, ``inf`` for the last layer.
        n: refractive index, shape ``(…)``.
    """

    mu_a_per_cm: Tensor
    mu_s_per_cm: Tensor
    thickness_cm: Tensor
    n: Tensor


def blood(fraction: Tensor, saturation: Tensor) -> dict[str, Tensor]:
    """Amounts of both haemoglobins where whole blood of some oxygen saturation fills a volume fraction."""
    return {"oxyhaemoglobin": fraction * saturation, "deoxyhaemoglobin": fraction * (1 - saturation)}


def in_vessels(absorption_per_cm: Tensor, radius_um: Tensor) -> Tensor:
    """Absorption that blood has on average over the tissue because it flows in vessels.

    Light does not reach the middle of a wide vessel where blood absorbs strongly, so that such a vessel
    absorbs less than the same blood spread out evenly.

    Args:
        absorption_per_cm: absorption coefficient µ of whole blood in 1/cm, any shape.
        radius_um: radius R of the vessels in µm, broadcasts.

    Returns:
        ``µ (1 - exp(-2 µ R)) / (2 µ R)`` in 1/cm; µ itself for thin vessels.

    Source: van Veen, Verkruysse and Sterenborg, Opt. Lett. 27, 246 (2002).
    """
    depth = 2 * absorption_per_cm * radius_um * _CM_PER_UM
    return absorption_per_cm * -torch.expm1(-depth) / depth.clamp_min(_THIN)


def absorption(amounts: Mapping[str, Tensor], wavelength_nm: tuple[float, ...]) -> Tensor:
    """Absorption coefficient of a mixture of chromophores.

    Args:
        amounts: amount of each chromophore in its own unit, shape ``(…)`` each.
        wavelength_nm: ``W`` wavelengths in nm.

    Returns:
        Absorption coefficient in 1/cm, shape ``(…, W)``, float64.

    Raises:
        ValueError: if a chromophore is unknown or a wavelength outside the tables.
    """
    table = torch.from_numpy(_spectra(tuple(amounts), wavelength_nm))
    # Term by term: a matrix product rounds differently for different batch sizes.
    terms = [a[..., None].double() * row.to(a.device) for a, row in zip(amounts.values(), table, strict=True)]
    return functools.reduce(torch.add, terms)


@functools.lru_cache(maxsize=64)
def _spectra(names: tuple[str, ...], wavelength_nm: tuple[float, ...]) -> np.ndarray:
    """Absorption of several chromophores, shape ``(P, W)``."""
    return np.stack([absorption_per_cm(name, np.array(wavelength_nm)) for name in names])


def scattering(a_mie_per_cm: Tensor, b_mie: Tensor, wavelength_nm: tuple[float, ...]) -> Tensor:
    """Scattering coefficient from the power law of reduced scattering ``mu_s' = a (wavelength / 500 nm)^-b``.

    Args:
        a_mie_per_cm: reduced scattering coefficient at 500 nm in 1/cm, shape ``(…)``.
        b_mie: scattering power, broadcastable to ``(…)``.
        wavelength_nm: ``W`` wavelengths in nm.

    Returns:
        ``mu_s = mu_s' / (1 - g)`` in 1/cm for ``g = ANISOTROPY``, shape ``(…, W)``, float64.

    Source: Jacques, Phys. Med. Biol. 58, R37 (2013), equation 1.
    """
    decay = torch.tensor(wavelength_nm, dtype=torch.float64, device=b_mie.device).div(_REFERENCE_NM).log()
    return a_mie_per_cm[..., None].double() / (1 - ANISOTROPY) * (-b_mie[..., None].double() * decay).exp()


def top_shares(thickness_cm: Tensor) -> Tensor:
    """Share of the uppermost millimetre that each layer takes.

    Args:
        thickness_cm: thickness of the layers from top to bottom, shape ``(…, L)``, the last one ``inf``.

    Returns:
        Non-negative shares that sum to one, shape ``(…, L)``.
    """
    faces = thickness_cm.cumsum(-1).clamp_max(_TOP_CM)
    return torch.diff(faces, dim=-1, prepend=torch.zeros_like(faces[..., :1])) / _TOP_CM
