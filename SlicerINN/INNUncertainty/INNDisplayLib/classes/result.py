"""Reading the folder that `monai-inn classify` leaves: images, their classes, and what speaks for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results.result import RecordKind, ResultError
from ..translating import tr as _

__all__ = [
    "CLASSES_FILE",
    "ClassResult",
    "evidence_limit",
    "likeliest",
    "pair_of",
    "parse_classes",
    "read_classes",
]

CLASSES_FILE, _IMAGES, _EVIDENCE = "classification.json", "images.npy", "evidence.npy"


def _again() -> str:
    return _("Classify the images again.")


_KIND = RecordKind(
    CLASSES_FILE, "monai-inn classify", _again,
    ("bundle", "classes", "format_version", "images", "pairs", "settings", "shares", "warnings"),
)  # fmt: skip
_STRONGEST = 0.995  # of places: the scale ends at the evidence of this share of them


@dataclass(frozen=True)
class ClassResult:
    """Images with what was said of them.

    Args:
        record: content of ``classification.json``.
        images: what the network saw, gray levels, ``(n, *size, channels)``; of volumes ``size`` is x, y, z.
        evidence: of each place for the first against the second class of each of ``record["pairs"]``, nats,
            ``(n, pairs, *size)``.
    """

    record: dict[str, Any]
    images: NDArray[np.uint8]
    evidence: NDArray[np.float32]

    def evidence_for(self, image: int, first: str, second: str) -> NDArray[np.float64]:
        """Return the evidence of an image for one class against another, nats, ``(*size)``."""
        pair, sign = pair_of(self.record, first, second)
        return sign * self.evidence[image, pair].astype(float)


def read_classes(folder: Path | str) -> ClassResult:
    """Read a folder with classes of images; its arrays stay on the disk until they are looked at.

    Raises:
        ResultError: if it is none, is damaged, or was written by a release that this one does not know.
    """
    folder = Path(folder)
    record = parse_classes(folder, _KIND.read(folder))
    _KIND.check_files(folder, [_IMAGES, _EVIDENCE])
    images, evidence = _array(folder / _IMAGES), _array(folder / _EVIDENCE)
    if images.ndim not in (4, 5) or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        text = _("{path}: holds no images of gray levels or colors. {again}")
        raise ResultError(text.format(path=folder / _IMAGES, again=_again()))
    size = images.shape[1:-1]
    for name, array, expected in (
        (_IMAGES, images, (len(record["images"]), *images.shape[1:])),
        (_EVIDENCE, evidence, (len(record["images"]), len(record["pairs"]), *size)),
    ):
        if array.shape != expected:
            text = _("{path}: has shape {shape}, expected {expected}; copy the folder as a whole.")
            raise ResultError(text.format(path=folder / name, shape=array.shape, expected=expected))
    if evidence.dtype != np.float32 or not np.isfinite(evidence).all():
        text = _("{path}: holds values that are not finite numbers. {again}")
        raise ResultError(text.format(path=folder / _EVIDENCE, again=_again()))
    return ClassResult(record, images, evidence)


def parse_classes(folder: Path, record: Any) -> dict[str, Any]:
    """Return the record of a classification, checked."""
    _KIND.check(folder, record)
    try:
        names = record["classes"]
        "".join([*names, record["bundle"], *record["warnings"]])
        if len({*names}) < max(len(names), 2):
            raise ValueError(_("two different classes are needed"))
        if sorted(map(sorted, record["pairs"])) != [[*pair] for pair in combinations(range(len(names)), 2)]:
            raise ValueError(_("pairs of classes are missing"))
        settings, shares = record["settings"], record["shares"]
        _check_finite([settings["coverage"], settings["false_alarm"], *shares.values()])
        for entry in record["images"]:
            "".join([entry["image"], *entry["notes"]])
            _check_finite([entry["p_value"], *entry["probability"].values()])
            if not {*entry["probability"]} == {*shares} == {*names} or not {
                entry["class"],
                *entry["set"],
            } <= {*names}:
                raise ValueError(_("an image has other classes than the network"))
            if not isinstance(entry["is_of_no_class"], bool):
                raise ValueError(_("is_of_no_class is neither true nor false"))
        if not record["images"]:
            raise ValueError(_("there is no image"))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _KIND.damaged(folder, error) from error
    return record


def pair_of(record: dict[str, Any], first: str, second: str) -> tuple[int, int]:
    """Return which map of evidence is of two classes, and its sign: -1 if it is for the second of them."""
    pair = [record["classes"].index(name) for name in (first, second)]
    turned = pair[::-1] in record["pairs"]
    return record["pairs"].index(pair[::-1] if turned else pair), -1 if turned else 1


def likeliest(entry: dict[str, Any]) -> list[str]:
    """Return the two most probable classes of an image, the first one first."""
    return sorted(entry["probability"], key=entry["probability"].get)[:-3:-1]


def evidence_limit(evidence: NDArray[np.floating]) -> float:
    """Return the evidence at the ends of the scale, nats; more of it has the same color."""
    return float(np.quantile(np.abs(evidence), _STRONGEST)) or 1.0


def _check_finite(numbers: list[Any]) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(_("a number is not finite"))


def _array(path: Path) -> NDArray[Any]:
    """An array of the folder; mapped, so that a header cannot ask for more memory than the file has."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises many types
        text = _("{path}: cannot be read; the file is truncated or damaged. {again}")
        raise ResultError(text.format(path=path, again=_again())) from error
