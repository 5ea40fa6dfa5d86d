"""The record of a classification: what it must hold to be shown, and the arrays beside it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.bundles.schemas import SIZE, TEXT, TEXTS, each, object_of
from monai_inn.files import damage_named, own_file
from monai_inn.reports.schemas import FINITE, list_of, read_record

__all__ = ["EVIDENCE", "IMAGES", "RECORD", "Classification", "read_classification"]

RECORD, IMAGES, EVIDENCE = "classification.json", "images.npy", "evidence.npy"

_IMAGE = object_of(
    {
        "image class": TEXT,
        "probability": each(FINITE),
        "set notes": TEXTS,
        "p_value log_density_nats": FINITE,
        "is_of_no_class": {"type": "boolean"},
    }
)
_SCHEMA = object_of(
    {
        "format_version": {"type": "integer"},
        "intended_use bundle": TEXT,
        "classes": list_of(TEXT, least=2),
        "pairs": list_of(list_of(SIZE, 2, 2), least=1),
        "shares": each(FINITE),
        "settings": object_of({"coverage false_alarm": FINITE}),
        "images": list_of(_IMAGE, least=1),
        "warnings": TEXTS,
    }
)


class Classification(NamedTuple):
    """Images with what was said of them.

    Attributes:
        record: content of ``classification.json``.
        images: what the network saw, grey levels, ``(n, *size, channels)``.
        evidence: of each place for the first against the second class of each of ``record["pairs"]``, nats,
            ``(n, pairs, *size)``.
    """

    record: dict[str, Any]
    images: NDArray[np.uint8]
    evidence: NDArray[np.float32]

    def evidence_for(self, image: int, first: str, second: str) -> NDArray[np.float64]:
        """Return the evidence of an image for one class against another, nats, ``(*size)``."""
        classes = self.record["classes"]
        pair = [classes.index(first), classes.index(second)]
        turned = pair[::-1] in self.record["pairs"]
        found = self.evidence[image, self.record["pairs"].index(pair[::-1] if turned else pair)].astype(float)
        return -found if turned else found


def read_classification(folder: str | PathLike[str]) -> Classification:
    """Return what ``monai-inn classify`` wrote into a folder.

    Raises:
        ValueError: if the folder holds none or a damaged one.
        FileNotFoundError: if one of its arrays is missing.
    """
    record = read_record(Path(folder), RECORD, _SCHEMA, "monai-inn classify")
    images, evidence = (_array(folder, name) for name in (IMAGES, EVIDENCE))
    expected = (len(record["images"]), len(record["pairs"]), *images.shape[1:-1])
    if images.ndim not in (4, 5) or images.dtype != np.uint8 or evidence.dtype != np.float32:
        raise ValueError(f"{folder}: {IMAGES} or {EVIDENCE} is of another kind; classify the images again.")
    if evidence.shape != expected or len(images) != expected[0]:
        raise ValueError(
            f"{folder}: {EVIDENCE} has shape {evidence.shape}, expected {expected}; classify the images "
            "again."
        )
    names = set(record["classes"])
    if any(set(entry["probability"]) != names or entry["class"] not in names for entry in record["images"]):
        raise ValueError(f"{folder}: images have other classes than the network; classify them again.")
    if sorted(map(sorted, record["pairs"])) != _pairs(len(names)) or len(names) < len(record["classes"]):
        raise ValueError(f"{folder}: pairs of classes are missing; classify the images again.")
    return Classification(record, images, evidence)


def _pairs(classes: int) -> list[list[int]]:
    return [[a, b] for a in range(classes) for b in range(a + 1, classes)]


def _array(folder: str | PathLike[str], name: str) -> NDArray[Any]:
    """An array of the folder; mapped, so that a header cannot ask for more memory than the file has."""
    path = own_file(folder, name)
    with damage_named(path, "an array", "classify the images again."):
        return np.load(path, mmap_mode="r", allow_pickle=False)
