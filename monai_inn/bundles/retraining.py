"""What ``train.json`` of a bundle names as ``_target_``: training sets, and the runs that fit anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_inn.bundles.fitting import fit_bundle
from monai_inn.fitted.reading import describe, find, problem_and_weights, read_weights

if TYPE_CHECKING:
    from monai_inn.training.simulation_store import Simulations

__all__ = ["BundleTrainer", "TrainingSet", "architecture"]

# What a new training takes over of each part; the rest comes with the problem and the run.
_ARCHITECTURE = {
    "encoder": ("out_channels", "width", "num_blocks", "components", "templates"),
    "flow": ("num_blocks", "hidden_channels", "coupling"),
    "density": ("num_blocks", "hidden_channels"),
}


def architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a new training takes over of a network's description, for ``fit(network=…)``."""
    parts = {
        part: {name: config[part][name] for name in names if name in config[part]}
        for part, names in _ARCHITECTURE.items()
    }
    return {**parts, "num_ood_scores": config["num_ood_scores"]}


class TrainingSet(Dataset):
    """Simulations of a bundle's problem on disk, made when they are first needed and then kept.

    ``network`` holds the bundle's architecture, for ``BundleTrainer``.

    Items are ``{"parameters": (D,), "observation": (C,)}`` in physical units, the observation without noise.

    Args:
        bundle: folder of the bundle whose problem is simulated.
        folder: Zarr store; continued if it is not finished.
        num_simulations: number of items.
        seed: seed of the prior draws.
        workers: processes that simulate.
    """

    def __init__(
        self,
        bundle: str | PathLike[str],
        folder: str | PathLike[str],
        num_simulations: int = 200_000,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        header, tensors = read_weights(find(bundle), describe(find(bundle)))
        self.problem, _ = problem_and_weights(header, tensors)
        self.network = architecture(header["network"])
        self.folder, self.num_simulations = Path(folder), num_simulations
        self.seed, self.workers = seed, workers

    def make(self) -> Simulations:
        """Return the store, simulated now if it is not complete."""
        from monai_inn.training import simulate_to_zarr

        return simulate_to_zarr(self.problem, self.num_simulations, self.folder, self.seed, self.workers)

    @cached_property
    def _stored(self) -> Simulations:
        return self.make()

    def __len__(self) -> int:
        return self.num_simulations

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        stored = self._stored
        return {
            "parameters": torch.from_numpy(stored.theta[index]),
            "observation": torch.from_numpy(stored.y[index]),
        }


@dataclasses.dataclass(eq=False)
class BundleTrainer:
    """Fit the problem of a training set and write the result as a bundle.

    Args:
        dataset: what to train on.
        max_epochs: passes of the posterior over the training set.
        output: folder of the new bundle; training state is kept beside it until it is finished, so that a
            killed run continues.
        members: flows in the density ensemble.
        device: where to train.
        seed: seed of noise and weights.
        recipe: other sizes of ``monai_inn.training.Recipe`` than the default.
    """

    dataset: TrainingSet
    max_epochs: int
    output: str | PathLike[str]
    members: int = 5
    device: str | torch.device = "cpu"
    seed: int = 0
    recipe: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs = {self.max_epochs}; give at least 1.")

    def run(self) -> None:
        """Train and write the bundle, together with the other processes that ``torchrun`` has started."""
        from monai_inn.training import Recipe
        from monai_inn.training.ranks import together

        default = Recipe(**self.recipe)
        steps = max(1, self.max_epochs * len(self.dataset) // default.batch_size)
        share = steps / default.posterior_steps
        recipe = dataclasses.replace(
            default,
            num_simulations=len(self.dataset),
            posterior_steps=steps,
            density_steps=max(1, round(default.density_steps * share)),
            preview_steps=max(1, round(default.preview_steps * share)),
            explanation_steps=max(1, round(default.explanation_steps * share)),
        )
        with together() as ranks:
            if ranks.is_first:
                self.dataset.make()
            ranks.agreed(None)  # the others wait for the simulations
            fit_bundle(
                self.dataset.problem,
                self.output,
                resume=True,
                device=str(self.device),
                seed=self.seed,
                members=self.members,
                network=self.dataset.network,
                recipe=recipe,
                simulations=self.dataset.folder,
            )
