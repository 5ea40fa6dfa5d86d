"""Whatever is called, the random numbers of the caller go on as if nothing had been called."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import monai_inn as mi
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, simulate_to_zarr
from monai_inn.training.measure import measure
from monai_inn.validation.commands import validate_source
from monai_inn.validation.simulated import simulated_cases


@contextmanager
def untouched():
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert torch.equal(before[0], after[0]), "torch"
    assert all(np.array_equal(*pair) for pair in zip(before[1], after[1], strict=True)), "numpy"
    assert before[2] == after[2], "random"


def fit():
    recipe = Recipe(2048, 2, 2, 2, 64, 64, measured=64, held_out=64, guard=64)
    mi.fit(LinearGaussian(2, 2), recipe=recipe, network={"num_ood_scores": 64})


CALLS = {
    "fit": lambda made, image, out: fit(),
    "maps": lambda made, image, out: made.maps(image, samples=8, below={"sao2": 0.6}),
    "preview": lambda made, image, out: made.preview(image),
    "trust": lambda made, image, out: made.trust(image),
    "draw": lambda made, image, out: list(made.draw(image, 2)),
    "save and load": lambda made, image, out: (made.save(out / "b"), mi.load(out / "b")),
    "measure": lambda made, image, out: measure(made, 64, 0),
    "simulated cases": lambda made, image, out: simulated_cases(made, 64, 15),
    "simulate": lambda made, image, out: LinearGaussian().simulate(10),
    "simulate to disk": lambda made, image, out: simulate_to_zarr(LinearGaussian(), 2000, out / "set"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_leaves_the_global_generators_alone(call, camera_fit, image, tmp_path):
    with untouched():
        CALLS[call](camera_fit, image, tmp_path)


@pytest.mark.usefixtures("quick_drawings")
def test_validate_leaves_the_global_generators_alone(gaussian_fit, tmp_path):
    gaussian_fit.save(tmp_path / "bundle")
    with untouched():
        validate_source(str(tmp_path / "bundle"), tmp_path / "report", n=200, samples=15)


def test_register_leaves_the_global_generators_alone(pose_fit, tmp_path):
    from PIL import Image

    from monai_inn.applications.registration.results.registering import register_xray

    pose_fit.save(tmp_path / "bundle")
    problem = pose_fit.problem
    grey = np.exp(-problem.render(problem.simulate(1)[0][0]).numpy())
    Image.fromarray((grey * 60_000).astype(np.uint16)).save(tmp_path / "xray.png")
    with untouched():
        register_xray(
            tmp_path / "bundle", tmp_path / "xray.png", tmp_path / "out", samples=100, refined=True,
            contrast="intensity",
        )  # fmt: skip


def test_numbers_under_a_seed_are_those_of_torch():
    """Results of earlier releases stay what they were."""
    from monai_inn.seeding import seeded

    with seeded(5):
        drawn = torch.randn(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.randn(3))
