"""The training state beside a bundle: files of others in its folder stay, and trouble is told first."""

from __future__ import annotations

import pytest
from attacked import files_in

from monai_inn.bundles.fitting import fit_bundle


@pytest.fixture
def trained(gaussian_fit, monkeypatch):
    """Training that takes no time and leaves a checkpoint."""

    def fit(problem, *, checkpoint, **options):
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / "state.pt").write_bytes(b"state")
        return gaussian_fit

    monkeypatch.setattr("monai_inn.training.fit", fit)
    return gaussian_fit


def test_the_state_is_removed_and_nothing_else(trained, tmp_path):
    state = tmp_path / "bundle.training"
    state.mkdir()
    fit_bundle(trained.problem, tmp_path / "bundle")
    assert not state.exists()
    state.mkdir()
    (state / "state.pt").write_bytes(b"state")
    (state / "notes.txt").write_text("mine")
    fit_bundle(trained.problem, tmp_path / "bundle", resume=True)
    assert files_in(state) == {"notes.txt"}


def test_a_folder_that_is_in_the_way_of_the_state_is_told_before_the_training(trained, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("trained")

    monkeypatch.setattr("monai_inn.training.fit", never)
    state = tmp_path / "bundle.training"
    state.write_text("a file")
    with pytest.raises(ValueError, match="exists and is not a training state"):
        fit_bundle(trained.problem, tmp_path / "bundle")
    assert files_in(tmp_path) == {"bundle.training"}
