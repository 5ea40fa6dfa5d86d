"""Encoders of series and sets: what is missing says nothing, and where it is missing neither."""

import pytest
import torch

from monai_inn.networks.contracts import check_encoder
from monai_inn.networks.encoders.series import SeriesEncoder

MIXING = ("none", "attention", "convolution", "gru")
SETS, ORDERED = MIXING[:2], MIXING[2:]
MOST, CHANNELS, CONTEXT = 9, 2, 1


def rows(values, context):
    """Rows of features of values ``(N, T, channels)`` and settings ``(N, T, context)``."""
    return torch.cat([values.flatten(1), context.flatten(1)], 1)


def entries(count, most=MOST, seed=0):
    """Values and settings of series of some entries, NaN beyond them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(5, most, CHANNELS, generator=generator)
    context = torch.rand(5, most, CONTEXT, generator=generator).cumsum(1)
    values[:, count:], context[:, count:] = torch.nan, torch.nan
    return values, context


def encoder(mixing, most=MOST):
    torch.manual_seed(0)
    made = SeriesEncoder(most * (CHANNELS + CONTEXT), CHANNELS, CONTEXT, mixing, width=16, layers=2)
    features = rows(*entries(most, most, seed=1))
    made.fit(features, features, None)
    return made


@pytest.mark.parametrize("mixing", MIXING)
def test_each_keeps_the_contract(mixing):
    values, context = entries(6)
    values[0, 2], values[1, 3, 0] = torch.nan, torch.nan
    check_encoder(encoder(mixing), rows(values, context))


@pytest.mark.parametrize("mixing", MIXING)
@pytest.mark.parametrize("count", [1, 2, 5, 8, 9])
def test_empty_entries_change_nothing_wherever_they_stand(mixing, count):
    made, longer = encoder(mixing), encoder(mixing, 14)
    longer.load_state_dict(made.state_dict())
    values, context = entries(count)
    gaps = torch.randperm(14, generator=torch.Generator().manual_seed(count))[:count].sort().values
    spread = [torch.full((5, 14, part.shape[2]), torch.nan) for part in (values, context)]
    for whole, part in zip(spread, (values, context), strict=True):
        whole[:, gaps] = part[:, :count]
    for answer in ("forward", "summary"):
        expected = getattr(made, answer)(rows(values, context))
        assert torch.allclose(getattr(longer, answer)(rows(*spread)), expected, atol=1e-5)


@pytest.mark.parametrize("mixing", SETS)
def test_the_order_of_a_set_says_nothing(mixing):
    made, (values, context) = encoder(mixing), entries(7)
    order = torch.cat([torch.tensor([3, 6, 0, 5, 1, 2, 4]), torch.arange(7, MOST)])
    for answer in (made.forward, made.summary):
        expected = answer(rows(values, context))
        assert torch.allclose(answer(rows(values[:, order], context[:, order])), expected, atol=1e-5)


@pytest.mark.parametrize("mixing", ORDERED)
def test_the_order_of_a_series_counts(mixing):
    made, (values, context) = encoder(mixing), entries(7)
    turned = torch.cat([values[:, :7].flip(1), values[:, 7:]], 1)
    assert (made(rows(turned, context)) - made(rows(values, context))).abs().max() > 1e-3


@pytest.mark.parametrize("mixing", MIXING)
def test_a_row_without_entries_is_finite_and_leaves_the_others_alone(mixing):
    made, features = encoder(mixing), rows(*entries(6))
    empty = features.clone()
    empty[2] = torch.nan
    assert made(empty).isfinite().all()
    assert torch.allclose(made(empty)[[0, 1, 3, 4]], made(features)[[0, 1, 3, 4]], atol=1e-6)
    assert made.summary(empty).isfinite().all()


def test_one_of_two_channels_may_be_missing():
    made, (values, context) = encoder("convolution"), entries(MOST)
    values[:, 4, 1] = torch.nan
    without = made(rows(values, context))
    values[:, 4, 1] = 0.0
    assert (made(rows(values, context)) - without).abs().max() > 1e-4  # missing is not zero


def test_the_summary_goes_from_the_first_value_to_the_last():
    made = SeriesEncoder(6, 1, 0, "convolution", width=8)
    seen = made.summary(torch.tensor([[torch.nan, 1.0, 2.0, torch.nan, 3.0, torch.nan]]))
    assert torch.allclose(seen, torch.linspace(1, 3, 12))
    made = SeriesEncoder(6, 1, 0, "none", width=8)
    assert torch.allclose(
        made.summary(torch.tensor([[3.0, 1.0, torch.nan, 2.0, torch.nan, torch.nan]])), seen
    )


@pytest.mark.parametrize(
    ("size", "options"), [(7, {"channels": 2}), (8, {"width": 6}), (8, {"mixing": "sum"})]
)
def test_sizes_that_do_not_fit_are_refused(size, options):
    with pytest.raises(ValueError, match="expected"):
        SeriesEncoder(size, **options)


def test_the_regression_is_that_of_rows_with_a_ridge_below():
    regression = encoder("none").double().regression
    there = torch.ones(5, 40, 1, dtype=torch.float64)
    seen = torch.randn(5, 40, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        found = regression(seen, there)
        design = torch.cat([there, regression.functions(seen[..., 2:3])], -1)
        ridge = (regression.log_ridge / 2).exp().diag().expand(5, -1, -1)
    size = ridge.shape[1]
    values = torch.cat([seen[..., :2], torch.zeros(5, size, 2, dtype=torch.float64)], 1)
    expected = torch.linalg.lstsq(torch.cat([design, ridge], 1), values).solution
    left = (seen[..., :2] - design @ expected).square().mean(1)
    assert torch.allclose(found[:, : 2 * size].sinh(), expected.flatten(1), atol=1e-8)
    assert torch.allclose(found[:, -2:].exp(), left, atol=1e-6)


@pytest.mark.parametrize("mixing", ["none", "gru"])
def test_numbers_of_the_whole_row_stand_behind_its_entries(mixing):
    torch.manual_seed(0)
    made = SeriesEncoder(MOST * (CHANNELS + CONTEXT) + 4, CHANNELS, CONTEXT, mixing, width=16, whole=4)
    series = rows(*entries(6))
    whole = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)) * 30 + 100
    features = torch.cat([series, whole], 1)
    made.fit(features, features, None)
    check_encoder(made, features)
    assert made.config["whole"] == 4
    assert torch.equal(made.summary(features), made.summary(torch.cat([series, whole + 1], 1)))
    others = torch.cat([series, whole.roll(1, 0)], 1)
    assert (made(features) - made(others)).abs().amax(1).min() > 1e-3
    # Standardised: what they are counted in says nothing.
    other = SeriesEncoder(**made.config)
    other.load_state_dict(made.state_dict())
    rescaled = torch.cat([series, whole * 7 - 3], 1)
    other.fit(rescaled, rescaled, None)
    torch.testing.assert_close(other(rescaled), made(features), rtol=1e-4, atol=1e-4)
