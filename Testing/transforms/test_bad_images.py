"""Bad files: each gives one clear line that names the file; failed writing leaves nothing behind."""

import signal
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
import torch
from PIL import Image
from spectral.io import envi

from monai_inn.transforms import read_multispectral, write_map

CUBE = np.random.default_rng(0).integers(0, 60000, (6, 16, 20)).astype(np.uint16)


def good_files(folder: Path) -> list[Path]:
    """One good file of each format; for ENVI the data file, which is the one that can be cut."""
    envi.save_image(str(folder / "envi.hdr"), CUBE.transpose(1, 2, 0), ext=".dat")
    tifffile.imwrite(folder / "image.tif", CUBE, photometric="minisblack")
    tifffile.imwrite(folder / "packed.tif", CUBE, photometric="minisblack", compression="zlib")
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(CUBE, 0, -1)[:, :, None], np.eye(4)), folder / "image.nii")
    nibabel.save(
        nibabel.Nifti1Image(np.moveaxis(CUBE, 0, -1)[:, :, None], np.eye(4)), folder / "image.nii.gz"
    )
    sitk.WriteImage(
        sitk.GetImageFromArray(np.moveaxis(CUBE, 0, -1)[None], isVector=True), str(folder / "image.nrrd")
    )
    np.savez(folder / "image.npz", image=CUBE)
    Image.fromarray((np.moveaxis(CUBE[:3], 0, -1) >> 8).astype(np.uint8)).save(folder / "image.png")
    Image.fromarray((np.moveaxis(CUBE[:3], 0, -1) >> 8).astype(np.uint8)).save(folder / "photo.jpg")
    names = (
        "envi.dat",
        "image.tif",
        "packed.tif",
        "image.nii",
        "image.nii.gz",
        "image.nrrd",
        "image.npz",
        "image.png",
        "photo.jpg",
    )
    return [folder / name for name in names]


def assert_one_line(error: pytest.ExceptionInfo, path: Path) -> None:
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message.strip()


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("share", [0.97, 0.6, 0.1])
def test_truncated(tmp_path, number, share):
    path = good_files(tmp_path)[number]
    read_multispectral(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"truncated|damaged") as error:
        read_multispectral(path)
    assert_one_line(error, path)


@pytest.mark.parametrize("number", range(1, 9))
def test_renamed(tmp_path, number):
    path = good_files(tmp_path)[number]
    wrong = path.with_name("wrong.png" if path.suffix != ".png" else "wrong.tif")
    path.rename(wrong)
    with pytest.raises(
        ValueError, match=r"the name says .*, but the content is (TIFF|NIfTI|gzip|NRRD|NPZ|PNG|JPEG);"
    ) as error:
        read_multispectral(wrong)
    assert_one_line(error, wrong)


@pytest.mark.parametrize("ending", [".hdr", ".tif", ".nii", ".nii.gz", ".nrrd", ".npz", ".png", ".jpg"])
@pytest.mark.parametrize("content", [b"", b"\x01", b"nothing that anyone knows" * 20, bytes(4000)])
def test_rubbish(tmp_path, ending, content):
    path = tmp_path / f"rubbish{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the content is|empty") as error:
        read_multispectral(path)
    assert_one_line(error, path)


@pytest.mark.parametrize(
    ("ending", "start"),
    [
        (".hdr", b"ENVI\n"),
        (
            ".hdr",
            b"ENVI\nsamples = 3\nlines = x\nbands = 2\ndata type = 4\ninterleave = bsq\nbyte order = 0\n",
        ),
        (".tif", b"II*\0"),
        (".nii", (348).to_bytes(4, "little")),
        (".nii.gz", b"\x1f\x8b\x08\0"),
        (".nrrd", b"NRRD0004\n"),
        (".npz", b"PK\x03\x04"),
        (".png", b"\x89PNG\r\n\x1a\n"),
        (".jpg", b"\xff\xd8\xff\xe0"),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"\x07" * 500])
def test_right_start_but_damaged(tmp_path, ending, start, rest):
    path = tmp_path / f"damaged{ending}"
    path.write_bytes(start + rest)
    (tmp_path / "damaged.dat").write_bytes(bytes(24))
    with pytest.raises(ValueError, match="damaged") as error:
        read_multispectral(path)
    assert_one_line(error, path)


def test_missing_folder_and_unknown_ending(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.hdr: no such file"):
        read_multispectral(tmp_path / "absent.hdr")
    with pytest.raises(ValueError, match=r"is a folder, expected an image file"):
        read_multispectral(tmp_path)
    (tmp_path / "image.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"image\.mat: unknown ending '\.mat', expected one of \.hdr, "):
        read_multispectral(tmp_path / "image.mat")


def test_envi_with_one_of_two_files(tmp_path):
    good_files(tmp_path)
    (tmp_path / "envi.dat").rename(tmp_path / "elsewhere.dat")
    with pytest.raises(
        ValueError, match=r"envi\.hdr: the ENVI header has no data file beside it, expected envi "
    ):
        read_multispectral(tmp_path / "envi.hdr")
    with pytest.raises(ValueError, match=r"elsewhere\.dat: no ENVI header elsewhere\.hdr beside it"):
        read_multispectral(tmp_path / "elsewhere.dat")


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4)])
def test_empty_image(tmp_path, shape):
    np.savez(tmp_path / "image.npz", image=np.zeros(shape))
    with pytest.raises(ValueError, match=r"image\.npz: the image is empty, shape \(") as error:
        read_multispectral(tmp_path / "image.npz")
    assert_one_line(error, tmp_path / "image.npz")


@pytest.mark.parametrize(
    "values",
    [np.ones((2, 3, 3), complex), np.full((2, 3, 3), "a"), np.full((2, 3, 3), "2020-01-01", "M8[D]")],
)
def test_not_real_numbers(tmp_path, values):
    np.savez(tmp_path / "image.npz", image=values)
    with pytest.raises(ValueError, match=r"image\.npz: holds values of type .*, expected real numbers"):
        read_multispectral(tmp_path / "image.npz")


def test_complex_envi_and_tiff(tmp_path):
    envi.save_image(str(tmp_path / "image.hdr"), np.ones((4, 5, 2), np.complex64))
    tifffile.imwrite(tmp_path / "image.tif", np.ones((2, 4, 5), np.complex64))
    for name in ("image.hdr", "image.tif"):
        with pytest.raises(ValueError, match=f"{name}: holds values of type complex64"):
            read_multispectral(tmp_path / name)


def test_npz_without_image_or_of_wrong_shape_or_with_objects(tmp_path):
    path = tmp_path / "image.npz"
    np.savez(path, cube=CUBE)
    with pytest.raises(ValueError, match="holds cube, expected an array named 'image'"):
        read_multispectral(path)
    np.savez(path, image=CUBE[0])
    with pytest.raises(ValueError, match=r"'image' has shape \(16, 20\), expected \(C, H, W\)"):
        read_multispectral(path)
    np.savez(path, image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read as NPZ"):
        read_multispectral(path)


def test_labels_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "image.npz", image=CUBE, wavelength_nm=[500, 600])
    with pytest.raises(ValueError, match="2 entries of wavelength_nm, but 6 channels"):
        read_multispectral(tmp_path / "image.npz")
    np.savez(tmp_path / "other.npz", image=CUBE)
    (tmp_path / "other.json").write_text("{")
    with pytest.raises(ValueError, match=r"other\.json: is not valid JSON"):
        read_multispectral(tmp_path / "other.npz")


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "CMYK"])
def test_pictures_of_other_colour_modes(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(ValueError, match=f"colour mode {mode}, expected 8-bit RGB or greyscale"):
        read_multispectral(path)


@pytest.mark.parametrize(
    ("library", "name"),
    [("spectral.io.envi", "envi.hdr"), ("tifffile", "image.tif"), ("SimpleITK", "image.nrrd")],
)
def test_missing_library_names_the_extra(tmp_path, monkeypatch, library, name):
    good_files(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r'pip install "monai_inn\[io\]"'):
        read_multispectral(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("map.mha", torch.zeros(1, 2, 2), "change the ending"),
        ("map.nii", torch.zeros(2, 2), r"map of shape \(2, 2\), expected"),
        ("map.nii", torch.zeros(1, 0, 2), "map of shape"),
        ("map.nii", torch.zeros(1, 2, 2, dtype=torch.complex64), "expected real numbers"),
    ],
)
def test_maps_that_cannot_be_written(tmp_path, name, values, message):
    with pytest.raises(ValueError, match=message):
        write_map(tmp_path / name, values)
    with pytest.raises(FileNotFoundError, match=r"absent does not exist; create it first"):
        write_map(tmp_path / "absent" / "map.nii", torch.zeros(1, 2, 2))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_files_and_nothing_else(tmp_path):
    """The operating system itself stops the writing: no file may pass 64 KiB."""
    paths = [write_map(tmp_path / name, torch.zeros(1, 4, 4)) for name in ("map.nii", "map.nii.gz")]
    before = [path.read_bytes() for path in paths]
    import resource  # not on Windows

    large = torch.rand(1, 300, 300, generator=torch.Generator().manual_seed(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
        for path in paths:
            with pytest.raises(OSError):
                write_map(path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(image, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(nibabel, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_map(tmp_path / "map.nii.gz", torch.zeros(1, 2, 2))
    assert list(tmp_path.iterdir()) == []
