"""What the configs of a registration's bundle name as ``_target_``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import torch

from monai_inn.applications.registration.patient import OF_DETECTOR
from monai_inn.applications.registration.poses.inference import registration_problem
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.bundles import load
from monai_inn.bundles.fitting import fit_bundle
from monai_inn.bundles.retraining import architecture

__all__ = ["PatientTrainer", "another_patient"]


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
        """Train and write the bundle; training state is kept beside it until then, as by ``fit_bundle``."""
        from monai_inn.training import Recipe

        donor = load(self.bundle)
        problem = another_patient(registration_problem(donor), self.ct, self.labels or None, self.keep)
        fit_bundle(
            problem,
            self.output,
            resume=True,
            warm=self.bundle,
            device=str(self.device),
            minutes=None if self.recipe else self.minutes,
            recipe=Recipe(**self.recipe) if self.recipe else None,
            seed=self.seed,
            members=donor.network.density.ensemble.members,
            network=architecture(donor.network.config),
        )


def another_patient(
    like: PoseRegistration,
    ct: str | PathLike[str],
    labels: str | PathLike[str] | None = None,
    keep: Sequence[int] = (),
) -> PoseRegistration:
    """Return the registration of another patient's CT before the same C-arm.

    Args:
        like: registration whose detector, parameters and noise are taken over.
        ct: CT in Hounsfield units.
        labels: segmentation on the CT's voxels.
        keep: labels of the structures that are registered.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not usable, or the detector is not square.
    """
    detector = like.detector
    if detector.rows != detector.columns:
        raise ValueError(
            f"the detector has {detector.rows} x {detector.columns} pixels; only square ones are taken over."
        )
    return PoseRegistration.of_ct(
        ct,
        labels=labels,
        keep=keep,
        size=detector.rows,
        field_mm=detector.rows * detector.spacing_at_isocentre_mm,
        **{name: getattr(detector, name) for name in OF_DETECTOR},
        free={p.name: (p.low, p.high) for p in like.parameters},
        fixed=like.fixed,
        noise=like.to_config()["noise"],
    )
