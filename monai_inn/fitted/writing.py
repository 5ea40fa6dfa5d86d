"""Writing a bundle, whole or not at all."""

from __future__ import annotations

import json
import shutil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.files import write_json
from monai_inn.fitted import configs, layout
from monai_inn.fitted.card import model_card
from monai_inn.fitted.metadata import metadata
from monai_inn.folders import new_folder

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.fitted import FittedPosterior

__all__ = ["save", "write_weights"]

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
    write_weights(folder, fitted, monai_weights)
    weights = folder / layout.WEIGHTS
    description = metadata(fitted, name, layout.sha256(weights), weights.stat().st_size)
    files = {"metadata": description, **configs.of(fitted)}
    for stem, content in files.items():
        write_json(folder / layout.CONFIGS / f"{stem}.json", content)
    (folder / layout.README).write_text(model_card(fitted, description), encoding="utf-8")


def write_weights(folder: Path, fitted: FittedPosterior, monai_weights: bool) -> None:
    """Write the weights of a bundle; its metadata hold their checksum, which is the caller's to renew."""
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
