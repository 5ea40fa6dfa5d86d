"""The optimisation loop that every part of the network is trained with."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from monai_inn.training.checkpoint import HeldSignals
from monai_inn.training.optimiser import Optimiser
from monai_inn.training.ranks import Ranks

__all__ = ["Pace", "Progress", "Stage", "denormals_flushed", "run_stage"]

_WARM_UP = 0.02
_AVERAGING = 0.05  # the weight average looks back over this share of the steps
_LAST_RATE = 0.01
_EVALUATIONS = 25


@dataclass(frozen=True)
class Progress:
    """What is told while training: stage, share of it done, held-out loss in nats, seconds left."""

    stage: str
    share: float
    loss: float
    seconds_left: float


@dataclass
class Stage:
    """One part of the network and how it is trained.

    Args:
        name: shown to people and stored in checkpoints.
        module: the part whose weights are trained.
        batches: ``batches(first, last)`` yields the batch of every step.
        loss: mean loss of a batch, in nats where it is a likelihood.
        held_out: loss on held-out simulations.
        steps: number of steps.
        rate: peak learning rate, see ``Optimiser``.
        axis: where the rows are in the tensors of a batch.
    """

    name: str
    module: nn.Module
    batches: Callable[[int, int], Iterator[Any]]
    loss: Callable[[Any], Tensor]
    held_out: Callable[[], Tensor]
    steps: int
    rate: float
    axis: int = 0


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Round denormal numbers to zero inside.

    Momenta of weights whose gradient has vanished decay to denormal numbers and stay there; some processors
    multiply those a hundred times more slowly, so that a long training would slow down more and more.
    """
    before = float(torch.tensor(1e-40) * 1.0) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@denormals_flushed()
def run_stage(
    stage: Stage,
    *,
    resumed: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
    tell: Callable[[Progress], None],
    deadline: float = math.inf,
    patience: int = 10,
    ranks: Ranks | None = None,
    held: HeldSignals | None = None,
    reading: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> float:
    """Train one stage with warm-up and cosine decay, clipped gradients and averaged weights.

    The module ends with the averaged weights of the best held-out loss. Training stops early when the loss
    has not improved for ``patience`` evaluations, or at ``deadline`` (``time.monotonic()``). The state is
    saved at every evaluation but the last, whose outcome the caller has to save, and when a signal is held
    back: what is saved never stands between a stage's end and the next one's beginning. Several processes do
    the same steps at the same time, each on its share of every batch.

    Returns:
        The best held-out loss.
    """
    parameters = [p for p in stage.module.parameters() if p.requires_grad]
    optimiser = Optimiser(parameters, stage.rate)
    average = [p.detach().clone() for p in parameters]
    best, best_average, first, stale = math.inf, [a.clone() for a in average], 0, 0
    if resumed is not None:
        with reading():
            first, best, stale = resumed["step"], resumed["best"], resumed["stale"]
            optimiser.load(resumed["optimiser"])
            average = [t.to(p) for t, p in zip(resumed["average"], parameters, strict=True)]
            best_average = [t.to(p) for t, p in zip(resumed["best_average"], parameters, strict=True)]
    ranks = ranks or Ranks()
    every = max(1, stage.steps // _EVALUATIONS)
    decay = 1 - 1 / max(2.0, _AVERAGING * stage.steps)
    started = time.monotonic()
    limit = ranks.agreed(deadline - started)
    pace = Pace(first, stage.steps, limit)
    if resumed is None:  # a closed-form start may be as good as it gets
        best = ranks.agreed(_with_weights(parameters, average, stage.held_out))
    for step, batch in zip(range(first, stage.steps), stage.batches(first, stage.steps), strict=True):
        optimiser.zero_grad()
        own, part = ranks.share(batch, stage.axis)
        (part * stage.loss(own)).backward()
        stop = held is not None and held.is_pending
        seconds, stop = ranks.add(parameters, time.monotonic() - started, stop)
        norm = nn.utils.clip_grad_norm_(parameters, 5.0)
        if torch.isfinite(norm):  # one absurd batch must not end a long training
            optimiser.step(_schedule(pace.share(step, seconds)))
        # Early on the average must not remember the initial weights.
        with torch.no_grad():
            torch._foreach_lerp_(average, list[Tensor](parameters), 1 - min(decay, (1 + step) / (10 + step)))
        is_last = step + 1 == stage.steps or seconds > limit
        is_evaluated = is_last or (step + 1) % every == 0
        if is_evaluated:
            current = ranks.agreed(_with_weights(parameters, average, stage.held_out))
            if current < best:
                best, best_average, stale = current, [a.clone() for a in average], 0
            else:
                stale += 1
            left = seconds / (step + 1 - first) * (stage.steps - step - 1)
            tell(Progress(stage.name, (step + 1) / stage.steps, current, left))
            if is_last or stale >= patience:
                break
        if ranks.count == 1 and held is not None:
            stop = held.is_pending
        if is_evaluated or stop:
            save(
                {
                    "step": step + 1,
                    "best": best,
                    "stale": stale,
                    "optimiser": optimiser.state(),
                    "average": average,
                    "best_average": best_average,
                }
            )
        if held is not None and stop:
            held.release()
            if ranks.count > 1:
                raise KeyboardInterrupt  # that another process was sent
    _copy(parameters, best_average)
    return best


class Pace(NamedTuple):
    """How much of a stage is over, by steps, or by time if that runs out first.

    A deadline that comes while the learning rate is still high would leave a network worse than one of fewer
    steps. Without a deadline steps alone count, so that a resumed run is the same to the last bit.
    """

    first: int
    steps: int
    limit: float

    def share(self, step: int, seconds: float) -> float:
        """Share that is over before a step, and at so many seconds from the beginning."""
        by_steps = step / self.steps
        if math.isinf(self.limit):
            return by_steps
        before = self.first / self.steps
        spent = seconds / max(self.limit, 1e-3)
        return min(1.0, max(by_steps, before + (1 - before) * spent))


def _schedule(share: float) -> float:
    """Learning rate relative to its peak: linear warm-up, then half a cosine."""
    if share < _WARM_UP:
        return max(share / _WARM_UP, 0.01)
    progress = (share - _WARM_UP) / (1 - _WARM_UP)
    return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _copy(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


@torch.no_grad()
def _with_weights(
    parameters: list[nn.Parameter], values: list[Tensor], function: Callable[[], Tensor]
) -> float:
    """Evaluate a function with other weights in place."""
    kept = [p.detach().clone() for p in parameters]
    _copy(parameters, values)
    result = float(function())
    _copy(parameters, kept)
    return result if math.isfinite(result) else math.inf
