"""What the configs of a registration's bundle name as ``_target_``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch

from monai_inn.applications.registration.patient import another_patient
from monai_inn.applications.registration.poses import registration_problem
from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.bundles import load, save
from monai_inn.bundles.retraining import architecture

__all__ = ["PatientTrainer", "XrayRegistration"]


@dataclass(eq=False)
class XrayRegistration:
    """Find the poses that explain an X-ray, as ``monai-inn register`` does.

    Args:
        bundle: folder of the bundle.
        xray: X-ray file.
        output_dir: folder to write.
        samples: posterior samples.
        false_alarm: share of X-rays like the simulated that may be called untrusted.
        seed: seed of the samples.
        device: where to compute.
    """

    bundle: str | PathLike[str]
    xray: str | PathLike[str]
    output_dir: str | PathLike[str]
    samples: int = 1000
    false_alarm: float = 0.05
    seed: int = 0
    device: str | torch.device = "cpu"

    def run(self) -> dict[str, Any]:
        """Write the folder and return its record."""
        given = dict(vars(self), device=str(self.device))
        return register_xray(given.pop("bundle"), given.pop("xray"), given.pop("output_dir"), **given)


@dataclass(eq=False)
class PatientTrainer:
    """Fit the registration of another patient's CT before the same C-arm, starting from a bundle's network.

    Args:
        bundle: folder of a registration bundle.
        ct: CT of the new patient, in Hounsfield units.
        output: folder of the new bundle.
        labels: segmentation on the CT's voxels; empty for none.
        keep: labels of the structures that are registered.
        minutes: time budget.
        device: where to train.
        seed: seed of simulations, noise and weights.
        recipe: sizes of ``monai_inn.training.Recipe``, in the place of the time budget.
    """

    bundle: str | PathLike[str]
    ct: str | PathLike[str]
    output: str | PathLike[str]
    labels: str = ""
    keep: Sequence[int] = ()
    minutes: float = 20.0
    device: str | torch.device = "cpu"
    seed: int = 0
    recipe: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not str(self.ct):
            raise ValueError("dataset_dir is empty; give the CT of the patient: --dataset_dir CT.nii.gz.")

    def run(self) -> None:
        """Train and write the bundle."""
        from monai_inn.training import Recipe, fit

        donor = load(self.bundle)
        problem = another_patient(registration_problem(donor), self.ct, self.labels or None, self.keep)
        fitted = fit(
            problem,
            minutes=None if self.recipe else self.minutes,
            recipe=Recipe(**self.recipe) if self.recipe else None,
            seed=self.seed,
            members=donor.network.density.ensemble.members,
            network=architecture(donor.network.config),
            warm=donor,
            device=self.device,
        )
        save(fitted, self.output)
