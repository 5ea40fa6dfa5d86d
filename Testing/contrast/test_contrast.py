"""Contrast translation: what is read, what is drawn from patients, and what comes out of a bundle."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import monai_inn as mi
from monai_inn.applications.contrast.measures import bits_per_pixel, strata, widened
from monai_inn.applications.contrast.phantom import made_up
from monai_inn.applications.contrast.problem import OUTSIDE_SD, ContrastTranslation
from monai_inn.applications.contrast.scans import WHITE, Scan
from monai_inn.applications.contrast.translation import translate
from monai_inn.cli import main
from monai_inn.fitted import FittedPosterior
from monai_inn.reports.exporting import export_result
from monai_inn.reports.schemas import RESULT
from monai_inn.training import Recipe

nibabel = pytest.importorskip("nibabel")

SIZE = (32, 48)
GIVEN, TARGET = ("t1", "t2"), "flair"
CONTRASTS = (*GIVEN, TARGET)
BRIEF = Recipe(
    num_simulations=64, posterior_steps=2, density_steps=2, measured=40, held_out=8, guard=40, batch_size=64
)  # fmt: skip
SMALL = {"flow": {"levels": 2, "num_blocks": 1, "hidden_channels": 4, "features": (4,) * 5}}


def write(folder: Path, scan: Scan) -> dict[str, Path]:
    """The contrasts of a patient as files."""
    files = {}
    for contrast, volume in zip(CONTRASTS, scan.values, strict=True):
        files[contrast] = folder / f"{scan.name}_{contrast}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.numpy(), scan.affine), files[contrast])
    return files


@pytest.fixture(scope="module")
def patients() -> list[Scan]:
    return made_up(3, SIZE)


@pytest.fixture(scope="module")
def fitted(patients: list[Scan]) -> FittedPosterior:
    problem = ContrastTranslation(GIVEN, TARGET, SIZE, scans=patients, held_out="c")
    return mi.fit(problem, recipe=BRIEF, members=2, coupling="affine", network=SMALL)


@pytest.fixture(scope="module")
def bundle(fitted: FittedPosterior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "translation"
    fitted.save(folder)
    return folder


@pytest.fixture
def files(tmp_path: Path, patients: list[Scan]) -> dict[str, Path]:
    return write(tmp_path, patients[2])


def test_slices_go_back_to_where_they_came_from(patients: list[Scan]) -> None:
    problem = ContrastTranslation(GIVEN, TARGET, SIZE, scans=patients)
    scan = patients[0]
    whole = problem.window(scan, scan.values)
    chosen = problem.is_enough(whole[..., 0] > 0)
    placed = problem.placed(scan, whole[chosen].movedim(-1, 0), chosen)
    claimed = placed[0].isfinite()
    assert 0.9 < float((claimed & scan.brain).sum() / scan.brain.sum()) <= 1
    torch.testing.assert_close(placed[:, claimed], scan.values[:, claimed], atol=0, rtol=0)


@pytest.mark.parametrize("axes", [(-1, 1, 1), (1, -1, -1), "turned"])
def test_files_of_any_orientation_are_the_same_scan(
    tmp_path: Path, patients: list[Scan], axes: object
) -> None:
    scan = patients[1]
    straight = Scan.read(write(tmp_path, scan), 1.5, extra=1)
    other = {}
    for contrast, path in write(tmp_path, scan).items():
        image = nibabel.load(path)
        code = np.array(
            [[1.0, 1], [2, -1], [0, 1]] if axes == "turned" else [[i, s] for i, s in enumerate(axes)]
        )
        other[contrast] = tmp_path / f"other_{contrast}.nii.gz"
        nibabel.save(image.as_reoriented(code), other[contrast])
    read = Scan.read(other, 1.5, extra=1)
    torch.testing.assert_close(read.values, straight.values)
    as_in_file = read.as_in_file(read.values[0])
    torch.testing.assert_close(as_in_file.numpy(), nibabel.load(other["t1"]).get_fdata(dtype=np.float32))


def test_grey_levels_of_another_scale_are_brought_to_the_same(patients: list[Scan], tmp_path: Path) -> None:
    scan = patients[0]
    problem = ContrastTranslation(GIVEN, TARGET, SIZE, scans=patients)
    files = write(tmp_path, scan)
    stretched = Scan(scan.name, 7.5 * scan.values, 7.5 * scan.peak, scan.affine, scan.turned)
    torch.testing.assert_close(problem.slices(stretched), problem.slices(scan))
    # The peak of a smoothed histogram of 256 bins is where it was, but for the width of a bin or two.
    read = Scan.read(files, 1.5, extra=1)
    for contrast, path in files.items():
        image = nibabel.load(path)
        nibabel.save(
            nibabel.Nifti1Image(7.5 * image.get_fdata(dtype=np.float32), image.affine), files[contrast]
        )
    again = Scan.read(files, 1.5, extra=1)
    torch.testing.assert_close(again.peak, 7.5 * read.peak, rtol=1e-3, atol=0)


def test_the_held_out_patient_is_not_trained_on(patients: list[Scan]) -> None:
    marked = patients[2].values.clone()
    marked[0, patients[2].brain] += 1000
    scans = [*patients[:2], Scan("c", marked, patients[2].peak, patients[2].affine, patients[2].turned)]
    problem = ContrastTranslation(GIVEN, TARGET, SIZE, scans=scans, held_out="c")
    problem.split(0, 1, 2, 3)
    largest = [float(problem.simulate(50, seed)[1].amax()) for seed in range(4)]
    assert largest[0] < 600
    assert min(largest[1:]) > 900


def test_nothing_is_drawn_without_patients(fitted: FittedPosterior, bundle: Path) -> None:
    again = mi.load(bundle)
    with pytest.raises(ValueError, match="no patient's images"):
        again.problem.simulate(1)
    for file in bundle.rglob("*"):
        assert not file.is_file() or file.stat().st_size < 5e6
    _, y = fitted.problem.simulate(2, 5)
    one, other = (f.images(y, samples=4, seed=1)["mean"] for f in (fitted, again))
    torch.testing.assert_close(one, other)


def test_images_are_the_summaries_of_their_samples(fitted: FittedPosterior) -> None:
    _, y = fitted.problem.simulate(5, 6)
    found = fitted.images(y, samples=8, keep=8, interval=0.5, seed=3)
    samples = found["samples"]
    assert samples.shape == (8, 5, 1, *SIZE)
    torch.testing.assert_close(found["mean"], samples.mean(0))
    torch.testing.assert_close(found["median"], samples.quantile(0.5, 0))
    torch.testing.assert_close(found["interval_width"], found["interval_high"] - found["interval_low"])
    flow, space = fitted.network.flow, fitted.problem.space
    centre = fitted.posterior(y).base.push(torch.zeros(1, 1, len(space.names)))
    calm = fitted.images(y, samples=8, keep=8, seed=3, temperature=1e-4)["samples"]
    torch.testing.assert_close(calm, flow.images(space.inverse(centre)).expand_as(calm), atol=0.05, rtol=0)
    alone = fitted.images(y[3], samples=8, keep=2, seed=3)
    torch.testing.assert_close(alone["samples"], samples[:2, 3], atol=1e-3, rtol=1e-4)
    assert float((found["interval_low"] < found["interval_high"]).float().mean()) == 1


@pytest.mark.parametrize(
    "options", [{"samples": 1}, {"keep": 9, "samples": 8}, {"interval": 1.0}, {"temperature": 0.0}]
)
def test_numbers_out_of_range_are_refused(fitted: FittedPosterior, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"give at least 2 samples|give a positive number"):
        fitted.images(torch.ones(1, len(fitted.problem.observation)), **options)  # type: ignore[arg-type]


class Independent:
    """A posterior whose pixels are independent of each other and of what was observed."""

    def __init__(self, mean: float, sd: float) -> None:
        self.normal = torch.distributions.Normal(mean, sd)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.normal.log_prob(value).sum(-1)


def test_bits_of_independent_pixels_are_known(patients: list[Scan]) -> None:
    problem = ContrastTranslation(GIVEN, TARGET, SIZE, scans=patients)
    peak, scan = float(problem.peaks[-1]), patients[0]

    class Fitted:
        device = torch.device("cpu")

        def posterior(self, y: Tensor) -> Independent:
            return Independent(peak, OUTSIDE_SD)

    Fitted.problem = problem  # type: ignore[attr-defined]
    slices = problem.slices(scan)
    step = float(problem.peaks[-1] / scan.white()[-1])
    inside = slices[..., -1][slices[..., 0] > 0]
    # Outside, what the posterior costs is what is taken off; inside, a blurred grey level adds step² / 12.
    nats = 0.5 * ((inside - peak).square() + step**2 / 12) / OUTSIDE_SD**2
    nats = nats + math.log(OUTSIDE_SD * math.sqrt(2 * math.pi))
    expected = float(nats.double().mean()) / math.log(2) - math.log2(step)
    # The blur's cross term has the deviation |x − peak| step / √12 / sd².
    spread = float((inside - peak).std()) * step / math.sqrt(12) / OUTSIDE_SD**2 / math.log(2)
    assert abs(bits_per_pixel(Fitted(), scan) - expected) < 5 * spread / math.sqrt(len(inside))  # type: ignore[arg-type]


def test_lesions_are_a_stratum_of_their_own() -> None:
    truth = torch.tensor([10.0, 20.0, 30.0, 40.0, 99.0])
    maps = {"mean": torch.tensor([10.0, 21.0, 30.0, 50.0, 0.0]), "interval_width": torch.full((5,), 4.0)}
    maps |= {"interval_low": maps["mean"] - 2, "interval_high": maps["mean"] + 2}
    seen = torch.tensor([True, True, True, True, False])
    lesions = torch.tensor([False, False, True, True, True])
    found = strata(maps, truth, lesions, seen)
    assert found["lesions"] == {"voxels": 2, "coverage": 0.5, "rmse": 7.07, "bias": 5.0, "width": 4.0}
    assert found["outside_lesions"] == {"voxels": 2, "coverage": 1.0, "rmse": 0.71, "bias": 0.5, "width": 4.0}
    assert found["brain"]["voxels"] == 4
    assert strata(maps, truth, None, seen)["lesions"] is None


def test_samples_have_no_seams(patients: list[Scan]) -> None:
    """Differences across the borders of Haar blocks, and of the slice, vary as those inside do."""
    problem = ContrastTranslation(GIVEN, TARGET, SIZE, scans=patients)
    flow = mi.networks.ImageFlow(2, 1, 6, SIZE, levels=3, num_blocks=0)
    theta, y = problem.simulate(400, 1)
    observed = problem.features(y).unflatten(1, (*SIZE, 6)).movedim(-1, 1)
    flow.initialise([(theta.view(-1, 1, *SIZE), observed, None)])
    with torch.no_grad():
        samples = flow(observed[:1]).sample((400,))[:, 0, 0]
    samples = samples - samples.mean(0)
    along = (samples - samples.roll(1, 2)).var(0).mean(0)  # by column, mean over rows
    blocks = torch.arange(SIZE[1]) % 8 == 0
    ratio = float(along[blocks].mean() / along[~blocks].mean())
    # Each variance of 400 is off by √(2 / 400); rows and blocks are averaged, neighbours correlated.
    assert abs(ratio - 1) < 5 * math.sqrt(2 / 400) / math.sqrt(int(blocks.sum()))


def test_a_translation_says_that_it_is_synthetic(
    bundle: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    lesions = tmp_path / "lesions.nii.gz"
    image = nibabel.load(files["t1"])
    there = np.zeros(image.shape, np.uint8)
    there[14:18, 20:24, 10:14] = 1
    nibabel.save(nibabel.Nifti1Image(there, image.affine), lesions)
    arguments = ["translate", str(bundle), f"t1={files['t1']}", f"t2={files['t2']}", "-o", str(out)]
    arguments += ["--samples", "4", "--keep", "2", "--device", "cpu"]
    assert main([*arguments, "--truth", str(files["flair"]), "--lesions", str(lesions), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads((out / RESULT).read_text()) == {k: v for k, v in result.items() if k != "out"}
    assert result["measured"]["lesions"]["voxels"] == 64
    names = {entry["map"] for entry in result["files"]}
    made = {"mean", "median", "interval_low", "interval_high", "interval_width", "samples"}
    assert names == made | {"reference", "ood", "valid"}
    references = [entry["parameter"] for entry in result["files"] if entry["map"] == "reference"]
    assert references == ["true flair", "t2", "t1"]
    for entry in result["files"]:
        written = nibabel.load(out / entry["file"])
        assert written.shape[:3] == image.shape
        np.testing.assert_allclose(written.affine, image.affine)
        if entry["map"] not in made:  # what was acquired
            assert b"SYNTHETIC" not in written.header["descrip"].tobytes()
            continue
        assert b"SYNTHETIC" in written.header["descrip"].tobytes()
        assert "SYNTHETIC" in json.loads(written.header.extensions[0].get_content())["synthetic"]
        values = written.get_fdata(dtype=np.float32)
        assert np.isnan(values[image.get_fdata() == 0]).all()
    assert "emperature" not in result["synthetic"]
    assert result["settings"]["temperature"] == 1
    again = [*arguments[:-7], str(tmp_path / "two"), "--samples", "4", "--keep", "0", "--device", "cpu"]
    assert main([*again, "--temperature", "0.5"]) == 0
    record = json.loads((tmp_path / "two" / RESULT).read_text())
    assert record["settings"]["temperature"] == 0.5
    written = nibabel.load(tmp_path / "two" / record["files"][0]["file"])
    for text in (record["synthetic"], json.loads(written.header.extensions[0].get_content())["synthetic"]):
        assert text.endswith("Temperature 0.5: samples and intervals are not those of the posterior.")
    said = capsys.readouterr().out
    assert "SYNTHETIC" in said
    assert "lesions: not known" in said


def nan_at(image: object, place: tuple[int, ...]) -> object:
    values = image.get_fdata(dtype=np.float32)
    values[place] = np.nan
    return nibabel.Nifti1Image(values, image.affine)


def with_affine(image: object, affine: object) -> object:
    return nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), affine)


def drawn(image: object) -> object:
    image.header["descrip"] = b"SYNTHETIC, of a test."
    return image


OBLIQUE = np.array([[1.2, -0.9, 0, 0], [0.9, 1.2, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: nan_at(image, (16, 24, 12)), "1 voxels are NaN"),
        (lambda image: nan_at(image, (0, 0, 0)), "1 voxels are NaN"),
        (lambda image: with_affine(image, np.diag([1.0, 1, 3, 1])), "voxels of 1 × 1 × 3 mm, expected 1.5"),
        (lambda image: with_affine(image, OBLIQUE), "oblique"),
        (lambda image: image.slicer[:, :, 12:13], "expected a volume of at least 10 slices"),
        (lambda image: image.slicer[2:], "another grid"),
        (lambda image: with_affine(image, np.diag([-1.5, 1.5, 1.5, 1])), "another grid"),
        (
            lambda image: nibabel.Nifti1Image(np.zeros(image.shape, np.float32), image.affine),
            "hardly any voxel",
        ),
        (drawn, "synthetic, nobody acquired it"),
    ],
    ids=["NaN", "NaN outside", "spacing", "oblique", "one slice", "shape", "grid", "empty", "synthetic"],
)
def test_files_that_do_not_fit_are_refused(files, bundle, tmp_path, change, message) -> None:
    nibabel.save(change(nibabel.load(files["t2"])), files["t2"])
    with pytest.raises(ValueError, match=message):
        translate(bundle, {"t1": files["t1"], "t2": files["t2"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_contrasts_are_refused(files, bundle, tmp_path) -> None:
    with pytest.raises(ValueError, match="give a file of each"):
        translate(bundle, {"t1": files["t1"]}, tmp_path / "out")
    with pytest.raises(ValueError, match="check that the files hold t1, t2, in this order"):
        translate(bundle, {"t1": files["t1"], "t2": files["flair"]}, tmp_path / "out")


def test_images_of_two_patients_are_refused(files, bundle, patients, tmp_path) -> None:
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", patients[0])
    with pytest.raises(ValueError, match="in this order, of one patient and aligned with each other"):
        translate(bundle, {"t1": files["t1"], "t2": other["t2"]}, tmp_path / "out")


def test_a_contrast_whose_brightest_voxels_are_brighter_is_refused(files, bundle, tmp_path) -> None:
    """As vessels are after contrast agent: half a per cent of the brain changes no other quantile."""
    image = nibabel.load(files["t1"])
    values = image.get_fdata(dtype=np.float32)
    there = np.argwhere(values > 0)
    values[tuple(there[::200].T)] *= 2.0
    nibabel.save(nibabel.Nifti1Image(values, image.affine), tmp_path / "t1post.nii.gz")
    with pytest.raises(ValueError, match=r"brightest voxels of t1 are 1\.\d* times as bright"):
        translate(bundle, {"t1": tmp_path / "t1post.nii.gz", "t2": files["t2"]}, tmp_path / "out")


def test_images_with_their_skull_and_large_brains_are_refused(patients, bundle, tmp_path) -> None:
    scan = patients[0]
    full = Scan("full", scan.values.clamp_min(30), scan.peak, scan.affine, scan.turned)
    files = write(tmp_path, full)
    with pytest.raises(ValueError, match="Extract it first"):
        translate(bundle, {c: files[c] for c in GIVEN}, tmp_path / "out")
    files = write(tmp_path, made_up(3, (64, 64), patients=1)[0])
    with pytest.raises(ValueError, match="this network sees 32"):
        translate(bundle, {c: files[c] for c in GIVEN}, tmp_path / "out")


def test_patients_come_from_a_table(patients, tmp_path, capsys) -> None:
    rows = ["name,t1,t2,flair"]
    for scan in patients:
        files = write(tmp_path, scan)
        rows.append(",".join([scan.name, *(path.name for path in files.values())]))
    table = tmp_path / "patients.csv"
    table.write_text("\n".join(rows) + "\n")
    base = ["simulate", "contrast_translation", "-n", "1", "-o", str(tmp_path / "store")]
    assert main([*base, "--patients", str(table), "--held-out", "nobody"]) == 2
    assert "of the patients a, b, c; name one" in capsys.readouterr().err
    assert main([*base, "--patients", str(table), "--target", "pd"]) == 2
    assert "has no file of pd" in capsys.readouterr().err
    assert main(base) == 2
    assert "--patients CSV" in capsys.readouterr().err


def test_exports_of_a_translation_say_that_it_is_synthetic(bundle, files, tmp_path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    out = tmp_path / "out"
    translate(bundle, {c: files[c] for c in GIVEN}, out, samples=4, keep=2)
    report = export_result(out, tmp_path / "export", formats=["csv", "html", "dicom"])
    with gzip.open(tmp_path / "export" / "pixels.csv.gz", "rt") as file:
        heads = file.readline().strip().split(",")
    assert all(head.startswith("SYNTHETIC flair_") for head in heads[7:])
    assert len(heads) > 8
    assert ",SYNTHETIC median_of_medians," in (tmp_path / "export" / "summary.csv").read_text()
    assert report["synthetic"].startswith("SYNTHETIC")
    assert "SYNTHETIC" in (tmp_path / "export" / "record.html").read_text()
    mean = nibabel.load(out / "mean_flair.nii.gz").get_fdata(dtype=np.float32)
    read = {path.stem: pydicom.dcmread(path) for path in (tmp_path / "export" / "dicom").glob("*.dcm")}
    assert {"mean_flair", "median_flair", "interval_width_flair", "withheld"} < set(read)
    for name, image in read.items():
        assert image.SeriesDescription.startswith("SYNTHETIC, RESEARCH ONLY")
        assert image.ImageComments.startswith("SYNTHETIC")
        if name != "withheld":
            assert image.ImageType[0] == "DERIVED"
            assert image.ImageType[-1] == "SYNTHETIC"
    pictures = [image for name, image in read.items() if name.startswith("image_")]
    assert len(pictures) == mean.shape[2]
    shades = np.sort(np.concatenate([image.pixel_array[..., 0].ravel() for image in pictures]))
    np.testing.assert_allclose(
        shades, np.sort((255 * (np.nan_to_num(mean) / WHITE).clip(0, 1)).round().ravel()), atol=1
    )
    held = nibabel.load(out / "mean_flair.nii.gz").get_fdata(dtype=np.float32)
    assert np.isfinite(held).sum() == report["pixels"]["usable"]
    # A file that lost what it says of itself is not exported, nor one whose record did.
    stripped = nibabel.load(out / "mean_flair.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(stripped.get_fdata(dtype=np.float32), stripped.affine), out / "mean_flair.nii.gz"
    )
    with pytest.raises(ValueError, match="does not say that its image is synthetic"):
        export_result(out, tmp_path / "again")
    record = json.loads((out / RESULT).read_text())
    (out / RESULT).write_text(json.dumps({k: v for k, v in record.items() if k != "synthetic"}))
    with pytest.raises(ValueError, match="says that its image is synthetic"):
        export_result(out, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@torch.no_grad()
def test_widening_gives_latents_of_new_patients_the_spread_of_the_normal(fitted, patients) -> None:
    wider = widened(fitted, [patients[2]])
    assert fitted.network.flow.image.spread.eq(1).all()
    again = widened(wider, [patients[2]])
    torch.testing.assert_close(
        again.network.flow.image.spread, wider.network.flow.image.spread, rtol=1e-4, atol=0
    )
    _, y = fitted.problem.simulate(2, 5)
    theta = fitted.problem.simulate(2, 5)[0]
    one, other = fitted.posterior(y), wider.posterior(y)
    spread = wider.network.flow.image.spread
    places = [math.prod(shape) for shape in wider.network.flow.image.latent_shapes(0)]
    latent = one.base.latent(fitted.problem.space.to_latent(theta))
    scale = torch.cat([spread[k].expand(n) for k, n in enumerate(places)])
    torch.testing.assert_close(other.base.latent(fitted.problem.space.to_latent(theta)), latent / scale)
    expected = (
        one.log_prob(theta) + 0.5 * (latent.square() - (latent / scale).square()).sum(-1) - scale.log().sum()
    )
    torch.testing.assert_close(other.log_prob(theta), expected, rtol=1e-4, atol=0.1)
    torch.testing.assert_close(
        other.base.push(latent.unsqueeze(0) / scale), one.base.push(latent.unsqueeze(0)), atol=1e-3, rtol=1e-4
    )
