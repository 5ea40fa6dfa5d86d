"""Loading a bundle: JSON and tensors only, nothing is unpickled and no expression is evaluated."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.bundles.layout import (
    FORMAT_VERSION,
    METADATA,
    PRETRAINED,
    PROBLEM,
    SECTION,
    WEIGHTS,
    check_fields,
    sha256,
)

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.inferers import FittedPosterior
    from monai_inn.problems import InverseProblem

__all__ = ["Description", "describe", "find", "load", "problem_of", "read_weights", "shipped"]

_MANDATORY: dict[str, type | tuple[type, ...]] = {
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
Description = dict[str, Any]


def shipped() -> tuple[str, ...]:
    """Return the names of the bundles that come with the package, for ``load``."""
    return tuple(sorted(path.parent.parent.name for path in PRETRAINED.glob(f"*/{METADATA}")))


def find(path: str | PathLike[str]) -> Path:
    """Return the folder of a bundle given by its path or by the name of a shipped one.

    Raises:
        FileNotFoundError: if there is neither.
        ValueError: if the folder holds no bundle.
    """
    folder = Path(path)
    if not folder.exists() and str(path) in shipped():
        return PRETRAINED / str(path)
    if not folder.exists():
        raise FileNotFoundError(
            f"{path}: no such bundle; give the folder of one, or a shipped one: "
            f"{', '.join(shipped()) or 'there is none'}."
        )
    if not (folder / METADATA).is_file():
        raise ValueError(
            f"{folder}: is no bundle, {METADATA} is missing; give the folder that `monai-inn fit -o` wrote."
        )
    return folder


def describe(folder: Path) -> Description:
    """Return the checked ``metadata.json`` of a bundle.

    Raises:
        ValueError: if it is damaged, lacks a mandatory field, or has a format that this release does not run.
    """
    where = str(folder / METADATA)
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: is not valid JSON ({error}); copy the bundle again.") from error
    check_fields(where, metadata, _MANDATORY)
    section = check_fields(f"{where}, {SECTION}", metadata.get(SECTION), {"format_version": int})
    if section["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{folder}: the bundle has format version {section['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; update with pip install -U monai_inn."
        )
    if section["format_version"] < FORMAT_VERSION:
        raise ValueError(
            f"{folder}: the bundle has format version {section['format_version']}, whose networks this "
            f"release does not run (it reads {FORMAT_VERSION}); train it again with `monai-inn fit`."
        )
    check_fields(f"{where}, {SECTION}", section, {"weights_sha256": str, "weights_bytes": int, "card": dict})
    return metadata


def read_weights(folder: Path, metadata: Description) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description in the header of the weights file, and the tensors, once the checksum fits.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is truncated, was changed, or does not hold what it should.
    """
    from safetensors import SafetensorError, safe_open

    path, section = folder / WEIGHTS, metadata[SECTION]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the weights are missing; copy the bundle again, as a whole.")
    size = path.stat().st_size
    if size != section["weights_bytes"]:
        raise ValueError(
            f"{path}: has {size} bytes, {METADATA} says {section['weights_bytes']}; the file is "
            "truncated or belongs "
            "to another bundle. Copy the bundle again."
        )
    found = sha256(path)
    if found != section["weights_sha256"]:
        raise ValueError(
            f"{path}: checksum is {found[:12]}…, {METADATA} says {section['weights_sha256'][:12]}…; "
            "the weights were "
            "changed. Copy the bundle again from its source."
        )
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(SECTION, "null"))
            tensors = {name: _widened(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: is no safetensors file of ours ({error}); copy the bundle again."
        ) from error
    check_fields(f"{path}, header", header, {"problem": dict, "network": dict})
    check_fields(f"{path}, header, problem", header["problem"], {"name": str, "config": dict})
    return header, tensors


def problem_of(header: dict[str, Any], tensors: dict[str, Tensor]) -> InverseProblem:
    """Return the inverse problem of a weights file, from what ``read_weights`` gave."""
    from monai_inn.problems import create

    constants = {n.removeprefix(PROBLEM): value for n, value in tensors.items() if n.startswith(PROBLEM)}
    return create(header["problem"]["name"], **header["problem"]["config"], **constants)


def _widened(value: Tensor) -> Tensor:
    """In single precision if it was narrowed to be stored."""
    import torch

    return value.float() if value.dtype == torch.float16 else value


def load(path: str | PathLike[str], device: str = "cpu") -> FittedPosterior:
    """Load a trained posterior.

    Args:
        path: folder of a bundle, or the name of one that comes with the package (see ``shipped``).
        device: where the network goes.

    Returns:
        The fitted posterior, ready for ``maps``.

    Raises:
        FileNotFoundError: if there is no such bundle or a file of it is missing.
        ValueError: if the bundle is damaged, was changed after it was written, or has another format.
        RuntimeError: if a CUDA device is asked for and there is none.
    """
    from monai_inn.inferers import FittedPosterior
    from monai_inn.networks import PosteriorNetwork

    folder = find(path)
    metadata = describe(folder)
    header, tensors = read_weights(folder, metadata)
    try:
        problem = problem_of(header, tensors)
        network = PosteriorNetwork(**header["network"])
        network.load_state_dict({n: value for n, value in tensors.items() if not n.startswith(PROBLEM)})
    except (TypeError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{folder}: the weights do not fit this release ({error}); update with pip install -U monai_inn, "
            "or fit the bundle again."
        ) from error
    return FittedPosterior(problem, network, metadata[SECTION]["card"]).to(device)
