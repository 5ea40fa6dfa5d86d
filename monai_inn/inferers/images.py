"""Posteriors of unknown images: summaries of their samples, pixel by pixel, and a few of the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from monai_inn.inferers.summaries import interval_levels, quantiles, sorted_last
from monai_inn.networks.images.distribution import check_temperature

if TYPE_CHECKING:
    from monai_inn.inferers.rows import RowPosterior
    from monai_inn.networks.images.rows import FieldFlow

__all__ = ["summarised_images"]

_AT_ONCE = 4  # observations


@torch.no_grad()
def summarised_images(
    fitted: RowPosterior,
    observation: Tensor,
    samples: int,
    interval: float,
    keep: int,
    seed: int,
    temperature: float,
    progress: Callable[[float], None],
) -> dict[str, Tensor]:
    """Return what ``FittedPosterior.images`` does."""
    problem = fitted.problem
    if not problem.has_fields:
        raise ValueError(f"the problem {problem.name!r} has no unknown image; ask for its maps or posterior.")
    if samples < 2 or not 0 <= keep <= samples or not 0 < interval < 1:
        raise ValueError(
            f"samples = {samples}, keep = {keep}, interval = {interval}; give at least 2 samples, keep no "
            "more than these, and a probability as interval, e.g. 0.9."
        )
    check_temperature(temperature)
    flow = cast("FieldFlow", fitted.network.flow)
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(samples, 1, len(problem.parameters), generator=generator)
    latent[..., flow.has_class :] *= temperature
    observation = torch.as_tensor(observation)
    rows = observation.reshape(-1, observation.shape[-1])
    parts = []
    for part in rows.split(_AT_ONCE):
        q = fitted.posterior(part)
        drawn = q.space.inverse(q.base.push(latent.to(fitted.device)))[..., flow.has_class :].cpu()
        seen = problem.seen_images(drawn, part.cpu(), generator)
        images = flow.images(drawn) if seen is None else seen
        ordered = sorted_last(images.flatten(2))
        low, median, high = (
            ends.unflatten(-1, images.shape[2:]) for ends in quantiles(ordered, interval_levels(interval))
        )
        ends = {"median": median, "interval_low": low, "interval_high": high, "interval_width": high - low}
        parts.append({"mean": images.mean(0), **ends, "samples": images[:keep]})
        progress(sum(len(p["mean"]) for p in parts) / len(rows))
    found = {}
    for name in parts[0]:
        place = int(name == "samples")  # of the axis of observations
        joined = torch.cat([p[name] for p in parts], place)
        found[name] = joined.unflatten(place, observation.shape[:-1] or (1,))
        if observation.ndim == 1:
            found[name] = found[name].squeeze(place)
    return found
