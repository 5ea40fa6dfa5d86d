"""Six problems of another package: each is fitted, saved, loaded elsewhere, validated and inferred."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from forked import python

LAB = Path(__file__).parents[1] / "strangers/strangers_lab.py"
CLASSES = {
    "strange_steps": "Steps", "strange_heading": "Heading", "strange_relaxation": "Relaxation",
    "strange_spot": "Spot", "strange_finding": "Finding", "strange_slope": "Slope",
}  # fmt: skip
ENCODERS = {"strange_set": "Set", "strange_looking": "Looking"}
FIT = """
import json, torch, monai_inn as mi
from monai_inn.training import Recipe
sizes = dict(num_simulations=4096, density_steps=5, preview_steps=2,
             preview_observations=64, held_out=256, guard=200, measured=64, batch_size=256)
steps = {"strange_relaxation": 300, "strange_finding": 100}  # asked below for what they have learned
said = {}
for name in mi.problems.names():
    if name.startswith("strange_"):
        problem = mi.problems.create(name)
        blocks = 2 if name in steps else 1
        flows = {part: {"num_blocks": blocks, "hidden_channels": (24, 24)} for part in ("flow", "density")}
        recipe = Recipe(posterior_steps=steps.get(name, 5), **sizes)
        fitted = mi.fit(problem, recipe=recipe, members=2, network=flows)
        fitted.save(name)
        theta, y = problem.simulate(8, seed=5)
        with torch.no_grad():
            said[name] = [fitted.posterior(y).log_prob(theta).tolist(), fitted.waic(y).tolist()]
json.dump(said, open("said.json", "w"))
"""
USE = """
import json, sys, torch, numpy as np, monai_inn as mi
from monai_inn.reports import infer_image
from monai_inn.validation import plots
from monai_inn.validation.commands import validate_source
plots.svg = lambda figure: "<svg></svg>"  # drawings take longer than the numbers that they show
said = {}
for name in json.load(open("said.json")):
    fitted = mi.load(name)
    problem, observation = fitted.problem, fitted.problem.observation
    theta, y = problem.simulate(8, seed=5)
    with torch.no_grad():
        said[name] = [fitted.posterior(y).log_prob(theta).tolist(), fitted.waic(y).tolist()]
    validate_source(name, f"{name}.report", n=64, samples=31)
    if observation.is_local:
        image = problem.simulate(12, seed=6)[1].T[: observation.channels].reshape(-1, 3, 4)
        np.savez(f"{name}.npz", image=image.numpy())
        infer_image(name, f"{name}.npz", f"{name}.result", samples=16)
    else:
        np.save(f"{name}.samples.npy", fitted.posterior(y).sample((200,)).numpy())
json.dump(said, open("again.json", "w"))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with the installed package in ``site``, bundles of its problems, and what was made of them."""
    folder = tmp_path_factory.mktemp("lab")
    info = folder / "site/strangers_lab-0.3.dist-info"
    info.mkdir(parents=True)
    (folder / "site/strangers_lab.py").write_text(LAB.read_text())
    offered = {"monai_inn.problems": CLASSES, "monai_inn.networks": ENCODERS}
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = strangers_lab:{cls}" for name, cls in names.items())])
        for group, names in offered.items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers-lab\nVersion: 0.3\n")
    (info / "top_level.txt").write_text("strangers_lab\n")
    for code in (FIT, USE):
        done = python(code, folder, folder / "site")
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", CLASSES)
def test_another_process_finds_the_same_posterior(lab, name):
    first, again = (json.loads((lab / file).read_text())[name] for file in ("said.json", "again.json"))
    assert np.isfinite(first).all()
    assert again == first


@pytest.mark.parametrize("name", CLASSES)
def test_each_is_validated_and_inferred(lab, name):
    report = json.loads((lab / f"{name}.report/report.json").read_text())
    assert report["source"]
    if name == "strange_spot":
        assert np.load(lab / f"{name}.samples.npy").shape == (200, 8, 2)
        return
    record = json.loads((lab / f"{name}.result/result.json").read_text())
    classes = {row["parameter"] for row in record["files"] if row["map"] == "class_probability"}
    found = {"finding = none", "finding = benign", "finding = malignant"}
    assert classes == (found if name == "strange_finding" else set())
    assert record["summary"]["valid_pixels"] == 12
    if name == "strange_finding":
        row = record["summary"]["trusted_pixels"]["finding"]
        assert (row["median_of_medians"], row["median_interval_width"]) == (None, None)
        assert list(row["mean_probability"]) == ["none", "benign", "malignant"]
        assert sum(row["mean_probability"].values()) == pytest.approx(1, abs=1e-3)
    assert (lab / f"{name}.result/maps.png").stat().st_size > 10_000


def test_the_bundles_name_the_package_and_describe_the_parts(lab):
    metadata = json.loads((lab / "strange_spot/configs/metadata.json").read_text())
    assert metadata["monai_inn"]["card"]["package"] == {"name": "strangers-lab", "version": "0.3"}
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [8, 8]
    done = python("import monai_inn as mi; mi.load('strange_spot')", lab)
    assert "needs the problem 'strange_spot' of the package strangers-lab 0.3" in done.stderr


def test_an_encoder_of_another_package_than_the_problem_is_named(lab, tmp_path):
    code = f"""
    import monai_inn as mi
    from monai_inn.testproblems.series import LinearTrend
    from monai_inn.training import Recipe
    problem = LinearTrend(most=6)
    problem.encoder = {{"kind": "strange_set", "most": 6}}
    recipe = Recipe(num_simulations=2048, posterior_steps=2, density_steps=2, preview_steps=2,
                    preview_observations=64, held_out=128, guard=64, measured=64, batch_size=64)
    mi.fit(problem, recipe=recipe, members=2).save({str(tmp_path / "bundle")!r})
    """
    done = python(code, tmp_path, lab / "site")
    assert done.returncode == 0, done.stderr[-3000:]
    card = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())["monai_inn"]["card"]
    assert card["package"]["name"] == "monai_inn"
    assert card["parts"] == {"strange_set": {"name": "strangers-lab", "version": "0.3"}}
    done = python("import monai_inn as mi; mi.load('bundle')", tmp_path)
    said = "needs the part of a network 'strange_set' of the package strangers-lab 0.3, which is not known"
    assert said in done.stderr
    assert "pip install strangers-lab" in done.stderr


def test_a_series_answers_whatever_its_length(lab):
    """An entry that was not measured says nothing, wherever it stands; fewer entries say less."""
    code = """
    import torch, monai_inn as mi
    fitted = mi.load("strange_relaxation")
    nan = float("nan")
    short = torch.tensor([[.9, .6, .4, nan, nan, nan, .1, .5, 1., nan, nan, nan]])
    moved = torch.tensor([[nan, .9, .6, nan, .4, nan, nan, .1, .5, nan, 1., nan]])
    values = torch.linspace(.3, 2.9, 9)[:, None, None]
    whole = fitted.problem.simulate(2000, seed=3)[1]
    whole = whole[whole.isfinite().all(1)]
    some = whole.clone()
    some[:, 3:6], some[:, 9:] = nan, nan
    with torch.no_grad():
        q = [fitted.posterior(y).log_prob(values) for y in (short, moved)]
        widths = [float(fitted.posterior_width(y).mean()) for y in (whole, some)]
    print(torch.allclose(*q, atol=1e-5), *widths)
    """
    same, wide, wider = python(code, lab, lab / "site").stdout.split()
    assert same == "True"
    assert float(wide) < float(wider)


def test_classes_have_the_probabilities_of_bayes(lab):
    code = """
    import torch, monai_inn as mi
    fitted = mi.load("strange_finding")
    y = fitted.problem.simulate(200, seed=9)[1]
    with torch.no_grad():
        density = [fitted.posterior(y).log_prob(torch.full((200, 1), k + 0.5)) for k in range(3)]
    found = torch.stack(density, 1).exp()
    print(float((found.sum(1) - 1).abs().max()))
    print(float((found - fitted.problem.probabilities(y)).abs().mean()))
    """
    total, error = map(float, python(code, lab, lab / "site").stdout.split())
    assert total < 1e-4
    assert error < 0.05  # after 100 steps


def test_neighbours_are_seen(lab):
    """A pixel's answer depends on those around it and on nothing further away."""
    code = """
    import torch, monai_inn as mi
    fitted = mi.load("strange_slope")
    image = torch.rand(1, 6, 7, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[0, 1, 1] += 0.3
    a, b = (fitted.maps(i, samples=16)["median"][0].as_tensor() for i in (image, changed))
    print(torch.nonzero((a - b).abs() > 1e-6).tolist())
    """
    seen = json.loads(python(code, lab, lab / "site").stdout)
    assert sorted(map(tuple, seen)) == [(r, c) for r in range(3) for c in range(3)]


@pytest.fixture(scope="module")
def series(lab) -> Path:
    """A result and its export, by the command line; three of its voxels are particular."""
    code = """
    import numpy as np, monai_inn as mi
    from monai_inn.cli import main
    y = mi.load("strange_relaxation").problem.simulate(12, seed=6)[1]
    y[0, :6] = np.nan  # nothing was measured
    y[1, :6] = 0  # outside the body
    y[2, 1] = np.nan  # one of the entries is missing
    np.savez("series.npz", image=y.T.reshape(-1, 3, 4).numpy())
    options = "--samples 33 --adequacy 19 --below half_life=0.5 --save-samples 3 --save-quantiles 4"
    command = f"infer strange_relaxation series.npz -o series --preview quick {options}"
    assert main(command.split()) == 0
    formats = "--format nifti --format csv --format html --format dicom"
    assert main(f"export series -o exported {formats}".split()) == 0
    """
    done = python(code, lab, lab / "site")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Time in which half of it is gone: " in done.stdout
    assert "the model does not fit" in done.stdout
    return lab


def stored(folder: Path, name: str) -> np.ndarray:
    return nibabel.load(folder / f"{name}.nii.gz").get_fdata().squeeze()


def test_missing_entries_leave_a_voxel_and_zeros_do_not(series):
    valid = stored(series / "series", "valid").flatten()
    assert valid.tolist() == [0, 0, *[1] * 10]
    for name in ("median_rate", "median_half_life", "adequacy"):
        found = stored(series / "series", name).flatten()
        np.testing.assert_array_equal(np.isfinite(found), valid > 0)


def test_voxels_of_different_times_have_no_curves(series):
    """There is no common axis to draw them over."""
    record = json.loads((series / "series/result.json").read_text())
    assert "curves" not in record
    assert "adequacy" in {row["map"] for row in record["files"]}
    assert "curve" not in {row["map"] for row in record["files"]}


def test_the_network_of_monai_marks_the_same_voxels(series):
    code = """
    import torch, numpy as np
    from monai_inn.bundles import map_network
    network = map_network("strange_relaxation", samples=8)
    image = torch.from_numpy(np.load("series.npz")["image"])[None]
    with torch.no_grad():
        both = network(image), network._plain(image)
    print([int(found.isnan().any(1).sum()) for found in both], *network.channel_names, sep=", ")
    """
    said = python(code, series, series / "site").stdout.strip()
    assert said == (
        "[2, 2], median rate, median half_life, interval width rate, interval width half_life, waic, ood"
    )


def test_a_derived_quantity_stands_in_every_file(series):
    folder = series / "series"
    record = json.loads((folder / "result.json").read_text())
    assert [row["name"] for row in record["parameters"]] == ["rate", "half_life"]
    assert record["summary"]["trusted_pixels"]["half_life"]["unit"] == "s"
    kinds = {row["map"] for row in record["files"] if row["parameter"] == "half_life"}
    assert kinds == {"median", "interval_width", "mode_count", "uninformative", "quantiles", "samples"}
    assert (folder / "probability_below_half_life_0.5.nii.gz").exists()
    rate, half_life = (stored(folder, f"median_{name}").flatten()[2:] for name in ("rate", "half_life"))
    np.testing.assert_allclose(half_life, math.log(2) / rate, rtol=1e-5)  # the median of 33 is one of them
    samples = [nibabel.load(folder / f"samples_{name}.nii.gz").get_fdata() for name in ("rate", "half_life")]
    known = np.isfinite(samples[0])
    np.testing.assert_allclose(samples[1][known], math.log(2) / samples[0][known], rtol=1e-5)
    quick = json.loads((series / "quick/result.json").read_text())
    assert [row["name"] for row in quick["parameters"]] == ["rate"]


def test_a_derived_quantity_is_exported(series):
    folder = series / "exported"
    names = {path.name for path in folder.rglob("*")}
    assert {"median_half_life.nii.gz", "adequacy.nii.gz", "median_half_life.dcm"} <= names
    assert "half_life,s,time in which half of it is gone," in (folder / "summary.csv").read_text()
    assert "Time in which half of it is gone" in (folder / "record.html").read_text()


def test_a_bundle_says_what_is_derived(lab):
    metadata = json.loads((lab / "strange_relaxation/configs/metadata.json").read_text())
    made = metadata["network_data_format"]["outputs"]["pred"]
    assert made["num_channels"] == 6
    assert made["channel_def"]["1"] == "time in which half of it is gone, posterior median, s"
    assert metadata["monai_inn"]["derived"][0]["name"] == "half_life"
    card = (lab / "strange_relaxation/docs/README.md").read_text()
    assert "## Derived quantities" in card
    assert "| half_life | time in which half of it is gone | s | 0.2 | 4 | log |" in card
    code = "from monai_inn.cli import main; main(['bundles', 'strange_relaxation'])"
    assert "time in which half of it is gone, in s (half_life); calibration not measured" in (
        python(code, lab, lab / "site").stdout
    )


def test_a_foreign_encoder_must_be_registered():
    from monai_inn.networks import Encoder
    from monai_inn.testproblems.gaussian import LinearGaussian
    from monai_inn.training import fit

    class Unknown(Encoder):
        kind = "unknown"
        out_channels = 2

    with pytest.raises(ValueError, match=r"decorate it with monai_inn\.networks\.register"):
        fit(LinearGaussian(), encoder=Unknown(), minutes=0.1)
    assert torch.is_grad_enabled()
