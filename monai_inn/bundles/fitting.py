"""From a problem to its bundle, able to continue after an interruption."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.fitted import layout
from monai_inn.fitted.reading import load
from monai_inn.fitted.writing import save
from monai_inn.folders import check_target
from monai_inn.problems.parameters import labels, one_of_each_field

if TYPE_CHECKING:
    from monai_inn.problems import InverseProblem
    from monai_inn.training import Progress

__all__ = ["fit_bundle"]


def fit_bundle(
    problem: InverseProblem,
    out: str | PathLike[str],
    *,
    resume: bool = False,
    warm: str | PathLike[str] | None = None,
    device: str = "cpu",
    progress: Callable[[float, str], None] = lambda share, text: None,
    **options: Any,
) -> dict[str, Any]:
    """Fit a problem and write its bundle; the training state lies in ``OUT.training`` until that is done.

    Args:
        problem: the inverse problem.
        out: bundle folder to write.
        resume: continue from ``OUT.training``; start anew if it holds no checkpoint yet.
        warm: bundle to start from, see ``training.fit``.
        device: where to train.
        progress: called with the share that is done, and a text.
        options: further ones of ``training.fit``, such as ``minutes``, ``seed`` or ``simulations``.

    Returns:
        What was made, JSON-ready: path of the bundle, problem, device, targets, what people call each
        parameter, notes on how it was made, what was measured, warnings, and the command to use it.

    Raises:
        ValueError: if an argument is not usable, or a training was interrupted and ``resume`` is not set.
        OSError: if the bundle cannot be written; checked before training starts.
    """
    from monai_inn.training import fit
    from monai_inn.training.budget import share_done
    from monai_inn.training.checkpoint import STATE, Checkpoint
    from monai_inn.training.ranks import together

    check_target(out, layout.METADATA, "a bundle")
    target = Path(out).absolute()
    state = target.with_name(f"{target.name}.training")
    check_target(state, STATE, "a training state")

    def tell(report: Progress) -> None:
        loss = "" if report.loss != report.loss else f", held-out {report.loss:.3f}"
        minutes, seconds = divmod(int(report.seconds_left), 60)
        progress(share_done(problem, report), f"{report.stage}{loss}, {minutes}:{seconds:02d} left")

    with together() as ranks:
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
            checkpoint=state,
            resume=resume,
            warm=None if warm is None else load(warm, device),
            device=device,
            progress=tell,
            **options,
        )
        if ranks.is_first:
            save(fitted, target)
            checkpoint.remove()
    if late := fitted.card.get("training", {}).get("overrun"):  # trained by the first process alone
        notes.append(late)
    application, described = problem.application, one_of_each_field(problem.parameters)
    return {
        "out": str(out),
        "problem": problem.name,
        "device": application.device_text,
        "cases": application.cases,
        "unseen": application.unseen,
        "targets": [p.whole for p in described if p.name in problem.targets],
        "labels": labels((p.whole, p.description) for p in described),
        "notes": notes,
        "measured": fitted.card,
        "warnings": fitted.warnings,
        "next": application.usage[0].replace(" . ", f" {shlex.quote(str(out))} "),
    }
