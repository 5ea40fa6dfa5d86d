from __future__ import annotations

import pytest
import torch
from osipi import breast, plasma, rows
from torch import Tensor

from monai_inn.applications.perfusion.models.arteries import ARTERY, artery
from monai_inn.applications.perfusion.models.kinetics import Artery, concentration_at
from monai_inn.problems import ParameterSpace

SPACE = ParameterSpace(ARTERY)
# Members of the family in the flow's space, closest to arteries of others: by least squares with an error of
# 1 % of the peak and the prior.
CLOSEST = {
    "Parker": (-0.834, 1.07, 0.22, 0.99, -0.33, 0.38, -0.3, -0.93, -1.01, -0.78, 0.66, -1.77, 0.97, -0.71),
    "Georgiou": (-0.801, 1.53, -0.03, 0.48, -0.38, 0.41, -0.09, 0.78, -0.06, 0.13, 0.31, -1.87, 1.39, 0.44),
    "DRO": (0.387, 1.01, 0.57, 1.51, -0.73, -0.24, 0.33, 1.4, -0.11, -0.39, -0.38, 0.22, 0.5, -0.34),
    "2CXM": (-1.314, 1.07, 0.2, 0.94, -0.34, 0.36, -0.32, -0.45, 0.39, -0.8, 1.24, -1.3, 1.54, 1.17),
    "breast": (0.490, 0.77, 0.22, 0.34, -0.81, 0.99, 0.59, 0.63, 0.11, -0.32, -0.02, -0.09, 0.18, -0.08),
}


def values(latent: Tensor) -> dict[str, Tensor]:
    return dict(zip(SPACE.names, SPACE.inverse(latent).unbind(-1), strict=True))


def draws(n: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return values(torch.randn(n, len(SPACE), generator=generator, dtype=torch.float64))


def reference(name: str) -> tuple[Tensor, Tensor]:
    if name in ("Parker", "Georgiou"):
        times, concentration = plasma(name)
        return times + 20, concentration
    if name == "breast":
        return breast()
    file, curve = {"DRO": ("dce_DRO_data_extended_tofts", "ca"), "2CXM": ("2cxm_sd_0.001_delay_0", "cp_aif")}[
        name
    ]
    row = rows(file)[0]
    return row["t"], row[curve]


@pytest.mark.parametrize("name", CLOSEST)
def test_arteries_of_others_have_a_close_member(name):
    """Within 1.5 % of the peak, RMS, and 2.5 standard deviations of the prior."""
    latent = torch.tensor(CLOSEST[name], dtype=torch.float64)
    assert float(latent.abs().max()) < 2.5
    times, expected = reference(name)
    made = concentration_at(artery(values(latent)), times - values(latent)["arrival"])
    assert float((made - expected).square().mean().sqrt() / expected.max()) < 0.015


def test_the_peak_is_the_largest_concentration():
    value = draws(500)
    knots, curves = artery(value)
    assert knots.shape == (60,)
    assert curves.shape == (500, 60)
    torch.testing.assert_close(curves.amax(-1), value["peak"])
    assert float(curves.min()) >= 0
    assert float((curves[:, 0] / value["peak"]).max()) < 1e-3  # nothing at the arrival


def test_the_first_pass_peaks_after_the_rise():
    value = draws(200) | {name: torch.zeros(200).double() for name in ("second_pass", "tail")}
    value |= {name: torch.zeros(200).double() for name in value if name.startswith("deviation")}
    value["rise"] = value["rise"].round()  # a knot
    curve = artery(value | {"rise": value["rise"].clamp_max(30)})
    found = curve.knots_s[curve.values.argmax(-1)]
    torch.testing.assert_close(found, value["rise"].clamp_max(30))


def test_deviations_act_where_they_are_said_to():
    value = draws(20) | {f"deviation_{i}": torch.zeros(20).double() for i in range(1, 5)}
    plain = artery(value).values
    for i, time in enumerate((4.0, 20.0, 100.0, 500.0), 1):
        changed = artery(value | {f"deviation_{i}": torch.full((20,), 0.2).double()}).values
        ratio = (changed / plain).log()
        ratio = ratio - ratio.amin(-1, keepdim=True)  # the peak is the same
        at = concentration_at(Artery(artery(value).knots_s, ratio), torch.tensor([time]).double())
        torch.testing.assert_close(at, torch.full((20, 1), 0.2).double(), rtol=0, atol=0.03)


def test_a_member_is_the_same_alone_and_differentiable():
    value = draws(5)
    one = artery({name: part[3] for name, part in value.items()})
    torch.testing.assert_close(one.values, artery(value).values[3])
    latent = torch.tensor(CLOSEST["breast"], dtype=torch.float64, requires_grad=True)
    times = torch.linspace(0, 300, 7).double()
    assert torch.autograd.gradcheck(
        lambda z: concentration_at(artery(values(z)), times - values(z)["arrival"]), (latent,)
    )
