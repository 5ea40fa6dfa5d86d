"""Reference work of the flow benchmark: its matrix products alone, the same network in FrEIA, fair clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from monai_inn.networks.kernels.products import linear

Run = Callable[[], object]
Report = dict[str, Any]
FREIA_CHUNKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Work:
    """Sizes of the work: by default 13 parameters, 16 bands, 8 two-sided blocks of width 128."""

    channels: int = 13
    condition_channels: int = 16
    num_blocks: int = 8
    hidden: int = 128
    pixels: int = 256
    samples: int = 200
    outputs: int = 2  # of a subnet for each channel that it moves: 2 affine, 3 bins − 1 spline

    @property
    def rows(self) -> int:
        """Samples of all pixels."""
        return self.pixels * self.samples

    def shapes(self, seen_condition: int = 0) -> list[tuple[int, int]]:
        """``(in, out)`` of every product of a row; that of the condition only if it is paid by the row."""
        low = self.channels // 2
        products = []
        for seen, moved in ((low, self.channels - low), (self.channels - low, low)):
            products += [(seen + seen_condition, self.hidden), (self.hidden, self.hidden)]
            products.append((self.hidden, moved * self.outputs))
        return self.num_blocks * [*products, (self.channels, self.channels)]


@dataclass(frozen=True)
class Clock:
    """How time is taken. On a busy machine only the processor time of a single thread is repeatable."""

    name: str
    threads: int
    now: Callable[[], float]


ONE_CORE = Clock("one core, processor time", 1, time.process_time)


def all_cores() -> Clock:
    return Clock("all cores, wall time", torch.get_num_threads(), time.perf_counter)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(runs: Mapping[str, Run], rows: int, clock: Clock, repeats: int) -> dict[str, Report]:
    """Time all in turn, so that a change of the machine's load meets everybody.

    Returns:
        For each name thousand rows a second: the median, the best, and the spread (interquartile range over
        median) of its rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad(), torch_threads(clock.threads):
        for turn in range(repeats + 1):
            for name, run in runs.items():
                start = clock.now()
                run()
                if turn:  # the first round warms up
                    seconds[name].append(clock.now() - start)
    return {name: _summary(times, rows) for name, times in seconds.items()}


def _summary(seconds: Sequence[float], rows: int) -> Report:
    middle = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (middle,) * 3
    speed = [rows / s / 1e3 for s in (middle, min(seconds))]
    return {"median": speed[0], "best": speed[1], "spread": (high - low) / middle}


def ratio(timings: Mapping[str, Report], name: str, other: str) -> float:
    """How many times faster the first is, by medians of interleaved rounds."""
    return timings[name]["median"] / timings[other]["median"]


def goals_met(ratios: Mapping[str, float], goals: Mapping[str, float]) -> Report:
    """Each goal beside the ratio that was measured."""
    return {
        name: {"ratio": ratios[name], "goal": goal, "met": ratios[name] >= goal}
        for name, goal in goals.items()
    }


def fastest(timings: Mapping[str, Report], prefix: str) -> str:
    return max(
        (name for name in timings if name.startswith(prefix)), key=lambda name: timings[name]["median"]
    )


def floor_runs(
    shapes: Sequence[tuple[int, int]],
    rows: int,
    chunk_rows: Sequence[int],
    threads: int,
    prefix: str = "floor",
) -> dict[str, Run]:
    """The products alone: both orders and oneDNN, several chunks, by Python threads and by torch's own."""
    runs: dict[str, Run] = {}
    for size in chunk_rows:
        chunks = -(-rows // size)
        for order in ("channels first", "rows first", "oneDNN"):
            once = [_products(shapes, size, order) for _ in range(threads)]
            runs[f"{prefix}, {order}, {size} rows"] = _split(once, chunks)
            if threads > 1:
                runs[f"{prefix}, {order}, {size} rows, torch threads"] = _split(once[:1], chunks)
    return runs


def _products(shapes: Sequence[tuple[int, int]], rows: int, order: str) -> Run:
    is_channels_first = order == "channels first"

    def random(*size: int) -> Tensor:
        return torch.randn(size if is_channels_first else size[::-1])

    # One input and one output buffer for each width, as in a network whose activations stay in the cache.
    widths = {width for shape in shapes for width in shape}
    inputs, outputs = ({width: random(width, rows) for width in widths} for _ in range(2))
    steps = [(random(out, seen), inputs[seen], outputs[out]) for seen, out in shapes]

    def run() -> None:
        for weight, value, out in steps:
            if is_channels_first:
                torch.mm(weight, value, out=out)
            elif order == "rows first":
                torch.mm(value, weight, out=out)
            else:
                linear(value, weight.T)

    return run


def _split(workers: Sequence[Run], times: int) -> Run:
    """Run workers side by side, each its share of ``times``."""
    shares = [times // len(workers) + (i < times % len(workers)) for i in range(len(workers))]

    def repeat(worker: Run, share: int) -> None:
        for _ in range(share):
            worker()

    def run() -> None:
        if len(workers) == 1:
            repeat(workers[0], times)
            return
        on_threads(
            [lambda w=w, s=s: repeat(w, s) for w, s in zip(workers, shares, strict=True)], len(workers)
        )

    return run


def on_threads(jobs: Sequence[Run], threads: int) -> None:
    """Run jobs on Python threads that each use one core."""
    before = torch.get_num_threads()

    def quiet(job: Run) -> None:
        with torch.no_grad():
            job()

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(quiet, jobs))
    torch.set_num_threads(before)


def freia_net(work: Work, is_conditional: bool = True) -> nn.Module:
    """The work's network in FrEIA: GLOW couplings and permutations."""
    import FrEIA.framework as ff
    import FrEIA.modules as fm

    def subnet(seen: int, out: int) -> nn.Sequential:
        widths = (work.hidden, work.hidden)
        first, second = nn.Linear(seen, widths[0]), nn.Linear(*widths)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(widths[1], out))

    net = ff.SequenceINN(work.channels)
    condition = {"cond": 0, "cond_shape": (work.condition_channels,)} if is_conditional else {}
    for _ in range(work.num_blocks):
        net.append(fm.GLOWCouplingBlock, subnet_constructor=subnet, **condition)
        net.append(fm.PermuteRandom)
    return net.eval()


def freia_samples(net: nn.Module, condition: Tensor, work: Work, pixels: int, threads: int = 1) -> Run:
    """Sample in chunks of pixels, one by one, or on several Python threads."""

    def chunk(start: int) -> None:
        part = condition[start : start + pixels].repeat_interleave(work.samples, 0)
        net(torch.randn(len(part), work.channels), c=[part], rev=True, jac=False)

    starts = range(0, work.pixels, pixels)

    def run() -> None:
        if threads > 1:
            on_threads([lambda s=s: chunk(s) for s in starts], threads)
            return
        for start in starts:
            chunk(start)

    return run
