"""Train the shipped bundles: simulate, fit, measure, save. A minute to an hour and a quarter a bundle.

    python Resources/train_bundles.py oximetry runs
    python Resources/train_bundles.py oximetry_rgb runs
    python Resources/train_bundles.py photoacoustics runs
    python Resources/train_bundles.py lumbar_spine runs
    python Resources/train_bundles.py ivim runs
    python Resources/train_bundles.py perfusion runs
    python Resources/train_bundles.py dsc runs
    python Resources/train_bundles.py lightfield runs
    python Resources/train_bundles.py accelerated_mr runs DATA
    python Resources/train_bundles.py contrast_translation runs DATA
    python Resources/train_bundles.py chest_xray runs DATA
    python Resources/train_bundles.py blood_cells runs DATA

Both steps resume where they were interrupted. The seed, the recipe and the measured figures end up in the
bundle's model card. The last four learn from images in a folder DATA. Of MR they are
``patientNN_CONTRAST.nii.gz``, the brain alone, voxels of 1.5 mm, as those of Lesjak et al., Neuroinformatics
2017, resampled; of classes see docs/classifiers.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import monai_inn
from monai_inn.applications.accelerated_mr.images import read_slices
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.applications.classification.problem import LabelledImages
from monai_inn.applications.classification.reading import read_collection
from monai_inn.applications.contrast.measures import widened
from monai_inn.applications.contrast.problem import ContrastTranslation
from monai_inn.applications.contrast.scans import Scan
from monai_inn.applications.perfusion.dsc import BolusPassage
from monai_inn.applications.perfusion.ivim import IntravoxelMotion
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.problems import InverseProblem, LightField, Oximetry, Photoacoustics, PoseRegistration
from monai_inn.training import Progress, Recipe, simulate_to_zarr
from monai_inn.training.measure import measure
from monai_inn.training.run import MEASURE

CT = Path(__file__).resolve().parent / "ct"


PATIENTS, HELD_OUT, CONTRASTS = ("07", "19"), "26", ("t1", "t2", "flair")


def accelerated_mr(data: Path) -> AcceleratedMR:
    """Slices of two patients in three contrasts, pixels of 3 mm."""
    files = [file for patient in PATIENTS for file in contrasts_of(patient, data).values()]
    return AcceleratedMR(read_slices(files, (64, 64), binned=2))


def contrast_translation(data: Path) -> ContrastTranslation:
    """T1 and T2 to FLAIR, as in two patients; a third one judges the training."""
    names = (*PATIENTS, HELD_OUT)
    patients = {p: contrasts_of(p, data) for p in names}
    return ContrastTranslation.of_files(patients, CONTRASTS[:2], CONTRASTS[2], held_out=HELD_OUT)


def contrasts_of(patient: str, data: Path) -> dict[str, Path]:
    """Files of a patient."""
    return {contrast: data / f"patient{patient}_{contrast}.nii.gz" for contrast in CONTRASTS}


def lumbar_spine(size: int = 32, target: list[float] | None = None) -> PoseRegistration:
    """L2 to L4 of the example CT, with errors of the simulation that leave some poses in doubt."""
    return PoseRegistration.of_ct(
        CT / "lumbar_ct.nii.gz",
        labels=CT / "lumbar_vertebrae.nii.gz",
        keep=(21, 22, 23),
        size=size,
        field_mm=170.0,
        target=target,
        noise={"sd": 0.05, "mismatch_sd": 0.3, "mismatch_mm": 5.0},
    )


def labelled(data: Path, changes: str, classes: tuple[str, ...] | None = None) -> LabelledImages:
    """Images with classes from a file; ``classes`` where the file names none."""
    found = read_collection(data)
    return LabelledImages.of_collection(
        found if classes is None else found._replace(classes=classes), changes=changes
    )


CLASSIFIER = {"flow": {"num_blocks": 2, "hidden_channels": (32, 32)}}

# Maps run the blocks of the targets only; those of the nuisances may be larger at no cost to a map.
RECIPES: dict[str, tuple[Callable[..., InverseProblem], dict[str, Any], Recipe]] = {
    "oximetry": (
        lambda: Oximetry("tivita"),
        {"flow": {"num_blocks": (4, 6), "hidden_channels": ((64, 64), (128, 128))}},
        Recipe(
            num_simulations=1_000_000,
            posterior_steps=12_000,
            density_steps=4_000,
            explanation_steps=3_000,
            preview_steps=10_000,
            preview_observations=120_000,
            measured=40_000,
        ),
    ),
    "oximetry_rgb": (
        lambda: Oximetry("rgb_nikon_d5100"),
        {"flow": {"hidden_channels": (96, 96)}},
        Recipe(
            num_simulations=400_000,
            posterior_steps=6_000,
            density_steps=3_000,
            density_smoothing=0.3,
            measured=40_000,
        ),
    ),
    "photoacoustics": (
        Photoacoustics,
        {"flow": {"hidden_channels": (96, 96)}},
        Recipe(
            num_simulations=1_000_000,
            posterior_steps=8_000,
            density_steps=3_000,
            preview_steps=8_000,
            preview_observations=60_000,
            measured=40_000,
        ),
    ),
    "ivim": (
        IntravoxelMotion,
        {"encoder": {"out_channels": 64}},
        Recipe(
            num_simulations=500_000,
            batch_size=512,
            posterior_steps=12_000,
            density_steps=1_500,
            preview_steps=6_000,
            preview_observations=60_000,
            measured=40_000,
        ),
    ),
    "perfusion": (
        Perfusion,
        {"encoder": {"out_channels": 64}, "flow": {"hidden_channels": ((64, 64), (96, 96))}},
        Recipe(
            num_simulations=500_000,
            batch_size=512,
            posterior_steps=8_000,
            density_steps=1_500,
            preview_steps=6_000,
            preview_observations=60_000,
            measured=20_000,
        ),
    ),
    # Twice the frames of "perfusion": fewer channels a frame and fewer rows a step.
    "dsc": (
        BolusPassage,
        {"encoder": {"out_channels": 64, "width": 32}, "flow": {"hidden_channels": (64, 64)}},
        Recipe(
            num_simulations=300_000,
            batch_size=256,
            posterior_steps=4_000,
            density_steps=500,
            preview_steps=1_500,
            preview_observations=15_000,
            measured=10_000,
        ),
    ),
    "lightfield": (
        LightField,
        {},
        Recipe(
            num_simulations=300_000,
            batch_size=256,
            posterior_steps=1_500,
            density_steps=800,
            preview_steps=1_000,
            preview_observations=10_000,
            measured=5_000,
        ),
    ),
    "chest_xray": (
        lambda data: labelled(data / "pneumonia_xray_28.npz", "shift", ("normal", "pneumonia")),
        CLASSIFIER,
        Recipe(posterior_steps=300, density_steps=200, batch_size=256),
    ),
    "blood_cells": (
        lambda data: labelled(data / "blood_cells_28.npz", "turn"),
        CLASSIFIER,
        Recipe(posterior_steps=200, density_steps=200, batch_size=256),
    ),
    "lumbar_spine": (
        lumbar_spine,
        {},
        Recipe(num_simulations=150_000, posterior_steps=12_000, density_steps=2_000, measured=10_000),
    ),
    "accelerated_mr": (
        accelerated_mr,
        {"density": {"members": 2}},
        Recipe(
            num_simulations=2_048,
            batch_size=128,
            posterior_steps=1_500,
            density_steps=300,
            held_out=512,
            guard=512,
            measured=256,
        ),
    ),
    "contrast_translation": (
        contrast_translation,
        {"density": {"members": 2}},
        Recipe(
            num_simulations=6_144,
            batch_size=64,
            posterior_steps=1_200,
            density_steps=100,
            held_out=96,
            guard=100,
            measured=128,
        ),
    ),
}


_MR = (
    "Learned from MR images of patients 7 and 19 of Lesjak and others, A novel public MR image dataset of "
    "multiple sclerosis patients, Neuroinformatics 2017 (CC-BY), resampled to 1.5 mm; the bundle holds none."
)
# Where data inside a bundle, or behind it, come from, for its model card.
SOURCES = {
    "lumbar_spine": [
        "The CT is the sample of the package TPTBox 1.1.0 (R. Graf, H. Möller and others; Apache-2.0; "
        "doi 10.1016/j.softx.2026.103055), cut to L2 to L4."
    ],
    "accelerated_mr": [_MR],
    "contrast_translation": [_MR],
    "chest_xray": [
        "Chest X-rays of children: PneumoniaMNIST of MedMNIST v2 (J. Yang and others, Scientific Data 10, "
        "41, 2023), from D. Kermany and others (Cell 172, 1122, 2018); CC BY 4.0."
    ],
    "blood_cells": [
        "Cells of stained blood smears: BCCD_Dataset (Shenggan, cosmicad, akshaylamba; MIT License, "
        "Copyright (c) 2017 shenggan)."
    ],
}


def tell(progress: Progress) -> None:
    """Print one line an evaluation."""
    print(
        f"{progress.stage:10s} {progress.share:4.0%}  {progress.loss:9.4f}  "
        f"{progress.seconds_left / 60:5.1f} min left",
        flush=True,
    )


def train(name: str, folder: Path, data: Sequence[Path] = ()) -> None:
    """Train one bundle below ``folder``, from a folder of images if it learns from such."""
    make, network, recipe = RECIPES[name]
    problem = make(*data)
    store = folder / f"{name}.zarr" if problem.can_simulate and not problem.has_fields else None
    if store is not None:
        simulate_to_zarr(problem, recipe.num_simulations, store, seed=0)
    checkpoint = folder / f"{name}.checkpoint"
    fitted = monai_inn.fit(
        problem,
        recipe=recipe,
        network=network,
        simulations=store,
        checkpoint=checkpoint,
        resume=(checkpoint / "state.pt").exists(),
        progress=tell,
    )
    if isinstance(problem, ContrastTranslation):
        scan = Scan.read(contrasts_of(HELD_OUT, *data), problem.spacing_mm, HELD_OUT, extra=1)
        fitted = widened(fitted, [scan])
        fitted.card |= measure(fitted, recipe.measured, MEASURE)
    fitted.card["sources"] = SOURCES.get(name, [])
    monai_inn.bundles.save(fitted, folder / name, monai_weights=False)


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), [Path(folder) for folder in sys.argv[3:]])
