"""From posterior samples and truth to a report: figures with bounds, statuses, sentences; JSON-ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from monai_inn.files import now, versions
from monai_inn.metrics import calibration_noise_floor, curve_of_counts, ecdf_difference
from monai_inn.metrics.calibration.coverage import coverage_of_counts, width_and_shift
from monai_inn.metrics.calibration.sbc import rank_counts, uniformity_of_counts
from monai_inn.metrics.verdicts import (
    Tolerance,
    deviations,
    holm,
    overall,
    rounded,
    status_of,
    verdict,
    width_shift,
)
from monai_inn.problems import labels
from monai_inn.validation.cases import Cases, cases_of
from monai_inn.validation.joint import joint_figures, mode_figures
from monai_inn.validation.measures import CaseFigures, measure_cases
from monai_inn.validation.remarks import remarks

__all__ = ["SCHEMA", "validate"]

SCHEMA = "monai_inn validation 1"
_LEVELS = (0.5, 0.68, 0.9, 0.95)
_PACKAGES = ("monai_inn", "torch", "monai", "numpy", "scipy")
_FEWEST_IN_BIN = 100


def validate(
    cases: Cases,
    *,
    tolerance: Tolerance | None = None,
    bins: int = 5,
    mode_tolerance: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, Any], CaseFigures]:
    """Measure whether posteriors hold what they promise, and say it in words.

    Every test is exact for an exact posterior; p-values are corrected for their number (Holm) over all
    parameters. Cases are sorted into bins by the *estimate* (the median of truth and samples together): that
    leaves an exact posterior exact in every bin, while bins of the true value would not.

    Args:
        cases: posterior samples and truth.
        tolerance: deviations that do not matter; 10 % of the width and 0.1 posterior standard deviations.
        bins: bins of each target's estimate, equally filled; fewer if a bin would get less than 100 cases.
        mode_tolerance: parameters whose joint modes are compared with the truth, see ``mode_figures``.
        seed: seed of ties, bootstrap and reference points.
        progress: called with the share that is done.

    Returns:
        The report, which follows ``schema.json``, and the figures of every case for maps and plots.
    """
    tolerance = tolerance or Tolerance()
    figures = measure_cases(cases, seed, progress)
    pit = _pit(figures.rank, cases.samples.shape[0], seed)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "made": now(),
        "versions": versions(*_PACKAGES),
        "source": dict(cases.source),
        "seed": seed,
        "cases": len(cases),
        "samples_per_case": cases.samples.shape[0],
        "tolerance": {"width": tolerance.width, "shift": tolerance.shift},
        "needed_cases": tolerance.needed_cases(),
        "targets": list(cases.targets),
        "parameters": _parameters(cases, figures, pit, tolerance),
        "conditional": _conditional(cases, figures, pit, tolerance, bins),
        "joint": joint_figures(cases, seed),
        "modes": mode_figures(cases, mode_tolerance or {}, seed),
        "information": None if cases.information is None else cases.information.summary(seed),
        "classes": None if cases.classes is None else dict(cases.classes),
        "trust": None if cases.trust is None else dict(cases.trust),
        "notes": _notes(cases),
    }
    targets = [entry for entry in report["parameters"] if entry["name"] in cases.targets]
    report["status"] = overall([entry["status"] for entry in targets])
    report["summary"] = _summary(report, targets)
    report["remarks"] = remarks(report)
    return report, figures


def _pit(rank: Tensor, num_samples: int, seed: int) -> Tensor:
    """Uniform numbers strictly inside (0, 1) from ranks."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(rank.shape, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return (rank.cpu() + u) / (num_samples + 1)


def _parameters(
    cases: Cases, figures: CaseFigures, pit: Tensor, tolerance: Tolerance
) -> list[dict[str, Any]]:
    num_samples, n = cases.samples.shape[0], len(cases)
    counts = rank_counts(figures.rank, num_samples)
    error = curve_of_counts(counts).error
    uniformity, ecdf = uniformity_of_counts(counts), ecdf_difference(counts)
    cover = coverage_of_counts(counts, _LEVELS)
    judged = deviations(pit)
    prior_sd = cases.truth.std(0)
    words = labels((p.name, p.description) for p in cases.parameters)
    entries = []
    for d, p in enumerate(cases.parameters):
        entry = {
            "name": p.name,
            "unit": p.unit,
            "description": p.description,
            "is_periodic": p.is_periodic,
            **judged[d],
            "coverage": [
                {"level": level, "coverage": rounded(cover.coverage[q, d]), "low": rounded(cover.low[q, d]),
                 "high": rounded(cover.high[q, d])}
                for q, level in enumerate(_LEVELS)
            ],
            "calibration_error": rounded(error[d]),
            "calibration_error_noise_floor": rounded(calibration_noise_floor(n).upper),
            "sbc_p": rounded(uniformity.p_value[d]),
            "sbc_inside_envelope": bool(ecdf.is_inside[d]),
            "crps": rounded(figures.crps[:, d].mean()),
            "median_absolute_error": rounded((figures.median[:, d] - cases.truth[:, d]).abs().median()),
            "interval_width_95": rounded(figures.width[:, d].median()),
            "posterior_over_prior_sd": rounded(figures.spread[:, d].square().mean().sqrt() / prior_sd[d]),
            "share_multimodal": rounded((figures.modes[:, d] > 1).float().mean()),
        }  # fmt: skip
        entry["status"] = status_of(entry, tolerance)
        entry["verdict"] = f"{words[p.name]}: {verdict(entry, entry['status'], tolerance)}"
        entries.append(entry)
    return entries


def _conditional(
    cases: Cases, figures: CaseFigures, pit: Tensor, tolerance: Tolerance, bins: int
) -> list[dict[str, Any]]:
    """Width and shift of every parameter in bins of every target's estimate."""
    bins = min(bins, len(cases) // _FEWEST_IN_BIN)
    if bins < 2:
        return []
    entries: list[dict[str, Any]] = []
    names = cases.space.names
    described = [(p.name, p.description) for p in cases.parameters]
    first, inner = labels(described), labels(described, begin=False)
    for by in (names.index(name) for name in cases.targets):
        centre = figures.centre[:, by].double().contiguous()  # as bucketize wants it
        edges = centre.quantile(torch.linspace(0, 1, bins + 1, dtype=torch.float64))
        label = torch.bucketize(centre, edges[1:-1], right=True)
        for k in range(bins):
            inside = label == k
            if int(inside.sum()) < _FEWEST_IN_BIN // 2:
                continue  # many equal estimates: the neighbouring bin holds them
            both = width_and_shift(pit[inside])
            for d, name in enumerate(names):
                entries.append(
                    {"parameter": name, "by": names[by], "unit": cases.parameters[by].unit, "bin": k,
                     "low": rounded(edges[k]), "high": rounded(edges[k + 1]), "is_first": k == 0,
                     "is_last": k == bins - 1, "cases": both.cases}
                    | width_shift(both, d, torch.zeros(2, len(names)))
                )  # fmt: skip
    corrected = holm([[entry["width"]["p"], entry["shift"]["p"]] for entry in entries])
    for entry, (width_p, shift_p) in zip(entries, corrected, strict=True):
        entry["width"]["p_corrected"], entry["shift"]["p_corrected"] = rounded(width_p), rounded(shift_p)
        entry["status"] = status_of(entry, tolerance)
        words = verdict(entry, entry["status"], tolerance)
        entry["verdict"] = f"{first[entry['parameter']]}: {words} {_where(entry, inner[entry['by']])}"
    return entries


def _where(entry: dict[str, Any], by: str) -> str:
    unit = "" if entry["unit"] == "1" else f" {entry['unit']}"
    if entry["is_first"]:
        return f"where {by} is estimated below {entry['high']:.3g}{unit}"
    if entry["is_last"]:
        return f"where {by} is estimated above {entry['low']:.3g}{unit}"
    return f"where {by} is estimated from {entry['low']:.3g} to {entry['high']:.3g}{unit}"


def _notes(cases: Cases) -> list[str]:
    notes = [cases.source["note"]] if "note" in cases.source else []
    if cases.images is not None:
        notes.append(
            f"The cases are pixels of {cases.images.shape[0]} image(s). Neighbours are not independent, but "
            "the bounds are those of independent cases and too narrow here; look at the maps as well."
        )
    if cases.residuals is None:
        notes.append("No forward model at hand: resimulation was not tested.")
    if cases.log_prob is None:
        notes.append("No density at hand: no log score.")
    return notes


def _summary(report: dict[str, Any], targets: list[dict[str, Any]]) -> str:
    kind = cases_of(report["source"])
    n = f"{report['cases']:,} {kind} with {report['samples_per_case']:,} posterior samples each"
    failing = [entry["verdict"] for entry in targets if entry["status"] == "miscalibrated"]
    worst = [
        entry for entry in report["conditional"]
        if entry["parameter"] in report["targets"] and entry["status"] == "miscalibrated"
    ]  # fmt: skip
    needed = f"{report['needed_cases']:,}"
    text = {
        "calibrated": "All targets are calibrated within the tolerance",
        "small deviation": "All targets are calibrated within the tolerance; measurable deviations are small",
        "undecided": f"No deviation was seen, but only about {needed} {kind} would exclude one",
        "miscalibrated": "; ".join(failing),
    }[report["status"]]
    text = f"{text} ({n})."
    if worst:
        worst.sort(key=lambda entry: -abs(math.log(entry["width"]["value"])) - abs(entry["shift"]["value"]))
        text += f" Worst region: {worst[0]['verdict']}."
    return text
