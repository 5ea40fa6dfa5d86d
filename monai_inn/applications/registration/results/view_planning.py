"""The folder that says from which view an X-ray would tell the pose: a map, a table and a sentence."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from monai_inn.applications.registration.carm import POSE, Detector
from monai_inn.applications.registration.poses.forecast import FORECAST_SIZES, LikelihoodForecast
from monai_inn.applications.registration.poses.inference import PosePosterior, pose_space
from monai_inn.applications.registration.prepared import Patient
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.results.files import read_samples
from monai_inn.applications.registration.results.record import direction_in_words
from monai_inn.applications.registration.results.schema import (
    PATIENT,
    REGISTRATION,
    REGISTRATION_RECORD,
)
from monai_inn.applications.registration.views import (
    Forecast,
    NetworkForecast,
    ViewMap,
    next_views,
    view_map,
)
from monai_inn.files import write_json
from monai_inn.fitted.metadata import INTENDED_USE
from monai_inn.fitted.reading import load
from monai_inn.folders import new_folder
from monai_inn.metrics.modes import find_modes
from monai_inn.reports.records import made_with, provenance
from monai_inn.reports.schemas import read_record

__all__ = ["VIEWS", "plan_views"]

VIEWS = "views.json"
_REACH = (90.0, 30.0)  # degrees that a C-arm turns from one view to the next


def plan_views(
    bundle: str | PathLike[str],
    out: str | PathLike[str],
    *,
    after: str | PathLike[str] | None = None,
    step: float = 15.0,
    device: str = "cpu",
    seed: int = 0,
    detectors: Sequence[Detector] = (),
    progress: Callable[[float], None] = lambda share: None,
    **patient: Any,
) -> dict[str, Any]:
    """Map how well an X-ray from each view would tell the pose, and write the map into a folder.

    Args:
        bundle: CT, patient that ``prepare_patient`` wrote, or bundle of a registration; ``lao`` and ``cra``
            must be free.
        out: folder to write; it has its record once it is complete.
        after: folder of ``register``: the map is then of a second X-ray after that one, over the turns
            of the C-arm from there.
        step: degrees between views.
        device: where to compute, with a bundle.
        seed: seed of simulated X-rays.
        detectors: of each of ``FORECAST_SIZES``, for a CT alone.
        progress: called with the share done.
        patient: see ``Patient.of_files``, for a CT alone.

    Returns:
        The content of ``views.json``.

    Raises:
        ValueError: if bundle, CT, folder or step are not usable.
    """
    if not 1 <= step <= 90:
        raise ValueError(f"step = {step:g}; give 1 to 90 degrees.")
    settings = {
        "after": None if after is None else str(Path(after).resolve()),
        "step_deg": step,
        "seed": seed,
    }
    if (Path(bundle) / PATIENT).is_file() or detectors:
        if after is not None and detectors:
            patient |= {"target": _registered(Path(after))["target_ras_mm"]}
        forecast, described = _by_likelihood(bundle, detectors, patient, settings)
    else:
        forecast = NetworkForecast(load(bundle, device))
        described = provenance(bundle, settings | {"device": device})
    problem = forecast.problem
    missing = {"lao", "cra"} - set(problem.targets)
    if missing:
        raise ValueError(f"views need free lao and cra, but {', '.join(missing)} is fixed in {bundle}.")
    with new_folder(out, VIEWS, "a plan of views") as draft:
        if after is None:
            lao, cra = (_inside(problem, name, step) for name in ("lao", "cra"))
            found = view_map(forecast, lao, cra, seed=seed, progress=progress)
        else:
            lao, cra = (torch.arange(-(r // step) * step, r + step / 2, step) for r in _REACH)
            found = next_views(
                forecast, _stored(problem, Path(after)), lao, cra, seed=seed, progress=progress
            )
        record = {"format_version": 1, "command": "views"} | described
        record |= _told(found, is_second=after is not None)
        _write_table(draft / "views.csv", found)
        from monai_inn.applications.registration.results.figures import view_figure

        view_figure(found, record, draft / "views.png")
        record |= {"files": [{"file": "views.csv", "what": "all numbers"}], "pictures": ["views.png"]}
        write_json(draft / VIEWS, record)
    return record


def _by_likelihood(
    source: str | PathLike[str],
    detectors: Sequence[Detector],
    options: Mapping[str, Any],
    settings: dict[str, Any],
) -> tuple[Forecast, dict[str, Any]]:
    """A forecast straight from a CT or a prepared patient, and what the record says of its making."""
    who = Patient.of_files(source, **options) if detectors else Patient.load(source)
    finest = detectors[-1] if detectors else who.prepared
    assert finest is not None
    problem = who.problem(finest)
    solver = who.solver(problem.target)
    made = detectors or list(solver.casters)[: len(FORECAST_SIZES)]
    described = made_with(settings) | {
        "intended_use": INTENDED_USE,
        "warnings": [],
        "bundle": who.described(),
    }
    return LikelihoodForecast(solver, problem, made), described


def _inside(problem: PoseRegistration, name: str, step: float) -> torch.Tensor:
    """Views through the range of an angle, away from its ends."""
    p = problem.space.parameters[problem.space.index(name)]
    count = max(1, round((p.high - p.low) / step))
    return p.low + (p.high - p.low) / count * (torch.arange(count) + 0.5)


def _stored(problem: PoseRegistration, folder: Path) -> PosePosterior:
    """The posterior that ``register_xray`` wrote."""
    record = _registered(folder)
    names = [row["name"] for row in record["parameters"] if row.get("is_free")]
    pose, _, density, _ = read_samples(folder)
    if set(names) != set(problem.targets):
        raise ValueError(
            f"{folder}: is a registration with other free parameters ({', '.join(names)}); give the bundle, "
            "patient or CT and ranges that the X-ray was registered with."
        )
    samples = pose[:, [list(POSE).index(name) for name in problem.targets]].float()
    return PosePosterior(samples, density, find_modes(samples, pose_space(problem)))


def _registered(folder: Path) -> dict[str, Any]:
    return read_record(folder, REGISTRATION, REGISTRATION_RECORD, "monai-inn register")


def _told(found: ViewMap, *, is_second: bool) -> dict[str, Any]:
    """The best view, in numbers and in a sentence."""
    error = found.error_mm.nan_to_num(torch.inf)
    row, column = divmod(int(error.argmin()), error.shape[1])
    lao, cra = float(found.lao[row]), float(found.cra[column])
    best = {"lao_deg": lao, "cra_deg": cra}
    best |= {
        name: round(float(getattr(found, name)[row, column]), 3)
        for name in ("error_mm", "num_modes", "wrong_mass")
    }
    worst = float(found.error_mm.nan_to_num(-torch.inf).max())
    turn = (
        f"turning the C-arm by {direction_in_words(lao, cra)}"
        if is_second
        else f"a view at {direction_in_words(lao, cra)}"
    )
    statement = (
        f"The pose will be known best after {turn}: to {best['error_mm']:.1f} mm at bone on average (worst "
        f"view of the map: {worst:.1f} mm)."
    )
    return {"best": best, "statement": statement}


def _write_table(path: Path, found: ViewMap) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["lao [deg]", "cra [deg]", "error [mm]", "modes", "mass of wrong poses"])
        for a, lao in enumerate(found.lao.tolist()):
            for b, cra in enumerate(found.cra.tolist()):
                values = (found.error_mm[a, b], found.num_modes[a, b], found.wrong_mass[a, b])
                table.writerow([f"{lao:g}", f"{cra:g}", *(f"{float(v):.4g}" for v in values)])
