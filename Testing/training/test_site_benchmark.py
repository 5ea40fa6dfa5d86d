"""The benchmark of sites: what chose a weight is never in a result."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def invariance(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("invariance")


def test_images_that_choose_weights_are_at_no_other_site_of_any_seed(invariance, tmp_path, monkeypatch):
    count = 200
    images = np.arange(count, dtype=np.float64)[:, None, None] * np.ones((1, 28, 28))
    label = np.arange(count) % 2
    np.savez(tmp_path / "x.npz", train_images=images[:-20], val_images=images[-20:],
             train_labels=label[:-20, None], val_labels=label[-20:, None])  # fmt: skip
    monkeypatch.setattr(invariance, "scanned", lambda images, *others: images)
    monkeypatch.setattr(invariance, "features", lambda images: images[:, :1, 0].astype(np.float32))

    def places(seed: int) -> dict[str, set[float]]:
        sites = invariance.xray_sites(str(tmp_path / "x.npz"), seed)
        return {name: set(site[0][:, 0].tolist()) for name, site in sites.items()}

    choosing = places(invariance.TUNING_SEED)["tuning"]
    assert len(choosing) == 40
    unseen = [places(seed)["unseen"] for seed in invariance.SEEDS]
    assert len(set().union(*unseen)) > 100  # the seeds differ
    for seed in invariance.SEEDS:
        found = places(seed)
        assert found["tuning"] == choosing
        assert not choosing & (found["unseen"] | found["training"])
        assert not found["unseen"] & found["training"]
        assert len(found["training"]) == 120
