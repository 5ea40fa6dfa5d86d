"""Scores of disentanglement on codes for which they are known."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from monai_inn.metrics.disentanglement import Disentanglement, disentanglement, mutual_information

ROWS, FACTORS, BINS = 2000, 4, 20
GAPS = ("mig", "sap")
SCORES = (
    *GAPS,
    "disentanglement",
    "completeness",
    "informativeness",
    "factor_vae",
    "beta_vae",
    "modularity",
)
# Mutual information of independent columns is χ² of 19² degrees of freedom over 2 N: its standard deviation.
INFORMATION_SD = math.sqrt(2 * (BINS - 1) ** 2) / (2 * ROWS)
SLACK = 5 * INFORMATION_SD / math.log(BINS)


def uniform(seed: int, columns: int = FACTORS, rows: int = ROWS) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


def scores(codes: Tensor, factors: Tensor) -> dict[str, float]:
    found = disentanglement(codes, factors, resamplings=2)
    return {name: getattr(found, name).value for name in SCORES}


@pytest.fixture(scope="module")
def factors() -> Tensor:
    return uniform(0)


@pytest.fixture(scope="module")
def exact(factors: Tensor) -> Disentanglement:
    return disentanglement(factors, factors)


@pytest.mark.parametrize("name", SCORES)
def test_codes_that_are_the_factors_have_full_scores(exact, name):
    score = getattr(exact, name)
    assert 0.985 < score.value <= 1
    assert score.low <= score.value <= score.high <= 1


@pytest.mark.parametrize("seed", range(3))
def test_noise_tells_nothing(factors, seed):
    found = scores(torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(seed)), factors)
    limits = {"mig": SLACK, "sap": 20 / ROWS, "informativeness": 0, "modularity": 0}
    # Of 400 groups a quarter is right by chance, to a standard error of .022, on a scale of ¾.
    limits |= {"factor_vae": 4 * 0.022 / 0.75, "beta_vae": 4 * 0.022 / 0.75}
    assert all(found[name] <= limit for name, limit in limits.items())
    # Importances of noise are χ² of 19 degrees of freedom each: nearly, but not quite, uniform.
    assert found["disentanglement"] < 0.1
    assert found["completeness"] < 0.1


def test_two_rotated_codes_have_the_known_scores(factors):
    """Normal factors: uniform ones, rotated, would not tell alike about both."""
    normal = torch.randn(ROWS, FACTORS, generator=torch.Generator().manual_seed(3))
    turned = normal.clone()
    turned[:, 0], turned[:, 1] = normal[:, :2].sum(1) / 2**0.5, (normal[:, 0] - normal[:, 1]) / 2**0.5
    found = disentanglement(turned, normal, resamplings=2)
    # A code of two has 1 − ln 2 / ln 4 = ½.
    assert found.disentanglement.value == pytest.approx(0.75, abs=0.04)
    assert found.completeness.value == pytest.approx(0.75, abs=0.04)
    assert found.mig.value == pytest.approx(0.5, abs=0.03)
    assert found.sap.value == pytest.approx(0.5, abs=0.03)
    # Correlation ½ of a half of the variance: ½ ln 2 nats, less what bins lose.
    torch.testing.assert_close(
        found.information[:2, :2], torch.full((2, 2), 0.3466, dtype=torch.float64), atol=0.06, rtol=0
    )
    # Both rotated codes tell alike about two factors: 1 − 1/3.
    assert found.modularity.value == pytest.approx((2 * 2 / 3 + 2) / 4, abs=0.04)


def test_a_repeated_code_has_no_gap(factors):
    found = scores(torch.cat([factors, factors[:, :1]], 1), factors)
    for name in GAPS:
        assert found[name] == pytest.approx(0.75, abs=SLACK)
    assert found["disentanglement"] > 0.985
    assert found["modularity"] > 0.985
    # Each copy explains a quarter of the first factor's variance: its shares are ½ and ½ of five codes.
    expected = (0.5 * (1 - math.log(2) / math.log(5)) + 3) / 3.5
    assert found["completeness"] == pytest.approx(expected, abs=0.02)


def test_order_sign_and_scale_of_codes_do_not_matter():
    made = uniform(1)
    codes = torch.cat([made @ torch.randn(4, 5, generator=torch.Generator().manual_seed(2)), made[:, :1]], 1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    changed = codes[:, order] * torch.tensor([1.0, -2.0, 1e3, -1e-3, 5.0, -1.0])
    one, other = scores(codes, made), scores(changed, made)
    # A negative scale reverses bins, whose edges then belong to the other side.
    assert other == pytest.approx(one, abs=5e-3)
    assert scores(codes[:, order], made) == pytest.approx(one, abs=1e-9)


def test_mutual_information_of_independent_bins_has_no_bias():
    """Without the correction it would be 19² / 2 N = .09 nats."""
    found = [
        mutual_information(
            torch.randint(BINS, (ROWS, 5), generator=g), torch.randint(BINS, (ROWS, 5), generator=g)
        )
        for g in (torch.Generator().manual_seed(seed) for seed in range(4))
    ]
    values = torch.stack(found).flatten()
    # Negative estimates are 0, so that the mean is that of the positive half of a normal. The bias of second
    # order stays: 20⁴ / 12 N² nats.
    expected = 0.4 * INFORMATION_SD + BINS**4 / (12 * ROWS**2)
    assert float(values.mean()) < expected + 4 * 0.6 * INFORMATION_SD / len(values) ** 0.5


def test_bounds_hold_the_score_of_many_rows():
    """Over ten samples of a noisy code; 95 % bounds may miss, but not often."""

    def noisy(seed: int, rows: int) -> tuple[Tensor, Tensor]:
        made = uniform(seed, 2, rows)
        return made + 0.2 * torch.randn(made.shape, generator=torch.Generator().manual_seed(seed + 99)), made

    truth = disentanglement(*noisy(50, 40_000), resamplings=2)
    found = [disentanglement(*noisy(seed, 1000), resamplings=20, seed=seed) for seed in range(10)]
    for name in ("mig", "sap", "informativeness"):
        value = getattr(truth, name).value
        hits = sum(getattr(one, name).low <= value <= getattr(one, name).high for one in found)
        assert hits >= 6, name


def test_constant_codes_tell_nothing(factors):
    codes = torch.cat([factors, torch.ones(ROWS, 2)], 1)
    found = scores(codes, factors)
    assert min(found.values()) > 0.985
    nothing = scores(torch.ones(ROWS, 3), factors)
    assert max(nothing.values()) < 0.1


def test_a_factor_of_few_values_is_a_class(factors):
    made = torch.cat(
        [factors[:, :3], torch.randint(3, (ROWS, 1), generator=torch.Generator().manual_seed(0))], 1
    )
    assert min(scores(made, made).values()) > 0.97


def test_summary_is_ready_for_json(exact):
    summary = json.loads(json.dumps(exact.summary()))
    assert set(summary) == {*SCORES, "information", "importance"}
    assert summary["mig"]["low"] <= summary["mig"]["value"] <= summary["mig"]["high"]


def test_bad_input_is_refused(factors):
    with pytest.raises(ValueError, match=r"codes of shape \(5, 2\) and factors of shape \(2000, 4\)"):
        disentanglement(torch.zeros(5, 2), factors)
    with pytest.raises(ValueError, match="with at least two factors"):
        disentanglement(factors, factors[:, :1])
    with pytest.raises(ValueError, match="150 rows do not fill 20 bins; give at least 200"):
        disentanglement(factors[:150], factors[:150])
    with pytest.raises(ValueError, match="not finite"):
        disentanglement(factors.clone().fill_(math.nan), factors)
    with pytest.raises(ValueError, match=r"factors \[2\] do not vary"):
        disentanglement(factors, factors * torch.tensor([1, 1, 0, 1]))
    with pytest.raises(ValueError, match="resamplings = 1"):
        disentanglement(factors, factors, resamplings=1)
