"""Reference curves of this folder, as tensors."""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "references"
csv.field_size_limit(sys.maxsize)


def rows(name: str) -> list[dict[str, Tensor | str]]:
    """Rows of a table: numbers and curves in float64, and text."""
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", encoding="utf-8-sig") as file:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Tensor | str:
    try:
        numbers = torch.tensor([float(part) for part in text.split()], dtype=torch.float64)
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def plasma(name: str, haematocrit: float = 0.42) -> tuple[Tensor, Tensor]:
    """Times in s and concentrations in the plasma of a population-averaged artery at its finest."""
    table = [row for row in rows(f"{name}AIF_ref") if row["label"] == "temp_res_0.5s"]
    times, blood = (torch.stack([row[key] for row in table]) for key in ("time", "Cb"))
    return 60 * times, blood / (1 - haematocrit)


def breast() -> tuple[Tensor, Tensor]:
    """Times in s and concentrations in the plasma that were measured beside a breast."""
    lines = (FOLDER / "breast_aif.csv").read_text().splitlines()[2:]
    table = torch.tensor([[float(part) for part in line.split(",")] for line in lines], dtype=torch.float64)
    return table[:, 0], table[:, 1]
