"""Tissue of three layers from the parameters of oximetry: which chromophores and scatterers lie in which."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monai_inn.physics import tissue

__all__ = ["three_layers"]

_MAX_BLOOD = 1.0


def three_layers(value: Mapping[str, Tensor], wavelength_nm: tuple[float, ...]) -> tissue.LayerProperties:
    """Return the optical properties of three layers, the first of skin an epidermis without blood.

    Args:
        value: each parameter by its name, shape ``(…)``, float64; skin has melanin.
        wavelength_nm: wavelengths, ``W`` of them.

    Returns:
        Coefficients of shape ``(…, 3, W)``.
    """
    upper = torch.stack([value["d_1"], value["d_2"]], -1)
    thickness = torch.cat([upper, torch.full_like(upper[..., :1], torch.inf)], -1)
    one = torch.ones_like(value["vhb"])
    scatter_ratio = torch.stack([one, value["a_mie_ratio"], value["a_mie_ratio"]], -1)
    shares = tissue.top_shares(thickness)
    a_mie = (value["a_mie"] / (shares * scatter_ratio).sum(-1))[..., None] * scatter_ratio
    vhb, amounts = _amounts(value, thickness, shares)
    blood = tissue.absorption(tissue.blood(one, value["sao2"]), wavelength_nm)
    if "vessel_radius" in value:
        blood = tissue.in_vessels(blood, value["vessel_radius"][..., None])
    return tissue.LayerProperties(
        vhb[..., None] * blood[..., None, :] + tissue.absorption(amounts, wavelength_nm),
        tissue.scattering(a_mie, value["b_mie"][..., None], wavelength_nm),
        thickness,
        value["n"],
    )


def _amounts(
    value: Mapping[str, Tensor], thickness: Tensor, shares: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Blood volume, and the chromophores beside blood, in each layer, shape ``(…, 3)`` each."""
    one, zero = torch.ones_like(value["vhb"]), torch.zeros_like(value["vhb"])
    is_skin = "melanin" in value
    if is_skin:
        ratio, bloody = torch.stack([zero, one, value["vhb_ratio"]], -1), torch.stack([zero, one, one], -1)
        shares = torch.cat([zero[..., None], tissue.top_shares(thickness[..., 1:])], -1)
    else:
        ratio = torch.stack([one, value["vhb_ratio_2"], value["vhb_ratio_3"]], -1)
        bloody = torch.ones_like(ratio)
    # Far below the top millimetre the ratios can ask for more blood than there is room.
    vhb = ((value["vhb"] / (shares * ratio).sum(-1))[..., None] * ratio).clamp_max(_MAX_BLOOD)
    amounts = {
        "water": value["water"][..., None].expand_as(vhb),
        "fat": (value["fat"] * (1 - value["water"]))[..., None].expand_as(vhb),
        "bilirubin": value["bilirubin"][..., None] * bloody,
    }
    if is_skin:
        amounts["melanin"] = torch.stack([value["melanin"], zero, zero], -1)
    return vhb, amounts
