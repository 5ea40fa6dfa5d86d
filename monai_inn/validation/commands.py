"""What ``monai-inn validate`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.fitted.layout import METADATA, SECTION
from monai_inn.fitted.reading import describe, find, load, shipped
from monai_inn.folders import check_target
from monai_inn.metrics.verdicts import Tolerance
from monai_inn.validation.readers import read_cases
from monai_inn.validation.recalibration import recalibrate_bundle
from monai_inn.validation.report import REPORT, write_report
from monai_inn.validation.simulated import simulated_cases

__all__ = ["validate_source", "verdicts"]

_SIMULATING = 0.8  # share of the work on a bundle


def validate_source(
    source: str,
    out: str | PathLike[str],
    *,
    truth: str | None = None,
    parameters: str | None = None,
    n: int = 4000,
    samples: int = 255,
    tolerance: Tolerance | None = None,
    mode_tolerance: Mapping[str, float] | None = None,
    recalibrated: str | None = None,
    device: str = "cpu",
    seed: int = 0,
    is_printed: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Validate a bundle on fresh simulations, or samples and truth from files, and write a report.

    Args:
        source: folder of a bundle, name of a shipped one, or what ``read_cases`` takes.
        out: folder to write.
        truth: true values, where the samples' file does not hold them.
        parameters: JSON file that describes the parameters of foreign samples.
        n: simulations, for a bundle.
        samples: posterior samples for each of them.
        tolerance: deviations that do not matter.
        mode_tolerance: parameters whose modes are compared with the truth, see ``mode_figures``.
        recalibrated: folder for a recalibrated copy of the bundle, see ``recalibrate``.
        device: where a bundle's network runs.
        seed: seed of simulations and samples.
        is_printed: also write the page as PDF, see ``write_report``.
        progress: called with the share that is done.

    Returns:
        The content of ``report.json``, ``"warnings"`` about the bundle, and what was done under
        ``"recalibration"``, if it was asked for.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the source, a file or an option is not usable.
    """
    check_target(out, REPORT, "a report")
    if recalibrated is not None:
        check_target(recalibrated, METADATA, "a bundle")
        if os.path.realpath(recalibrated) == os.path.realpath(out):
            raise ValueError(f"{out}: holds the report; give another folder for the recalibrated bundle.")
    title = Path(source).resolve().name  # "." has no name of its own
    warnings: list[str] = []
    is_bundle = source in shipped() or (Path(source) / METADATA).is_file()
    if is_bundle:
        if truth is not None or parameters is not None:
            raise ValueError(
                f"{source} is a bundle and is validated on its own simulations; --truth and --parameters go "
                "with samples. Write those of a measured image with `monai-inn infer --save-samples`."
            )
        fitted = load(source, device)
        warnings = fitted.warnings
        cases = simulated_cases(
            fitted, n, samples, seed=seed, progress=lambda share: progress(_SIMULATING * share)
        )
        metadata = describe(find(source))
        cases.source = {
            "bundle": title,
            "version": metadata["version"],
            "weights_sha256": metadata[SECTION]["weights_sha256"],
            **cases.source,
        }
    elif recalibrated is not None:
        raise ValueError(f"{source} is not a bundle; --recalibrate repairs bundles only.")
    else:
        cases = read_cases(source, truth, parameters)
    started = _SIMULATING if is_bundle else 0.0
    report = write_report(
        cases,
        out,
        title=title,
        tolerance=tolerance,
        mode_tolerance=mode_tolerance,
        seed=seed,
        is_printed=is_printed,
        progress=lambda share: progress(started + (1 - started) * share),
    )
    report = report | {"warnings": warnings}
    if recalibrated is None:
        return report
    about = recalibrate_bundle(source, recalibrated, n=max(n, 1000), seed=seed, device=device)
    return report | {"recalibration": {"bundle": recalibrated, **about}}


def verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    """Return what a table of many reports says of one: the verdict as a whole, and on each target."""
    each = {entry["name"]: entry["status"] for entry in report["parameters"]}
    return {"calibration": report["status"]} | {f"{n}_calibration": each[n] for n in report["targets"]}
