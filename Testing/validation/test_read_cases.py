"""Samples and truth of other tools: arrays, tables, images; and what is wrong with them."""

import json

import numpy as np
import pytest
import torch
import zarr
from known_cases import SEED

from monai_inn.transforms import write_map
from monai_inn.validation import read_cases, read_parameters

N, S = 60, 12


@pytest.fixture
def arrays():
    generator = np.random.default_rng(SEED)
    truth = generator.normal(size=(N, 2)).astype(np.float32)
    return {"samples": truth + generator.normal(size=(S, N, 2)).astype(np.float32), "truth": truth}


def table(path, columns, rows):
    lines = [",".join(columns), *(",".join(str(v) for v in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tables(arrays, tmp_path):
    rows = [(f"c{case}", *arrays["samples"][s, case]) for s in range(S) for case in reversed(range(N))]
    samples = table(tmp_path / "samples.csv", ("case", "a", "b"), rows)
    truth = [(b, f"c{case}", a) for case, (a, b) in enumerate(arrays["truth"])]
    return samples, table(tmp_path / "truth.csv", ("b", "case", "a"), truth)


def test_arrays_are_read_from_npz_and_zarr(arrays, tmp_path):
    log_prob = np.arange(N, dtype=np.float32)
    extra = {"names": np.array(["a", "b"]), "units": np.array(["mm", "rad"]), "log_prob": log_prob}
    np.savez(tmp_path / "cases.npz", **arrays, **extra)
    group = zarr.open_group(tmp_path / "cases.zarr", mode="w")
    for name, value in arrays.items():
        group[name] = value
    npz, stored = read_cases(tmp_path / "cases.npz"), read_cases(tmp_path / "cases.zarr")
    for cases in (npz, stored):
        assert torch.equal(cases.samples, torch.from_numpy(arrays["samples"]))
        assert torch.equal(cases.truth, torch.from_numpy(arrays["truth"]))
    assert [(p.name, p.unit) for p in npz.parameters] == [("a", "mm"), ("b", "rad")]
    assert npz.log_prob.tolist() == log_prob.tolist()
    assert [p.name for p in stored.parameters] == ["theta1", "theta2"]


def test_pixels_with_a_known_truth_are_cases(tmp_path):
    generator = np.random.default_rng(SEED)
    truth = generator.normal(size=(2, 1, 6, 7))
    truth[0, 0, :3] = np.nan
    samples = generator.normal(size=(S, 2, 1, 6, 7))
    np.savez(tmp_path / "images.npz", samples=samples, truth=truth)
    cases = read_cases(tmp_path / "images.npz")
    assert len(cases) == 2 * 42 - 21
    assert cases.images.number().tolist() == [0] * 21 + [1] * 42
    back = cases.images.map(cases.truth[:, 0]).numpy()
    assert np.array_equal(back, truth[:, 0], equal_nan=True)
    assert torch.equal(cases.samples[:, 0, 0], torch.from_numpy(samples[:, 0, 0, 3, 0]))


def test_tables_are_matched_by_case_and_column(arrays, tables):
    cases = read_cases(*tables)
    order = sorted(range(N), key=lambda case: f"c{case}")
    assert np.allclose(cases.truth.numpy(), arrays["truth"][order])
    assert np.allclose(cases.samples.numpy(), arrays["samples"][:, order])


def test_images_of_samples_and_labels_are_read(tmp_path):
    generator = torch.Generator().manual_seed(SEED)
    samples = torch.randn(S, 8, 9, generator=generator)
    truth = torch.randn(1, 8, 9, generator=generator)
    truth[0, 0] = torch.nan
    folder = tmp_path / "result"
    folder.mkdir()
    write_map(folder / "samples_sao2.nii.gz", samples, {"units": "1"})
    write_map(tmp_path / "truth.nii.gz", truth, {"units": "1", "channel_names": ["sao2"]})
    cases = read_cases(folder, tmp_path / "truth.nii.gz")
    assert len(cases) == 7 * 9
    assert torch.equal(cases.samples[:, 0, 0], samples[:, 1, 0])
    known = cases.images.map(cases.truth[:, 0])
    assert torch.equal(known.nan_to_num(), truth.reshape(1, 8, 9, 1).nan_to_num())
    (tmp_path / "labels").mkdir()
    write_map(tmp_path / "labels" / "sao2.nii.gz", truth, {"units": "1"})
    assert torch.equal(read_cases(folder, tmp_path / "labels").truth, cases.truth)
    write_map(tmp_path / "percent.nii.gz", 100 * truth, {"units": "%", "channel_names": ["sao2"]})
    with pytest.raises(ValueError, match="sao2 is in '%', the samples in '1'"):
        read_cases(folder, tmp_path / "percent.nii.gz")
    write_map(tmp_path / "small.nii.gz", truth[:, :4], {"channel_names": ["sao2"]})
    with pytest.raises(ValueError, match="image sizes differ"):
        read_cases(folder, tmp_path / "small.nii.gz")
    write_map(tmp_path / "other.nii.gz", truth, {"channel_names": ["vhb"]})
    with pytest.raises(ValueError, match="holds none of the parameters sao2"):
        read_cases(folder, tmp_path / "other.nii.gz")
    write_map(folder / "samples_a.nii.gz", samples, {"units": "1"})  # comes first by its name
    write_map(tmp_path / "nameless.nii.gz", truth, {"units": "1"})
    with pytest.raises(ValueError, match="1 channels without names, for the parameters a, sao2"):
        read_cases(folder, tmp_path / "nameless.nii.gz")


def test_a_description_selects_and_orders_parameters(arrays, tmp_path):
    np.savez(tmp_path / "cases.npz", **arrays, names=np.array(["a", "b"]), units=np.array(["mm", "rad"]))
    described = [{"name": "b", "unit": "rad", "low": 0, "high": 6.2831853, "is_periodic": True}]
    (tmp_path / "parameters.json").write_text(json.dumps(described), encoding="utf-8")
    cases = read_cases(tmp_path / "cases.npz", parameters=tmp_path / "parameters.json")
    assert torch.equal(cases.truth[:, 0], torch.from_numpy(arrays["truth"][:, 1]))
    assert cases.parameters[0].is_periodic
    np.savez(tmp_path / "bare.npz", **arrays, names=np.array(["a", "b"]))  # then the description has the word
    assert (
        read_cases(tmp_path / "bare.npz", parameters=tmp_path / "parameters.json").parameters[0].unit == "rad"
    )
    described[0]["unit"] = None
    (tmp_path / "no_unit.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected a JSON list such as .*'name': 'b'.* has no unit"):
        read_cases(tmp_path / "cases.npz", parameters=tmp_path / "no_unit.json")
    described[0]["unit"] = "deg"
    (tmp_path / "parameters.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match="b is in 'rad', but the description says 'deg'"):
        read_cases(tmp_path / "cases.npz", parameters=tmp_path / "parameters.json")


def test_a_result_without_samples_says_how_to_write_some(tmp_path):
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="a result without posterior samples; write it with --save-samples"):
        read_cases(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": None}, "no truth"),
        ({"truth": np.zeros((N, 3))}, "samples have shape"),
        ({"names": np.array(["a"])}, "1 names for 2 parameters"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(arrays, tmp_path, change, message):
    kept = {name: value for name, value in (arrays | change).items() if value is not None}
    np.savez(tmp_path / "cases.npz", **kept)
    with pytest.raises(ValueError, match=message):
        read_cases(tmp_path / "cases.npz")


def test_damaged_and_missing_files_are_named(arrays, tables, tmp_path):
    np.savez(tmp_path / "cases.npz", **arrays)
    whole = (tmp_path / "cases.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.npz: cannot be read"):
        read_cases(tmp_path / "cut.npz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_cases(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="give the true values with --truth"):
        read_cases(tables[0])
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_cases(tables[0], tmp_path / "none.csv")
    (tmp_path / "notes.txt").write_text("no samples")
    with pytest.raises(ValueError, match="expected an NPZ file"):
        read_cases(tmp_path / "notes.txt")
    (tmp_path / "parameters.json").write_text('["a"]')
    with pytest.raises(ValueError, match="expected a JSON list such as"):
        read_parameters(tmp_path / "parameters.json")


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (("id", "a", "b"), [("c0", 1, 2)], 'expected a table with a column "case"'),
        (("case", "a", "b"), [("c0", "high", 2)], "numbers in all others"),
        (("case", "a", "b"), [("c0", 1), ("c1", 2)], r"in every row \(2 values in a row below 3"),
        (("case", "a", "b"), [], r"\(no values in a row below 3 names\)"),
        (("case", "a"), [("c0", 1)], "has no column b"),
        (("case", "a", "b"), [("c0", 1, 2)], "no row for case"),
    ],
)
def test_bad_tables_are_refused(tables, tmp_path, columns, rows, message):
    with pytest.raises(ValueError, match=message):
        read_cases(tables[0], table(tmp_path / "bad.csv", columns, rows))


def test_every_case_needs_the_same_number_of_samples(tables):
    samples, truth = tables
    samples.write_text("\n".join(samples.read_text().splitlines()[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match="11 to 12 samples a case"):
        read_cases(samples, truth)
