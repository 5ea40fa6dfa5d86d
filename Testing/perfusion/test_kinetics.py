from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from osipi import rows
from scipy.integrate import quad
from torch import Tensor

from monai_inn.applications.perfusion.models.kinetics import (
    Artery,
    concentration_at,
    exchange,
    extended_tofts,
    patlak,
    tissue_curve,
)

TISSUES = {"ktrans": (0.1, 5.0, 0.001, 1.0), "ve": (0.2, 0.01, 1.0, 0.3), "vp": (0.05, 0.3, 0.0, 0.1)}
EXTRACTION = (0.3, 0.9, 0.05, 0.999)
SEEDS = st.integers(0, 2**31)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tissues() -> dict[str, Tensor]:
    return {name: numbers(*values) for name, values in TISSUES.items()}


def drawn(seed: int, n: int = 3) -> tuple[Artery, dict[str, Tensor], Tensor, torch.Generator]:
    """Arteries with irregular knots of their own, tissues, and irregular times."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    knots = (0.1 + 20 * uniform(n, 9)).cumsum(-1)
    tissue = {"ktrans": 2 * uniform(n), "ve": 0.02 + 0.9 * uniform(n), "vp": uniform(n)}
    return Artery(knots, 5 * uniform(n, 9)), tissue, 250 * uniform(n, 12) - 20, generator


def responses(tissue: dict[str, Tensor], extraction: Tensor | float = 0.4):
    ktrans, ve, vp = tissue.values()
    extraction = torch.as_tensor(extraction, dtype=ktrans.dtype)
    return extended_tofts(ktrans, ve, vp), patlak(ktrans, vp), exchange(ktrans, extraction, ve, vp)


@pytest.mark.peers
def test_equals_dcmri():
    dcmri = pytest.importorskip("dcmri")
    times, haematocrit = np.arange(0, 300, 1.5), 0.45
    artery = 1000 * dcmri.aif_parker(times, BAT=20)
    ours = Artery(torch.from_numpy(times), torch.from_numpy(artery))
    tofts, _, both = (tissue_curve(ours, r, ours.knots_s) for r in responses(tissues(), numbers(*EXTRACTION)))
    for i, (ktrans, ve, vp) in enumerate(zip(*TISSUES.values(), strict=True)):
        asked = {"t": times, "H": haematocrit, "vb": vp / (1 - haematocrit), "vi": ve}
        blood, per_second = artery * (1 - haematocrit), ktrans / 60
        expected = dcmri.conc_tissue(blood, kinetics="HF", PS=per_second, **asked)
        np.testing.assert_allclose(tofts[i], expected, rtol=0, atol=1e-10)
        if vp == 0:
            continue
        flow = per_second / EXTRACTION[i] / (1 - haematocrit)
        leak = per_second / (1 - EXTRACTION[i])
        expected = dcmri.conc_tissue(blood, kinetics="2CX", PS=leak, Fb=flow, **asked)
        np.testing.assert_allclose(both[i], expected, rtol=0, atol=1e-10)


def test_equals_the_reference_object_of_osipi():
    for row in rows("dce_DRO_data_extended_tofts")[:3]:  # those without noise
        response = extended_tofts(row["Ktrans"], row["ve"], row["vp"])
        made = tissue_curve(Artery(row["t"], row["ca"]), response, row["t"])
        assert float((made - row["C"]).square().mean().sqrt()) < 3e-4


@pytest.mark.parametrize("delay", [0, 5])
def test_equals_the_exchange_curves_of_osipi_but_for_their_noise(delay):
    left = []
    for row in rows(f"2cxm_sd_0.001_delay_{delay}"):
        flow, leak = row["fp"] / 100, row["ps"]
        response = exchange(flow * leak / (flow + leak), leak / (flow + leak), row["ve"], row["vp"])
        artery = Artery(row["t"], row["cp_aif"])
        left.append(row["C_t"] - tissue_curve(artery, response, row["t"], row["arterial_delay"]))
    only_noise(torch.stack(left), 1e-3)


def test_equals_the_patlak_curves_of_osipi_but_for_their_noise():
    left = []
    for row in rows("patlak_sd_0.02_delay_0"):
        artery = Artery(row["t"], row["cp_aif"])
        left.append(row["C_t"] - tissue_curve(artery, patlak(row["ps"], row["vp"]), row["t"]))
    only_noise(torch.stack(left), 0.02)


def only_noise(left: Tensor, sd: float) -> None:
    """White noise has this spread and no trend; bounds are four standard errors."""
    n = left.numel()
    assert float(left.std() / sd) == pytest.approx(1, abs=4 / (2 * n) ** 0.5)
    assert abs(float(left.mean())) < 4 * sd / n**0.5
    thirds = left.unflatten(1, (3, -1)).mean((0, 2))
    assert float(thirds.abs().max()) < 4 * sd / (n / 3) ** 0.5


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_numerical_integral(seed):
    artery, tissue, times, _ = drawn(seed, n=1)
    knots, values = (part[0].numpy() for part in artery)

    def integral(amplitude: float, rate: float, end: float) -> float:
        """Of the artery times the exponential, over all that lies before ``end``."""
        inside = knots[(knots < end) & (knots > end - 40 / max(rate, 1e-9))]
        edges = np.concatenate([knots[:1], inside, [end - 5 / rate] if rate > 0.1 else []])
        return quad(
            lambda u: amplitude * np.interp(u, knots, values) * np.exp(-rate * (end - u)),
            knots[0], end, points=np.unique(edges.clip(knots[0], end)), limit=400, epsabs=1e-11,
        )[0]  # fmt: skip

    for response in responses(tissue):
        made = tissue_curve(artery, response, times, 3.0)[0]
        for end, found in zip((times[0] - 3).tolist(), made.tolist(), strict=True):
            expected = float(response.plasma) * float(concentration_at(artery, numbers(end)[None]))
            if end > knots[0]:
                exponentials = zip(response.amplitudes[0].tolist(), response.rates[0].tolist(), strict=True)
                expected += sum(integral(*exponential, end) for exponential in exponentials)
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_artery_is_zero_before_its_first_knot_and_stays_after_its_last():
    artery = Artery(numbers(1, 3, 4), numbers(2, 6, 5))
    times = numbers(0, 0.99, 1, 2, 3.5, 4, 100, torch.nan)
    expected = numbers(0, 0, 2, 4, 5.5, 5, 5, torch.nan)
    torch.testing.assert_close(concentration_at(artery, times), expected, equal_nan=True)
    late = tissue_curve(artery, extended_tofts(*numbers(0.6, 0.3, 0.1)), numbers(5000, torch.nan))
    torch.testing.assert_close(late, numbers(5 * 0.4, torch.nan), equal_nan=True)  # equilibrium: ca (ve + vp)


@settings(max_examples=15)
@given(SEEDS)
def test_curves_are_linear_in_the_artery(seed):
    artery, tissue, times, generator = drawn(seed)
    other = Artery(artery.knots_s, torch.rand(3, 9, generator=generator, dtype=torch.float64))
    both = Artery(artery.knots_s, 2 * artery.values - 0.5 * other.values)
    for response in responses(tissue):
        one, two, mixed = (tissue_curve(a, response, times) for a in (artery, other, both))
        torch.testing.assert_close(mixed, 2 * one - 0.5 * two, rtol=1e-9, atol=1e-9)


@settings(max_examples=15)
@given(SEEDS, st.floats(-30, 30))
def test_a_delay_shifts_the_curve(seed, delay):
    artery, tissue, times, _ = drawn(seed)
    later = Artery(artery.knots_s + delay, artery.values)
    for response in responses(tissue):
        expected = tissue_curve(artery, response, times - delay)
        for shifted in (tissue_curve(artery, response, times, delay), tissue_curve(later, response, times)):
            torch.testing.assert_close(shifted, expected, rtol=1e-6, atol=1e-8)


@settings(max_examples=15)
@given(SEEDS)
def test_a_knot_on_the_line_changes_nothing(seed):
    artery, tissue, times, _ = drawn(seed)
    middles = artery.knots_s[:, :-1] + 0.3 * artery.knots_s.diff()
    knots = torch.cat([artery.knots_s, middles], 1).sort(1).values
    values = concentration_at(artery, knots)
    for response in responses(tissue):
        expected = tissue_curve(artery, response, times)
        torch.testing.assert_close(tissue_curve(Artery(knots, values), response, times), expected)


def test_rows_may_share_an_artery_or_times():
    artery, tissue, times, _ = drawn(1)
    shared = Artery(artery.knots_s[0], artery.values[0])
    response = extended_tofts(**tissue)
    made = tissue_curve(shared, response, times[0], numbers(0, 1, 2))
    for i, row in enumerate(made):
        one = extended_tofts(*(value[i] for value in tissue.values()))
        torch.testing.assert_close(tissue_curve(shared, one, times[0], float(i)), row)
    grid = tissue_curve(artery, extended_tofts(*(v[:, None, None] for v in tissue.values())), times)
    assert grid.shape == (3, 1, 3, 12)


def test_exchange_without_extraction_is_extended_tofts():
    artery, tissue, times, _ = drawn(2)
    expected = tissue_curve(artery, extended_tofts(**tissue), times)
    errors = [
        float((tissue_curve(artery, responses(tissue, e)[2], times) - expected).abs().max())
        for e in (1e-4, 1e-5, 1e-6)
    ]
    assert errors[0] < 0.01
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 10, rtol=0.05)  # of first order


def test_extended_tofts_without_a_way_back_is_patlak():
    artery, tissue, times, _ = drawn(3)
    expected = tissue_curve(artery, responses(tissue)[1], times)
    made = tissue_curve(artery, extended_tofts(**tissue | {"ve": numbers(1e9, 1e9, 1e9)}), times)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=0)


def test_single_precision_is_enough():
    artery, tissue, times, _ = drawn(4)
    for exact, short in zip(
        responses(tissue), responses({k: v.float() for k, v in tissue.items()}), strict=True
    ):
        expected = tissue_curve(artery, exact, times)
        made = tissue_curve(Artery(artery.knots_s.float(), artery.values.float()), short, times.float())
        torch.testing.assert_close(made.double(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("model", [0, 1, 2])
def test_gradients_are_those_of_finite_differences(model):
    artery, tissue, times, _ = drawn(5, n=2)

    def made(knots, values, ktrans, ve, vp, extraction, delay):
        response = responses({"ktrans": ktrans, "ve": ve, "vp": vp}, extraction)[model]
        return tissue_curve(Artery(knots, values), response, times, delay)

    inputs = (*artery, *tissue.values(), numbers(0.2, 0.7), numbers(1.3, -2.1))
    assert torch.autograd.gradcheck(made, tuple(v.clone().requires_grad_() for v in inputs))
