"""Fully connected layers of a CPU, rows first, by the faster of two libraries.

``torch.mm`` goes to MKL, which on AMD processors since Zen 5 runs at half the speed of oneDNN's kernels or
less. Elsewhere the two are level until a matrix is transposed, as in every backward pass: oneDNN then copies
it first. The result is full ``float32`` either way. Everything else (other devices and number formats,
exports, compilation) takes torch's ordinary operators.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_inn.networks.kernels.chunks import is_mkl_fast, is_traced

__all__ = ["Linear", "is_fast", "linear", "linear_columns", "rectified_product"]


def _find_kernel() -> Any:
    """The kernel that ``torch.compile`` uses for linear layers, or ``None`` in a torch without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_KERNEL = _find_kernel()
_RECTIFIED = getattr(torch, "_addmm_activation", None)


@functools.cache
def _keep_memory() -> None:
    """Make the C library keep freed activations for the next ones: measured, 7–30 % of a flow's time.

    It returns large blocks to the system page by page until one of nearly 32 MiB, the most that it learns
    from, has been freed. That block is never written to, so it takes no memory; it is no tensor, so that it
    does not count as one that a bundle asks for.
    """
    torch.UntypedStorage(2**25 - 4096, device="cpu")


def is_fast(x: Tensor) -> bool:
    """Whether products of ``x`` take the ways of this file."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not is_traced()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, rectify: bool = False) -> Tensor:
    """Return ``x weightᵀ + bias``, negative values set to zero if ``rectify``.

    Args:
        x: shape ``(rows, in)``, any strides.
        weight: shape ``(out, in)``.
        bias: shape ``(out,)``.
        rectify: apply a rectifier.
    """
    if not is_fast(x):
        y = F.linear(x, weight, bias)
        return y.relu() if rectify else y
    if torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias, rectify)
    return _product(x, weight, bias, rectify)


def linear_columns(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the transpose of ``linear``, shape ``(out, rows)``, contiguous."""
    if not is_fast(x):
        return torch.addmm(bias.unsqueeze(1), weight, x.T)
    product = _Linear.apply(weight, x, None, False) if torch.is_grad_enabled() else _product(weight, x)
    return product.add_(bias.unsqueeze(1))


def rectified_product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write ``a @ b`` with negative values set to zero to ``out``, by MKL where torch has it.

    In one call: every call takes Python's lock once more, for which another thread may have to wait.
    """
    _keep_memory()
    if _RECTIFIED is None:
        torch.mm(a, b, out=out).clamp_min_(0)
    else:
        _RECTIFIED(out, a, b, beta=0, out=out)


class Linear(nn.Linear):
    """``torch.nn.Linear`` that uses the faster kernel."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(…, in)`` to ``(…, out)``."""
        if input.dim() == 2 or not is_fast(input):
            return linear(input, self.weight, self.bias)
        y = linear(input.reshape(-1, self.in_features), self.weight, self.bias)
        return y.reshape(*input.shape[:-1], self.out_features)


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None, rectify: bool = False) -> Tensor:
    """``a bᵀ + bias`` for ``a (m, k)`` and ``b (n, k)``."""
    _keep_memory()
    if not a.numel() or not b.numel():  # which the kernel refuses
        y = F.linear(a, b, bias)
        return y.relu() if rectify else y
    if _KERNEL is None or (is_mkl_fast() and not (a.is_contiguous() and b.is_contiguous())):
        y = a @ b.mT if bias is None else torch.addmm(bias, a, b.mT)
        return y.relu_() if rectify else y
    # The kernel takes transposed matrices, but not every stride: an expanded gradient, for one, it refuses.
    a, b = (m if m.is_contiguous() or m.mT.is_contiguous() else m.contiguous() for m in (a, b))
    return _KERNEL(a, b, bias, "relu" if rectify else "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
        y = _product(x, weight, bias, rectify)
        ctx.rectify = rectify
        ctx.save_for_backward(x, weight, y if rectify else None)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        if ctx.rectify:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        wanted = ctx.needs_input_grad
        return (
            _product(grad, weight.T) if wanted[0] else None,
            _product(grad.T, x.T) if wanted[1] else None,
            grad.sum(0) if wanted[2] else None,
            None,
        )
