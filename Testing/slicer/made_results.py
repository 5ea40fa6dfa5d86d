"""Result folders with known content, in the format of `monai-inn infer`."""

from __future__ import annotations

import json

import nibabel
import numpy as np
from scipy.stats import norm

LEVELS = np.array(sorted({0.025, 0.5, 0.975, *((np.arange(8) + 0.5) / 8)}))
SHAPE = 2, 12, 16  # K, J, I
PARAMETERS = [
    {"name": "sao2", "unit": "1", "description": "oxygen saturation of the blood", "scale": "linear",
     "low": 0.0, "high": 1.0, "width": 0.95},
    {"name": "vhb", "unit": "1", "description": "blood volume fraction", "scale": "log",
     "low": 0.002, "high": 0.3, "width": 0.25},
    {"name": "a_mie", "unit": "1/cm", "description": "reduced scattering", "scale": "linear",
     "low": 5.0, "high": 50.0, "width": 42.75},
]  # fmt: skip
AFFINE = np.array([[0.0, -2.0, 0.0, 10.0], [-2.0, 0.0, 0.0, 20.0], [0.0, 0.0, -3.0, 5.0], [0, 0, 0, 1.0]])
# (k, j, i): out of distribution, and not usable.
UNTRUSTED, UNUSABLE = (slice(None), slice(0, 3), slice(0, 4)), (slice(None), 11, 15)
# (k, j, i): where the measurement says nothing about vhb.
SILENT = slice(None), slice(8, 11), slice(2, 9)
# Places of the curves, two of them the same; at one of them nothing was measured in the voxel (k, j, i).
PLACES, LOST = [0.0, 10.0, 10.0, 25.0, 60.0], (1, 4, 5, 3)
REASONS = ["explained", "unlike the training data as a whole", "absorption like that of a dye"]


def ramp(seed=0):
    """Center of the posterior of each voxel, relative to the range: 0.2 to 0.8 along I."""
    values = np.broadcast_to(np.linspace(0.2, 0.8, SHAPE[2]), SHAPE)
    return np.clip(values + 0.02 * np.random.default_rng(seed).standard_normal(SHAPE), 0.05, 0.95)


def curve_values(part):
    """Curves ``(K, J, I, T)``: rising along the axis, higher along I."""
    rise = 0.02 * np.arange(SHAPE[2])[:, None] + 0.05 * np.sqrt(PLACES)
    values = np.broadcast_to(rise, (*SHAPE, len(PLACES))) + {"low": -0.1, "high": 0.15, "measured": 0.03}.get(
        part, 0.0
    )
    values = values.astype(np.float32)
    values[UNUSABLE] = values[LOST] = np.nan
    return values


def _writer(folder):
    """A new folder's list of files, and what writes arrays ``(K, J, I)`` or ``(K, J, I, N)`` into it."""
    folder.mkdir()
    files = []

    def write(kind, parameter, unit, array, **more):
        name = f"{kind}.nii.gz" if kind == parameter else f"{kind}_{parameter}.nii.gz"
        axes = (2, 1, 0, 3) if array.ndim == 4 else (2, 1, 0)
        nibabel.save(nibabel.Nifti1Image(array.transpose(axes), AFFINE), folder / name)
        files.append({"file": name, "map": kind, "parameter": parameter, "unit": unit, **more})

    return files, write


def write_result(folder, seed=0, samples=3, shift=0.0, curves=False):
    """Write a result whose posteriors are normal, 0.02 to 0.12 of the range wide, wider along J."""
    files, write = _writer(folder)
    valid = np.ones(SHAPE, bool)
    valid[UNUSABLE] = False
    missing = np.where(valid, 0.0, np.nan)
    spread = np.broadcast_to(np.linspace(0.02, 0.12, SHAPE[1])[:, None], SHAPE)
    z = norm.ppf(LEVELS)
    for row in PARAMETERS:
        low, span = row["low"], row["high"] - row["low"]
        center = low + span * (ramp(seed) + shift) + missing
        quantiles = center[..., None] + span * spread[..., None] * z
        name, unit = row["name"], row["unit"]
        write("median", name, unit, center.astype(np.float32))
        width = (quantiles[..., -1] - quantiles[..., 0]).astype(np.float32)
        write("interval_width", name, unit, width)
        write("mode_count", name, "1", np.where(valid, 1, np.nan).astype(np.float32))
        silent = missing.copy()
        silent[SILENT] = name == "vhb"
        write("uninformative", name, "1", silent.astype(np.float32))
        write("quantiles", name, unit, quantiles.astype(np.float32), levels=LEVELS.tolist())
        if samples:
            drawn = center[..., None] + span * spread[..., None] * np.linspace(-1, 1, samples)
            write("samples", name, unit, drawn.astype(np.float32))
    ood = missing.copy()
    ood[UNTRUSTED] = 1
    write("waic", "waic", "nat", (10 * ood - 20).astype(np.float32))
    write("ood", "ood", "1", ood.astype(np.float32))
    write("reason", "reason", "1", (2 * ood).astype(np.float32))
    write("adequacy", "adequacy", "1", (0.5 - 0.45 * ood).astype(np.float32))
    write("valid", "valid", "1", valid.astype(np.uint8))
    photo = np.broadcast_to((255 * ramp(seed))[..., None], (*SHAPE, 3)).astype(np.uint8)
    write("photo", "photo", "1", photo)
    for part in ("measured", "low", "median", "high") if curves else ():
        name = f"curve_{part}.nii"
        array = curve_values(part).transpose(2, 1, 0, 3)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / name)
        files.append({"file": name, "map": "curve", "parameter": part, "unit": "mM"})
    record = {
        "format_version": 1,
        "intended_use": "Research only.",
        "settings": {"interval": 0.95, "false_alarm": 0.05},
        "image": {"path": "/images/made.hdr"},
        "bundle": {"name": "made", "path": "/bundles/made", "camera": "tivita",
                   "calibration": {"simulations": 40000, "errors": {"sao2": 0.002}, "noise": 0.003}},
        "parameters": PARAMETERS,
        "trust": {"waic_scale": [-25.0, 5.0], "waic_limit": -12.0, "reasons": REASONS},
        "summary": {"pixels": int(valid.size), "valid_pixels": int(valid.sum()), "share_untrusted": 0.0628},
        "files": files,
    }  # fmt: skip
    if curves:
        record["curves"] = {"quantity": "concentration", "unit": "mM", "axis": "time", "axis_unit": "s",
                            "positions": PLACES, "interval": 0.9}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def turned(folder):
    """The same result, in which the second parameter is a class and the third an angle."""
    path = folder / "result.json"
    record = json.loads(path.read_text())
    record["parameters"][1]["is_class"], record["parameters"][2]["turn"] = True, 45.0
    path.write_text(json.dumps(record))
    return folder


IMAGE = {"name": "flair", "unit": "grey level", "description": "flair image", "scale": "linear",
         "low": 0.0, "high": 230.0, "width": 150.0}  # fmt: skip
SYNTHETIC = "SYNTHETIC: computed from other contrasts, not acquired."
# Where its samples lie about the center, in standard deviations: two of five are above the mean.
OFFSETS = np.array([-1.5, 1.0, -0.5, 1.5, -0.5], np.float32)


def finished(work):
    """What a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def image_center():
    """Center of the posterior of each pixel, in grey levels: 46 to 184 along I."""
    return (230 * ramp(3)).astype(np.float32)


def image_spread():
    """Standard deviation of each pixel, in grey levels: 4 to 30 along J."""
    return np.broadcast_to(np.linspace(4, 30, SHAPE[1])[:, None], SHAPE).astype(np.float32)


def write_image_result(folder, synthetic=SYNTHETIC, slices=SHAPE[0]):
    """Write the posterior of an unknown image, with a true image and a measured one to compare it with."""
    files, put = _writer(folder)

    def write(kind, parameter, unit, array):
        put(kind, parameter, unit, array[:slices])

    valid = np.ones(SHAPE, bool)
    valid[UNUSABLE] = False
    center = np.where(valid, image_center(), np.float32(np.nan))
    spread, name, unit = image_spread(), IMAGE["name"], IMAGE["unit"]
    write("mean", name, unit, center)
    for kind, z in (("median", 0.1), ("interval_low", -1.5), ("interval_high", 1.5)):
        write(kind, name, unit, center + np.float32(z) * spread)
    write("interval_width", name, unit, 3 * spread + 0 * center)
    write("samples", name, unit, center[..., None] + spread[..., None] * OFFSETS)
    write("reference", "true image", unit, center + spread)
    write("reference", "t1", unit, center[..., ::-1].copy())
    ood = np.zeros(SHAPE, np.float32)
    ood[UNTRUSTED] = 1
    write("ood", "ood", "1", ood)
    write("valid", "valid", "1", valid.astype(np.uint8))
    record = {
        "format_version": 1,
        "intended_use": "Research only.",
        "settings": {"interval": 0.9, "false_alarm": 0.05, "samples": 64},
        "image": {"path": "/images/t1.nii.gz"},
        "bundle": {"name": "made", "path": "/bundles/made", "camera": None, "calibration": None},
        "parameters": [IMAGE],
        "trust": {"waic_scale": [-25.0, 5.0], "waic_limit": -12.0, "reasons": []},
        "summary": {"pixels": int(valid.size), "valid_pixels": int(valid.sum()), "share_untrusted": 0.0628},
        "files": files,
    }  # fmt: skip
    if synthetic:
        record["synthetic"] = synthetic
    (folder / "result.json").write_text(json.dumps(record))
    return folder
