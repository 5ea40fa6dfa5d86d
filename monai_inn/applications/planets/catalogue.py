"""Tables of planets in, tables of what they are made of out."""

from __future__ import annotations

import csv
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.planets.problem import LAYERS, Planets
from monai_inn.drafts import replacing
from monai_inn.files import cell_text
from monai_inn.fitted.reading import load
from monai_inn.physics.tables import Table, read_table
from monai_inn.seeding import seeded

__all__ = ["infer_planets", "read_planets"]

_SAMPLES, _LEVELS = 4000, (0.5, 0.025, 0.975)
_ROWS = 500


def read_planets(path: str | PathLike[str]) -> tuple[list[str], Tensor]:
    """Return the names of planets, and mass, radius and their standard errors in Earth units, ``(n, 4)``.

    Args:
        path: CSV file with the columns ``name``, ``mass_earth`` and ``radius_earth``, and ``mass_error`` and
            ``radius_error``. In the place of an error there may be two, ``mass_up`` and ``mass_down``, whose
            mean size is then taken.

    Raises:
        ValueError: if a column is missing, a cell is not a number, or a mass, radius or error is
            not positive.
    """
    table = read_table(path)
    names = [row["name"] for row in table.records("name")]
    values = table.numbers("mass_earth", "radius_earth")
    found = np.column_stack([values, _errors(table, "mass"), _errors(table, "radius")])
    for name, row in zip(names, found, strict=True):
        if row.min() <= 0:
            raise ValueError(
                f"{path}: {name} has mass {row[0]:g} ± {row[2]:g} and radius {row[1]:g} ± {row[3]:g}; give "
                "numbers above zero, or leave it out."
            )
    return names, torch.from_numpy(found).float()


def _errors(table: Table, what: str) -> Any:
    """Standard errors of one quantity, ``(n,)``."""
    if f"{what}_error" in table.header:
        return table.numbers(f"{what}_error")[:, 0]
    up, down = table.numbers(f"{what}_up", f"{what}_down").T
    return np.where(up > 0, (up + np.abs(down)) / 2, up)


def infer_planets(bundle: str, table: str, out: str, seed: int) -> dict[str, Any]:
    """Write what the planets of a table are made of, and return the same, JSON-ready.

    Args:
        bundle: folder of a bundle of ``planets``.
        table: see ``read_planets``.
        out: CSV file to write: for each planet median and 95 % interval of the fractions of core, mantle and
            water, and a verdict. A planet that is not usable, see ``Planets.is_valid``, has no fractions.
        seed: seed of the samples.

    Raises:
        ValueError: if the bundle is of another problem, or the table cannot be read.
    """
    fitted = load(bundle)
    planets = fitted.problem
    if not isinstance(planets, Planets):
        raise ValueError(f"{bundle} is a bundle of {planets.name}; give one that `fit planets` wrote.")
    names, y = read_planets(table)
    with seeded(seed), torch.no_grad():
        drawn = (fitted.target_posterior(part).sample((_SAMPLES,)) for part in y.split(_ROWS))
        levels = [planets.fractions(part).quantile(torch.tensor(_LEVELS), 0) for part in drawn]
    found = torch.cat(levels, 1).permute(1, 2, 0).flatten(1).tolist()
    columns = [f"{layer}{end}" for layer in LAYERS for end in ("", "_low", "_high")]
    verdicts = zip(planets.is_valid(y).tolist(), fitted.is_explained(y).tolist(), strict=True)
    rows: list[dict[str, Any]] = []
    for name, values, (usable, explained) in zip(names, found, verdicts, strict=True):
        shown = [round(value, 4) if usable else None for value in values]
        verdict = "not usable" if not usable else "explained" if explained else "not explained"
        rows.append({"name": name, **dict(zip(columns, shown, strict=True)), "verdict": verdict})
    with replacing(out) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "name": cell_text(row["name"])} for row in rows)
    return {"out": out, "planets": rows, "warnings": fitted.warnings}
