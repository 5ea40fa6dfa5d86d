"""Which channels to build: chosen in closed form, then by one network that answers for every choice."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.devices.figures import bounded
from monai_inn.devices.linear import Linearised
from monai_inn.devices.page import bands_page
from monai_inn.devices.search import best_set, even_set, random_sets
from monai_inn.files import check_record, now, read_json
from monai_inn.folders import check_target, new_folder
from monai_inn.inferers import FittedPosterior
from monai_inn.metrics.bootstrap import mean_of_cases
from monai_inn.metrics.information import log_priors
from monai_inn.problems import InverseProblem
from monai_inn.problems.bands import SomeBands
from monai_inn.problems.base import FlatPrior
from monai_inn.training import Recipe, fit

__all__ = ["BANDS", "PosteriorBits", "design_bands"]

SCHEMA = "monai_inn bands 1"
BANDS = "bands.json"
_TRAINING = 0.8  # share of the work
_SEARCH_CASES, _RANDOM_SETS = 500, 20
_FEWEST = 100
_LEAST_GAIN_FROM_EVEN = 2  # channels; with fewer there is nothing to choose from


class PosteriorBits:
    """Information that a trained posterior gets out of choices of channels, on the same phantoms for all.

    Args:
        fitted: posterior of a ``SomeBands``.
        phantoms: how many.
        seed: seed of them.
    """

    def __init__(self, fitted: FittedPosterior, phantoms: int, seed: int) -> None:
        self.fitted = fitted
        self.problem: SomeBands = fitted.problem  # type: ignore[assignment]
        self.theta, self.y = self.problem.simulate_all(phantoms, seed)
        self.own = self.theta[:, : len(self.problem.targets)]
        prior, _ = log_priors(self.problem, self.theta)
        assert prior is not None
        self.prior = prior

    @torch.no_grad()
    def of_cases(self, chosen: Tensor) -> Tensor:
        """Return log₂ q(θ | y_S) − log₂ p(θ) of every phantom for one choice ``(k,)``, shape ``(N,)``."""
        q = self.fitted.target_posterior(self.problem.only(self.y, chosen))
        return (q.log_prob(self.own.to(self.fitted.device)).cpu() - self.prior).double() / math.log(2)

    def bits(self, chosen: Tensor) -> Tensor:
        """Return the mean for choices ``(B, k)``, shape ``(B,)``."""
        return torch.stack([self.of_cases(row).mean() for row in chosen])


def design_bands(
    problem: InverseProblem,
    bands: int,
    out: str | PathLike[str],
    *,
    parameters: Sequence[str] = (),
    minutes: float | None = None,
    recipe: Recipe | None = None,
    network: Mapping[str, Any] | None = None,
    cases: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Choose the channels of a device that tell most about some parameters, and measure by how much.

    All choices share the light: each of ``bands`` channels gets ``channels / bands`` of what it has in the
    device with all of them. The choice that is best for the linearised problem is the start; then swaps of
    one channel are judged by a network that is trained on random choices. What is reported was measured on
    phantoms that the search has not seen.

    Args:
        problem: the problem with all channels that there are.
        bands: channels to choose.
        out: folder to write: ``bands.json``, ``bands.csv`` and ``index.html``.
        parameters: what the choice is about; the problem's targets by default.
        minutes: time budget of the training; without it and a recipe the full one is used.
        recipe: how much of everything, in the place of minutes.
        network: sizes of the network, see ``fit``.
        cases: phantoms that the figures are measured on.
        seed: seed of everything random.
        device: where to train.
        progress: called with the share that is done and a text.

    Returns:
        The content of ``bands.json``.

    Raises:
        ValueError: if there is no such number of bands, a parameter is unknown, the prior has no density of
            the parameters alone, there are too few cases, the budget is too small, or the folder is something
            else.
        OSError: if it cannot be written.
    """
    check_target(out, BANDS, "a design of bands")
    some = SomeBands(problem, bands, parameters)
    channels = len(some.observation)
    if channels < bands + _LEAST_GAIN_FROM_EVEN:
        raise ValueError(f"bands = {bands} of {channels} channels leave nothing to choose; give fewer.")
    if cases < _FEWEST:
        raise ValueError(f"cases = {cases} phantoms are too few; give at least {_FEWEST}.")
    if type(some.prior) is not FlatPrior and len(some.targets) < len(some.parameters):
        raise ValueError(
            f"the prior of {problem.name!r} is not flat: of {', '.join(some.targets)} alone it has no known "
            f"density, and there are no bits; choose for all of them: {', '.join(problem.space.names)}."
        )
    linear = Linearised(some, seed=seed)
    sets = {"linear": best_set(linear.bits, channels, bands, seed=seed), "even": even_set(channels, bands)}
    budget: dict[str, Any] = {"minutes": minutes} if recipe is None else {"recipe": recipe}
    fitted = fit(
        some, **budget, network=network, seed=seed, device=device,
        progress=lambda now: progress(_TRAINING * now.share, f"training, {now.stage}"),
    )  # fmt: skip
    progress(_TRAINING, "searching")
    judge = PosteriorBits(fitted, _SEARCH_CASES, seed + 1)
    found = best_set(judge.bits, channels, bands, starts=list(sets.values()))
    record = _record(some, PosteriorBits(fitted, cases, seed), linear, {"chosen": found} | sets, seed)
    check_record(record, read_json(Path(__file__).with_name("bands_schema.json")))
    with new_folder(out, BANDS, "a design of bands") as draft:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        contents = {BANDS: text, "bands.csv": _table(record), "index.html": bands_page(record)}
        for name, content in contents.items():
            (draft / name).write_text(content, encoding="utf-8")
    progress(1.0, "done")
    return record


def _record(
    some: SomeBands, judge: PosteriorBits, linear: Linearised, sets: Mapping[str, Tensor], seed: int
) -> dict[str, Any]:
    """Figures of the choices and their gains; those of random ones are the means over these."""
    random = random_sets(len(some.observation), some.bands, _RANDOM_SETS, seed)
    of_random = torch.stack([judge.of_cases(row) for row in random], 1)
    columns = {name: judge.of_cases(row) for name, row in sets.items()} | {"random": of_random.mean(1)}
    wavelengths = some.problem.application.wavelengths_nm
    return {
        "schema": SCHEMA,
        "made": now(),
        "problem": some.problem.name,
        "device": some.problem.application.device_text,
        "parameters": [
            {"name": p.name, "unit": p.unit, "description": p.description}
            for p in some.parameters[: len(some.targets)]
        ],
        "channels": list(some.observation.names),
        "wavelengths_nm": None if wavelengths is None else [round(float(w), 2) for w in wavelengths],
        "bands": some.bands,
        "cases": len(judge.y),
        "seed": seed,
        "sets": [
            {
                "name": name,
                "channels": row.tolist(),
                "bits": bounded(columns[name], mean_of_cases, seed),
                "linear_bits": round(float(linear.bits(row[None])[0]), 4),
            }
            for name, row in sets.items()
        ],
        "random": {
            "sets": _RANDOM_SETS,
            "bits": bounded(columns["random"], mean_of_cases, seed),
            "of_each": [round(float(value), 4) for value in of_random.mean(0)],
        },
        "gains": {
            name: bounded(columns["chosen"] - column, mean_of_cases, seed)
            for name, column in columns.items()
            if name != "chosen"
        },
    }


def _table(record: Mapping[str, Any]) -> str:
    """The chosen channels of each set as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["set", "channel", "number", "wavelength_nm"])
    for entry in record["sets"]:
        for number in entry["channels"]:
            place = "" if record["wavelengths_nm"] is None else record["wavelengths_nm"][number]
            writer.writerow([entry["name"], record["channels"][number], number + 1, place])
    return buffer.getvalue()
