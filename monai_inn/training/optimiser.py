"""The optimiser: Adam in the eigenbasis of the gradients for matrices, plain Adam for everything else.

A spectrum of a hundred bands carries a few directions of large variance and many of small, and gradients of
the weights inherit that; Adam scales entries, not directions. How much it gains: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Optimiser", "Soap"]

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_BASIS_DECAY = 0.95
# The covariances change slowly: they take in every second gradient, and a basis holds for twenty steps.
_TRACK_EVERY, _TURN_EVERY = 2, 20
_FIRST_TURNS = (2, 5, 10)


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of the gradients' covariance.

    All matrices of one shape are stepped in one batch, which makes small ones cheap. The first call only
    measures the covariance.

    Source: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024.

    Args:
        parameters: weights of shape ``(…, out, in)``; leading axes are separate matrices.
        lr: learning rate, that of Adam.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        by_shape: dict[tuple[int, int], list[Tensor]] = {}
        for p in parameters:
            by_shape.setdefault((p.shape[-2], p.shape[-1]), []).append(p)
        super().__init__([{"params": same} for same in by_shape.values()], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step; a weight without a gradient, which the loss does not use, has one of zero."""
        for group in self.param_groups:
            parameters = group["params"]
            shape = parameters[0].shape[-2:]
            own = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
            gradient = torch.cat([values.reshape(-1, *shape) for values in own])
            state = self.state[parameters[0]]
            if not state:
                state.update(_started(gradient))
                continue
            steps = _rotated_step(state, gradient).split([p.numel() // shape.numel() for p in parameters])
            changes = [step.view_as(p) for step, p in zip(steps, parameters, strict=True)]
            torch._foreach_add_(parameters, changes, alpha=-group["lr"])


def _started(gradient: Tensor) -> dict[str, Any]:
    """State after a first gradient ``(N, out, in)``; both moments are those in the basis."""
    left, right = gradient @ gradient.mT, gradient.mT @ gradient
    return {
        "step": 0,
        "momentum": torch.zeros_like(gradient),
        "square": torch.zeros_like(gradient),
        "left_covariance": left,
        "right_covariance": right,
        "left": torch.linalg.eigh(left)[1].flip(-1),
        "right": torch.linalg.eigh(right)[1].flip(-1),
    }


def _rotated_step(state: dict[str, Any], gradient: Tensor) -> Tensor:
    """Adam's step ``(N, out, in)`` in the basis, turned back; updates the state."""
    state["step"] += 1
    left, right = state["left"], state["right"]
    rotated = left.mT @ gradient @ right
    state["momentum"].lerp_(rotated, 1 - _BETAS[0])
    state["square"].lerp_(rotated.square(), 1 - _BETAS[1])
    momentum = state["momentum"] / (1 - _BETAS[0] ** state["step"])
    square = state["square"] / (1 - _BETAS[1] ** state["step"])
    step = left @ (momentum / square.sqrt().add_(_EPSILON)) @ right.mT
    if state["step"] % _TRACK_EVERY == 0:
        weight = 1 - _BASIS_DECAY**_TRACK_EVERY
        state["left_covariance"].lerp_(gradient @ gradient.mT, weight)
        state["right_covariance"].lerp_(gradient.mT @ gradient, weight)
    if state["step"] % _TURN_EVERY == 0 or state["step"] in _FIRST_TURNS:
        _turn(state)
    return step


def _turn(state: dict[str, Any]) -> None:
    """Move both bases closer to the eigenvectors, by a power iteration, and the moments with them."""
    momentum = state["left"] @ state["momentum"] @ state["right"].mT
    for side, axis in (("left", 1), ("right", 2)):
        covariance, basis = state[f"{side}_covariance"], state[side]
        image = covariance @ basis
        order = (basis * image).sum(1).argsort(-1, descending=True)  # by eigenvalue
        state[side] = torch.linalg.qr(image.gather(2, order.unsqueeze(1).expand_as(image)))[0]
        # Squares do not turn: each stays with its eigenvector.
        order = order.unsqueeze(3 - axis).expand_as(state["square"])
        state["square"] = state["square"].gather(axis, order)
    state["momentum"] = state["left"].mT @ momentum @ state["right"]


class Optimiser:
    """Both kinds of steps for all weights of a module.

    Args:
        parameters: all weights that are trained.
        rate: peak learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        weights = list(parameters)
        matrices = [p for p in weights if p.dim() > 1 and min(p.shape[-2:]) > 1]
        chosen = {id(p) for p in matrices}
        others = [p for p in weights if id(p) not in chosen]
        self.rate = rate
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(Soap(matrices, rate))
        if others:
            self._parts.append(torch.optim.Adam(others, lr=rate, betas=_BETAS, eps=_EPSILON, fused=True))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, share: float = 1.0) -> None:
        """Take one step at a share of the peak learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = self.rate * share
            part.step()

    def state(self) -> list[dict[str, Any]]:
        """Moments and bases, for a checkpoint."""
        return [part.state_dict() for part in self._parts]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Restore what ``state`` gave."""
        for part, stored in zip(self._parts, state, strict=True):
            part.load_state_dict(stored)
