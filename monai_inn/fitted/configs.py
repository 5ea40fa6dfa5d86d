"""The configs of a bundle for ``python -m monai.bundle``: ``templates``, with what is the bundle's own.

Components are named by their full public path, because a short name would resolve to MONAI's own class first.
The description of problem and network is not repeated here: it lies in the header of the weights file, from
which ``map_network`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.files import read_json

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["of", "of_files"]

_TEMPLATES = Path(__file__).parent / "templates"


def of(fitted: FittedPosterior) -> dict[str, dict[str, Any]]:
    """Return the content of every config by its name."""
    # `torchrun` starts a process for each GPU; what `train.json` runs joins them.
    usual = {"train": _train(fitted), **{name: _template(name) for name in ("multi_gpu_train", "evaluate")}}
    if fitted.problem.observation.is_local:
        usual |= {"inference": _inference(fitted), "export": _template("export")}
    elif evaluator := fitted.problem.application.evaluator():
        usual["inference"] = _inference_of_files(evaluator)
    return usual | dict(fitted.problem.application.configs())


def of_files(folder: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with ``dataset_dir``, ``device``, a folder of the bundle to write to, and entries."""
    return _template("files") | {"output_dir": f"$@bundle_root + '/{folder}'", **entries}


def _template(name: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(_TEMPLATES / f"{name}.json")
    return content


def _inference_of_files(evaluator: Mapping[str, Any]) -> dict[str, Any]:
    """``inference.json`` of whole images: the function behind the verb reads and matches the files."""
    config = _template("inference_of_files")
    config["evaluator"] = {**evaluator, **config["evaluator"]}
    return of_files("eval", config)


def _inference(fitted: FittedPosterior) -> dict[str, Any]:
    """``inference.json``: maps of every image in ``dataset_dir`` as NIfTI files."""
    config = _template("inference")
    config["preprocessing"]["transforms"] = fitted.problem.application.loading()
    return config


def _train(fitted: FittedPosterior) -> dict[str, Any]:
    """``train.json``: fit the bundle's problem anew and write a new bundle."""
    config, recipe = _template("train"), fitted.card.get("training", {}).get("recipe", {})
    if not fitted.problem.observation.is_local:
        config["network_def"]["_target_"] = "monai_inn.bundles.sample_network"
    if "num_simulations" in recipe:
        config["train"]["dataset"]["num_simulations"] = recipe["num_simulations"]
    config["train"]["trainer"]["members"] = fitted.network.density.ensemble.members
    return config
