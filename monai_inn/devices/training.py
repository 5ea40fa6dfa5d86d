"""One training for each device, equal ones, here or on the workers of a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_inn.bundles.fitting import fit_bundle
from monai_inn.cohorts.cluster import connected, spread
from monai_inn.files import one_line
from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.layout import METADATA
from monai_inn.fitted.reading import load
from monai_inn.problems import InverseProblem
from monai_inn.training import Recipe

__all__ = ["TRAINING", "folder_of", "train_devices"]

TRAINING = 0.8
"""Share of the work of a comparison."""


def folder_of(name: str) -> str:
    """Return the name of a device's folder."""
    return re.sub(r"[^\w.@=,+-]+", "_", name).strip(".") or "_"


@dataclass(frozen=True)
class _Training:
    """What is done for every device, here or on a worker; ``options`` are those of ``fit_bundle``."""

    folder: Path
    options: Mapping[str, Any]

    def __call__(self, item: tuple[str, InverseProblem], **further: Any) -> None:
        name, problem = item
        if not self.is_done(name):  # a worker that was killed afterwards may have
            fit_bundle(problem, self.folder / folder_of(name), resume=True, **self.options, **further)

    def is_done(self, name: str) -> bool:
        return (self.folder / folder_of(name) / METADATA).is_file()


def train_devices(
    devices: Mapping[str, InverseProblem],
    folder: Path,
    progress: Callable[[float, str], None],
    recipe: Recipe | None,
    *,
    minutes: float | None,
    scheduler: str | None,
    workers: int | None,
    **options: Any,
) -> tuple[dict[str, FittedPosterior], dict[str, str]]:
    """Return the posterior of each device, in the order given, and why others have none.

    That with most channels is trained first; without it there is nothing. Arguments and errors are those of
    ``compare_devices``.
    """
    order = sorted(devices, key=lambda name: -len(devices[name].observation))
    budget = {"minutes": minutes} if recipe is None else {"recipe": recipe}
    training = _Training(folder.absolute(), {**budget, **options})

    def tell(share: float, text: str, done: int) -> None:
        progress(TRAINING * (done + share) / len(order), text)

    def train_here(done: int, name: str) -> None:
        training((name, devices[name]), progress=lambda share, text: tell(share, f"{name}: {text}", done))

    if scheduler is not None:
        with connected(scheduler, workers, 1):  # one that does not answer is better known before any training
            pass
    if recipe is None:
        train_here(0, order[0])
        first = load(folder / folder_of(order[0]), options["device"])
        equal = Recipe.from_config(first.card["training"]["recipe"])
        training = _Training(training.folder, {"recipe": equal, **options})
    todo = [name for name in order if not training.is_done(name)]
    done, failed = len(order) - len(todo), {}
    if scheduler is None and workers is None:
        for i, name in enumerate(todo, done):
            try:
                train_here(i, name)
            except Exception as error:
                failed[name] = one_line(error)
    elif todo:
        items = [(name, devices[name]) for name in todo]
        failed = _train_elsewhere(training, items, scheduler, workers, tell, done)
    fitted = {
        name: _loaded(folder / folder_of(name), problem, options["device"])
        for name, problem in devices.items()
        if name not in failed
    }
    return fitted, failed


def _train_elsewhere(
    training: _Training,
    items: list[tuple[str, InverseProblem]],
    scheduler: str | None,
    workers: int | None,
    tell: Callable[[float, str, int], None],
    done: int,
) -> dict[str, str]:
    """Train several devices at a time; return why some could not be."""
    failed = {}
    with connected(scheduler, workers, len(items)) as client:
        for over, ((name, _), answer) in enumerate(spread(client, training, items), done + 1):
            if isinstance(answer, BaseException):
                failed[name] = one_line(answer)
            tell(0.0, f"{name}: {'failed' if name in failed else 'trained'}", over)
    return failed


def _loaded(place: Path, problem: InverseProblem, device: str) -> FittedPosterior:
    """The posterior in a device's folder.

    Raises:
        ValueError: if it is that of another device.
    """
    fitted = load(place, device)
    if fitted.problem.identity != problem.identity:
        raise ValueError(f"{place} holds a bundle of another device; remove the folder, or choose another.")
    return fitted
