"""From a problem to a bundle on disk, able to continue after an interruption."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.bundles.layout import METADATA
from monai_inn.folders import check_target
from monai_inn.problems.parameters import labels

if TYPE_CHECKING:
    from monai_inn.problems import InverseProblem
    from monai_inn.training import Progress

__all__ = ["fit_bundle"]


def fit_bundle(
    problem: InverseProblem,
    out: str | PathLike[str],
    *,
    minutes: float | None = None,
    seed: int = 0,
    members: int = 5,
    simulations: str | PathLike[str] | None = None,
    resume: bool = False,
    warm: str | PathLike[str] | None = None,
    device: str = "cpu",
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Fit a problem and write its bundle; the training state lies in ``OUT.training`` until that is done.

    Args:
        problem: the inverse problem.
        out: bundle folder to write.
        minutes: time budget; the full recipe without it.
        seed: seed of simulations, noise and weights.
        members: flows in the density ensemble.
        simulations: Zarr store of ``simulate_to_zarr`` to train on.
        resume: continue from ``OUT.training``; start anew if it holds no checkpoint yet.
        warm: bundle of another patient to start from, see ``training.fit``.
        device: where to train.
        progress: called with the share of the current stage and a text.

    Returns:
        What was made, JSON-ready: path of the bundle, problem, device, targets, what people call each
        parameter, notes on how it was made, what was measured, warnings, and the command to use it.

    Raises:
        ValueError: if an argument is not usable, or a training was interrupted and ``resume`` is not set.
        OSError: if the bundle cannot be written; checked before training starts.
    """
    from monai_inn.bundles.reading import load
    from monai_inn.bundles.writing import save
    from monai_inn.training import fit
    from monai_inn.training.checkpoint import STATE, Checkpoint

    check_target(out, METADATA, "a bundle")
    target = Path(out).absolute()
    state = target.with_name(f"{target.name}.training")
    check_target(state, STATE, "a training state")

    def tell(report: Progress) -> None:
        loss = "" if report.loss != report.loss else f", held-out {report.loss:.3f}"
        progress(report.share, f"{report.stage}{loss}, {_time(report.seconds_left)} left")

    checkpoint = Checkpoint(state)
    has_state, notes = checkpoint.exists, []
    if has_state and not resume:
        raise ValueError(
            f"{state} holds an interrupted training; continue it with --resume (resume=True), "
            "or delete the folder to start anew."
        )
    if resume and not has_state:
        notes.append(f"{state} holds no checkpoint, so the training started anew.")
        progress(0.0, "no checkpoint, starting anew")
    fitted = fit(
        problem,
        minutes=minutes,
        seed=seed,
        members=members,
        simulations=simulations,
        checkpoint=state,
        resume=resume,
        warm=None if warm is None else load(warm, device),
        device=device,
        progress=tell,
    )
    save(fitted, target)
    checkpoint.remove()
    application = problem.application
    return {
        "out": str(out),
        "problem": problem.name,
        "device": application.device_line.replace("`", ""),
        "targets": list(problem.targets),
        "labels": labels((p.name, p.description) for p in problem.parameters),
        "notes": notes,
        "measured": fitted.card,
        "warnings": fitted.warnings,
        "next": application.usage[0].replace(" . ", f" {shlex.quote(str(out))} "),
    }


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
