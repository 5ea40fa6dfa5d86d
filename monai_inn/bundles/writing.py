"""Writing a bundle, whole or not at all; from a problem to one, able to continue after an interruption."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.bundles import configs, layout
from monai_inn.bundles.card import model_card
from monai_inn.bundles.metadata import metadata
from monai_inn.files import write_json
from monai_inn.folders import check_target, new_folder
from monai_inn.problems.parameters import labels, one_of_each_field

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.inferers import FittedPosterior
    from monai_inn.problems import InverseProblem
    from monai_inn.training import Progress

__all__ = ["fit_bundle", "save"]

_LICENSE = Path(__file__).parent / "LICENSE"


def save(fitted: FittedPosterior, path: str | PathLike[str], *, monai_weights: bool = True) -> None:
    """Write a trained posterior as a MONAI bundle.

    The files of an existing bundle are replaced once the new one is complete; files that are not part of a
    bundle, such as ``eval/``, stay. After an error the folder is what it was before.

    The package ships its bundles without ``models/model.pt``, which holds the same weights again.

    Args:
        fitted: what ``fit`` returned.
        path: folder to write.
        monai_weights: also write ``models/model.pt``, a plain state dict, which only ``monai.bundle
            ckpt_export`` reads; everything else takes ``models/model.safetensors``.

    Raises:
        ValueError: if the folder exists and is not a bundle.
        OSError: if it cannot be written.
    """
    with new_folder(path, layout.METADATA, "a bundle", layout.PARTS) as draft:
        _fill(draft, fitted, Path(path).absolute().name, monai_weights)


def _fill(folder: Path, fitted: FittedPosterior, name: str, monai_weights: bool) -> None:
    """Write every file of a bundle into an empty folder."""
    for part in (layout.CONFIGS, "models", "docs"):
        (folder / part).mkdir()
    shutil.copyfile(_LICENSE, folder / "LICENSE")
    _write_weights(folder, fitted, monai_weights)
    weights = folder / layout.WEIGHTS
    description = metadata(fitted, name, layout.sha256(weights), weights.stat().st_size)
    files = {"metadata": description, **configs.of(fitted)}
    for stem, content in files.items():
        write_json(folder / layout.CONFIGS / f"{stem}.json", content)
    (folder / layout.README).write_text(model_card(fitted, description), encoding="utf-8")


def _write_weights(folder: Path, fitted: FittedPosterior, monai_weights: bool) -> None:
    import torch
    from safetensors.torch import save as serialised

    state = {name: value.detach().cpu().contiguous() for name, value in fitted.network.state_dict().items()}
    constants = {f"{layout.PROBLEM}{name}": value.cpu() for name, value in fitted.problem.tensors.items()}
    stored = {name: _narrowed(value) for name, value in (state | constants).items()}
    header: dict[str, Any] = {
        "problem": {"name": fitted.problem.name, "config": fitted.problem.to_config()},
        "network": fitted.network.config,
    }
    # One entry: several would come in any order, and the same network would give different files.
    description = {layout.SECTION: json.dumps(header, allow_nan=False)}
    (folder / layout.WEIGHTS).write_bytes(serialised(stored, description))  # `save_file` makes it private
    if monai_weights:
        torch.save({f"network.{name}": value for name, value in state.items()}, folder / layout.STATE_DICT)


def _narrowed(value: Tensor) -> Tensor:
    """In half precision where that loses nothing: volumes and axes were rounded to it when they were made."""
    import torch

    half = value.half()
    is_lossless = value.dtype == torch.float32 and half.float().equal(value)
    return (half if is_lossless else value).contiguous()


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
        progress: called with the share of the current stage and a text.
        options: further ones of ``training.fit``, such as ``minutes``, ``seed`` or ``simulations``.

    Returns:
        What was made, JSON-ready: path of the bundle, problem, device, targets, what people call each
        parameter, notes on how it was made, what was measured, warnings, and the command to use it.

    Raises:
        ValueError: if an argument is not usable, or a training was interrupted and ``resume`` is not set.
        OSError: if the bundle cannot be written; checked before training starts.
    """
    from monai_inn.bundles.reading import load
    from monai_inn.training import fit
    from monai_inn.training.checkpoint import STATE, Checkpoint
    from monai_inn.training.ranks import together

    check_target(out, layout.METADATA, "a bundle")
    target = Path(out).absolute()
    state = target.with_name(f"{target.name}.training")
    check_target(state, STATE, "a training state")

    def tell(report: Progress) -> None:
        loss = "" if report.loss != report.loss else f", held-out {report.loss:.3f}"
        minutes, seconds = divmod(int(report.seconds_left), 60)
        progress(report.share, f"{report.stage}{loss}, {minutes}:{seconds:02d} left")

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
