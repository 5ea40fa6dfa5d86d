"""The faster fully connected layers against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_inn.networks.kernels import products


@pytest.fixture(params=["oneDNN", "MKL for transposed", "no oneDNN"])
def library(request, monkeypatch):
    """The three ways a product can go; which one is taken elsewhere depends on the processor."""
    monkeypatch.setattr(products, "is_mkl_fast", lambda: request.param != "oneDNN")
    if request.param == "no oneDNN":
        monkeypatch.setattr(products, "_KERNEL", None)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(("rows", "seen", "out"), [(1, 1, 1), (7, 45, 128), (300, 128, 12)])
def test_values_and_gradients_are_those_of_torch(rows, seen, out, rectify):
    generator = torch.Generator().manual_seed(rows)
    # Transposed storage, as the flows pass it.
    x = torch.randn(seen, rows, generator=generator).T.requires_grad_()
    weight = torch.randn(out, seen, generator=generator, requires_grad=True)
    bias = torch.randn(out, generator=generator, requires_grad=True)
    probe = torch.randn(rows, out, generator=generator)

    def gradients(y):
        return torch.autograd.grad((y * probe).sum(), (x, weight, bias), retain_graph=True)

    expected = F.linear(x, weight, bias)
    expected = expected.relu() if rectify else expected
    given = products.linear(x, weight, bias, rectify=rectify)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients(given), gradients(expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    if not rectify:
        columns = products.linear_columns(x, weight, bias)
        assert columns.is_contiguous()
        torch.testing.assert_close(columns.T, expected, rtol=1e-4, atol=1e-4)
        for ours, theirs in zip(gradients(columns.T), gradients(expected), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(products.linear(x, weight, bias, rectify=rectify), given)


def test_full_precision_is_kept():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(256, 64, generator=generator), torch.randn(32, 64, generator=generator)
    exact = F.linear(x.double(), weight.double())
    # 64 products of float32 rounded to 2^-24 each, of size about one.
    assert (products.linear(x, weight).double() - exact).abs().max() < 64 * 2**-24 * 8


def test_double_precision_and_empty_input_take_the_ordinary_operators():
    x, weight = torch.randn(5, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    assert not products.is_fast(x)
    assert torch.equal(products.linear(x, weight), F.linear(x, weight))
    assert products.linear(torch.randn(0, 3), torch.randn(2, 3)).shape == (0, 2)


@pytest.mark.usefixtures("library")
def test_expanded_inputs_and_gradients_are_taken():
    row = torch.randn(1, 3, requires_grad=True)
    weight = torch.randn(2, 3, requires_grad=True)
    y = products.linear(row.expand(5, -1), weight, torch.zeros(2))
    torch.testing.assert_close(y, (row @ weight.T).expand(5, -1))
    y.sum().backward()
    torch.testing.assert_close(row.grad, 5 * weight.detach().sum(0, keepdim=True))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (4, 5, 3), (0, 3)])
def test_layer_takes_any_leading_axes(shape):
    layer = products.Linear(3, 2)
    x = torch.randn(shape)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("is_in_torch", [False, True])
def test_rectified_product_fills_the_place_it_is_given(is_in_torch, monkeypatch):
    if not is_in_torch:
        monkeypatch.setattr(products, "_RECTIFIED", None)
    a, b = torch.randn(6, 5), torch.randn(5, 9)
    place = torch.full((7, 12), torch.nan)
    products.rectified_product(a, b, place[:6, 2:11])
    torch.testing.assert_close(place[:6, 2:11], (a @ b).relu())
    assert place[6].isnan().all()
    assert place[:, [0, 1, 11]].isnan().all()
