"""Commands with damaged bundles, results and options, drawn from a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

from monai_inn.fitted.layout import METADATA, SECTION, WEIGHTS, sha256

__all__ = ["Inputs", "draw"]

NONSENSE = (
    None, True, -1, 0, 1, 7, 1e308, -1e-308, 1 << 62, "", " ", "x", "\0", "../..", "/etc/passwd", "=1+1",
    "nan", "\ud800", "line\nline", "é" * 300, "a" * 70_000,
    [], {}, [[]], [None], {"": None}, ["a", 1], [0.5] * 9,
)  # fmt: skip
TEXTS = ("NaN", "Infinity", "-0", "1e999", "9" * 5000, "[" * 3000 + "]" * 3000, "", "\x00", '"\\ud800"', "{}")
NUMBERS = (
    "-1",
    "0",
    "1",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-308",
    "99999999999999999999",
    "",
    "x",
    "0x10",
    "٣",
)
NAMES = (
    "", " ", ".", "..", "/", "/dev/null", "/dev/full", "/proc/self/mem", "a\nb", "a" * 300,
    "/".join("a" * 3000), os.fsdecode(b"\xff\xfe"), "-", "--", "~", "none",
    "=x", "%s", "{x}", "\u202e", "oximetry/../oximetry",
)  # fmt: skip


Command = tuple[str, list[str], tuple[str, ...], tuple[str, ...]]

_REPLACED = ("gone", "link", "pipe", "folder", "other")


class Inputs:
    """Good inputs, copied for every command.

    Args:
        home: folder of the good ones: `bundle`, `result`, `poses`, `samples.npz`, `image.npz`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def copy(self, place: Path) -> None:
        """Put fresh copies into an empty folder."""
        shutil.copytree(self.home, place, dirs_exist_ok=True)


def draw(number: int, place: Path) -> list[str]:
    """Damage the inputs in a folder, and return the arguments of a command on them."""
    rng = random.Random(number)
    verb, arguments, numbers, damaged = rng.choice(_commands(place))
    given = [verb, *arguments]
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        _damage(rng, place, rng.choice(damaged))
    if numbers and rng.random() < 0.4:
        given += [rng.choice(numbers), rng.choice(NUMBERS + NAMES)]
    if rng.random() < 0.2:
        at = rng.randrange(1, len(given))
        given[at] = rng.choice(NAMES + NUMBERS)
    if rng.random() < 0.2:
        given.append("--json")
    return given


def _commands(place: Path) -> list[Command]:
    """Verb, arguments, options that take a value, and inputs that may be damaged."""
    bundle, result, out = str(place / "bundle"), str(place / "result"), ["-o", str(place / "out")]
    image, poses = str(place / "image.npz"), str(place / "poses")
    pixels = ("--false-alarm", "--shrink", "--mask", "--white", "--dark", "--device")
    drawn = (
        "--samples",
        "--seed",
        "--interval",
        "--below",
        "--save-samples",
        "--save-quantiles",
        "--preview",
        "-o",
    )
    metadata, weights = f"bundle/{METADATA}", f"bundle/{WEIGHTS}"
    of_bundle = (metadata, metadata, weights, weights, "bundle/models", "image.npz")
    of_result = ("result/result.json",) * 6 + tuple(
        f"result/{path.name}" for path in sorted((place / "result").iterdir()) if path.is_file()
    )
    of_poses = ("poses/registration.json",) * 4 + (
        "poses/samples.npz",
        "poses/xray.nii.gz",
        "poses/drr_1.nii.gz",
    )
    exported = ("--format", "--source", "-o")
    return [
        ("bundles", [str(place)], (), of_bundle),
        ("infer", [bundle, image, *out, "--samples", "4"], pixels + drawn, of_bundle),
        ("ood", [bundle, image, *out], pixels, of_bundle),
        ("ood", [bundle, image, *out], pixels, of_bundle),
        ("validate", [bundle, *out, "-n", "x"], ("-n", "--samples", "--truth"), of_bundle),
        ("validate", [str(place / "samples.npz"), *out], ("--tolerance-width", "--tolerance-shift", "--mode",
         "--parameters", "--truth", "--recalibrate"), ("samples.npz",)),
        ("export", [result, *out, "--format", "csv", "--format", "nifti"], exported, of_result),
        ("export", [result, *out, "--format", "html"], exported, of_result),
        ("export", [result, *out, "--format", "dicom"], exported, of_result),
        ("view", [result], ("--port",), of_result),
        ("view", [poses], ("--port",), of_poses),
        ("convert", [image, "-o", str(place / "out.nrrd")], ("-o",), ("image.npz",)),
        ("simulate", ["linear_gaussian", "-n", "8", *out], ("-n", "--workers", "--camera"), ("image.npz",)),
        ("views", [bundle, *out, "--after", poses], ("--step", "--device"), of_poses + of_bundle),
        ("register", [bundle, str(place / "poses/xray.nii.gz"), *out], ("--samples", "--frame"), of_bundle),
        *_commands_of_poses(place, out),
    ]  # fmt: skip


def _commands_of_poses(place: Path, out: list[str]) -> list[Command]:
    """Those on a bundle of poses, if there is one, and on what it gave."""
    bundle, found, xray = place / "pose_bundle", place / "found", place / "found/xray.nii.gz"
    if not bundle.exists():
        return []
    damaged = (
        f"pose_bundle/{METADATA}",
        f"pose_bundle/{WEIGHTS}",
        f"pose_bundle/{WEIGHTS}",
        "found/xray.nii.gz",
    )
    after = ("found/registration.json",) * 3 + ("found/samples.npz",) * 3
    options = (
        "--samples",
        "--false-alarm",
        "--unattenuated",
        "--scale",
        "--spacing",
        "--frame",
        "--second",
        "-o",
    )
    register = [str(bundle), str(xray), *out, "--contrast", "attenuation", "--samples", "100"]
    return [
        ("register", register, options, damaged),
        ("register", [*register, "--reweight"], options, damaged),
        (
            "views",
            [str(bundle), *out, "--step", "90", "--after", str(found)],
            ("--step",),
            damaged[:3] + after,
        ),
        ("view", [str(found)], (), after),
    ]


def _damage(rng: random.Random, place: Path, name: str) -> None:
    """Change one file or folder."""
    path = place / name
    if not path.is_file():
        return
    kind = rng.choice(
        ("json",) * 8 + ("bytes", "bytes", "truncate", "gone", "link", "pipe", "folder", "other")
    )
    if kind == "json" and path.suffix == ".json":
        _damage_record(rng, path)
    elif kind in ("json", "bytes"):
        content = bytearray(path.read_bytes())
        for _ in range(rng.choice((1, 3, 30))):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
    elif kind == "truncate":
        path.write_bytes(path.read_bytes()[: rng.randrange(1 + path.stat().st_size)])
    else:
        path.unlink()
        if kind == "link":
            path.symlink_to(rng.choice(("/dev/zero", "/etc/passwd", path.name, "..", "/nothing")))
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "other":
            shutil.copyfile(rng.choice([f for f in place.rglob("*") if f.is_file()]), path)
    if name.endswith(WEIGHTS) and path.is_file() and not path.is_symlink() and rng.random() < 0.8:
        _rehash(path.parents[1])


def _rehash(bundle: Path) -> None:
    """Make the checksum right, so that damage gets past it."""
    try:
        if not (bundle / METADATA).is_file():  # a pipe, from which nothing ever comes
            return
        record = json.loads((bundle / METADATA).read_text())
        weights = bundle / WEIGHTS
        record[SECTION] |= {"weights_sha256": sha256(weights), "weights_bytes": weights.stat().st_size}
        (bundle / METADATA).write_text(json.dumps(record))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # damaged before


def _damage_record(rng: random.Random, path: Path) -> None:
    """Change a value somewhere in a JSON file, or its text."""
    try:
        record = json.loads(path.read_text())
    except (ValueError, RecursionError):
        return
    node, key = None, None
    while isinstance(record if node is None else node[key], (dict, list)):
        inner = record if node is None else node[key]
        if not inner or (node is not None and rng.random() < 0.25):
            break
        node, key = inner, rng.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    if node is None or key is None:
        return
    kind = rng.choice(("nonsense", "nonsense", "remove", "text", "twice"))
    if kind == "remove":
        del node[key]
    elif kind == "twice" and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = "HERE" if kind == "text" else rng.choice(NONSENSE)
    path.write_text(json.dumps(record).replace('"HERE"', rng.choice(TEXTS), 1), errors="surrogatepass")
