"""Images of concentrations with their times and their artery, which networks take, from series of signals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.applications.perfusion.checks import check_artery, check_times, check_tissue
from monai_inn.applications.perfusion.models.acquisition import DYNAMIC, Frames
from monai_inn.applications.perfusion.series.concentrations import Settings, conversion_of
from monai_inn.applications.perfusion.series.images import Series, check_place
from monai_inn.applications.perfusion.series.measured_artery import arrival_of, read_artery
from monai_inn.applications.perfusion.series.reading import read_series
from monai_inn.applications.perfusion.series.susceptibility import Susceptibility
from monai_inn.drafts import replacing
from monai_inn.transforms import write_map

__all__ = ["Artery", "convert_series"]

_HAEMATOCRIT, _HAEMATOCRITS, _T1_OF_BLOOD_S = 0.42, (0.0, 0.7), (0.5, 3.0)


class Artery(NamedTuple):
    """Where the arterial curve comes from: a table, or a mask in the series itself.

    Attributes:
        table: CSV, see ``measured_artery.read_artery``.
        mask: image that is not zero in the artery.
        haematocrit: share of cells in the blood; 0 for a table of plasma.
        t1_s: T1 of the blood in s, with a mask; the median of the mask in a map of T1 otherwise.
    """

    table: str | PathLike[str] | None = None
    mask: str | PathLike[str] | None = None
    haematocrit: float | None = None
    t1_s: float | None = None


def convert_series(
    series: Series,
    out: str | PathLike[str],
    artery: Artery,
    settings: Settings | Susceptibility | None,
    average: int = 1,
    limits: Frames = DYNAMIC,
) -> dict[str, Any]:
    """Write concentrations of a series as NIfTI, and times, artery and what was assumed as JSON beside it.

    Args:
        series: signals, or concentrations in mM, with times.
        out: NIfTI to write; the JSON file has the same name.
        artery: where the arterial curve comes from.
        settings: how signals become concentrations; ``None`` if the series holds concentrations.
        average: number of neighbouring images that become one, by their mean concentrations.
        limits: what frames the network knows.

    Returns:
        What the JSON file holds, and how many voxels could not be converted.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if files are damaged or do not fit each other, or something must be given.
        OSError: if the files cannot be written; nothing half-written is left.
    """
    read = [series.path, artery.table, artery.mask]
    if isinstance(settings, Settings):
        read += [settings.t1, *settings.flip_angles]
    target, beside = _targets(out, [Path(name) for name in read if name is not None])
    assert series.times_s is not None
    clock = np.array(series.times_s)
    if not 1 <= average <= len(clock):
        raise ValueError(f"--average {average}: {series.path} has {len(clock)} images; give fewer.")
    frames = _means(clock - clock[0], average)
    frames -= frames[0]
    check_times(frames, str(series.path), limits)
    notes = [*series.notes, *([f"Frames are means of {average} images."] if average > 1 else [])]
    found = _concentrations(series, artery, settings, clock, notes)
    plasma = _means(_plasma(found.curve, found.fluid, artery, notes), average)
    values = torch.from_numpy(_means(found.values.numpy(), average))
    name = str(artery.table or artery.mask)
    check_artery(plasma, frames, name)
    check_tissue(values.flatten(1).numpy(), str(series.path))
    record = {
        "time": [round(float(t), 6) for t in frames],
        "artery": [float(f"{c:.6g}") for c in plasma],
        "units": "mM",
        "acquisition": found.acquisition | {"artery": Path(name).name, "notes": notes},
    }
    with replacing(beside) as draft:
        draft.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        write_map(target, values, {"affine": series.affine, "units": "mM"})
    failed = int(values.isnan().any(0).sum())
    return record | {"voxels": values[0].numel(), "failed": failed}


class _Concentrations(NamedTuple):
    """Concentrations in mM of a series ``(T, x, y, z)`` and of an artery in a fluid, and what was assumed."""

    values: Tensor
    curve: NDArray[np.float64]
    fluid: str
    acquisition: dict[str, Any]


def _concentrations(
    series: Series,
    artery: Artery,
    settings: Settings | Susceptibility | None,
    clock: NDArray[np.float64],
    notes: list[str],
) -> _Concentrations:
    curve, where, fluid = _given_curve(series, artery, clock)
    acquisition: dict[str, Any] = {"series": series.path.name}
    if settings is None:
        return _Concentrations(series.values, curve, fluid, acquisition)
    if isinstance(settings, Susceptibility):
        inside = None if where is None else torch.from_numpy(curve)
        arrival = arrival_of(curve if inside is None else -curve)  # tracer makes signals fall
        values, blood, record = settings.concentrations(series, inside, arrival, notes)
        return _Concentrations(values, curve if blood is None else blood.numpy(), fluid, acquisition | record)
    conversion = conversion_of(series, settings, arrival_of(curve), notes)
    acquisition |= {
        "flip_deg": conversion.echo.flip_deg,
        "tr_s": conversion.echo.tr_s,
        "relaxivity_per_mM_s": conversion.echo.relaxivity,
        "baseline_frames": conversion.baseline,
        "t1_s_median": float(conversion.t1_s.nanmedian()),
    }
    if where is not None:
        t1_s = _t1_of_blood(artery, conversion.t1_s[where])
        curve = conversion.of_curve(torch.from_numpy(curve), t1_s).numpy()
        acquisition["artery_t1_s"] = t1_s
        _check_curve(curve, t1_s, artery)
    return _Concentrations(conversion.of_image(series.values), curve, fluid, acquisition)


def _targets(out: str | PathLike[str], inputs: Sequence[Path]) -> tuple[Path, Path]:
    """The image to write and the JSON file beside it, neither of them an input; the first is the series."""
    target = Path(out)
    ending = next((e for e in (".nii.gz", ".nii") if target.name.lower().endswith(e)), None)
    if ending is None:
        raise ValueError(f"{target}: concentrations are written as .nii or .nii.gz; change the ending.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist; create it first.")
    beside = target.with_name(f"{target.name[: -len(ending)]}.json")
    if target.exists() and inputs[0].exists() and target.samefile(inputs[0]):
        raise ValueError(f"{target}: is the series itself, which would be lost; give another name.")
    for path in inputs:
        described = path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.nii')}.json")
        for written in (target, beside):
            if written.exists() and any(p.exists() and written.samefile(p) for p in (path, described)):
                raise ValueError(
                    f"{written}: belongs to {path}, which is read, and would be lost; give another name."
                )
    return target, beside


def _given_curve(
    series: Series, artery: Artery, clock: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Tensor | None, str]:
    """The curve at the frames: of a table in mM, or of a mask in what the series holds; mask; fluid."""
    if artery.table is not None:
        table = read_artery(artery.table)
        return table.at(clock), None, table.fluid
    mask = read_series(str(artery.mask))
    check_place(series, mask, "the mask of the artery")
    where = mask.values.nan_to_num().ne(0).any(0)
    if not bool(where.any()):
        raise ValueError(f"{artery.mask}: no voxel is marked; mark some in the middle of an artery.")
    curve = series.values[:, where].double().nanmean(1)
    if not bool(curve.isfinite().all()):
        raise ValueError(f"{artery.mask}: the series has no values there; mark voxels that it has.")
    return curve.numpy(), where, "blood"


def _t1_of_blood(artery: Artery, t1_s: Tensor) -> float:
    """T1 of the blood in s: given, or that of a map."""
    found = float(t1_s.nanmedian()) if artery.t1_s is None else artery.t1_s
    low, high = _T1_OF_BLOOD_S
    if not low <= found <= high:
        raise ValueError(
            f"{artery.mask}: T1 of {found:.3g} s in the artery, expected {low:g} to {high:g} s for blood; "
            "give --artery-t1 (usually 1.44 s at 1.5 T, 1.65 s at 3 T)."
        )
    return found


def _check_curve(curve: NDArray[np.float64], t1_s: float, artery: Artery) -> None:
    if np.isnan(curve).any():
        raise ValueError(
            f"{artery.mask}: frame {int(np.isnan(curve).argmax()) + 1} is brighter than any concentration "
            f"gives at a T1 of {t1_s:.3g} s, as blood that flows in is; mark the artery farther downstream, "
            "or give its curve by --aif."
        )


def _plasma(curve: NDArray[np.float64], fluid: str, artery: Artery, notes: list[str]) -> NDArray[np.float64]:
    """Concentration in the plasma, which cells have no part in."""
    share, (low, high) = artery.haematocrit, _HAEMATOCRITS
    if share is not None and not low <= share <= high:
        raise ValueError(f"--haematocrit {share:g}, expected a share from {low:g} to {high:g}, such as 0.42.")
    if fluid == "plasma":
        if share:
            raise ValueError(
                f"{artery.table}: its header says plasma, so that --haematocrit is not for it; leave it out."
            )
        return curve
    if share is None:
        if not fluid:
            raise ValueError(
                f"{artery.table}: does not say whether it is of plasma or of whole blood; name the column "
                "plasma_mM or blood_mM, or give --haematocrit (0 for plasma)."
            )
        share = _HAEMATOCRIT
        notes.append(f"Haematocrit {share:g}, as none was given.")
    return curve / (1 - share)


def _means(values: NDArray[Any], number: int) -> NDArray[Any]:
    """Means of so many neighbours along the first axis; the last ones that are fewer are left out."""
    kept = len(values) // number * number
    return values[:kept].reshape(-1, number, *values.shape[1:]).mean(1) if number > 1 else values
