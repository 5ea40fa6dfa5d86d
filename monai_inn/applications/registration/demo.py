"""The example X-ray."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.bundles.reading import shipped
from monai_inn.reports.demo import Shown

__all__ = ["XRAY_READING", "run"]

_XRAY, _SPINE = "lumbar_xray.png", "lumbar_spine"
# What a picture does not tell of itself; see Resources/README.md.
XRAY_READING: dict[str, Any] = {"contrast": "intensity", "unattenuated": 4_000.0, "spacing_mm": 1.59375}
_XRAY_NOTE = (
    "lumbar_xray: simulated from a real CT; every pose of the C-arm that explains it. {statement} {trust}"
)


def run(
    folder: Path, out: Path, *, device: str, seed: int, progress: Callable[[float], None]
) -> Iterator[Shown]:
    """Register the example X-ray if its bundle and nanodrr are there, and yield what there is to see."""
    if _SPINE not in shipped() or importlib.util.find_spec("nanodrr") is None:
        return
    name = Path(_XRAY).stem
    record = register_xray(_SPINE, folder / _XRAY, out / name, device=device, seed=seed, **XRAY_READING)
    said = {"statement": record["ambiguity"]["statement"], "trust": record["trust"]["statement"]}
    progress(1.0)
    yield Shown(name, _XRAY_NOTE.format(**said), said | {"seconds": record["seconds"]}, record["pictures"])
