"""What a network costs, and how exact it is, as eager torch, as a program of torch.export and in onnxruntime.

    python benchmarks/export.py [--bundle NAME_OR_PATH …] [--pixels N] [--samples S] [--repeats R] [--double]
                                [--json]

Every bundle is exported by `monai_inn.bundles.exporting`. For a posterior sample, a density or a score there
are printed the CPU time on one thread, its ratio to eager torch, which takes the package's own kernels, and
the largest differences: from eager torch, and from the same network in double precision, which says how
much of it is rounding that eager torch has as well. Those of samples are shares of the parameter's range,
beside the parameter that has the largest one; those of densities and WAIC are nats, relative beyond one.

"from rounded inputs" is what remains of the best network in single precision: every operation is exact, but
what goes in is off by up to half a unit in the last place. ``--double`` exports graphs that compute in double
precision; eager torch does, too, then.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
import torch
from torch import Tensor

import monai_inn
from monai_inn.bundles.exporting import export_network
from monai_inn.inferers.modules.graphs import GRAPHS, Graph
from monai_inn.inferers.summaries import shared_latents

Run = Callable[..., Sequence[Tensor]]


def runners(graph: Graph, folder: Path, name: str) -> dict[str, Run]:
    """The three ways to get one answer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", options, ["CPUExecutionProvider"])
    program = torch.export.load(folder / f"{name}.pt2").module()

    def in_runtime(*inputs: Tensor) -> list[Tensor]:
        named = {n: value.numpy() for n, value in zip(graph.inputs, inputs, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, named)]

    return {"eager": as_tuple(graph), "torch.export": as_tuple(program), "onnxruntime": in_runtime}


def as_tuple(function: Callable[..., Any]) -> Run:
    """The function with a tuple of results."""

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        result = function(*inputs)
        return (result,) if isinstance(result, Tensor) else result

    return run


def cpu_us(run: Run, inputs: Sequence[Tensor], repeats: int) -> float:
    """Least CPU time of a call in microseconds."""
    run(*inputs)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run(*inputs)
        times.append(time.process_time() - start)
    return min(times) * 1e6


def difference(graph: Graph, found: Tensor, expected: Tensor) -> dict[str, Any]:
    """The largest difference, and for samples of which parameter it is."""
    off = (found.double() - expected.double()).abs()
    if graph.outputs[0] != "samples":
        return {"largest": float((off / expected.double().abs().clamp_min(1.0)).max())}
    low, high = graph.space.inverse(torch.tensor([[-3.0], [3.0]]).double().expand(2, len(graph.space)))
    shares = (off / (high - low)).flatten(0, -2).amax(0)
    return {"largest": float(shares.max()), "parameter": graph.space.names[int(shares.argmax())]}


def rounded(values: Tensor) -> Tensor:
    """Values of single precision, moved by up to half a unit in their last place, as doubles."""
    unit = torch.from_numpy(np.spacing(values.abs().numpy())).double()
    draws = torch.rand(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return values.double() + (draws - 0.5) * unit


@torch.no_grad()
def measured(bundle: str, pixels: int, samples: int, repeats: int, is_double: bool) -> dict[str, Any]:
    """Times and differences of one bundle."""
    fitted = monai_inn.load(bundle)
    theta, y = fitted.problem.simulate(pixels, seed=3)
    latent = shared_latents(samples, len(fitted.problem.targets), seed=1).squeeze(1)
    given = {"observation": y, "latent": latent, "parameters": theta[:, : latent.shape[1]].contiguous()}
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        export_network(bundle, Path(folder) / "out", is_double=is_double)
        for name, kind in GRAPHS.items():
            graph = kind(fitted).eval()
            double = copy.deepcopy(graph).double()
            graph = double if is_double else graph
            inputs = [given[n] for n in graph.inputs]
            runs = runners(graph, Path(folder) / "out", name)
            answers = {way: run(*inputs)[0] for way, run in runs.items()}
            exact, moved = (
                as_tuple(double)(*values)[0] for values in (inputs, [rounded(value) for value in inputs])
            )
            count = pixels * (samples if name == "sampler" else 1)
            us = {way: cpu_us(run, inputs, repeats) / count for way, run in runs.items()}
            report[name] = {
                way: {
                    "cpu_us": round(us[way], 4),
                    "ratio_to_eager": round(us[way] / us["eager"], 2),
                    "from_eager": difference(graph, answers[way], answers["eager"]),
                    "from_double": difference(graph, answers[way], exact),
                }
                for way in runs
            }
            report[name]["from_rounded_inputs"] = difference(graph, moved, exact)
    return report


def main() -> None:
    """Print one block a bundle."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", nargs="+", default=["oximetry", "oximetry_rgb"])
    parser.add_argument("--pixels", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (options.pixels, options.samples, options.repeats, options.double)
    report = {bundle: measured(bundle, *sizes) for bundle in options.bundle}
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    if options.json:
        print(json.dumps({"versions": versions, "bundles": report}, indent=1))
        return
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    for bundle, graphs in report.items():
        print(f"\n{bundle}: {options.pixels:,} pixels, {options.samples} samples")
        for name, ways in graphs.items():
            print(f"  {name:9} from rounded inputs {ways.pop('from_rounded_inputs')['largest']:.1e}")
            for way, row in ways.items():
                worst = row["from_eager"].get("parameter", "")
                print(
                    f"  {name:9} {way:13} {row['cpu_us']:8.2f} µs  {row['ratio_to_eager']:5.2f}  "
                    f"from eager {row['from_eager']['largest']:.1e}  "
                    f"from double {row['from_double']['largest']:.1e}  {worst}"
                )


if __name__ == "__main__":
    main()
