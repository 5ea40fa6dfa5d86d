"""Training of an invertible autoencoder, plain or variational."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from monai_inn.networks.autoencoder import InvertibleAutoencoder
from monai_inn.networks.kernels.chunks import single_thread
from monai_inn.training.engine import Progress, Stage, run_stage

__all__ = ["autoencoding", "fit_autoencoder"]

_PATIENCE = 25  # evaluations, which are all: a code that bends is worse than a straight one at first


def autoencoding(
    net: InvertibleAutoencoder,
    data: Tensor,
    held_out: Tensor,
    *,
    weight: float = 1.0,
    noise_sd: float = 0.0,
    steps: int = 1500,
    batch_size: int = 256,
    rate: float = 2e-3,
    divergence: float | None = None,
    seed: int = 0,
) -> Stage:
    """Return the stage that trains an autoencoder to hold data in its ``kept`` coordinates.

    The loss is the squared error of the decoded data plus ``weight`` times the squared rest, both over what
    principal components leave; on held-out data the error alone counts. In the variational version minus the
    bound of the log density takes the error's place, in nats a pixel.

    Args:
        net: the autoencoder, initialised.
        data: what it learns from, ``(N, *size)``.
        held_out: data that decide which weights are kept, ``(N', *size)``.
        weight: of the rest.
        noise_sd: standard deviation of white noise on what is encoded, for an autoencoder that removes it:
            decoded data are compared with those without noise. For the plain version.
        steps: steps of the training.
        batch_size: rows in a step.
        rate: peak learning rate.
        divergence: weight of the code's divergence from the prior in the variational version, 1 for the
            bound itself; ``None`` for the plain version.
        seed: seed of batches and noise.

    Raises:
        ValueError: if a weight or the noise is negative, or there is no held-out row.
    """
    if min(weight, noise_sd, divergence or 0.0) < 0 or len(held_out) < 1:
        raise ValueError(
            f"weight = {weight}, noise_sd = {noise_sd}, divergence = {divergence}, {len(held_out)} held-out "
            "rows; give numbers of at least 0, and some rows."
        )
    left = (net.log_noise.detach().exp() * max(len(net.scale) - net.kept, 1)).clone()

    def loss(batch: tuple[Tensor, Tensor, Tensor], weight: float = weight) -> Tensor:
        rows, seen, noise = batch
        coordinates = net.coordinates(seen)
        rest = (coordinates[:, net.kept :] * net.scale[net.kept :]).square().sum(1).mean() / left
        if divergence is None:
            decoded = net.decode(coordinates[:, : net.kept])
            return (decoded - rows).flatten(1).square().sum(1).mean() / left + weight * rest
        fit, cost = net.bound(rows, noise)
        return ((divergence * cost - fit).mean() + weight * rest) / len(net.scale)

    def batches(first: int, last: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            index = torch.randint(len(data), (batch_size,), generator=generator)
            yield _batch(net, data[index.to(data.device)], noise_sd, generator)

    fixed = _batch(net, held_out, noise_sd, torch.Generator().manual_seed(seed))
    net.log_noise.requires_grad_(divergence is not None)
    net.noise_logit.requires_grad_(divergence is not None)
    return Stage("autoencoder", net, batches, loss, lambda: loss(fixed, 0.0), steps, rate)


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


def _batch(
    net: InvertibleAutoencoder, rows: Tensor, noise_sd: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, the same with noise, and noise for their codes."""
    of_codes = torch.randn(len(rows), net.kept, generator=generator).to(rows)
    noise = torch.randn(rows.shape, generator=generator).to(rows) if noise_sd else 0.0
    return rows, rows + noise_sd * noise, of_codes
