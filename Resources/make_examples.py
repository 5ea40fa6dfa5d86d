"""Make the example images in this folder: measured spectra in a drawn layout, and a fundus photograph.

    python Resources/make_examples.py                             # the organ mosaic
    python Resources/make_examples.py --photograph retina.jpg     # and the photograph, from its source file

The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray
from organ_scene import (
    COLUMNS,
    ROWS,
    TISSUES,
    Tissue,
    dead_pixels,
    highlights,
    illumination,
    labels,
    shares,
)
from PIL import Image
from scipy.ndimage import gaussian_filter
from spectral.io import envi

from monai_inn.physics import cameras, tissue_spectra
from monai_inn.physics.transport.layers import simulate_layers
from monai_inn.reading.orientation import stored_affine
from monai_inn.transforms import read_multispectral

Field = NDArray[np.float64]

HERE = Path(__file__).resolve().parent
SLICER = HERE.parent / "SlicerINN/INNUncertainty/Resources/SampleData"
# Of seeds 1 to 17 the one whose organs lie closest to the measured means: within 0.92 SD (rms over bands).
SEED = 17
# Stored number of a pixel as bright as the white reference; 65535 is 1.64 times white.
COUNTS_PER_WHITE = 40000.0
# Deviations of a subject from the mean are alike within this many nanometres and pixels.
SPECTRAL_LENGTH_NM = 60.0
SPATIAL_SIGMA = 8.0
_PHANTOM_THICKNESS_CM = 2.0


def spectrum(tissue: Tissue, wavelength_nm: Field) -> tuple[Field, Field]:
    """Mean reflectance of a tissue and its standard deviation over subjects, both ``(bands,)``.

    Measured tissue spectra are known up to a factor and are scaled to the assumed mean. Phantoms are computed
    from their measured coefficients as a thick block; beyond the last measured wavelength (900 nm) the
    coefficients are held at their last value.
    """
    if tissue.table == "phantoms":
        phantom = tissue_spectra.phantoms()[tissue.spectrum]
        mu_a, mu_s = (
            torch.from_numpy(np.interp(wavelength_nm, phantom.wavelength_nm, values))[:, None]
            for values in (phantom.mu_a_per_cm, phantom.mu_s_per_cm)
        )
        g, thickness, n = (
            torch.tensor([value], dtype=torch.float64)
            for value in (phantom.g, _PHANTOM_THICKNESS_CM, phantom.n)
        )
        reflectance = simulate_layers(mu_a, mu_s, g, thickness, n[0], num_directions=8).diffuse.numpy()
        return reflectance, np.zeros_like(reflectance)
    axis, spectra = tissue_spectra.load(tissue.table)
    mean, sd = (np.interp(wavelength_nm, axis, values) for values in spectra[tissue.spectrum])
    scale = tissue.mean_reflectance / mean.mean()
    return mean * scale, sd * scale


def deviations(rng: np.random.Generator, wavelength_nm: Field) -> Field:
    """Standard normal deviations, smooth along wavelength and in space, ``(bands, ROWS, COLUMNS)``.

    A Gaussian process: squared-exponential correlation with ``SPECTRAL_LENGTH_NM`` along wavelength, and
    white noise blurred by ``SPATIAL_SIGMA`` pixels in space.
    """
    gap = wavelength_nm[:, None] - wavelength_nm
    covariance = np.exp(-(gap**2) / (2 * SPECTRAL_LENGTH_NM**2)) + 1e-6 * np.eye(len(wavelength_nm))
    noise = rng.standard_normal((len(wavelength_nm), ROWS, COLUMNS))
    smooth = gaussian_filter(noise, (0, SPATIAL_SIGMA, SPATIAL_SIGMA), mode="wrap")
    # The sum of the squared weights of the blur, so that each pixel has unit variance.
    point = np.zeros((ROWS, COLUMNS))
    point[0, 0] = 1.0
    smooth /= np.sqrt((gaussian_filter(point, SPATIAL_SIGMA, mode="wrap") ** 2).sum())
    result: Field = np.tensordot(np.linalg.cholesky(covariance), smooth, axes=1)
    return result


def reflectances(seed: int, wavelength_nm: Field) -> Field:
    """Reflectance of the scene without light, noise or highlights, ``(bands, ROWS, COLUMNS)``."""
    label = labels()
    scene = np.zeros((len(wavelength_nm), ROWS, COLUMNS))
    for tissue, share in zip(TISSUES, shares(label), strict=True):
        mean, sd = spectrum(tissue, wavelength_nm)
        rng = np.random.default_rng([seed, tissue.value])
        curve = mean[:, None, None] + sd[:, None, None] * deviations(rng, wavelength_nm)
        # Three standard deviations of the darkest tissues would be below zero.
        scene += share * np.maximum(curve, 0.2 * mean[:, None, None])
    return scene


def photograph(seed: int, camera: cameras.Camera) -> NDArray[np.uint16]:
    """The mosaic as the camera stores it, ``(bands, ROWS, COLUMNS)``."""
    rng = np.random.default_rng([seed, 0])
    texture = np.zeros((ROWS, COLUMNS))
    for sigma, strength in ((0.8, 0.02), (2.5, 0.03)):
        rough = gaussian_filter(rng.standard_normal((ROWS, COLUMNS)), sigma)
        texture += strength * rough / rough.std()
    light = illumination(labels()) * np.exp(texture)
    signal = reflectances(seed, camera.centre_nm) * light + highlights()
    generator = torch.Generator().manual_seed(seed)
    noisy = camera.noise(torch.from_numpy(signal)[None], generator, per_image=True)[0].numpy()
    counts = np.clip(np.rint(noisy * COUNTS_PER_WHITE), 0, 65535).astype(np.uint16)
    counts[:, dead_pixels()] = 0
    return counts


def write_mosaic(folder: Path, seed: int = SEED) -> None:
    """Write the mosaic, its labels, their table and a preview."""
    camera = cameras.load("tivita")
    counts = photograph(seed, camera)
    header = {
        "description": "Measured organ spectra in a drawn layout, see README.md; reflectance",
        "wavelength units": "Nanometers",
        "wavelength": [f"{c:.3f}" for c in camera.centre_nm],
        "fwhm": ["5.000"] * len(counts),
        "band names": list(camera.band_names),
        "reflectance scale factor": COUNTS_PER_WHITE,
    }
    _write_envi(folder / "organ_mosaic.hdr", counts, header)
    label = labels()
    picture = Image.fromarray(label, mode="P")
    colours = np.zeros((256, 3), np.uint8)
    for tissue in TISSUES:
        colours[tissue.value] = tissue.colour
    picture.putpalette(colours.tobytes())
    picture.save(folder / "organ_mosaic_labels.png", optimize=True)
    table = {
        "description": "Values of organ_mosaic_labels.png; borders are blurred by 0.6 pixels.",
        "labels": [
            {
                "value": t.value,
                "name": t.name,
                "spectrum": f"{t.table}: {t.spectrum}",
                "mean_reflectance": None if np.isnan(t.mean_reflectance) else t.mean_reflectance,
                "colour": t.colour,
                "pixels": int((label == t.value).sum()),
            }
            for t in TISSUES
        ],
        "bad": {
            "dead": "rows 56-57, columns 68-107: zero in every band",
            "saturated": "centres of the highlights: 65535",
            "dark": "upper left corner: hardly any light",
        },
    }
    (folder / "organ_mosaic_labels.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    _preview(counts, camera.centre_nm).save(folder / "organ_mosaic_preview.png", optimize=True)


def write_slicer_sample(folder: Path, seed: int = SEED) -> None:
    """Write the mosaic as the sample data of the Slicer module: a vector volume, bands as components."""
    camera = cameras.load("tivita")
    # Slicer's axes are (slice, j, i); i runs along the rows and j along the columns, as in our NIfTI files.
    voxels = photograph(seed, camera).transpose(2, 1, 0)[None]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels), isVector=True)
    lps = np.diag([-1.0, -1.0, 1.0]) @ stored_affine(2)[:3, :3]
    image.SetDirection(lps.ravel().tolist())
    image.SetMetaData("wavelength_nm", " ".join(f"{c:.3f}" for c in camera.centre_nm))
    SimpleITK.WriteImage(image, str(folder / "organ_mosaic.nrrd"), useCompression=True)


def write_photograph(folder: Path, source: Path) -> None:
    """Write the fundus photograph as linear light, binned 3 by 3, without its empty rim."""
    linear = read_multispectral(source).as_tensor()[:, :1410, :1410]
    binned = torch.nn.functional.avg_pool2d(linear, 3)[:, 3:-3, 3:-3].numpy()
    header = {
        "description": "Fundus photograph (CC0 1.0), linear light, not calibrated, see README.md",
        "wavelength units": "Nanometers",
        "wavelength": [600, 540, 460],
        "fwhm": [80, 80, 80],
        "band names": ["red", "green", "blue"],
        "data units": "relative linear light",
        "reflectance scale factor": 65535.0,
    }
    _write_envi(folder / "retina_fundus.hdr", np.rint(binned * 65535).astype(np.uint16), header)


def _write_envi(path: Path, counts: NDArray[np.uint16], header: dict[str, object]) -> None:
    """Write bands one after the other, little-endian."""
    envi.save_image(
        str(path),
        counts.transpose(1, 2, 0),
        interleave="bsq",
        byteorder=0,
        ext=".dat",
        force=True,
        metadata=header,
    )


def _preview(counts: NDArray[np.uint16], centre_nm: Field) -> Image.Image:
    """Red, green and blue bands as a screen shows them, four times enlarged."""
    linear = np.stack(
        [
            counts[np.abs(centre_nm - middle) < 15].mean(0) / COUNTS_PER_WHITE
            for middle in (620.0, 555.0, 515.0)
        ],
        -1,
    )
    value = np.clip(1.6 * linear, 0, 1)
    curve = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(255 * curve).astype(np.uint8)).resize(
        (4 * COLUMNS, 4 * ROWS), Image.Resampling.NEAREST
    )


def main() -> None:
    """Write the examples into this folder."""
    parser = argparse.ArgumentParser(description="Make the example images.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--photograph", type=Path, help="source file of the fundus photograph")
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--slicer-folder", type=Path, default=SLICER, help="where the Slicer sample goes")
    options = parser.parse_args()
    write_mosaic(options.folder, options.seed)
    write_slicer_sample(options.slicer_folder, options.seed)
    if options.photograph is not None:
        write_photograph(options.folder, options.photograph)


if __name__ == "__main__":
    main()
