"""One good file for every reader of the package, and what reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
import tifffile
import zarr
from monai.data.meta_tensor import MetaTensor
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from spectral.io import envi

from monai_inn.applications.perfusion.series.measured_artery import read_artery
from monai_inn.applications.perfusion.series.reading import read_series
from monai_inn.applications.registration import read_xray
from monai_inn.applications.registration.ct import read_ct, read_labels
from monai_inn.physics import cameras
from monai_inn.reports.dicom.source import read_source
from monai_inn.reports.stored import read_stored
from monai_inn.transforms import read_multispectral, write_nrrd
from monai_inn.validation import read_cases, read_parameters

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("transforms", "reports", "perfusion")]
import dce_files
from known_result import write_result
from xray_files import write_dicom

CUBE = np.random.default_rng(0).integers(0, 60000, (5, 16, 20)).astype(np.uint16)
GREY = np.random.default_rng(1).integers(100, 60000, (24, 18)).astype(np.uint16)
HOUNSFIELD = np.random.default_rng(2).integers(-1000, 1500, (12, 10, 9)).astype(np.int16)
LABELS = (HOUNSFIELD > 700).astype(np.uint8)
AFFINE = np.diag([0.5, 0.6, 2.0, 1.0])
WAVELENGTHS = [500.0, 520.0, 540.0, 560.0, 580.0]


class Target(NamedTuple):
    """A file to damage, what reads it, and from where on a checksum guards its numbers (None: nowhere)."""

    path: Path
    read: Callable[[Path], Any]
    guarded: int | None = None


def _itk(path: Path, array: np.ndarray, packed: bool = False, vector: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((0.5, 0.6, 2.0)[: image.GetDimension()])
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path


def _nifti(path: Path, array: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(array, AFFINE)
    extension = json.dumps({"wavelength_nm": WAVELENGTHS}).encode()
    if array.shape[-1] == len(WAVELENGTHS):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, extension))
    nibabel.save(image, path)
    return path


def images(folder: Path) -> dict[str, Target]:
    """Multispectral images."""
    labels = {"wavelength": WAVELENGTHS, "band names": list("abcde"), "data ignore value": 7}
    envi.save_image(str(folder / "envi.hdr"), CUBE.transpose(1, 2, 0), ext=".dat", metadata=labels)
    last = np.moveaxis(CUBE, 0, -1)
    plain = {"photometric": "minisblack", "metadata": {"wavelength_nm": WAVELENGTHS}}
    tifffile.imwrite(folder / "raw.tif", CUBE, **plain)
    tifffile.imwrite(folder / "packed.tif", CUBE, **plain, compression="zlib")
    tifffile.imwrite(folder / "big.tif", CUBE, **plain, compression="zlib", bigtiff=True, byteorder=">")
    tifffile.imwrite(folder / "tiles.tif", CUBE, **plain, compression="zlib", tile=(16, 16))
    tifffile.imwrite(folder / "imagej.tif", CUBE[None], imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(folder / "ome.ome.tif", CUBE, photometric="minisblack", metadata={"axes": "CYX"})
    np.savez(folder / "raw.npz", image=CUBE, wavelength_nm=WAVELENGTHS, affine=AFFINE)
    np.savez_compressed(folder / "packed.npz", image=CUBE, band_names=list("abcde"))
    np.savez(folder / "labelled.npz", image=CUBE)
    described = {"wavelength_nm": WAVELENGTHS, "band_names": list("abcde"), "units": "counts"}
    (folder / "labelled.json").write_text(json.dumps(described))
    Image.fromarray((last[..., :3] >> 8).astype(np.uint8)).save(folder / "photo.png")
    Image.fromarray((last[..., :3] >> 8).astype(np.uint8)).save(folder / "photo.jpg")
    _itk(folder / "raw.nrrd", last[None], vector=True)
    _itk(folder / "detached.nhdr", last[None], vector=True)
    packed = _itk(folder / "packed.nrrd", last[None], packed=True, vector=True)
    known = {"settings": {"time": [1.5 * n for n in range(len(CUBE))]}, "units": "mM"}
    write_nrrd(folder / "series.nrrd", MetaTensor(CUBE.astype(np.float32), meta=known))
    found = {
        name: Target(folder / name, read_multispectral)
        for name in ("envi.hdr", "envi.dat", "raw.tif", "packed.tif", "big.tif", "tiles.tif", "imagej.tif",
                     "ome.ome.tif", "photo.jpg", "raw.nrrd", "detached.nhdr", "series.nrrd")
    }  # fmt: skip
    found["sidecar"] = Target(folder / "labelled.json", lambda p: read_multispectral(p.with_suffix(".npz")))
    found["raw.nii"] = Target(_nifti(folder / "raw.nii", last[:, :, None]), read_multispectral)
    found["packed.nii.gz"] = Target(_nifti(folder / "packed.nii.gz", last[:, :, None]), read_multispectral, 0)
    for name in ("raw.npz", "packed.npz", "photo.png"):
        found[name] = Target(folder / name, read_multispectral, 0)
    found["packed.nrrd"] = Target(packed, read_multispectral, packed.read_bytes().index(b"\n\n") + 2)
    return found


def xrays(folder: Path) -> dict[str, Target]:
    """X-rays."""
    Image.fromarray(GREY).save(folder / "grey.png")
    Image.fromarray((GREY >> 8).astype(np.uint8)).save(folder / "grey.jpg")
    tifffile.imwrite(folder / "grey.tif", GREY, compression="zlib")
    _nifti(folder / "grey.nii.gz", GREY.T[:, :, None])
    for name in ("grey.nrrd", "grey.mha", "grey.mhd"):
        _itk(folder / name, GREY)
    packed = _itk(folder / "packed.mha", GREY, packed=True)
    write_dicom(folder / "angio.dcm", GREY, ImagerPixelSpacing=["0.3", "0.3"])
    write_dicom(folder / "frames.dcm", np.stack([GREY, GREY]))
    image = pydicom.dcmread(folder / "angio.dcm")
    image.compress(RLELossless)
    image.save_as(folder / "rle.dcm")
    image = pydicom.dcmread(folder / "angio.dcm")
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(folder / "deflated.dcm")
    names = (
        "grey.jpg",
        "grey.tif",
        "grey.nrrd",
        "grey.mha",
        "grey.mhd",
        "angio.dcm",
        "rle.dcm",
        "deflated.dcm",
    )
    found = {name: Target(folder / name, read_xray) for name in names}
    found["frames.dcm"] = Target(folder / "frames.dcm", lambda path: read_xray(path, frame=2))
    found["grey.png"] = Target(folder / "grey.png", read_xray, 0)
    found["grey.nii.gz"] = Target(folder / "grey.nii.gz", read_xray, 0)
    start = packed.read_bytes().index(b"LOCAL\n") + 6
    found["packed.mha"] = Target(packed, read_xray, start)
    return found


def volumes(folder: Path) -> dict[str, Target]:
    """CT volumes and their labels."""
    found = {
        "ct.nii": Target(_nifti(folder / "ct.nii", HOUNSFIELD), read_ct),
        "ct.nii.gz": Target(_nifti(folder / "ct.nii.gz", HOUNSFIELD), read_ct, 0),
        "ct.nhdr": Target(_itk(folder / "ct.nhdr", HOUNSFIELD), read_ct),
        "ct.hdr": Target(_itk(folder / "pair.hdr", HOUNSFIELD), read_ct),
    }
    for name, end in (("ct.nrrd", b"\n\n"), ("ct.mha", b"LOCAL\n")):
        path = _itk(folder / name, HOUNSFIELD, packed=True)
        found[name] = Target(path, read_ct, path.read_bytes().index(end) + len(end))
    whole = read_ct(folder / "ct.nii")
    labels = _nifti(folder / "labels.nii.gz", LABELS)
    found["labels"] = Target(labels, lambda path: read_labels(path, [1], whole))
    return found


def tables(folder: Path) -> dict[str, Target]:
    """Cameras, and samples with their truth."""
    generator = np.random.default_rng(3)
    rows = [
        f"{nm},{a:.3f},{b:.3f}"
        for nm, a, b in zip(range(450, 550, 5), *generator.random((2, 20)), strict=True)
    ]
    (folder / "camera.csv").write_text("\n".join(["# measured", "wavelength_nm,red,green", *rows]))
    (folder / "filter.csv").write_text("nm;passed\n440;0\n450;0,5\n530;0,9\n560;0\n")
    camera = {"responses": "camera.csv", "filter": "filter.csv", "passband_nm": [460, 530]}
    (folder / "camera.json").write_text(json.dumps(camera | {"noise": {"white_snr": [40, 90]}}))
    truth = generator.normal(size=(40, 2))
    arrays = {"samples": truth + generator.normal(size=(10, 40, 2)), "truth": truth}
    labels = {"names": np.array(["a", "b"]), "units": np.array(["mm", "1"]), "log_prob": truth[:, 0]}
    np.savez(folder / "cases.npz", **arrays, **labels)
    group = zarr.open_group(folder / "cases.zarr", mode="w")
    for name, value in arrays.items():
        group[name] = value
    drawn = [f"c{n},{a},{b}" for sample in arrays["samples"] for n, (a, b) in enumerate(sample)]
    (folder / "samples.csv").write_text("\n".join(["case,a,b", *drawn]))
    (folder / "truth.csv").write_text(
        "\n".join(["case,a,b", *(f"c{n},{a},{b}" for n, (a, b) in enumerate(truth))])
    )
    described = [{"name": n, "unit": "1", "low": 0, "high": 1.5, "is_periodic": True} for n in "ab"]
    (folder / "parameters.json").write_text(json.dumps(described))
    found = {
        "camera.csv": Target(folder / "camera.csv", cameras.load),
        "cases.npz": Target(folder / "cases.npz", read_cases),
        "samples.csv": Target(folder / "samples.csv", lambda path: read_cases(path, folder / "truth.csv")),
        "truth.csv": Target(folder / "truth.csv", lambda path: read_cases(folder / "samples.csv", path)),
        "parameters.json": Target(folder / "parameters.json", read_parameters),
        "camera.json": Target(folder / "camera.json", cameras.load),
        "filter.csv": Target(folder / "filter.csv", lambda _: cameras.load(folder / "camera.json")),
    }
    for path in sorted(p for p in (folder / "cases.zarr").rglob("*") if p.is_file()):
        found[f"zarr {path.relative_to(folder)}"] = Target(path, lambda _: read_cases(folder / "cases.zarr"))
    return found


def results(folder: Path) -> dict[str, Target]:
    """Results of inference, and a DICOM series."""
    stored = write_result(folder / "result", AFFINE)
    series = folder / "series"
    series.mkdir()
    placed = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}
    placed |= {"PixelSpacing": [1, 1], "FrameOfReferenceUID": "1.2.3"}
    write_dicom(series / "slice.dcm", GREY, "CT", **placed)
    return {
        **{name: Target(stored / name, lambda _: read_stored(stored)) for name in
           ("result.json", "median_sao2.nii.gz", "quantiles_sao2.nii.gz")},
        "slice.dcm": Target(series / "slice.dcm", lambda _: read_source(series)),
    }  # fmt: skip


def scans(folder: Path) -> dict[str, Target]:
    """Dynamic series of MR images, and what lies beside them."""
    signals, times = dce_files.signals()[:2], dce_files.TIMES_S[:2]
    classic = dce_files.write_classic(folder / "classic", signals, lambda f, _: dce_files.acquired(times[f]))
    enhanced = dce_files.write_enhanced(
        folder / "many.dcm", signals, lambda f: {"FrameAcquisitionDateTime": f"20260101{dce_files.clock(f)}"}
    )
    beside = dce_files.BESIDE | {"VolumeTiming": times.tolist()}
    dce = dce_files.write_nifti(folder / "dce.nii.gz", signals, beside=beside)
    dwi = dce_files.write_nifti(folder / "dwi.nii.gz", signals)
    (folder / "dwi.bval").write_text("0 1000\n")
    aif = dce_files.write_artery(folder / "aif.csv")
    return {
        "classic.dcm": Target(min(classic.iterdir()), lambda _: read_series(classic)),
        "many.dcm": Target(enhanced, read_series),
        "dce.json": Target(folder / "dce.json", lambda _: read_series(dce)),
        "dwi.bval": Target(folder / "dwi.bval", lambda _: read_multispectral(dwi)),
        "aif.csv": Target(aif, read_artery),
    }


GROUPS = {
    "images": images,
    "xrays": xrays,
    "volumes": volumes,
    "tables": tables,
    "results": results,
    "scans": scans,
}
