"""Result folders of known content in the format of `monai-inn infer`, and commands on them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
from PIL import Image

from monai_inn.cli import main

LEVELS = [0.025, 0.25, 0.5, 0.75, 0.975]
PARAMETERS = [
    {"name": "sao2", "unit": "1", "description": "oxygen saturation of the blood", "scale": "linear",
     "low": 0.0, "high": 1.0, "width": 0.95},
    {"name": "a_mie", "unit": "1/cm", "scale": "linear",
     "description": "reduced scattering coefficient at 500 nm, mean over the top millimetre",
     "low": 5.0, "high": 50.0, "width": 42.75},
    {"name": "shift", "unit": "mm", "description": "shift", "scale": "linear",
     "low": -30.0, "high": 30.0, "width": 40.0},
]  # fmt: skip
SHAPE = 7, 5, 3
WITHHELD, UNUSABLE = (slice(0, 2), 1), (-1, -1)  # of (i, j)


def write_result(folder, affine, shape=SHAPE, quantiles=True, photo=True, adequacy=False):
    """Write a result whose medians differ from pixel to pixel."""
    folder.mkdir()
    files = []

    def write(kind, parameter, unit, array, **more):
        name = f"{kind}.nii.gz" if kind == parameter else f"{kind}_{parameter}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / name)
        files.append({"file": name, "map": kind, "parameter": parameter, "unit": unit, **more})

    valid = np.ones(shape, np.uint8)
    valid[UNUSABLE] = 0
    missing = np.where(valid, 0.0, np.nan)
    ood = missing.copy()
    ood[WITHHELD] = 1.0
    place = np.random.default_rng(3).permutation(np.linspace(0.1, 0.9, valid.size)).reshape(shape) + missing
    for row in PARAMETERS:
        name, unit, span = row["name"], row["unit"], row["high"] - row["low"]
        center, half = row["low"] + span * place, 0.1 * span * place
        write("median", name, unit, center.astype(np.float32))
        write("interval_width", name, unit, (2 * half).astype(np.float32))
        write("mode_count", name, "1", (1 + (place > 0.8) + missing).astype(np.float32))
        if quantiles:
            stack = center[..., None] + half[..., None] * np.linspace(-1, 1, len(LEVELS))
            write("quantiles", name, unit, stack.astype(np.float32), levels=LEVELS)
    write("probability_below", "sao2 < 0.6", "1", (place < 0.6).astype(np.float32))
    if adequacy:
        write("adequacy", "adequacy", "1", (0.05 + 0.9 * place).astype(np.float32))
    write("ood", "ood", "1", ood.astype(np.float32))
    write("valid", "valid", "1", valid)
    if photo:
        write("photo", "photo", "1", np.stack([np.nan_to_num(255 * place)] * 3, -1).astype(np.uint8))
    Image.new("RGB", (40, 30), "teal").save(folder / "maps.png")
    (folder / "result.json").write_text(json.dumps(record(files, valid)))
    return folder


def record(files, valid):
    return {
        "format_version": 1,
        "command": "infer",
        "created": "2026-03-01T10:20:30+00:00",
        "intended_use": "Research only. Not a medical device.",
        "settings": {"samples": 64, "interval": 0.95, "false_alarm": 0.05, "below": {"sao2": 0.6}, "seed": 4},
        "versions": {"monai_inn": "0.1.0", "torch": "2.13.0"},
        "bundle": {"name": "made & <known>", "version": "0.2.0", "weights_sha256": "ab" * 32,
                   "camera": "tivita",
                   "calibration": {"simulations": 40000, "errors": {"sao2": 0.002}, "noise": 0.003}},
        "parameters": PARAMETERS,
        "image": {"path": "/data/Gewebe_ä.hdr", "shape": [16, *valid.shape],
                  "sha256": {"Gewebe_ä.hdr": "cd" * 32}},
        "summary": {"pixels": int(valid.size), "valid_pixels": int(valid.sum())},
        "pictures": ["maps.png"],
        "files": files,
    }  # fmt: skip


def maps_of(folder, kind="median"):
    """Arrays ``(i, j, k)`` by parameter, and where their values may be interpreted."""
    found = {row["name"]: nibabel.load(folder / f"{kind}_{row['name']}.nii.gz") for row in PARAMETERS}
    valid = nibabel.load(folder / "valid.nii.gz").get_fdata() > 0
    trusted = valid & ~(nibabel.load(folder / "ood.nii.gz").get_fdata() > 0)
    return {name: np.asarray(image.dataobj) for name, image in found.items()}, trusted


def refused(capsys, *arguments):
    """Run a command that must fail on its input and return its one line."""
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]
