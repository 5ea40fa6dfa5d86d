"""Training of an invertible autoencoder, plain or variational."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from monai_inn.networks.autoencoder import InvertibleAutoencoder
from monai_inn.training.engine import Progress, Stage, run_stage, single_thread

__all__ = ["autoencoding", "fit_autoencoder"]

_PATIENCE = 25  # evaluations, which are all: a code that bends is worse than a straight one at first


def autoencoding(
    net: InvertibleAutoencoder,
    data: Tensor,
    held_out: Tensor,
    *,
    weight: float = 1.0,
    steps: int = 1500,
    batch_size: int = 256,
    rate: float = 2e-3,
    divergence: float | None = None,
    seed: int = 0,
) -> Stage:
    """Return the stage that trains an autoencoder to hold data in its ``kept`` coordinates.

    The loss is the squared error of the decoded data plus ``weight`` times the squared rest, both over what
    principal components leave; on held-out data the error alone counts. In the variational version it is
    minus the bound of the log density in nats a pixel.

    Args:
        net: the autoencoder, initialised.
        data: what it learns from, ``(N, *size)``.
        held_out: data that decide which weights are kept, ``(N', *size)``.
        weight: of the rest.
        steps: steps of the training.
        batch_size: rows in a step.
        rate: peak learning rate.
        divergence: weight of the code's divergence from the prior in the variational version, 1 for the
            bound itself; ``None`` for the plain version.
        seed: seed of batches and noise.

    Raises:
        ValueError: if a weight is negative, or there is no held-out row.
    """
    if weight < 0 or (divergence is not None and divergence < 0) or len(held_out) < 1:
        raise ValueError(
            f"weight = {weight}, divergence = {divergence}, {len(held_out)} held-out rows; give weights of "
            "at least 0, and some rows."
        )
    with torch.no_grad():
        variance = net.log_noise.exp() * max(len(net.scale) - net.kept, 1)
    scale = net.scale[net.kept :] / variance.sqrt()

    def error(rows: Tensor, coordinates: Tensor) -> Tensor:
        decoded = net.decode(coordinates[:, : net.kept])
        return (decoded - rows).flatten(1).square().sum(1).mean() / variance

    def lost(coordinates: Tensor) -> Tensor:
        return weight * (coordinates[:, net.kept :] * scale).square().sum(1).mean()

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        rows, noise = batch
        coordinates = net.coordinates(rows)
        if divergence is None:
            return error(rows, coordinates) + lost(coordinates)
        return bounded(rows, noise, divergence) + lost(coordinates) / len(net.scale)

    def bounded(rows: Tensor, noise: Tensor, divergence: float) -> Tensor:
        fit, cost = net.bound(rows, noise)
        return (divergence * cost - fit).mean() / len(net.scale)

    def batches(first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            index = torch.randint(len(data), (batch_size,), generator=generator)
            yield data[index.to(data.device)], _noise(net, batch_size, generator)

    fixed = _noise(net, len(held_out), torch.Generator().manual_seed(seed))

    def held() -> Tensor:
        if divergence is None:
            return error(held_out, net.coordinates(held_out))
        return bounded(held_out, fixed, divergence)

    net.log_noise.requires_grad_(divergence is not None)
    net.noise_logit.requires_grad_(divergence is not None)
    return Stage("autoencoder", net, batches, loss, held, steps, rate)


def fit_autoencoder(
    net: InvertibleAutoencoder,
    data: Tensor,
    held_out: Tensor,
    *,
    tell: Callable[[Progress], None] = lambda _: None,
    **options: float | int | None,
) -> float:
    """Start an autoencoder at the principal components of data and train it; return the held-out loss.

    The couplings stay only as far as they lower that loss: the plain version never has a larger error on the
    held-out data than principal components.

    Args:
        net: the autoencoder.
        data: what it learns from, ``(N, *size)``.
        held_out: data that decide which weights are kept, ``(N', *size)``.
        tell: receives the progress.
        **options: see ``autoencoding``.
    """
    data, held_out = data.to(net.mean), held_out.to(net.mean)
    net.initialise(data)
    stage = autoencoding(net, data, held_out, **options)  # type: ignore[arg-type]
    if not len(net.subnets) and options.get("divergence") is None:
        return float(stage.held_out())
    with single_thread(net.mean.device):
        return run_stage(stage, resumed=None, save=lambda _: None, tell=tell, patience=_PATIENCE)


def _noise(net: InvertibleAutoencoder, rows: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, net.kept, generator=generator).to(net.mean)
