"""What every encoder and every flow must keep to, checked on one: for its author's tests as for ours."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from monai_inn.networks.parts import Encoder, Part, build, describe

__all__ = ["check_encoder", "check_flow", "require"]

_ROWS = 6


def check_encoder(encoder: Encoder, features: Tensor) -> None:
    """Check an encoder on a few features.

    Args:
        encoder: the encoder, its class registered.
        features: features of observations, ``(N, F)``, at least two.

    Raises:
        ValueError: at the first thing that is wrong, saying what was expected.
    """
    name, rows = type(encoder).__name__, features[:_ROWS]
    encoder = copy.deepcopy(encoder).eval()
    condition = encoder(rows)
    expected = (len(rows), encoder.out_channels)
    require(condition.shape == expected, f"{name} returned {tuple(condition.shape)}, expected {expected}.")
    require(condition.isfinite().all(), f"{name} returned values that are not finite.")
    require(_near(encoder(rows[:1]), condition[:1]), f"{name}'s answer to a row depends on the other rows.")
    for given, expected, shape in (
        (rows.unsqueeze(1), condition.unsqueeze(1), "(N, 1, F)"),
        (rows[0], condition[0], "(F,)"),
    ):
        found = encoder(given)
        require(
            found.shape == expected.shape and _near(found, expected),
            f"{name} takes rows (N, F), but not {shape}; keep all axes in front.",
        )
    _check_copies(encoder, rows)
    _check_gradients(encoder, encoder(rows).square().sum())


def check_flow(flow: nn.Module, condition: Tensor | None = None, values: Tensor | None = None) -> None:
    """Check a flow of double precision: round trip, log-determinant against autograd, marginals, copies.

    Args:
        flow: returns a ``torch.distributions.Distribution`` of a condition, as ``ConditionalFlow`` does.
        condition: conditions ``(N, F)``; none for an unconditional flow.
        values: where it is checked, ``(N, D)``; drawn from a standard normal by default.

    Raises:
        ValueError: at the first thing that is wrong, saying what was expected.
    """
    name, flow = type(flow).__name__, copy.deepcopy(flow).double().eval()
    condition = None if condition is None else condition[:_ROWS].double()
    rows = _ROWS if condition is None else len(condition)
    q = flow(condition)
    channels = q.event_shape[0]
    if values is None:
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    log_prob, latent = q.log_prob(values), q.latent(values)
    require(log_prob.shape == (rows,), f"{name}: log_prob has the shape {tuple(log_prob.shape)}.")
    if condition is not None:
        back = q.push(latent.unsqueeze(0))[0]
        require((back - values).abs().max() < 1e-6, f"{name}: push does not undo latent.")
    for row, value in enumerate(values):
        here = flow(None if condition is None else condition[row])
        jacobian = torch.autograd.functional.jacobian(here.latent, value)
        normal = -0.5 * latent[row].square().sum() - 0.5 * channels * math.log(2 * math.pi)
        expected = normal + torch.linalg.slogdet(jacobian)[1]
        require(
            torch.allclose(here.log_prob(value), expected, atol=1e-6),
            f"{name}: log_prob is not that of the map from values to latents.",
        )
    for leading in _leading(flow, channels):
        part = q.leading(leading)
        require(
            torch.allclose(part.latent(values[:, :leading]), latent[:, :leading], atol=1e-9),
            f"{name}: the marginal of the first {leading} channels is not that of all.",
        )
    if isinstance(flow, Part):
        _check_copies(flow, condition, values)
    _check_gradients(flow, flow(condition).log_prob(values).sum())


def _leading(flow: nn.Module, channels: int) -> list[int]:
    """Sizes of the leading groups whose marginals a flow gives."""
    groups = getattr(flow, "config", {}).get("groups", [channels])
    return [sum(groups[: i + 1]) for i in range(len(groups))]


def _check_copies(part: Part, rows: Tensor | None, values: Tensor | None = None) -> None:
    """One that is built from the description and given the weights must answer alike."""
    description = describe(part)
    again = build(description).to(next(part.parameters()).dtype).eval()
    again.load_state_dict(part.state_dict())
    require(describe(again) == description, f"{type(part).__name__}: config is not that of its copy.")
    one, other = (made(rows) if values is None else made(rows).log_prob(values) for made in (part, again))
    require(torch.equal(one, other), f"{type(part).__name__}: a copy made from config answers differently.")


def _check_gradients(part: nn.Module, loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in part.named_parameters() if p.requires_grad and p.grad is None]
    require(not idle, f"{type(part).__name__}: no gradient reaches {', '.join(idle)}.")


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def require(holds: bool | Tensor, message: str) -> None:
    """Raise a ``ValueError`` with the message where something does not hold."""
    if not holds:
        raise ValueError(message)
