"""Training sets that were damaged on disk: noticed, said in one line, and made whole by simulating again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import monai_inn as mi
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, open_simulations, simulate_to_zarr

ROWS, CHUNK = 3000, 1024


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "set"
    simulate_to_zarr(LinearGaussian(), ROWS, folder, chunk=CHUNK)
    return folder


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "set")


def chunk_file(store, array, index):
    return next(p for p in (store / array / f"c/{index}/0", store / array / f"{index}.0") if p.exists())


def metadata(path):
    return next(p for p in (path / "zarr.json", path / ".zattrs", path / ".zarray") if p.exists())


def used(store):
    """Train on the store, as far as it is read."""
    recipe = Recipe(ROWS, 1, 1, 1, 64, 64, measured=64, held_out=64, guard=64)
    mi.fit(LinearGaussian(), recipe=recipe, simulations=store, members=2)


def made_anew(store):
    stored = simulate_to_zarr(LinearGaussian(), ROWS, store, chunk=CHUNK)
    theta, y = LinearGaussian().simulate_clean(ROWS)
    np.testing.assert_array_equal(stored.theta[:], theta.numpy())
    np.testing.assert_array_equal(stored.y[:], y.numpy())


@pytest.mark.parametrize(("array", "index"), [("theta", 0), ("y", 1), ("y", 2)])
def test_a_missing_chunk_is_not_read_as_zeros(store, array, index):
    chunk_file(store, array, index).unlink()
    with pytest.raises(
        ValueError, match=r"1 of 3 finished chunks are no longer there .*run the same simulation"
    ):
        used(store)
    made_anew(store)


@pytest.mark.parametrize(("array", "index"), [("theta", 0), ("y", 2)])
@pytest.mark.parametrize("size", [0, 7, 0.5, 1.5])
def test_a_chunk_of_another_size_is_refused_in_one_line(store, array, index, size):
    file = chunk_file(store, array, index)
    content = file.read_bytes()
    wanted = size if isinstance(size, int) else int(size * len(content))
    file.write_bytes((content * 2)[:wanted])
    with pytest.raises(ValueError, match=r"damaged chunks .*run the same simulation again") as refusal:
        used(store)
    assert "\n" not in str(refusal.value)
    made_anew(store)


def test_a_chunk_of_zeros_is_no_missing_one(tmp_path):
    class Dark(LinearGaussian):
        def forward(self, theta):
            return 0 * super().forward(theta)

    for _ in range(2):
        stored = simulate_to_zarr(Dark(), ROWS, tmp_path / "set", chunk=CHUNK)
        assert not stored.load()[1].any()


def test_what_was_never_written_does_not_read_as_zeros(store):
    chunk_file(store, "y", 1).unlink()
    import zarr

    assert np.isnan(zarr.open_group(str(store), mode="r")["y"][CHUNK]).all()


@pytest.mark.parametrize(
    "text",
    ["", "{", "3", "{}", '["0"]', "[true]", "[1.5]", "[-1]", "[3]", "[1e400]", "[" * 100_000, "\udcff"],
    ids=lambda text: text[:5] or "empty",
)
def test_a_damaged_record_of_chunks_is_refused_in_one_line(store, text):
    (store / "completed.json").write_bytes(text.encode(errors="surrogateescape"))
    for call in (used, made_anew):
        with pytest.raises(ValueError, match=r"completed.json is damaged .* delete this file") as refusal:
            call(store)
        assert "\n" not in str(refusal.value)
    (store / "completed.json").unlink()
    made_anew(store)


def edited(path, change):
    file = metadata(path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def attributes(**changes):
    return lambda store: edited(store, lambda c: c.get("attributes", c).update(changes))


DAMAGE = {
    "group is no JSON": lambda store: metadata(store).write_text("{"),
    "group is a list": lambda store: metadata(store).write_text("[1]"),
    "group is deep": lambda store: metadata(store).write_text("[" * 100_000),
    "group is gone": lambda store: metadata(store).unlink(),
    "array is no JSON": lambda store: metadata(store / "y").write_text("{"),
    "array is a list": lambda store: metadata(store / "y").write_text("[1]"),
    "array is deep": lambda store: metadata(store / "y").write_text("[" * 100_000),
    "array is gone": lambda store: shutil.rmtree(store / "theta"),
    "array is short": lambda store: edited(store / "y", lambda c: c.update(shape=[10, 3])),
    "array is flat": lambda store: edited(store / "y", lambda c: c.update(shape=[3000])),
    "n is text": attributes(n="3000"),
    "n is negative": attributes(n=-3000),
    "n is another": attributes(n=5000),
    "chunk is zero": attributes(chunk=0),
    "chunk is another": attributes(chunk=2048),
    "seed is none": attributes(seed=None),
    "problem is text": attributes(problem="linear_gaussian"),
    "problem without name": attributes(problem={"config": {}}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_metadata_are_refused_in_one_line(store, damage):
    DAMAGE[damage](store)
    for call in (open_simulations, made_anew):
        with pytest.raises((ValueError, RuntimeError)) as refusal:
            call(store)
        assert str(store) in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert refusal.traceback[-1].frame.f_globals["__name__"].startswith("monai_inn")


def test_validate_refuses_samples_with_a_missing_chunk(tmp_path):
    import zarr

    from monai_inn.validation.readers import read_cases

    group = zarr.open_group(str(tmp_path / "samples.zarr"), mode="w")
    create = getattr(group, "create_array", None) or group.create_dataset
    drawn = torch.randn(20, 40, 2, generator=torch.Generator().manual_seed(0)).numpy()
    for name, values in (("samples", drawn), ("truth", drawn[0])):
        create(name, shape=values.shape, chunks=(10, *values.shape[1:]), dtype="float32")
        group[name][:] = values
    assert read_cases(tmp_path / "samples.zarr").samples.shape == (20, 40, 2)
    chunk = next(
        p for p in (tmp_path / "samples.zarr/samples").rglob("*") if p.is_file() and "zarr" not in p.name
    )
    chunk.unlink()
    with pytest.raises(ValueError, match="1 of 2 chunks of 'samples' are missing"):
        read_cases(tmp_path / "samples.zarr")
