"""What each unknown error of a camera and of the model costs in bits: an equal training without each of them.

python benchmarks/camera_errors.py --camera imec_ssm4x4_470_620 --steps 700
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import torch

import monai_inn
from monai_inn.applications.oximetry.problem import Oximetry
from monai_inn.metrics import information_gain
from monai_inn.physics.camera_noise import under_light
from monai_inn.physics.cameras import Camera, load
from monai_inn.training import Recipe

BESIDE = {"density_steps": 5, "preview_steps": 5, "preview_observations": 256, "guard": 400, "measured": 1000}
LIGHT = 1e4  # times the usual, after which noise is nothing
NEARLY_KNOWN = {"vessel_radius": (2.0, 2.001), "stray_light": (0.0, 1e-6), "axis_shift": (-1e-3, 1e-3)}


def problem(camera: Camera, *known: str, exact_model: bool = False) -> Oximetry:
    """The problem of a camera with nuisances of nearly known values, or without the model's own error."""
    made = Oximetry(camera, discrepancy=None if exact_model else "shipped")
    values = {name: dict(zip(("low", "high"), NEARLY_KNOWN[name], strict=True)) for name in known}
    made.parameters = tuple(replace(p, **values.get(p.name, {})) for p in made.parameters)
    if exact_model:
        made.deviations = made.deviations[:0]
    return made


def variants(camera: Camera) -> dict[str, Oximetry]:
    """Problems that know more than that of the camera, by what they know."""
    no_gain, light = replace(camera, calibration_sd=0.0), under_light(camera, LIGHT)
    ideal = under_light(no_gain, LIGHT)
    return {
        "nothing": problem(camera),
        "gains of bands": problem(no_gain),
        "stray light": problem(camera, "stray_light"),
        "size of vessels": problem(camera, "vessel_radius"),
        "shift of the axis": problem(camera, "axis_shift"),
        "deviation of tissue from its model": problem(camera, exact_model=True),
        "shot and read noise": problem(light),
        "all but noise": problem(no_gain, *NEARLY_KNOWN, exact_model=True),
        "all": problem(ideal, *NEARLY_KNOWN, exact_model=True),
    }


def main() -> None:
    """Print one line of JSON for each thing that is taken for known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--camera", default="imec_ssm4x4_470_620", help="as `compare-devices` takes it")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--simulations", type=int, default=2**18)
    parser.add_argument("--cases", type=int, default=2000)
    given = parser.parse_args()
    for known, made in variants(load(given.camera)).items():
        began = time.process_time()
        recipe = Recipe(posterior_steps=given.steps, num_simulations=given.simulations, **BESIDE)
        fitted = monai_inn.fit(made, recipe=recipe, members=2)
        gain = information_gain(fitted, given.cases, seed=123)
        found = {"camera": given.camera, "known": known} | {
            name: row["bits"] for name, row in gain.summary()["parameters"].items()
        }
        found["seconds_of_a_core"] = round(time.process_time() - began)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
