"""Results whose maps lie in memory, read from elsewhere than a folder or computed from other results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import MapFile, Result, parse_result

__all__ = ["MadeMap", "made_result"]


@dataclass(frozen=True)
class MadeMap(MapFile):
    """A map in memory; its path says how its file is called once the result is saved.

    Args:
        array: voxels ``(K, J, I)``, or ``(K, J, I, L)`` for a stack.
        matrix: index to RAS millimeters.
    """

    array: Any = None
    matrix: Any = None

    def load(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Voxels and index to RAS millimeters."""
        return self.array, self.matrix


def made_result(
    record: dict[str, Any],
    maps: Sequence[tuple[str, str, str, NDArray[Any]]],
    matrix: NDArray[np.float64],
    levels: Sequence[float] = (),
) -> Result:
    """Return a result of maps in memory, which ``store`` takes like one from a folder.

    Args:
        record: what ``result.json`` holds, without files and summary.
        maps: kind, parameter, unit and voxels of each; ``valid`` and ``ood`` must be among them.
        matrix: index to RAS millimeters of all.
        levels: of the stacks of quantiles.

    Raises:
        ResultError: if the record lacks something.
    """
    arrays = {kind: array for kind, _, _, array in maps if kind in ("valid", "ood")}
    valid, withheld = arrays["valid"] > 0.5, arrays["ood"] > 0.5
    usable = int(valid.sum())
    files = [
        {"file": _file_name(kind, parameter), "map": kind, "parameter": parameter, "unit": unit}
        | ({"levels": [float(level) for level in levels]} if kind == "quantiles" else {})
        for kind, parameter, unit, _ in maps
    ]
    share = float((withheld & valid).sum() / usable) if usable else None
    summary = {"pixels": int(valid.size), "valid_pixels": usable, "share_untrusted": share}
    result = parse_result(Path(), {**record, "files": files, "summary": summary, "format_version": 1})
    made = tuple(
        MadeMap(file.path, file.kind, file.parameter, file.unit, file.levels, array=array, matrix=matrix)
        for file, (*_, array) in zip(result.files, maps, strict=True)
    )
    return replace(result, files=made)


def _file_name(kind: str, parameter: str) -> str:
    """As `monai-inn` names it; a parameter may come from somebody else's file."""
    name = kind if kind == parameter else f"{kind}_{parameter}"
    return re.sub(r"[^\w.-]+", "_", name) + ".nii.gz"
