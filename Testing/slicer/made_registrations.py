"""Registration folders with known content, in the format of `monai-inn register`; no torch, no bundle.

The patient is a handful of Gaussian blobs, whose line integrals have a closed form.
"""

from __future__ import annotations

import json
from math import cos, pi, radians, sin, sqrt

import nibabel
import numpy as np

DETECTOR = {"rows": 48, "columns": 64, "spacing_mm": 3.2, "source_detector_mm": 1020.0,
            "source_isocentre_mm": 850.0, "beam": "cone", "view": "detector"}  # fmt: skip
TARGET = np.array([4.0, -30.0, 120.0])
NAMES = ("lao", "cra", "roll", "right", "down", "away")
POSES = np.array([[70.0, 6.0, 2.0, 3.0, -5.0, 20.0], [114.0, -6.0, -1.0, -2.0, 4.0, 0.0]])
MASSES = 0.58, 0.42
SD = np.array([[1.2, 0.8, 0.9, 2.0, 1.5, 6.0], [2.0, 1.0, 0.7, 1.0, 2.5, 4.0]])
COUNTS = 6, 174, 120  # samples of no pose, of the first, of the second
# Center relative to the target in mm, width in mm, attenuation.
BLOBS = (
    ((0, 0, -44), 13, 1.0), ((0, -2, 0), 12, 1.0), ((0, -5, 42), 11, 0.9),
    ((-34, -18, 10), 7, 0.7), ((36, -14, -22), 7, 0.7), ((0, -38, 2), 6, 0.6), ((12, 34, 30), 9, 0.35),
)  # fmt: skip
_UNITS = ("deg", "deg", "deg", "mm", "mm", "mm")
_MEANING = (
    "detector turned to the patient's left (LAO); right (RAO) is negative",
    "detector turned to the head (CRA); to the feet (CAU) is negative",
    "detector turned about the beam, clockwise as the source sees it",
    "target moved to the right in the image, at the isocentre",
    "target moved down in the image, at the isocentre",
    "target moved along the beam, away from the source",
)


def centers():
    """Middle of each blob, RAS, mm."""
    return TARGET + np.array([at for at, _, _ in BLOBS], float)


def camera(pose):
    """Camera to world of a pose: source behind the patient, turned by LAO about S and by CRA about R."""
    lao, cra, roll, right, down, away = pose
    base = np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = _turn(2, lao + 180) @ _turn(0, -cra) @ base @ _turn(2, roll)
    side = -1 if DETECTOR["view"] == "detector" else 1
    at = [side * right, down, away + DETECTOR["source_isocentre_mm"]]
    matrix[:3, 3] = TARGET - matrix[:3, :3] @ at
    return matrix


def _turn(axis, degrees):
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]] if axis == 0 else [[c, -s, 0], [s, c, 0], [0, 0, 1]])


def project(points, matrix):
    """Column and row where points appear, by the pinhole alone."""
    seen = (np.asarray(points) - matrix[:3, 3]) @ matrix[:3, :3]
    on_detector = seen[:, :2] * DETECTOR["source_detector_mm"] / seen[:, 2:]
    middle = [DETECTOR["columns"] / 2 - 0.5, DETECTOR["rows"] / 2 - 0.5]
    return on_detector * [-1, 1] / DETECTOR["spacing_mm"] + middle


def affine():
    """Voxels to camera coordinates: columns against the camera's x axis, as displays show them."""
    step = DETECTOR["spacing_mm"]
    matrix = np.diag([-step, step, 1.0, 1.0])
    matrix[:3, 3] = (
        step * (DETECTOR["columns"] - 1) / 2,
        -step * (DETECTOR["rows"] - 1) / 2,
        DETECTOR["source_detector_mm"],
    )
    return matrix


def render(matrix):
    """Line integrals ``(rows, columns)``, relative to 45 mm of full attenuation."""
    index = np.indices((DETECTOR["columns"], DETECTOR["rows"])).reshape(2, -1)
    points = affine() @ [*index, 0 * index[0], 1 + 0 * index[0]]
    rays = (matrix[:3, :3] @ points[:3]).T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    total = 0
    for center, (_, width, weight) in zip(centers(), BLOBS, strict=True):
        offset = center - matrix[:3, 3]
        off = offset @ offset - (rays @ offset) ** 2
        total += weight * width * sqrt(2 * pi) * np.exp(-off / (2 * width**2))
    return (total / 45).reshape(DETECTOR["columns"], DETECTOR["rows"]).T


def phantom(spacing=3.0):
    """The patient as a CT ``(K, J, I)`` and its matrix from index to RAS."""
    size = np.array([40, 40, 56])
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = TARGET - spacing * (size - 1) / 2
    grid = np.moveaxis(np.indices(size), 0, -1) * spacing + matrix[:3, 3]
    values = sum(
        weight * np.exp(-((grid - center) ** 2).sum(-1) / (2 * width**2))
        for center, (_, width, weight) in zip(centers(), BLOBS, strict=True)
    )
    return (1000 * values - 100).transpose(2, 1, 0).astype(np.int16).copy(), matrix


def write_registration(folder, number=2, is_trusted=True, is_refined=False, seed=0):
    """Write a result with one or two plausible poses."""
    folder.mkdir()
    noise = np.random.default_rng(seed)
    xray = render(camera(POSES[0])) + 0.015 * noise.standard_normal((DETECTOR["rows"], DETECTOR["columns"]))
    _image(folder / "xray.nii.gz", xray)
    labels = np.repeat([0, 1, 2], COUNTS)[: COUNTS[0] + sum(COUNTS[1 : number + 1])]
    which = np.maximum(labels, 1) - 1
    poses = POSES[which] + np.where(labels[:, None], 1, 9) * SD[which] * noise.standard_normal(
        (len(labels), 6)
    )
    cameras = np.array([camera(pose) for pose in poses])
    modes = [_mode(folder, n + 1, xray, cameras[labels == n + 1]) for n in range(number)]
    if number == 1:
        modes[0]["mass"] = 0.98
    np.savez(folder / "samples.npz", camera_to_world=cameras, mode=labels, pose=poses,
             log_density=np.zeros(len(labels)))  # fmt: skip
    for mode, sd in zip(modes, SD if is_refined else (), strict=False):
        top = {"sd": dict(zip(NAMES, (sd / 3).tolist(), strict=True)), "log_likelihood_gain": 3.21}
        mode["refined"] = top | {part: mode[part] for part in ("pose", "camera_to_world")}
    statement = (
        "Two poses explain this X-ray: 58 % at 70° LAO, 6° CRA; 42 % at 114° LAO, 6° CAU."
        if number == 2
        else "One pose explains this X-ray: 98 % at 70° LAO, 6° CRA."
    )
    record = {
        "format_version": 1,
        "command": "register",
        "created": "2026-11-25T18:00:00+00:00",
        "intended_use": "Research only. Not a medical device; not for diagnosis or treatment.",
        "settings": {"samples": len(labels), "seed": seed, "false_alarm": 0.05, "refined": is_refined},
        "bundle": {"name": "made", "path": "/bundles/made", "version": "0.1.0", "problem": "registration"},
        "xray": {"path": "/images/lateral.dcm", "shape": [48, 64], "spacing_mm": 3.2, "notes": []},
        "detector": DETECTOR,
        "target_ras_mm": TARGET.tolist(),
        "landmarks_ras_mm": centers().tolist(),
        "parameters": [
            {"name": n, "unit": u, "description": d, "low": -180.0, "high": 180.0, "is_free": True,
             "is_periodic": u == "deg"}
            for n, u, d in zip(NAMES, _UNITS, _MEANING, strict=True)
        ],
        "trust": {
            "waic": -3.1 if is_trusted else 41.7, "limit": 6.2, "p_value": 0.61 if is_trusted else 0.001,
            "is_trusted": is_trusted,
            "statement": "The X-ray resembles the simulated ones of this patient; that does not prove the "
            "poses right." if is_trusted else "Do not use these poses: the X-ray is unlike those simulated "
            "from this patient's CT.",
        },
        "ambiguity": {"num_plausible": number, "statement": statement},
        "modes": modes,
        "differences": [],
        "files": [],
        "pictures": [],
        "seconds": 1.0,
    }  # fmt: skip
    (folder / "registration.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def _mode(folder, number, xray, cameras):
    pose, matrix = POSES[number - 1], camera(POSES[number - 1])
    drr = render(matrix)
    _image(folder / f"drr_{number}.nii.gz", drr)
    _image(folder / f"difference_{number}.nii.gz", xray - drr)
    moved = cameras @ np.linalg.inv(matrix) @ [*TARGET, 1.0]
    marks = np.c_[centers(), np.ones(len(BLOBS))]
    error = np.linalg.norm((cameras @ np.linalg.inv(matrix) @ marks.T).swapaxes(1, 2) - marks, axis=-1)
    low, median, high = np.quantile(error.mean(1), [0.025, 0.5, 0.975])
    return {
        "number": number,
        "mass": MASSES[number - 1],
        "pose": dict(zip(NAMES, pose.tolist(), strict=True)),
        "spread": dict(zip(NAMES, SD[number - 1].tolist(), strict=True)),
        "camera_to_world": matrix.tolist(),
        "files": {
            "tfm": f"pose_{number}.tfm",
            "h5": f"pose_{number}.h5",
            "drr": f"drr_{number}.nii.gz",
            "difference": f"difference_{number}.nii.gz",
        },
        "mtre_mm": {"low": low, "median": median, "high": high},
        "target": {
            "mean_ras_mm": moved[:, :3].mean(0).tolist(),
            "covariance_mm2": np.cov(moved[:, :3], rowvar=False).tolist(),
        },
        "similarity": {"ncc": float(np.corrcoef(xray.ravel(), drr.ravel())[0, 1]), "noise_ratio": 1.0},
        "refined": None,
    }


def _image(path, values):
    matrix = affine()
    image = nibabel.Nifti1Image(values.astype(np.float32).T[..., None], matrix)
    image.set_sform(matrix, 1)
    image.set_qform(matrix, 1)
    nibabel.save(image, path)
