"""From files of k-space to a result: what is read, what is written, what is refused in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch
from mr_cases import discs, fitted_briefly, measured

from monai_inn.applications.accelerated_mr import gaussian
from monai_inn.applications.accelerated_mr.kspace_files import read_kspace
from monai_inn.applications.accelerated_mr.low_resolution import read_half
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.applications.accelerated_mr.reading import low_resolution_observation, observation_of
from monai_inn.applications.accelerated_mr.reconstruction import reconstruct, size_warnings
from monai_inn.cli import main
from monai_inn.files import BadFileError
from monai_inn.reports.exporting import export_result
from monai_inn.reports.stored import read_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from monai_inn.fitted import FittedPosterior

ROWS, COLUMNS, COILS = 24, 20, 6


@pytest.fixture(scope="module")
def problem() -> AcceleratedMR:
    return discs()


@pytest.fixture(scope="module")
def fitted(problem: AcceleratedMR) -> FittedPosterior:
    return fitted_briefly(problem)


@pytest.fixture(scope="module")
def bundle(fitted: FittedPosterior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "mr"
    fitted.save(folder)
    return folder


def as_npz(path: Path, kspace: torch.Tensor, mask: torch.Tensor) -> Path:
    np.savez(path, samples=kspace[:, mask].numpy(), mask=mask.numpy())
    return path


@pytest.fixture
def npz(problem: AcceleratedMR, tmp_path: Path) -> Path:
    return as_npz(tmp_path / "kspace.npz", *measured(problem, (ROWS, COLUMNS), COILS))


def as_ismrmrd(
    path: Path,
    slices: list[tuple[torch.Tensor, torch.Tensor]],
    oversampled: int = 1,
    change: Callable[[int, Any], None] = lambda number, line: None,
    trajectory: str = "CARTESIAN",
) -> Path:
    """Write whole lines of slices 5 mm apart, pixels of 2 by 3 mm, and a scan of noise before them."""
    mrd = pytest.importorskip("ismrmrd")
    xsd = mrd.xsd
    rows, columns = slices[0][1].shape
    wide = columns * oversampled

    def space(x: int, width: float) -> Any:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=x, y=rows, z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=width, y=2.0 * rows, z=5.0),
        )

    limit = xsd.limitType(minimum=0, maximum=rows - 1, center=rows // 2)
    encoding = xsd.encodingType(
        encodedSpace=space(wide, 3.0 * wide),
        reconSpace=space(columns, 3.0 * columns),
        encodingLimits=xsd.encodingLimitsType(kspace_encoding_step_1=limit),
        trajectory=getattr(xsd.trajectoryType, trajectory),
    )
    conditions = xsd.experimentalConditionsType(H1resonanceFrequency_Hz=128_000_000)
    header = xsd.ismrmrdHeader(experimentalConditions=conditions, encoding=[encoding])
    dataset = mrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(xsd.ToXML(header))
    noise = mrd.Acquisition.from_array(np.ones((COILS, wide), np.complex64))
    noise.set_flag(mrd.ACQ_IS_NOISE_MEASUREMENT)
    dataset.append_acquisition(noise)
    number = 0
    for place, (kspace, mask) in enumerate(slices):
        images = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace.numpy(), -1), norm="ortho"), -1)
        margin = (wide - columns) // 2
        padded = np.pad(images, ((0, 0), (0, 0), (margin, margin)))
        lines = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(padded, -1), norm="ortho"), -1)
        for row in mask[:, 0].nonzero().flatten().tolist():
            line = mrd.Acquisition.from_array(np.ascontiguousarray(lines[:, row].astype(np.complex64)))
            line.center_sample = wide // 2
            line.idx.kspace_encode_step_1, line.idx.slice = row, place
            # Read-out to the left, phase to the back, in LPS; slices upwards.
            line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
            line.position[:] = (10.0, -20.0, 30.0 + 5.0 * place)
            change(number, line)
            dataset.append_acquisition(line)
            number += 1
    dataset.close()
    return path


def by_lines(problem: AcceleratedMR) -> tuple[torch.Tensor, torch.Tensor]:
    """K-space whose mask has whole rows."""
    kspace, _ = measured(problem, (ROWS, COLUMNS), COILS)
    mask = torch.arange(ROWS) % 2 == 0
    mask[ROWS // 2 - 4 : ROWS // 2 + 4] = True
    mask = mask[:, None].expand(ROWS, COLUMNS).clone()
    return torch.where(mask, kspace, 0), mask


def test_slices_lie_in_space_whatever_their_numbers(problem, tmp_path) -> None:
    both = [by_lines(problem)] * 4

    def at(places):
        lines = int(both[0][1][:, 0].sum())

        def change(number, line):
            line.position[2] = places[number // lines]

        return change

    read = read_kspace(as_ismrmrd(tmp_path / "a.h5", both, change=at([30.0, 40.0, 35.0, 45.0])))
    np.testing.assert_allclose(read.centre[:, 2], [30, 35, 40, 45])
    affine = read.affine((ROWS, COLUMNS))
    np.testing.assert_allclose(affine[:3, 2], [0, 0, 5], atol=1e-6)
    with pytest.raises(BadFileError, match="slices do not lie at equal distances"):
        read_kspace(as_ismrmrd(tmp_path / "b.h5", both, change=at([30.0, 35.0, 40.0, 50.0])))


@pytest.mark.parametrize("oversampled", [1, 2])
def test_an_ismrmrd_file_is_read_line_by_line(
    problem: AcceleratedMR, tmp_path: Path, oversampled: int
) -> None:
    kspace, mask = by_lines(problem)
    read = read_kspace(as_ismrmrd(tmp_path / "raw.h5", [(kspace, mask), (2 * kspace, mask)], oversampled))
    assert read.kspace.shape == (2, COILS, ROWS, COLUMNS)
    assert bool((read.mask == mask).all())
    torch.testing.assert_close(read.kspace[0], kspace, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(read.kspace[1], 2 * kspace, atol=1e-4, rtol=1e-4)
    affine = read.affine((16, 16))
    # The field of view stays when k-space is cropped: 60 by 48 mm over 16 pixels each.
    np.testing.assert_allclose(affine[:3, :3], np.diag([-60 / 16, -48 / 16, 5.0]))
    np.testing.assert_allclose(affine @ [8, 8, 1, 1], [-10, 20, 35, 1])


def test_repeated_lines_are_averaged(problem: AcceleratedMR, tmp_path: Path) -> None:
    kspace, mask = by_lines(problem)
    once = as_ismrmrd(tmp_path / "once.h5", [(kspace, mask)])
    twice = as_ismrmrd(
        tmp_path / "twice.h5",
        [(kspace, mask), (3 * kspace, mask)],
        change=lambda _, line: setattr(line.idx, "slice", 0),
    )
    torch.testing.assert_close(read_kspace(twice).kspace, 2 * read_kspace(once).kspace, atol=1e-4, rtol=1e-4)


def test_samples_and_mask_are_an_npz(problem: AcceleratedMR, npz: Path) -> None:
    kspace, mask = measured(problem, (ROWS, COLUMNS), COILS)
    read = read_kspace(npz)
    torch.testing.assert_close(read.kspace[0], torch.where(mask, kspace, 0))
    assert bool((read.mask[0] == mask).all())


def test_a_result_is_written_in_the_form_of_all_others(
    problem: AcceleratedMR, bundle: Path, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["reconstruct", str(bundle), str(npz), "-o", str(out), "--samples", "8", "--keep", "5"]
    assert main([*arguments, "--device", "cpu", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    record = json.loads((out / "result.json").read_text())
    assert record == {k: v for k, v in said.items() if k != "out"}
    assert "synthetic" not in record
    about = record["reconstruction"]
    y, scale = observation_of(*measured(problem, (ROWS, COLUMNS), COILS), problem)
    acquisition = problem.acquisition(y[:, problem.observation.num_values :])
    assert about["acceleration"] == [pytest.approx(256 / float(acquisition.mask.sum()), abs=1e-3)]
    assert (about["coils"], about["coils_used"], about["slices"]) == (COILS, 4, 1)
    assert about["noise_sd"] == [pytest.approx(float(acquisition.noise_sd), rel=1e-3)]
    assert record["warnings"][-1].startswith("The file does not say the size of a pixel")
    assert about["brightness_1_in_kspace"] == pytest.approx(scale, rel=1e-4)
    read = {entry["map"]: nibabel.load(out / entry["file"]).get_fdata() for entry in record["files"]}
    assert read["mean"].shape == (16, 16, 1)
    assert read["samples"].shape == (16, 16, 1, 5)
    assert (read["valid"] == 1).all()
    assert (read["interval_low"] <= read["median"]).all()
    np.testing.assert_allclose(
        read["interval_width"], read["interval_high"] - read["interval_low"], atol=1e-6
    )
    assert b"SYNTHETIC" not in nibabel.load(out / "mean_brightness.nii.gz").header["descrip"].tobytes()
    # The axes of the file are columns and rows, those of the image rows and columns.
    zero_filled = acquisition.adjoint(problem.kspace(y)).abs()[0]
    np.testing.assert_allclose(read["reference"][:, :, 0], zero_filled.T, atol=1e-5)
    assert read_stored(out).record["command"] == "reconstruct"
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    export_result(out, tmp_path / "export", formats=["dicom"])
    objects = {path.stem: pydicom.dcmread(path) for path in (tmp_path / "export" / "dicom").glob("*.dcm")}
    for name in ("mean_brightness", "interval_width_brightness", "image_001"):
        assert objects[name].ImageType[0] == "DERIVED"
        assert "SYNTHETIC" not in [*objects[name].ImageType, objects[name].SeriesDescription]
    assert main([*arguments, "--device", "cpu"]) == 0
    words = capsys.readouterr().out
    assert "1 slice, acceleration" in words
    assert (about["pixels"], about["pixels_measured"]) == ([16, 16], [ROWS, COLUMNS])
    assert f"16 × 16 of {ROWS} × {COLUMNS} pixels: only the centre of k-space" in words
    assert f"WARNING: {record['warnings'][-1]}" in words


def test_samples_are_magnitudes_that_agree_with_the_data(
    problem: AcceleratedMR, fitted: FittedPosterior
) -> None:
    _, y = problem.simulate(4, 7)
    number = 12
    # What `images` does, step by step: latents first, then the noise of what was measured.
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(number, 1, len(problem.parameters), generator=generator)
    q = fitted.posterior(y)
    with torch.no_grad():
        agreed = problem.agreeing(q.space.inverse(q.base.push(latent)), y, generator)
    images = problem.image_of(agreed)
    found = fitted.images(y, samples=number, keep=number, seed=0)
    expected = images.square().sum(2).sqrt()
    torch.testing.assert_close(found["samples"].squeeze(2), expected)
    torch.testing.assert_close(found["mean"].squeeze(1), expected.mean(0))
    assert found["interval_width"].shape == (4, 1, *problem.size)
    acquisition = problem.acquisition(y[:, problem.observation.num_values :])
    made = torch.stack([acquisition.forward(gaussian.as_complex(image)) for image in images])
    square = (made - problem.kspace(y)).abs().square().sum((2, 3, 4)) / acquisition.noise_sd.square()
    points = 2 * problem.coils * acquisition.mask.sum((1, 2))
    # Of 512 numbers that coils and noise share with the image, the noise alone leaves about one a point.
    assert 0.8 < float((square / points).mean()) < 1.2


def test_pixels_of_another_size_are_warned_of(
    problem: AcceleratedMR, fitted: FittedPosterior, bundle: Path, tmp_path: Path
) -> None:
    """Files of 3 by 3.75 mm; the same k-space of a larger field of view has larger pixels."""
    raw = as_ismrmrd(tmp_path / "raw.h5", [by_lines(problem)])
    assert reconstruct(bundle, raw, tmp_path / "out", samples=4, keep=2)["warnings"] == fitted.warnings
    wide = read_kspace(raw)._replace(field_mm=(80.0, 60.0, 5.0))
    (warning,) = size_warnings(wide, problem)
    assert warning.startswith("Pixels of 5 × 3.75 mm, the training had 3 mm")
    other = AcceleratedMR(None, problem.spectrum, pixel_mm=2.0)
    assert AcceleratedMR(**other.to_config(), **other.tensors).pixel_mm == 2.0
    assert "pixel_mm" not in problem.to_config()  # as bundles were written before
    assert size_warnings(read_kspace(raw), other)
    with pytest.raises(ValueError, match="give the size of a pixel in mm"):
        AcceleratedMR(None, problem.spectrum, pixel_mm=0.0)


def test_slices_share_one_scale(problem: AcceleratedMR, bundle: Path, tmp_path: Path) -> None:
    kspace, mask = by_lines(problem)
    raw = as_ismrmrd(tmp_path / "raw.h5", [(kspace, mask), (0.5 * kspace, mask)])
    record = reconstruct(bundle, raw, tmp_path / "out", samples=4, keep=2)
    mean = nibabel.load(tmp_path / "out" / "mean_brightness.nii.gz").get_fdata()
    assert mean.shape == (16, 16, 2)
    # One latent serves both slices; the noise that samples are given anew differs.
    bright = mean[..., 0] > 0.5
    assert np.median(mean[..., 1][bright] / mean[..., 0][bright]) == pytest.approx(0.5, abs=0.05)
    noise = record["reconstruction"]["noise_sd"]
    assert noise[1] == pytest.approx(noise[0] / 2, rel=0.01)


def refused(bundle: Path, file: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says, in one line; nothing is left behind."""
    assert main(["reconstruct", str(bundle), str(file), "-o", str(out), "--device", "cpu"]) == 2
    assert not out.exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k, m: (k, m & (torch.arange(ROWS)[:, None] < 6)), "measure the centre"),
        (lambda k, m: (k[:3], m), "3 coils, this problem 4"),
        (lambda k, m: (k[:, :23], m[:23]), "even sizes"),
        (lambda k, m: (k * torch.nan, m), "holds NaN"),
        (lambda k, m: (k[:, :, :12], m[:, :12]), "even sizes of at least"),
    ],
    ids=["no centre", "coils missing", "odd size", "NaN", "too small"],
)
def test_kspace_that_cannot_be_used_is_refused_in_one_line(
    problem, bundle, tmp_path, capsys, change, message
) -> None:
    kspace, mask = change(*measured(problem, (ROWS, COLUMNS), COILS))
    file = as_npz(tmp_path / "kspace.npz", kspace, mask)
    line = refused(bundle, file, tmp_path / "out", capsys)
    assert message in line
    assert "kspace.npz" in line


def test_damaged_files_are_refused_in_one_line(problem, bundle, npz, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    whole = npz.read_bytes()
    npz.write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in refused(bundle, npz, out, capsys)
    np.savez(npz, samples=np.zeros((4, 3), complex))
    assert "expected the arrays samples and mask" in refused(bundle, npz, out, capsys)
    np.savez(npz, samples=np.zeros((4, 3), complex), mask=np.ones((2, 2), bool))
    assert "a mask of (2, 2) with 4 points" in refused(bundle, npz, out, capsys)
    other = tmp_path / "kspace.txt"
    other.write_text("1")
    assert ".txt, expected an ISMRMRD file" in refused(bundle, other, out, capsys)
    assert "missing.npz" in refused(bundle, tmp_path / "missing.npz", out, capsys)


def test_ismrmrd_files_that_cannot_be_used_are_refused_in_one_line(problem, bundle, tmp_path, capsys) -> None:
    out, kspace = tmp_path / "out", by_lines(problem)
    raw = as_ismrmrd(tmp_path / "raw.h5", [kspace])
    content = raw.read_bytes()
    raw.write_bytes(content[: len(content) // 2])
    assert "truncated or damaged" in refused(bundle, raw, out, capsys)

    def second(name: str) -> Callable[[int, Any], None]:
        return lambda number, line: setattr(line.idx, name, number % 2)

    for name, message in (("repetition", "2 images a slice (repetition)"), ("kspace_encode_step_2", "3-D")):
        file = as_ismrmrd(tmp_path / f"{name}.h5", [kspace], change=second(name))
        assert message in refused(bundle, file, out, capsys)
    file = as_ismrmrd(tmp_path / "radial.h5", [kspace], trajectory="RADIAL")
    assert "a radial trajectory, expected cartesian" in refused(bundle, file, out, capsys)


def as_nifti(path: Path, values: torch.Tensor) -> Path:
    affine = np.array([[0.0, -6, 0, 10], [6, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values.numpy(), affine), path)
    return path


def scan_of_discs(problem: AcceleratedMR) -> torch.Tensor:
    """Three slices ``(8, 6, 3)`` of 8 columns and 6 rows, the last of which is empty."""
    images = torch.nn.functional.avg_pool2d(problem.images[2:4], 2)
    return torch.cat([100 * images, torch.zeros(1, 8, 8)])[:, 1:7].permute(2, 1, 0).contiguous()


def test_an_image_of_half_the_resolution_is_reconstructed_at_the_whole(
    problem, bundle, tmp_path, capsys
) -> None:
    scan, out = scan_of_discs(problem), tmp_path / "out"
    file = as_nifti(tmp_path / "scan.nii.gz", scan)
    arguments = ["reconstruct", str(bundle), str(file), "-o", str(out), "--samples", "40", "--keep", "3"]
    assert main([*arguments, "--device", "cpu"]) == 0
    words = capsys.readouterr().out
    assert "16 × 16 pixels of scans of 8 × 8: what those leave open is Gaussian, in closed form" in words
    assert "The level of the noise was not given (noise_sd): 2 % of white was taken." in words
    record = json.loads((out / "result.json").read_text())
    assert record["reconstruction"]["slices"] == 2
    mean = nibabel.load(out / "mean_brightness.nii.gz")
    values = mean.get_fdata()
    assert values.shape == (16, 16, 3)
    assert np.isnan(values[..., 2]).all()  # shows nothing, so that nothing is claimed
    # Both grids have one middle of the first pixel; a pixel has half the size.
    np.testing.assert_allclose(mean.affine, nibabel.load(file).affine @ np.diag([0.5, 0.5, 1, 1]), atol=1e-5)
    seen, given = values[::2, ::2, :2][:, :6], scan[..., :2].numpy() / 100
    assert np.abs(seen - given).max() < 0.15 * given.max()
    y, white = low_resolution_observation(read_half(file, problem)[1][0], 2.0, problem)
    _, second = low_resolution_observation(read_half(file, problem)[1][1], 2.0, problem)
    drawn = problem.image_of(problem.gaussian_samples(400, y, torch.Generator().manual_seed(0)))
    expected = drawn.square().sum(2).sqrt()[:, 0] * white / max(white, second)
    width = nibabel.load(out / "interval_width_brightness.nii.gz").get_fdata()[..., 0].T
    exact = (expected.quantile(0.975, 0) - expected.quantile(0.025, 0)).numpy()
    assert width.mean() == pytest.approx(exact.mean(), rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.repeat(2, 1, 1), "shape (16, 6, 3), expected slices of at most 8 × 8 pixels"),
        (lambda v: v[..., 0], "shape (8, 6), expected slices"),
        (lambda v: v * torch.nan, "holds NaN"),
        (lambda v: v * 0, "no brightness"),
        (lambda v: 30 * v - 1024, "magnitude images of MR are not below 0"),  # Hounsfield units
        (lambda v: v * (torch.arange(8)[:, None, None] < 1), "no slice shows enough"),
    ],
)
def test_images_that_cannot_be_used_are_refused_in_one_line(
    problem, bundle, tmp_path, capsys, change, message
) -> None:
    file = as_nifti(tmp_path / "scan.nii", change(scan_of_discs(problem)))
    assert message in refused(bundle, file, tmp_path / "out", capsys)


def test_kspace_tells_its_own_noise(bundle, npz, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"noise_sd = 0\.1 is for images; k-space tells its own"):
        reconstruct(bundle, npz, tmp_path / "out", noise_sd=0.1)


def test_bundles_of_other_problems_are_refused(bundle, npz, tmp_path, capsys) -> None:
    assert "expected one of accelerated MR" in refused("oximetry", npz, tmp_path / "out", capsys)
