"""Which way to posteriors is best for the same time? Flows, autoencoders, matching, mixtures, peers.

    python benchmarks/methods.py --out DIR [--minutes M] [--problems …] [--methods …]
                                 [--pictures DIR] [--json]

Every method trains for the same processor time of one thread on one pool of simulations, in the same space
and on the same whitened features. Results are stored in DIR as they come, and a second run with the same
settings fills in what is missing. Peers come with: pip install "monai_inn[benchmarks]".

Source: Kruse et al., Benchmarking invertible architectures on inverse problems, 2021.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from methods_base import Method, Pool
from methods_flows import AffineCinn, Inn2018, SplineCinn
from methods_generative import ConditionalAutoencoder, ConditionalVae, FlowMatching, MixtureDensity
from methods_measure import measure
from methods_peers import BayesFlow, Freia, Sbi, SbiSpline, Zuko
from methods_pictures import draw
from methods_problems import CASES, Truth
from methods_simple import Exact, Prior, Rejection
from methods_table import table

Report = dict[str, Any]

METHODS: dict[str, type[Method]] = {
    "exact": Exact,
    "spline": SplineCinn,
    "affine": AffineCinn,
    "inn": Inn2018,
    "flow_matching": FlowMatching,
    "mixture": MixtureDensity,
    "vae": ConditionalVae,
    "autoencoder": ConditionalAutoencoder,
    "rejection": Rejection,
    "sbi_maf": Sbi,
    "sbi_nsf": SbiSpline,
    "bayesflow": BayesFlow,
    "zuko": Zuko,
    "freia": Freia,
    "prior": Prior,
}
_DRAWN = 500  # samples of the picture


def main() -> int:
    """Run what is missing, then show everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the stored results")
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="processor time of each training (default 2)"
    )
    parser.add_argument("--problems", nargs="+", choices=list(CASES), default=list(CASES), metavar="PROBLEM")
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--simulations", type=int, default=200_000)
    parser.add_argument("--observations", type=int, default=400)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for one picture a problem")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    names = ("minutes", "simulations", "observations", "samples", "seed")
    settings = {name: getattr(options, name) for name in names}
    results = {key: _results(key, options.methods, settings, options.out) for key in options.problems}
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for key in options.problems:
            _picture(key, options.methods, options.out, options.pictures)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        print("\n\n".join(table(CASES[key].title, found) for key, found in results.items()))
    return 0


def _results(key: str, methods: list[str], settings: Report, out: Path) -> dict[str, Report]:
    """Stored and new results of one problem by the methods' names."""
    folder = out / key
    folder.mkdir(parents=True, exist_ok=True)
    case = CASES[key]
    possible = [name for name in methods if name != "exact" or case.has_reference]
    found = {name: _stored(folder / f"{name}.json", settings) for name in possible}
    missing = [name for name, report in found.items() if report is None]
    if missing:
        problem = case.make()
        _tell(f"{key}: simulating {settings['simulations']:,} pairs")
        pool = Pool(problem, settings["simulations"])
        truth = Truth.of(case, problem, settings["observations"], settings["samples"])
        for name in missing:
            found[name] = report = _tried(name, key, pool, truth, settings, folder)
            _tell(f"{key}, {name}: {report.get('note', 'done')}")
    return {METHODS[name].name: report for name, report in found.items() if report is not None}


def _tried(name: str, key: str, pool: Pool, truth: Truth, settings: Report, folder: Path) -> Report:
    """A method's result, or why there is none: one peer's trouble must not cost the others' hour."""
    try:
        return _run(name, key, pool, truth, settings, folder)
    except ImportError:
        return {"note": "not installed"}
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        return {"note": f"failed: {type(error).__name__}: {line[:80]}"}


def _run(name: str, key: str, pool: Pool, truth: Truth, settings: Report, folder: Path) -> Report:
    """Train and measure one method, and store what came out."""
    method, began = METHODS[name](), time.process_time()
    steps = method.train(pool, 60 * settings["minutes"], settings["seed"])
    seconds = time.process_time() - began
    report = {
        "method": method.name,
        "problem": key,
        "settings": settings,
        "steps": steps,
        "train_seconds": seconds,
        "weights": method.num_weights(),
        **measure(method, CASES[key], pool, truth, settings["samples"]),
    }
    shown = method.sample(truth.shown, _DRAWN)[:, 0]
    np.savez_compressed(folder / f"{name}.npz", samples=shown.numpy(), observation=truth.shown[0].numpy())
    temporary = folder / f"{name}.json.tmp"
    temporary.write_text(json.dumps(report, indent=1))
    os.replace(temporary, folder / f"{name}.json")
    return report


def _stored(file: Path, settings: Report) -> Report | None:
    """A result of an earlier run with the same settings."""
    if not file.exists():
        return None
    report: Report = json.loads(file.read_text())
    return report if report["settings"] == settings else None


def _picture(key: str, methods: list[str], out: Path, pictures: Path) -> None:
    stored = {}
    for name in methods:
        file = out / key / f"{name}.npz"
        if file.exists():
            with np.load(file) as arrays:
                stored[METHODS[name].name] = dict(arrays)
    if stored:
        samples = {name: arrays["samples"].astype(float) for name, arrays in stored.items()}
        shown = next(iter(stored.values()))["observation"]
        draw(key, CASES[key].title, CASES[key].make(), shown, samples, pictures / f"methods_{key}.png")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
