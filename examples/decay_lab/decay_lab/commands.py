"""The verb ``monai-inn half-life``: three levels in, the half-life out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb: its name, what it runs, a line of help and what says its result in words."""
    sub = verb("half-life", half_life, "half-life of a decay from its level at three times", in_words)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle that `fit decay` wrote")
    sub.add_argument("levels", metavar="LEVEL", nargs=3, type=float, help="levels, 1 at the start")
    sub.add_argument("-o", "--out", required=True, help="folder to write")


def half_life(arguments: argparse.Namespace) -> dict[str, Any]:
    """Infer the half-life and write it; heavy imports wait until somebody asks."""
    import torch

    import monai_inn as mi
    from monai_inn.files import write_json
    from monai_inn.folders import new_folder

    if min(arguments.levels) < 0:
        raise ValueError(f"levels {arguments.levels}: a level is negative; give shares of the first level.")
    fitted = mi.load(arguments.bundle)
    torch.manual_seed(arguments.seed)
    rate = fitted.target_posterior(arguments.levels).sample((1000,))[:, 0]
    low, median, high = (math.log(2) / rate).quantile(torch.tensor([0.025, 0.5, 0.975])).tolist()
    record = {
        "half_life_s": median,
        "interval_s": [low, high],
        "is_explained": bool(fitted.is_explained(arguments.levels)),
        "warnings": fitted.warnings,
    }
    with new_folder(arguments.out, "half_life.json", "a half-life") as draft:
        write_json(draft / "half_life.json", record)
    return {"out": arguments.out} | record


def in_words(result: Mapping[str, Any]) -> str:
    """Return what the terminal shows."""
    low, high = result["interval_s"]
    trust = "" if result["is_explained"] else " No decay of the model explains these levels: do not use it."
    return f"Half-life {result['half_life_s']:.2f} s, 95 % between {low:.2f} and {high:.2f} s.{trust}"
