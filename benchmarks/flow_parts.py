"""Speed parts of the flow benchmark; each returns a JSON-ready dictionary with timings, ratios and goals."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from flow_work import (
    FREIA_CHUNKS,
    ONE_CORE,
    Clock,
    Report,
    Run,
    Work,
    all_cores,
    fastest,
    floor_runs,
    freia_net,
    freia_samples,
    goals_met,
    interleaved,
    on_threads,
    ratio,
)
from torch import Tensor, nn

from monai_inn.networks import ConditionalFlow, FlowEnsemble

_FLOOR_ROWS = (400, 800, 1600, 3200)


def _both_clocks(measure: Callable[[Clock], Report]) -> Report:
    clocks = [ONE_CORE, all_cores()]
    return {clock.name: measure(clock) for clock in clocks[: 1 + (clocks[1].threads > 1)]}


def _finals(
    candidates: Mapping[str, Run], prefixes: tuple[str, ...], rows: int, clock: Clock
) -> tuple[dict[str, Run], dict[str, str]]:
    """The fastest candidate of every prefix after two rounds of all, and which one that is."""
    scan = interleaved(candidates, rows, clock, 2)
    chosen = {prefix: fastest(scan, prefix) for prefix in prefixes}
    return {prefix: candidates[name] for prefix, name in chosen.items()}, chosen


def make_flow(work: Work, coupling: str, members: int = 0, is_conditional: bool = True) -> nn.Module:
    """Our flow of the work's size, moved off the identity."""
    options = {
        "in_channels": work.channels,
        "condition_channels": work.condition_channels if is_conditional else 0,
        "num_blocks": work.num_blocks,
        "hidden_channels": (work.hidden, work.hidden),
        "coupling": coupling,
    }
    flow = FlowEnsemble(members, **options) if members else ConditionalFlow(**options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return flow.eval()


def affine(work: Work, repeats: int) -> Report:
    """Samples of an affine flow against its matrix products and against FrEIA."""
    condition = torch.randn(work.pixels, work.condition_channels)
    flow, net = make_flow(work, "affine"), freia_net(work)
    posterior = flow(condition)

    def measure(clock: Clock) -> Report:
        candidates: dict[str, Run] = floor_runs(work.shapes(), work.rows, _FLOOR_ROWS, clock.threads)
        for pixels in FREIA_CHUNKS:
            if pixels < work.pixels:
                candidates[f"FrEIA at best, {pixels} pixels"] = freia_samples(net, condition, work, pixels)
                if clock.threads > 1:
                    side_by_side = freia_samples(net, condition, work, pixels, clock.threads)
                    candidates[f"FrEIA at best, {pixels} pixels, Python threads"] = side_by_side
        finals, chosen = _finals(candidates, ("floor", "FrEIA at best"), work.rows, clock)
        finals["FrEIA as called"] = freia_samples(net, condition, work, work.pixels)
        finals["ours"] = lambda: posterior.sample((work.samples,))
        timings = interleaved(finals, work.rows, clock, repeats)
        ratios = {other: ratio(timings, "ours", other) for other in finals if other != "ours"}
        goals = {"floor": 0.75, "FrEIA at best": 1.3, "FrEIA as called": 3.0}
        return {"thousand_samples_per_s": timings, "chosen": chosen, "goals": goals_met(ratios, goals)}

    return _both_clocks(measure)


def spline(work: Work, repeats: int) -> Report:
    """Samples of a spline flow against its own matrix products, and zuko's flow where that is installed."""
    work = replace(work, outputs=23)
    condition = torch.randn(work.pixels, work.condition_channels)
    posterior = make_flow(work, "spline")(condition)

    def measure(clock: Clock) -> Report:
        candidates = floor_runs(work.shapes(), work.rows, _FLOOR_ROWS, clock.threads)
        finals, chosen = _finals(candidates, ("floor",), work.rows, clock)
        finals["ours"] = lambda: posterior.sample((work.samples,))
        timings = interleaved(finals, work.rows, clock, repeats)
        ratios, goals = {"floor": ratio(timings, "ours", "floor")}, {"floor": 0.4}
        if importlib.util.find_spec("zuko") is not None:
            few = min(
                16, work.pixels
            )  # one pass for each dimension: a sixteenth of the work is enough to time
            zuko = interleaved({"zuko": _zuko(work, condition[:few])}, few * work.samples, clock, 1)
            timings |= zuko
            ratios["zuko"], goals["zuko"] = ratio(timings, "ours", "zuko"), 20.0
        return {"thousand_samples_per_s": timings, "chosen": chosen, "goals": goals_met(ratios, goals)}

    return _both_clocks(measure) | {"zuko": importlib.util.find_spec("zuko") is not None}


def _zuko(work: Work, condition: Tensor) -> Run:
    import zuko

    widths = (work.hidden, work.hidden)
    flow = zuko.flows.NSF(
        work.channels, work.condition_channels, transforms=work.num_blocks, hidden_features=widths
    )
    return lambda: flow(condition).sample((work.samples,))


def ensemble(work: Work, repeats: int) -> Report:
    """Log densities of eight members in one pass, against the products and a loop over FrEIA networks."""
    report: Report = {}
    for is_conditional in (True, False):
        name = "conditional" if is_conditional else "unconditional"
        report[name] = _both_clocks(lambda clock, c=is_conditional: _ensemble(work, repeats, clock, c))
    return report


def _ensemble(work: Work, repeats: int, clock: Clock, is_conditional: bool, members: int = 8) -> Report:
    rows = work.rows // members  # of observations: each is seen by every member
    x, condition = torch.randn(rows, work.channels), torch.randn(rows, work.condition_channels)
    density = make_flow(work, "affine", members, is_conditional)(condition if is_conditional else None)
    nets = [freia_net(work, is_conditional) for _ in range(members)]

    def freia(size: int) -> Run:
        def chunk(start: int) -> None:
            part, given = x[start : start + size], [condition[start : start + size]] if is_conditional else []
            for net in nets:
                z, log_det = net(part, c=given)
                log_det - 0.5 * z.square().sum(1)

        jobs = [lambda s=s: chunk(s) for s in range(0, rows, size)]
        return (
            (lambda: on_threads(jobs, clock.threads))
            if clock.threads > 1
            else (lambda: [job() for job in jobs])
        )

    # Every row has its own condition here, so that the condition's products belong to the floor.
    shapes = work.shapes(work.condition_channels if is_conditional else 0)
    candidates = floor_runs(shapes, work.rows, _FLOOR_ROWS, clock.threads)
    candidates |= {f"loop over FrEIA, {size} rows": freia(size) for size in _FLOOR_ROWS if size <= rows}
    finals, chosen = _finals(candidates, ("floor", "loop over FrEIA"), work.rows, clock)
    finals["ours"] = lambda: density.log_prob(x)
    timings = interleaved(finals, work.rows, clock, repeats)
    ratios = {other: ratio(timings, "ours", other) for other in ("floor", "loop over FrEIA")}
    goals = {"floor": 0.6, "loop over FrEIA": 2.0}
    return {"thousand_member_rows_per_s": timings, "chosen": chosen, "goals": goals_met(ratios, goals)}
