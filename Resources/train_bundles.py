"""Train the shipped bundles: simulate, fit, measure, save. About an hour a bundle on two cores.

    python Resources/train_bundles.py oximetry runs
    python Resources/train_bundles.py oximetry_rgb runs

Both steps resume where they were interrupted. The seed, the recipe and the measured figures end up in the
bundle's model card.
"""

from __future__ import annotations

import sys
from pathlib import Path

import monai_inn
from monai_inn.training import Progress, Recipe, simulate_to_zarr

RECIPES = {
    "oximetry": ("tivita", Recipe(1_000_000, 24_000, 8_000, 6_000, 40_000, 1024, measured=10_000)),
    "oximetry_rgb": ("rgb_nikon_d5100", Recipe(400_000, 6_000, 3_000, 4_000, 30_000, 1024, measured=10_000)),
}


def tell(progress: Progress) -> None:
    """Print one line an evaluation."""
    print(
        f"{progress.stage:10s} {progress.share:4.0%}  {progress.loss:9.4f}  "
        f"{progress.seconds_left / 60:5.1f} min left",
        flush=True,
    )


def train(name: str, folder: Path) -> None:
    """Train one bundle below ``folder``."""
    camera, recipe = RECIPES[name]
    problem = monai_inn.problems.Oximetry(camera)
    store = folder / f"{name}.zarr"
    simulate_to_zarr(problem, recipe.num_simulations, store, seed=0)
    checkpoint = folder / f"{name}.checkpoint"
    fitted = monai_inn.fit(
        problem,
        recipe=recipe,
        simulations=store,
        checkpoint=checkpoint,
        resume=(checkpoint / "state.pt").exists(),
        progress=tell,
    )
    fitted.save(folder / name)


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]))
