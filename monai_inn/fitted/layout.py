"""Where things are in a bundle, and the description that travels inside its weights file."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = [
    "CONFIGS",
    "FORMAT_VERSION",
    "METADATA",
    "PARTS",
    "PRETRAINED",
    "PROBLEM",
    "README",
    "SECTION",
    "STATE_DICT",
    "WEIGHTS",
    "sha256",
]

# Raised when one release cannot run what another writes; 2: flows centre by the condition.
FORMAT_VERSION = 2

CONFIGS = "configs"
METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
STATE_DICT = "models/model.pt"
README = "docs/README.md"
SECTION = "monai_inn"
"""Our own section of metadata.json, and the key of the description in the header of the weights file."""

PARTS = (
    *(f"{CONFIGS}/{name}.json" for name in ("inference", "train", "evaluate", "export")),
    STATE_DICT,
    "models/model.pt2",
)
"""Files that some bundles have: those of an older one must not be taken for those of a new one."""

PROBLEM = "problem."
"""In front of the names of tensors in the weights file that are not weights but arguments of the problem."""

PRETRAINED = Path(__file__).parents[1] / "bundles/pretrained"
"""Folder of the bundles that come with the package."""

_PIECE = 1 << 20


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 checksum of a file, or of all files of a folder by name, in pieces."""
    digest = hashlib.sha256()
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        if one.is_file():
            with one.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
    return digest.hexdigest()
