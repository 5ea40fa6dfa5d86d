"""Folders of classified images with known content, in the format of `monai-inn classify`."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np

CLASSES = ["normal", "pneumonia", "other"]
PAIRS = [[*pair] for pair in combinations(range(len(CLASSES)), 2)]
SIZE = 8, 10  # rows, columns


def made_images(number=3, channels=1, size=SIZE):
    """Dark images, each of another shade, whose first two rows and columns are bright, ``(n, *size, C)``."""
    images = np.empty((number, *size, channels), np.uint8)
    images[:] = 30 + 20 * np.arange(number).reshape(-1, *(1,) * (len(size) + 1))
    images[(slice(None), *(slice(0, 2),) * len(size))] = 230
    return images


def made_evidence(number=3, size=SIZE):
    """Evidence of each pair of classes: no two values of an image are alike, ``(n, pairs, *size)``, nats."""
    rng = np.random.default_rng(4)
    return rng.normal(scale=0.2, size=(number, len(PAIRS), *size)).astype(np.float32)


def made_record(number=3):
    """The record of as many images; the second one is of no class."""
    entries = [
        {
            "image": f"/images/{name}.png",
            "class": "pneumonia" if number_of else "normal",
            "probability": dict(zip(CLASSES, shares, strict=True)),
            "set": found,
            "p_value": p_value,
            "is_of_no_class": p_value < 0.05,
            "log_density_nats": -100.0,
            "notes": ["unlike the images that the network was trained on"] if p_value < 0.05 else [],
        }
        for number_of, (name, shares, found, p_value) in enumerate(
            [
                ("usual", (0.9, 0.08, 0.02), ["normal"], 0.62),
                ("inverted", (0.125, 0.75, 0.125), [], 0.002),
                ("doubtful", (0.3, 0.5, 0.2), ["normal", "pneumonia"], 0.31),
            ][:number]
        )
    ]
    return {
        "format_version": 1,
        "intended_use": "Research only.",
        "bundle": "/bundles/made",
        "classes": CLASSES,
        "pairs": PAIRS,
        "shares": {"normal": 0.25, "pneumonia": 0.5, "other": 0.25},
        "settings": {"coverage": 0.9, "false_alarm": 0.05, "levels": None},
        "images": entries,
        "measured": None,
        "warnings": [],
        "files": [{"file": name} for name in ("classes.csv", "images.npy", "evidence.npy")],
    }


def write_classes(folder, channels=1, size=SIZE):
    """Write a folder of three classified images."""
    folder.mkdir()
    np.save(folder / "images.npy", made_images(channels=channels, size=size))
    np.save(folder / "evidence.npy", made_evidence(size=size))
    (folder / "classification.json").write_text(
        json.dumps(made_record() | {"bundle": f"/bundles/{folder.name}"})
    )
    return folder
