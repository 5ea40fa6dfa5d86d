"""`align` from the command line: what it writes, and what it refuses."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from alignment_phantom import pair
from cli_commands import refused, run
from matplotlib.axes import Axes
from scipy.ndimage import gaussian_filter

from monai_inn.applications.rigid.motion import Motions

pytest.importorskip("SimpleITK")
THETA = torch.tensor([4.0, -3.0, 5.0, 2.0, -4.0, 6.0]).double()


def write(path, volume, **changes):
    values = changes.get("values", volume.values.numpy())
    nibabel.save(nibabel.Nifti1Image(values, changes.get("affine", volume.affine.numpy())), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    fixed, moving = pair(7, THETA, 0.5, unlike=0.0)
    return write(folder / "fixed.nii.gz", fixed), write(folder / "moving.nii.gz", moving), folder


@pytest.fixture(scope="module")
def scattered():
    """Panel and colour of the samples of each alignment in the picture of `record`, both panels."""
    return []


@pytest.fixture(scope="module")
def record(files, scattered):
    fixed, moving, folder = files
    scatter = Axes.scatter

    def seen(axes, *arguments, **options):
        scattered.append((axes, options["color"]))
        return scatter(axes, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "scatter", seen)
        assert run("align", fixed, moving, "-o", folder / "out") == 0
    return json.loads((folder / "out" / "alignment.json").read_text())


def test_like_levels_are_named(record):
    assert len(record["modes"]) >= 3
    assert sum(mode["mass"] for mode in record["modes"]) == pytest.approx(1, abs=1e-3)
    assert "the level is not certain" in record["ambiguity"]["statement"]
    assert abs(abs(record["differences"][0]["shift_ras_mm"][2]) % 30 - 15) > 10


def test_alignments_have_colours_of_their_own(record, scattered):
    count = len(record["modes"])
    assert count >= 3
    assert len({colour for _, colour in scattered[:count]}) == min(count, 7)


@pytest.mark.usefixtures("record")
def test_the_patients_right_and_front_are_on_the_left(scattered):
    panels = scattered[0][0].figure.axes
    assert len(panels) > 3
    assert all(axes.xaxis_inverted() for axes in panels)


def test_the_folder_is_complete(files, record):
    out = files[2] / "out"
    listed = {entry["file"] for entry in record["files"]} | set(record["pictures"]) | {"alignment.json"}
    assert listed == {path.name for path in out.iterdir()}
    assert len(list(out.glob("*.tfm"))) == len(record["modes"])
    fixed, aligned = nibabel.load(files[0]), nibabel.load(out / "aligned_1.nii.gz")
    assert aligned.shape == fixed.shape
    np.testing.assert_allclose(aligned.affine, fixed.affine, atol=1e-4)


def test_samples_agree_with_the_record(files, record):
    stored = np.load(files[2] / "out" / "samples.npz")
    assert stored["motion"].shape == (1000, 6)
    centre = torch.tensor(record["modes"][0]["centre_ras_mm"]).double()
    start = centre - torch.tensor(list(record["modes"][0]["motion"].values())).double()[3:]
    expected = Motions.of(torch.from_numpy(stored["motion"])).matrix(start).numpy()
    np.testing.assert_allclose(stored["moving_to_fixed"], expected, atol=1e-2)


@pytest.mark.slow  # the easier case of the first
def test_the_same_image_twice_lies_where_it_is(files):
    fixed, _, folder = files
    ranges = [f"--range={name}=-6:6" for name in ("right", "anterior", "superior")]
    assert run("align", fixed, fixed, "-o", folder / "same", *ranges) == 0
    motion = json.loads((folder / "same" / "alignment.json").read_text())["modes"][0]["motion"]
    assert max(map(abs, motion.values())) < 0.2


def test_another_patient_is_not_trusted(files, tmp_path, capsys):
    """What is centimetres large is alike in all people; what tells them apart is smaller."""
    image = nibabel.load(files[0]).slicer[:, :, 16:38]
    generator = np.random.default_rng(0)
    texture = gaussian_filter(generator.normal(size=(3, *image.shape)), (0, 1, 1, 1))
    first, other, contrast = image.get_fdata() + 1.5 * texture
    for name, values in (("first", first), ("other", other), ("contrast", np.cos(first) + 0.05 * contrast)):
        nibabel.save(
            nibabel.Nifti1Image(values.astype(np.float32), image.affine), tmp_path / f"{name}.nii.gz"
        )
    ranges = [f"--range={name}=-6:6" for name in ("right", "anterior", "superior")]
    trust = {}
    for name in ("contrast", "other"):
        out = tmp_path / name
        assert run("align", tmp_path / "first.nii.gz", tmp_path / f"{name}.nii.gz", "-o", out, *ranges) == 0
        trust[name] = json.loads((out / "alignment.json").read_text())["trust"]
    assert trust["contrast"]["is_trusted"]
    assert not trust["other"]["is_trusted"]
    assert trust["other"]["at_edge"] < 0.5
    assert "Another patient or body part, an image that is mirrored" in capsys.readouterr().out


@pytest.mark.slow  # another patient is always tested
def test_draws_at_the_edge_of_a_range_are_not_trusted(files, capsys):
    fixed, _, folder = files
    ranges = ["--range=right=3:9", "--range=anterior=-6:6", "--range=superior=-6:6"]
    assert run("align", fixed, fixed, "-o", folder / "edge", *ranges) == 0
    trust = json.loads((folder / "edge" / "alignment.json").read_text())["trust"]
    assert not trust["is_trusted"]
    assert trust["at_edge"] > 0.9
    assert "of the draws lie at the edge of the range of right. " in trust["statement"]
    assert capsys.readouterr().out.startswith("Do not use these alignments")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: {"values": v[:, :, 4]}, "3-D image"),
        (lambda v: {"values": np.where(v > v.mean(), np.nan, v)}, "NaN"),
        (lambda v: {"values": np.zeros_like(v)}, "all voxels have the value 0"),
        (lambda v: {"affine": np.diag([3.0, 3.0, 0.0, 1.0])}, "affine"),
        (lambda v: {"affine": np.diag([90.0, 90.0, 90.0, 1.0])}, "larger"),
    ],
)
def test_bad_images_are_refused(files, tmp_path, capsys, change, message):
    fixed, moving, _ = files
    image = nibabel.load(moving)
    values = image.get_fdata().astype(np.float32)
    header = nibabel.Nifti1Image(values, image.affine)
    changed = {"values": values, "affine": image.affine} | change(values)
    bad = nibabel.Nifti1Image(changed["values"], None, header.header)
    bad.set_sform(changed["affine"], 1)
    nibabel.save(bad, tmp_path / "bad.nii.gz")
    assert message in refused(capsys, "align", fixed, tmp_path / "bad.nii.gz", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("right=500:900", "out of the fixed one"),
        ("lao=-5:5", "not a parameter"),
        ("about_right=5:-5", "LOW < HIGH"),
    ],
)
def test_bad_ranges_are_refused(files, tmp_path, capsys, option, message):
    fixed, moving, _ = files
    line = refused(capsys, "align", fixed, moving, "-o", tmp_path / "out", "--range", option)
    assert message in line
    assert not (tmp_path / "out").exists()
