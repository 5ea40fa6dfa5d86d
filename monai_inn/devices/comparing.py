"""From devices to a comparison: one training each, the same phantoms for all, a record and a page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from monai_inn.devices.figures import Measured, differences, figures_of, summary
from monai_inn.devices.page import write_pages
from monai_inn.devices.training import TRAINING, folder_of, train_devices
from monai_inn.drafts import replacing
from monai_inn.files import now, read_json, versions
from monai_inn.folders import check_target
from monai_inn.problems import InverseProblem
from monai_inn.problems.drawing import FlatPrior, drawn
from monai_inn.problems.valid import fresh_simulations_of_each
from monai_inn.reports.scales import prior_scales
from monai_inn.seeding import stream
from monai_inn.training import Recipe
from monai_inn.validation import simulated_cases, validate

__all__ = ["RECORD", "SETTINGS", "check_devices", "compare_devices", "folder_of"]

SCHEMA = "monai_inn devices 1"
RECORD, SETTINGS = "devices.json", "settings.json"
_SAMPLES = 255
_FEWEST = 100


def compare_devices(
    devices: Mapping[str, InverseProblem],
    out: str | PathLike[str],
    *,
    minutes: float | None = None,
    cases: int = 1000,
    seed: int = 0,
    recipe: Recipe | None = None,
    network: Mapping[str, Any] | None = None,
    device: str = "cpu",
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Train a posterior for every device, ask all of them about the same phantoms, and say who tells what.

    The device with most channels is trained first, in the given minutes; the others get the same numbers of
    simulations and steps. A device whose bundle lies in the folder already is not trained again, so that an
    interrupted comparison continues, and a further device can be added.

    Args:
        devices: the problem as each device measures it, by what people call the device. Targets and
            their prior must be the same for all.
        out: folder to write: ``devices.json``, ``index.html``, ``devices.csv`` and a bundle for each device.
        minutes: time budget of the first training; without it and a recipe the full one is used.
        cases: phantoms that all devices see; those that any device cannot measure are left out.
        seed: seed of trainings, phantoms and samples.
        recipe: how much of everything, in the place of minutes.
        network: sizes of the networks, see ``fit``.
        device: where to train, a torch device, or ``auto``: a GPU of the process that trains if it has one.
        scheduler: address of a dask scheduler whose workers see the folder and train all devices but the
            first at the same time.
        workers: processes on this machine that do; one device after the other here without both.
        progress: called with the share that is done and a text.

    Returns:
        The content of ``devices.json``, which follows ``schema.json``; ``failures`` says
        why devices are not in it.

    Raises:
        ValueError: if fewer than two devices are given or could be trained, they do not share what is
            unknown, the budget or the number of cases is too small, or the folder holds another comparison.
        OSError: if it cannot be written.
    """
    check_devices(devices)
    if cases < _FEWEST:
        raise ValueError(f"cases = {cases} phantoms are too few to compare devices; give at least {_FEWEST}.")
    options = {"minutes": minutes, "recipe": None if recipe is None else asdict(recipe), "network": network}
    settings = json.loads(json.dumps({"problem": next(iter(devices.values())).name, "seed": seed, **options}))
    with _folder(Path(out), settings) as folder:
        fitted, failed = train_devices(
            devices,
            folder,
            progress,
            recipe,
            minutes=minutes,
            seed=seed,
            network=network,
            device=device,
            scheduler=scheduler,
            workers=workers,
        )
        if len(fitted) < 2:
            named = "; ".join(f"{name}: {error}" for name, error in failed.items())
            raise ValueError(
                f"{len(fitted)} device(s) could be trained, expected two at least ({named}); they are kept."
            )
        pairs = fresh_simulations_of_each([f.problem for f in fitted.values()], cases, seed)
        if len(pairs[0][0]) < _FEWEST:
            raise ValueError(
                f"only {len(pairs[0][0])} of {cases} phantoms can be measured by all devices; give more "
                "cases, or leave the device out that measures fewest."
            )
        measured = {}
        for i, (name, simulations) in enumerate(zip(fitted, pairs, strict=True)):
            progress(TRAINING + (1 - TRAINING) * i / len(fitted), f"{name}: phantoms")
            made = simulated_cases(fitted[name], samples=_SAMPLES, simulations=simulations, seed=seed)
            measured[name] = Measured(made, *validate(made, seed=seed), fitted[name])
        record = _record(measured, seed) | {"minutes": minutes, "failures": failed}
        write_pages(record, folder)
    progress(1.0, "done")
    return record


def check_devices(devices: Mapping[str, InverseProblem]) -> None:
    """Check that problems ask for the same parameters, and differ in what is measured.

    Raises:
        ValueError: if they do, or there are fewer than two, or two would have the same folder.
    """
    if len(devices) < 2:
        raise ValueError(f"{len(devices)} device(s) given; a comparison needs at least two.")
    folders = [folder_of(name) for name in devices]
    for name in devices:
        if folders.count(folder_of(name)) > 1:
            raise ValueError(f"device {name!r} is given twice, or its folder would be; name it otherwise.")
    (first, reference), *others = devices.items()
    for name, problem in others:
        difference = _difference(reference, problem)
        if difference:
            raise ValueError(
                f"devices {first!r} and {name!r} cannot be compared: {difference}. Devices of a comparison "
                "differ in what they measure, not in what is asked for."
            )


def _difference(one: InverseProblem, other: InverseProblem) -> str:
    """What tells two problems apart beside their devices; empty for nothing."""
    if one.name != other.name:
        return f"they belong to different problems, {one.name!r} and {other.name!r}"
    if one.targets != other.targets:
        return f"their targets are {', '.join(one.targets)} and {', '.join(other.targets)}"
    for name in one.targets:
        a, b = (p.space.parameters[p.space.index(name)] for p in (one, other))
        if a != b:
            return f"{name} is {a.low:g} to {a.high:g} for one and {b.low:g} to {b.high:g} for the other"
    if all(type(p.prior) is FlatPrior for p in (one, other)):
        return ""
    # Parameters that depend on one another can be the same for both only if all of them are.
    if one.parameters != other.parameters:
        return f"their parameters are {', '.join(one.space.names)} and {', '.join(other.space.names)}"
    shown = [drawn(p.prior, stream(0, "devices")) for p in (one, other)]
    return "" if torch.equal(*shown) else "their priors differ"


@contextmanager
def _folder(out: Path, settings: dict[str, Any]) -> Iterator[Path]:
    """The folder of a comparison with these settings; it is gone again if nothing could be done."""
    check_target(out, SETTINGS, "a comparison of devices")
    file = out / SETTINGS
    if file.is_file():
        before = read_json(file)
        differing = [key for key in settings if before.get(key) != settings[key]]
        if differing:
            raise ValueError(
                f"{out} holds a comparison with other settings: {', '.join(differing)} differ. Give the same "
                "ones to continue it, or choose another folder."
            )
    else:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(file) as draft:
            draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    try:
        yield out
    except BaseException:
        if {entry.name for entry in out.iterdir()} <= {SETTINGS}:
            shutil.rmtree(out)
        raise


def _record(measured: Mapping[str, Measured], seed: int) -> dict[str, Any]:
    """The content of ``devices.json`` but for the budget."""
    first = next(iter(measured.values()))
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "made": now(),
        "versions": versions("monai_inn", "torch"),
        "problem": first.fitted.problem.name,
        "seed": seed,
        "cases": len(first.cases),
        "samples_per_case": _SAMPLES,
        "parameters": _targets(first.fitted.problem),
    }
    record["devices"] = [
        figures_of(name, folder_of(name), m, record["parameters"], seed) for name, m in measured.items()
    ]
    record["differences"] = differences(measured, seed)
    record["summary"] = summary(record)
    return record


def _targets(problem: InverseProblem) -> Sequence[dict[str, Any]]:
    """What is unknown, with the width of the interval that holds 95 % of the prior."""
    scales = prior_scales(problem)
    return [
        {
            "name": p.name,
            "unit": p.unit,
            "description": p.description,
            "interval_width_95_of_the_prior": float(f"{scales[p.name].width:.4g}"),
        }
        for p in problem.parameters[: len(problem.targets)]
    ]
