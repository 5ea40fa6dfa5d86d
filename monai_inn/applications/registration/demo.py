"""The example X-rays."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from monai_inn.applications.registration.ct import read_ct
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.results.from_ct import register_to_ct
from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.fitted.reading import shipped
from monai_inn.reports.demo import Shown
from monai_inn.transforms.volumes import write_map

__all__ = ["SYMMETRIC_READING", "TORSO_READING", "XRAY_READING", "run", "symmetric"]

_TORSO, _CT = "torso_xray.png", "ct/torso_ct.nii.gz"
_SYMMETRIC = "symmetric_xray.png"
_XRAY, _SPINE = "lumbar_xray.png", "lumbar_spine"
# What a picture does not tell of itself; see Resources/README.md.
TORSO_READING: dict[str, Any] = {"contrast": "intensity", "spacing_mm": 1.125}
XRAY_READING: dict[str, Any] = {"contrast": "intensity", "unattenuated": 4_000.0, "spacing_mm": 1.59375}
_ASYMMETRY = 0.003  # share of a CT that is left as it was
# A beam as good as parallel: at 40 m perspective still tells a symmetric patient's two poses apart.
SYMMETRIC_READING: dict[str, Any] = TORSO_READING | {"source_detector_mm": 4.8e6, "source_isocentre_mm": 4e6}
_SYMMETRIC_RANGES = {"lao": (0.0, 180.0), "cra": (-30.0, 30.0)}
_TORSO_NOTE = (
    "torso_xray: simulated from a real CT with scatter and few photons; its pose straight from that CT, "
    "without training. {statement} {trust}"
)
_SYMMETRIC_NOTE = (
    "symmetric_xray: simulated from the same CT, averaged with its mirror image but for .3 %, in a parallel "
    "beam. Two angles are unknown. Both poses look right; one is wrong. {statement} {trust}"
)
_XRAY_NOTE = (
    "lumbar_xray: simulated from a real CT of three vertebrae, with errors as large as its bundle expects, "
    "in which the eye finds little; every pose that explains it, by a trained network. {statement} {trust}"
)


def run(
    folder: Path, out: Path, *, device: str, seed: int, progress: Callable[[float], None]
) -> Iterator[Shown]:
    """Register the example X-rays, as far as packages and bundle are there; yield what there is to see."""
    if importlib.util.find_spec("nanodrr") is None:
        return
    if (folder / _CT).is_file():

        def part(share: float, before: float = 0.0) -> None:
            progress(0.4 * (before + share))

        name = Path(_TORSO).stem
        record = register_to_ct(
            folder / _CT, folder / _TORSO, out / name, seed=seed, progress=part, **TORSO_READING
        )
        yield _shown(name, _TORSO_NOTE, record)
        name = Path(_SYMMETRIC).stem
        patient = symmetric(read_ct(folder / _CT))
        ct = write_map(out / "symmetric_ct.nii.gz", patient.values[None], {"affine": patient.affine})
        known: dict[str, Any] = {"free": _SYMMETRIC_RANGES, "target": patient.centre.tolist()}
        known |= {"seed": seed, "progress": partial(part, before=1.0)}
        record = register_to_ct(ct, folder / _SYMMETRIC, out / name, **known, **SYMMETRIC_READING)
        yield _shown(name, _SYMMETRIC_NOTE, record)
    if _SPINE in shipped():
        name = Path(_XRAY).stem
        record = register_xray(_SPINE, folder / _XRAY, out / name, device=device, seed=seed, **XRAY_READING)
        progress(1.0)
        yield _shown(name, _XRAY_NOTE, record)


def symmetric(ct: AttenuationVolume) -> AttenuationVolume:
    """Return a CT averaged with its mirror image along its first axis, but for a small share."""
    values = ct.values.float()
    return ct._replace(values=values + (1 - _ASYMMETRY) / 2 * (values.flip(0) - values))


def _shown(name: str, note: str, record: dict[str, Any]) -> Shown:
    said = {"statement": record["ambiguity"]["statement"], "trust": record["trust"]["statement"]}
    return Shown(name, note.format(**said), said | {"seconds": record["seconds"]}, record["pictures"])
