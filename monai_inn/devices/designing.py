"""Which channels to build: chosen in closed form, then by one network that answers for every choice."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from monai_inn.devices.figures import bounded, cautions
from monai_inn.devices.linear import Linearised
from monai_inn.devices.page import bands_page
from monai_inn.devices.search import best_set, even_set, random_sets
from monai_inn.files import check_record, now
from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.schemas import TEXT, each, object_of
from monai_inn.folders import check_target, new_folder
from monai_inn.metrics.bootstrap import mean_of_cases
from monai_inn.metrics.information import log_priors
from monai_inn.problems import InverseProblem
from monai_inn.problems.bands import SomeBands
from monai_inn.problems.drawing import FlatPrior
from monai_inn.reports.schemas import FINITE, list_of
from monai_inn.training import Recipe, fit
from monai_inn.training.budget import share_done

__all__ = ["BANDS", "PosteriorBits", "design_bands"]

SCHEMA = "monai_inn bands 2"
BANDS = "bands.json"
_TRAINING = 0.8  # share of the work
_SEARCH_CASES, _RANDOM_SETS = 500, 20
_FEWEST = 100
_LEAST_GAIN_FROM_EVEN = 2  # channels; with fewer there is nothing to choose from


class PosteriorBits:
    """Information that a trained posterior gets out of choices of channels, on the same phantoms for all.

    Args:
        fitted: posterior of a ``SomeBands``.
        bands: how many channels share the light.
        phantoms: how many.
        seed: seed of them.
    """

    def __init__(self, fitted: FittedPosterior, bands: int, phantoms: int, seed: int) -> None:
        self.fitted = fitted
        self.problem: SomeBands = fitted.problem  # type: ignore[assignment]
        self.theta, self.y = self.problem.simulate_all(phantoms, bands, seed)
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
    bands: int | Sequence[int],
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
    one channel are judged by a network that is trained once, on random choices of every number of bands. What
    is reported was measured on phantoms that the search has not seen.

    Args:
        problem: the problem with all channels that there are.
        bands: channels to choose; several numbers to see how many pay.
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
    some = SomeBands(problem, [bands] if isinstance(bands, int) else bands, parameters)
    channels = len(some.observation)
    if channels < some.bands[-1] + _LEAST_GAIN_FROM_EVEN:
        raise ValueError(
            f"bands = {some.bands[-1]} of {channels} channels leave nothing to choose; give fewer."
        )
    if cases < _FEWEST:
        raise ValueError(f"cases = {cases} phantoms are too few; give at least {_FEWEST}.")
    if type(some.prior) is not FlatPrior and len(some.targets) < len(some.parameters):
        raise ValueError(
            f"the prior of {problem.name!r} is not flat: of {', '.join(some.targets)} alone it has no known "
            f"density, and there are no bits; choose for all of them: {', '.join(problem.space.names)}."
        )
    closed = [Linearised(some, number, seed=seed) for number in some.bands]
    budget: dict[str, Any] = {"minutes": minutes} if recipe is None else {"recipe": recipe}
    fitted = fit(
        some, **budget, network=network, seed=seed, device=device,
        progress=lambda now: progress(_TRAINING * share_done(some, now), f"training, {now.stage}"),
    )  # fmt: skip
    choices = []
    for done, (number, linear) in enumerate(zip(some.bands, closed, strict=True)):
        text = f"searching {number} of {channels} bands"
        progress(_TRAINING + (1 - _TRAINING) * done / len(some.bands), text)
        choices.append(_choice(fitted, linear, number, cases, seed))
    record = _described(some) | {"cases": cases, "seed": seed, "choices": choices}
    record["warnings"] = cautions(fitted)
    check_record(record, _SCHEMA)
    with new_folder(out, BANDS, "a design of bands") as draft:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        contents = {BANDS: text, "bands.csv": _table(record), "index.html": bands_page(record)}
        for name, content in contents.items():
            (draft / name).write_text(content, encoding="utf-8")
    progress(1.0, "done")
    return record


def _choice(fitted: FittedPosterior, linear: Linearised, bands: int, cases: int, seed: int) -> dict[str, Any]:
    """The best channels of that number, figures of them and of others, and the gains.

    Those of random ones are the means over these.
    """
    search = PosteriorBits(fitted, bands, _SEARCH_CASES, seed + 1)
    channels = len(search.problem.observation)
    sets = {"linear": best_set(linear.bits, channels, bands, seed=seed), "even": even_set(channels, bands)}
    sets = {"chosen": best_set(search.bits, channels, bands, starts=list(sets.values()))} | sets
    judge = PosteriorBits(fitted, bands, cases, seed)
    random = random_sets(channels, bands, _RANDOM_SETS, seed)
    of_random = torch.stack([judge.of_cases(row) for row in random], 1)
    columns = {name: judge.of_cases(row) for name, row in sets.items()} | {"random": of_random.mean(1)}
    return {
        "bands": bands,
        "cases": len(judge.y),
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


def _described(some: SomeBands) -> dict[str, Any]:
    """What the record says of the problem."""
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
    }


def _table(record: Mapping[str, Any]) -> str:
    """The chosen channels of each set as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["bands", "set", "channel", "number", "wavelength_nm"])
    for choice in record["choices"]:
        for entry in choice["sets"]:
            for number in entry["channels"]:
                place = "" if record["wavelengths_nm"] is None else record["wavelengths_nm"][number]
                row = [choice["bands"], entry["name"], record["channels"][number], number + 1, place]
                writer.writerow(row)
    return buffer.getvalue()


_COUNT = {"type": "integer", "minimum": 0}
_FIGURE = object_of({"value low high": FINITE})
_CHOICE = object_of(
    {
        "bands cases": _COUNT,
        "sets": list_of(
            object_of({"name": TEXT, "channels": list_of(FINITE), "bits": _FIGURE, "linear_bits": FINITE}),
            least=3,
        ),
        "random": object_of({"sets": _COUNT, "bits": _FIGURE, "of_each": list_of(FINITE)}),
        "gains": each(_FIGURE),
    }
)
_SCHEMA = object_of(
    {
        "schema": {"const": SCHEMA},
        "made problem": TEXT,
        "parameters": list_of({}, least=1),
        "channels": list_of(TEXT, least=1),
        "cases seed": _COUNT,
        "choices": list_of(_CHOICE, least=1),
        "warnings": list_of(TEXT),
    },
    {"wavelengths_nm": {"anyOf": [{"type": "null"}, list_of(FINITE)]}},
)
