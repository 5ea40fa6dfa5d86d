"""The fast spline against autograd, against its plain form, and at its edges."""

from __future__ import annotations

import functools

import pytest
import torch

from monai_inn.networks.flows.bijections import SplineTransform

SEEDS = range(10)
DTYPES = [torch.float32, torch.float64]


def draw(
    seed: int, dtype: torch.dtype, members: int = 2, channels: int = 3, rows: int = 40, bins: int = 8
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values, one in twenty of them outside, and raw parameters such as a trained subnet gives."""
    generator = torch.Generator().manual_seed(seed)
    x = 2.5 * torch.randn(members, channels, rows, generator=generator, dtype=torch.float64)
    raw = torch.randn(members, (3 * bins - 1) * channels, rows, generator=generator, dtype=torch.float64)
    return x.to(dtype), 0.5 * raw.to(dtype)


def plain(spline: SplineTransform):
    return functools.partial(spline._apply, is_inverse=False)


def evaluate(function, x: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Result, log-determinant, and gradients with respect to values and parameters under fixed weights."""
    generator = torch.Generator().manual_seed(0)
    x, raw = x.clone().requires_grad_(), raw.clone().requires_grad_()
    outputs = function(x, raw)
    weights = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(x.dtype) for o in outputs]
    return *(out.detach() for out in outputs), *torch.autograd.grad(outputs, (x, raw), weights)


def near_knots(spline: SplineTransform, raw: torch.Tensor, distance: float) -> torch.Tensor:
    """Values beside a knot each, to its left and right in turn."""
    members, _, rows = raw.shape
    k = spline.grid.bins
    knots = spline._knots(raw.view(members, 3 * k - 1, -1, rows)[:, :k])
    index = torch.arange(rows) % (k - 1)
    nearest = knots.gather(1, index.expand(members, 1, knots.shape[2], rows)).squeeze(1)
    return nearest + distance * (-1.0) ** torch.arange(rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bins", [2, 3, 8])
def test_gradients_are_those_of_finite_differences(seed, bins):
    spline = SplineTransform(bins)
    x, raw = draw(seed, torch.float64, members=1, channels=2, rows=7, bins=bins)
    for value in (x.clamp(-4.9, 4.9), near_knots(spline, raw, 1e-3)):
        inputs = value.clone().requires_grad_(), raw.clone().requires_grad_()
        assert torch.autograd.gradcheck(spline.forward, inputs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("bins", [2, 5, 8])
def test_values_and_gradients_are_those_of_the_plain_form(seed, members, bins):
    spline = SplineTransform(bins, bound=4.0)
    x, raw = draw(seed, torch.float64, members, bins=bins)
    fast, expected = evaluate(spline.forward, x, raw), evaluate(plain(spline), x, raw)
    torch.testing.assert_close(fast[:2], expected[:2], rtol=0, atol=1e-13)
    torch.testing.assert_close(fast[2:], expected[2:], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("seed", SEEDS)
def test_single_precision_is_as_exact_as_in_the_plain_form(seed):
    spline = SplineTransform()
    x, raw = draw(seed, torch.float32, rows=500)
    truth = evaluate(plain(spline), x.double(), raw.double())

    def error(function) -> torch.Tensor:
        pairs = zip(evaluate(function, x, raw), truth, strict=True)
        return torch.stack([(got - true).square().mean().sqrt() for got, true in pairs])

    fast, reference = error(spline.forward), error(plain(spline))
    assert fast[0] < 1e-6
    assert (fast < 3 * reference).all(), (fast, reference)


@pytest.mark.parametrize("seed", SEEDS)
def test_log_det_is_that_of_the_jacobian(seed):
    spline = SplineTransform()
    x, raw = draw(seed, torch.float64, members=1, channels=4, rows=1)
    jacobian = torch.autograd.functional.jacobian(lambda v: spline.forward(v, raw)[0], x).view(4, 4)
    off_diagonal = jacobian - jacobian.diag().diag()
    assert off_diagonal.abs().max() == 0
    torch.testing.assert_close(spline.forward(x, raw)[1].squeeze(), jacobian.diag().log().sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_both_inverses_undo_it(seed, dtype):
    spline, tolerance = SplineTransform(), {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    x, raw = draw(seed, dtype, members=1)
    raw = 0.5 * raw
    y, log_det = spline.forward(x, raw)
    back, log_det_back = spline.inverse(y, raw)
    spline.inverse_(y[0], raw[0])
    assert (back - x).abs().max() < tolerance
    assert (y - x).abs().max() < tolerance
    assert (log_det + log_det_back).abs().max() < 10 * tolerance


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("bins", "rows"), [(2, 1), (5, 127), (8, 700)])
def test_compiled_spline_is_as_exact_as_torch(seed, bins, rows):
    spline = SplineTransform(bins)
    value, raw = draw(seed, torch.float32, members=1, rows=rows, bins=bins)
    wide = torch.full((3, rows + 5), torch.nan)
    part = wide[:, 2 : rows + 2]

    def backward(value: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return spline.inverse(value, raw)[:1]

    def compiled_forward(value: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        log_det = spline.forward_(part.copy_(value[0]), raw[0].clone())
        return part, log_det

    def compiled_backward(value: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        spline.inverse_(part.copy_(value[0]), raw[0].clone())
        return (part,)

    for plain, compiled in ((spline.forward, compiled_forward), (backward, compiled_backward)):
        truth = plain(value.double(), raw.double())
        for true, by_torch, found in zip(truth, plain(value, raw), compiled(value, raw), strict=True):
            error = [float((got - true).square().mean().sqrt()) for got in (found, by_torch)]
            assert error[0] < 2 * error[1] + 1e-6  # two units in the last place of the bound
    assert wide[:, :2].isnan().all()
    assert wide[:, rows + 2 :].isnan().all()


def test_compiled_spline_passes_nan_on():
    spline = SplineTransform()
    y, raw = draw(0, torch.float32, members=1)
    y = y.clamp(-4, 4)
    y[0, 1, 3] = torch.nan
    raw.view(23, 3, 40)[5, 2, 7] = torch.nan  # a logit
    expected = y[0].isnan()
    expected[2, 7] = True
    x = y.clone()
    spline.inverse_(y[0], raw[0].clone())
    log_det = spline.forward_(x[0], raw[0].clone())
    assert torch.equal(y[0].isnan(), expected)
    assert torch.equal(x[0].isnan(), expected)
    assert log_det.isnan()[7]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_outside_it_is_the_identity_exactly(seed, dtype):
    spline = SplineTransform()
    x, raw = draw(seed, dtype)
    x = (5.01 + 1e3 * x.abs()) * x.sign()
    y, log_det, of_x, of_raw = evaluate(spline.forward, x, raw)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(y, x)
    assert torch.equal(of_x, weights.to(dtype))
    assert log_det.abs().max() == of_raw.abs().max() == 0
    infinite = torch.full_like(x, torch.inf)
    assert torch.equal(spline.forward(infinite, raw)[0], infinite)
    spline.inverse_(y[0], raw[0].clone())
    assert torch.equal(y, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_extreme_parameters_stay_finite(seed, dtype):
    spline = SplineTransform()
    x, raw = draw(seed, dtype)
    raw = 50 * raw.sign()
    results = evaluate(spline.forward, x, raw)
    y = results[0].clone()
    spline.inverse_(y[0], raw[0].clone())
    assert all(result.isfinite().all() for result in (*results, y))


def test_parameters_of_zero_give_the_identity():
    spline = SplineTransform()
    x, raw = draw(0, torch.float64)
    y, log_det = spline.forward(x, torch.zeros_like(raw))
    torch.testing.assert_close(y, x, rtol=0, atol=1e-14)
    assert log_det.abs().max() < 1e-13


def test_without_gradients_nothing_is_recorded_and_nothing_changes():
    spline = SplineTransform()
    x, raw = draw(0, torch.float32)
    expected = spline.forward(x.clone().requires_grad_(), raw)
    before = x.clone(), raw.clone()
    with torch.no_grad():
        silent = spline.forward(x.requires_grad_(), raw.requires_grad_())
    for got, wanted, inputs, copies in zip(silent, expected, (x, raw), before, strict=True):
        assert torch.equal(got, wanted)
        assert torch.equal(inputs, copies)
        assert wanted.requires_grad
        assert not got.requires_grad


def test_inference_mode_leaves_nothing_behind_that_training_cannot_use():
    spline = SplineTransform(bins=7, bound=3.5)  # a grid of its own: constants are kept for each
    x, raw = draw(0, torch.float32, bins=7)
    with torch.inference_mode():
        spline.forward(x, raw)
    assert all(result.isfinite().all() for result in evaluate(spline.forward, x, raw))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("gradients", [False, True])
def test_parameters_of_one_row_hold_for_all_rows_of_a_channel(members, direction, gradients):
    x, raw = draw(0, torch.float64, members=members, channels=1)
    one = raw[:, :, :1].contiguous().requires_grad_()
    move = getattr(SplineTransform(), direction)
    with torch.set_grad_enabled(gradients):
        shared, repeated = move(x, one), move(x, one.expand(-1, -1, x.shape[2]).contiguous())
    for got, wanted in zip(shared, repeated, strict=True):
        assert got.requires_grad == gradients
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 2, 0), (1, 0, 4), (3, 0, 4), (1, 1, 1)])
def test_any_number_of_channels_and_rows(shape):
    members, channels, rows = shape
    x = torch.zeros(shape, requires_grad=True)
    raw = torch.zeros(members, 23 * channels, rows, requires_grad=True)
    y, log_det = SplineTransform().forward(x, raw)
    (y.sum() + log_det.sum()).backward()
    assert y.shape == x.grad.shape == x.shape
    assert raw.grad.shape == raw.shape
    assert log_det.shape == (members, rows)


def test_a_second_derivative_is_refused():
    spline = SplineTransform()
    x, raw = draw(0, torch.float32)
    x.requires_grad_()
    y, _ = spline.forward(x, raw)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


class Recorded(torch.nn.Module):
    spline = SplineTransform()

    def forward(self, x: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.spline.forward(x, raw)


@pytest.mark.parametrize("how", ["export", "trace"])
def test_recording_takes_the_plain_form(how):
    inputs, others = draw(0, torch.float64), draw(1, torch.float64)
    if how == "export":
        program = torch.export.export(Recorded(), inputs).module()
    else:
        program = torch.jit.trace(Recorded(), inputs)
    torch.testing.assert_close(program(*others), Recorded()(*others), rtol=0, atol=1e-13)
    assert "_Forward" not in str(program.graph)


def test_one_bin_is_refused():
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        SplineTransform(bins=1)
