"""The example X-rays."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from monai_inn.applications.registration.results.from_ct import register_to_ct
from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.fitted.reading import shipped
from monai_inn.reports.demo import Shown

__all__ = ["TORSO_READING", "XRAY_READING", "run"]

_TORSO, _CT = "torso_xray.png", "ct/torso_ct.nii.gz"
_XRAY, _SPINE = "lumbar_xray.png", "lumbar_spine"
# What a picture does not tell of itself; see Resources/README.md.
TORSO_READING: dict[str, Any] = {"contrast": "intensity", "spacing_mm": 1.125}
XRAY_READING: dict[str, Any] = {"contrast": "intensity", "unattenuated": 4_000.0, "spacing_mm": 1.59375}
_TORSO_NOTE = (
    "torso_xray: simulated from a real CT with scatter and few photons; its pose straight from that CT, "
    "without training. {statement} {trust}"
)
_XRAY_NOTE = (
    "lumbar_xray: simulated from a real CT of three vertebrae, with strong noise; every pose of the C-arm "
    "that explains it, by a trained network. {statement} {trust}"
)


def run(
    folder: Path, out: Path, *, device: str, seed: int, progress: Callable[[float], None]
) -> Iterator[Shown]:
    """Register the example X-rays, as far as packages and bundle are there; yield what there is to see."""
    if importlib.util.find_spec("nanodrr") is None:
        return
    if (folder / _CT).is_file():

        def half(share: float) -> None:
            progress(0.5 * share)

        name = Path(_TORSO).stem
        record = register_to_ct(
            folder / _CT, folder / _TORSO, out / name, seed=seed, progress=half, **TORSO_READING
        )
        yield _shown(name, _TORSO_NOTE, record)
    if _SPINE in shipped():
        name = Path(_XRAY).stem
        record = register_xray(_SPINE, folder / _XRAY, out / name, device=device, seed=seed, **XRAY_READING)
        progress(1.0)
        yield _shown(name, _XRAY_NOTE, record)


def _shown(name: str, note: str, record: dict[str, Any]) -> Shown:
    said = {"statement": record["ambiguity"]["statement"], "trust": record["trust"]["statement"]}
    return Shown(name, note.format(**said), said | {"seconds": record["seconds"]}, record["pictures"])
