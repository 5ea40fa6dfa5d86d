"""The configs of a bundle that ``python -m monai.bundle`` runs.

Components are named by their full public path, because a short name would resolve to MONAI's own class first.
The description of problem and network is not repeated here: it lies in the header of the weights file, from
which ``map_network`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["DEVICE", "of", "of_files"]

DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
"""The GPU if there is one, as an expression of MONAI's configs."""

# `torchrun` starts a process for each GPU; what `train.json` runs joins them.
_OWN_GPU = {
    "imports": ["$import os"],
    "device": "$torch.device('cuda', int(os.environ['LOCAL_RANK'])) if torch.cuda.is_available() "
    "else torch.device('cpu')",
}


def of(fitted: FittedPosterior) -> dict[str, dict[str, Any]]:
    """Return the content of every config by its name."""
    usual = {"train": _train(fitted), "multi_gpu_train": _OWN_GPU, "evaluate": _evaluate()}
    if fitted.problem.observation.is_local:
        usual |= {"inference": _inference(fitted), "export": _export()}
    elif evaluator := fitted.problem.application.evaluator():
        usual["inference"] = _inference_of_files(evaluator)
    return usual | dict(fitted.problem.application.configs())


def of_files(folder: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with ``dataset_dir``, ``device``, a folder of the bundle to write to, and entries."""
    return {
        "bundle_root": ".",
        "dataset_dir": "",
        "device": DEVICE,
        "output_dir": f"$@bundle_root + '/{folder}'",
        **entries,
    }


def _inference_of_files(evaluator: Mapping[str, Any]) -> dict[str, Any]:
    """``inference.json`` of whole images: the function behind the verb reads and matches the files."""
    always = {"_mode_": "callable", "bundle": "@bundle_root", "out": "@output_dir", "device": "$str(@device)"}
    return of_files(
        "eval",
        {
            # What MONAI's tools ask a bundle for.
            "network_def": {"_target_": "monai_inn.bundles.sample_network", "bundle": "@bundle_root"},
            "items": {"_target_": "monai_inn.bundles.image_items", "path": "@dataset_dir"},
            "dataset": {"_target_": "monai.data.Dataset", "data": "@items"},
            "inferer": {"_target_": "monai.inferers.SimpleInferer"},
            "evaluator": {**evaluator, **always},
            "run": ["$@evaluator()"],
        },
    )


def _inference(fitted: FittedPosterior) -> dict[str, Any]:
    """``inference.json``: maps of every image in ``dataset_dir`` as NIfTI files."""
    load = fitted.problem.application.loading()
    save = {
        "_target_": "monai.transforms.SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_postfix": "maps",
        "resample": False,
    }
    return {
        "bundle_root": ".",
        "dataset_dir": "",
        "output_dir": "$@bundle_root + '/eval'",
        "device": DEVICE,
        "samples": 64,
        "interval": 0.95,
        "false_alarm": 0.05,
        "seed": 0,
        "network_def": {
            "_target_": "monai_inn.bundles.map_network",
            "bundle": "@bundle_root",
            "samples": "@samples",
            "interval": "@interval",
            "false_alarm": "@false_alarm",
            "seed": "@seed",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "monai.transforms.Compose", "transforms": load},
        "dataset": {
            "_target_": "monai.data.Dataset",
            "data": {"_target_": "monai_inn.bundles.image_items", "path": "@dataset_dir"},
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "monai.data.DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "postprocessing": {"_target_": "monai.transforms.Compose", "transforms": [save]},
        "evaluator": {
            "_target_": "monai.engines.SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _train(fitted: FittedPosterior) -> dict[str, Any]:
    """``train.json``: fit the bundle's problem anew and write a new bundle."""
    recipe = fitted.card.get("training", {}).get("recipe", {})
    network = "map_network" if fitted.problem.observation.is_local else "sample_network"
    return {
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/training_set.zarr'",
        "output_dir": "$@bundle_root + '/retrained'",
        "device": DEVICE,
        "seed": 0,
        "network_def": {"_target_": f"monai_inn.bundles.{network}", "bundle": "@bundle_root"},
        "train": {
            "dataset": {
                "_target_": "monai_inn.bundles.TrainingSet",
                "bundle": "@bundle_root",
                "folder": "@dataset_dir",
                "num_simulations": recipe.get("num_simulations", 200_000),
                "seed": "@seed",
            },
            "inferer": {"_target_": "monai.inferers.SimpleInferer"},
            "trainer": {
                "_target_": "monai_inn.bundles.BundleTrainer",
                "dataset": "@train::dataset",
                "max_epochs": 100,
                "members": fitted.network.density.ensemble.members,
                "output": "@output_dir",
                "device": "@device",
                "seed": "@seed",
            },
        },
        "run": ["$@train::trainer.run()"],
    }


def _evaluate() -> dict[str, Any]:
    """``evaluate.json``: calibration on fresh simulations, written as JSON."""
    return {
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": DEVICE,
        "evaluator": {
            "_target_": "monai_inn.bundles.BundleEvaluator",
            "bundle": "@bundle_root",
            "output_dir": "@output_dir",
            "cases": 4000,
            "seed": 0,
            "device": "@device",
        },
        "run": ["$@evaluator.run()"],
    }


def _export() -> dict[str, Any]:
    """``export.json``: the map network as a program of ``torch.export``."""
    return {
        "bundle_root": ".",
        "exporter": {
            "_target_": "monai_inn.bundles.BundleExporter",
            "bundle": "@bundle_root",
            "path": "$@bundle_root + '/models/model.pt2'",
        },
        "run": ["$@exporter.run()"],
    }
