"""Loading a bundle: JSON and tensors only, nothing is unpickled and no expression is evaluated."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.files import check_record, one_line, own_file, parse_json, read_json
from monai_inn.fitted import layout
from monai_inn.fitted.older import upgraded
from monai_inn.fitted.schemas import HEADER, METADATA_OF_ANY_FORMAT, SECTION_OF_THIS_FORMAT
from monai_inn.spelling import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.fitted import FittedPosterior
    from monai_inn.networks import PosteriorNetwork
    from monai_inn.problems import InverseProblem

__all__ = [
    "Description",
    "describe",
    "find",
    "load",
    "load_shared",
    "making",
    "problem_and_weights",
    "read_weights",
    "shipped",
]

# Those of the largest bundles are below 1 MB; a false length must not make anybody read a file of gigabytes.
_MAX_HEADER = 1 << 24
# What the making of a problem and a network may need beyond what is stored, in values.
_SPARE = 1 << 25
_AGAIN = "copy the bundle again"
Description = dict[str, Any]


def shipped() -> tuple[str, ...]:
    """Return the names of the bundles that come with the package, for ``load``."""
    return tuple(sorted(path.parent.parent.name for path in layout.PRETRAINED.glob(f"*/{layout.METADATA}")))


def find(path: str | PathLike[str]) -> Path:
    """Return the folder of a bundle given by its path or by the name of a shipped one.

    Raises:
        FileNotFoundError: if there is neither.
        ValueError: if the folder holds no bundle.
    """
    folder = Path(path)
    if not folder.exists() and str(path) in shipped():
        return layout.PRETRAINED / str(path)
    if not folder.exists():
        hint = nearest(str(path), shipped())
        raise FileNotFoundError(
            f"{path}: no such bundle{hint}; give the folder of one, or a shipped one: "
            f"{', '.join(shipped()) or 'there is none'}."
        )
    if not (folder / layout.METADATA).is_file():
        raise ValueError(
            f"{folder}: is not a bundle, {layout.METADATA} is missing; give the folder that "
            "`monai-inn fit -o` wrote."
        )
    return folder


def describe(folder: Path) -> Description:
    """Return the checked ``metadata.json`` of a bundle.

    Raises:
        ValueError: if it is damaged, lacks a mandatory field, or has a format that this release does not run.
    """
    path = own_file(folder, layout.METADATA)
    try:
        metadata: Description = read_json(path)
        check_record(metadata, METADATA_OF_ANY_FORMAT)
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); {_AGAIN}.") from error
    section = metadata[layout.SECTION]
    if section["format_version"] > layout.FORMAT_VERSION:
        raise ValueError(
            f"{folder}: the bundle has format version {section['format_version']}, this release reads up to "
            f"{layout.FORMAT_VERSION}; update with pip install -U monai_inn."
        )
    if section["format_version"] < layout.FORMAT_VERSION:
        raise ValueError(
            f"{folder}: the bundle has format version {section['format_version']}, whose networks this "
            f"release does not run (it reads {layout.FORMAT_VERSION}); train it again with `monai-inn fit`."
        )
    try:
        check_record(section, SECTION_OF_THIS_FORMAT)
    except ValueError as error:
        raise ValueError(f"{path}: {layout.SECTION} is damaged ({error}); {_AGAIN}.") from error
    return metadata


def read_weights(folder: Path, metadata: Description) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description in the header of the weights file, and the tensors, once the checksum fits.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is truncated, was changed, or does not hold what it should.
    """
    from safetensors import SafetensorError, safe_open

    path, section = own_file(folder, layout.WEIGHTS), metadata[layout.SECTION]
    size = path.stat().st_size
    if size != section["weights_bytes"]:
        raise ValueError(
            f"{path}: has {size} bytes, {layout.METADATA} says {section['weights_bytes']}; the file is "
            f"truncated or belongs to another bundle, {_AGAIN}."
        )
    found = layout.sha256(path)
    if found != section["weights_sha256"]:
        raise ValueError(
            f"{path}: checksum is {found[:12]}…, {layout.METADATA} says {section['weights_sha256'][:12]}…; "
            f"the weights were changed, {_AGAIN} from its source."
        )
    try:
        _check_header_size(path)
        with safe_open(path, "pt") as file:
            header = parse_json((file.metadata() or {}).get(layout.SECTION, "null"))
            check_record(header, HEADER)
            tensors = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path}: is not a safetensors file of ours ({error}); {_AGAIN}.") from error
    return upgraded(header, tensors)


def _check_header_size(path: Path) -> None:
    """Raise a ``ValueError`` if the file says that its header is longer than any of ours."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"a header of {length:,} bytes")


def _tensor(file: Any, name: str) -> Tensor:
    """A stored tensor; in single precision if it was narrowed to be stored."""
    import torch

    value: Tensor = file.get_tensor(name)
    if value.dtype not in (torch.float16, torch.float32):
        raise ValueError(f"{name} has type {value.dtype}")
    if not value.isfinite().all():
        raise ValueError(f"{name} holds values that are not finite")
    return value.float()


def problem_and_weights(
    header: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[InverseProblem, dict[str, Tensor]]:
    """Return the inverse problem of a weights file, and the weights, from what ``read_weights`` gave.

    Raises:
        UnknownNameError: if no installed package offers the problem and nobody registered it.
    """
    from monai_inn.problems.registry import restored

    constants = {
        n.removeprefix(layout.PROBLEM): value for n, value in tensors.items() if n.startswith(layout.PROBLEM)
    }
    problem = restored(header["problem"]["name"], {**header["problem"]["config"], **constants})
    return problem, {n: value for n, value in tensors.items() if not n.startswith(layout.PROBLEM)}


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
    from monai_inn.fitted import FittedPosterior
    from monai_inn.networks import PosteriorNetwork

    folder = find(path)
    metadata = describe(folder)
    header, tensors = read_weights(folder, metadata)
    with making(folder, metadata):
        problem, weights = problem_and_weights(header, tensors)
        network = PosteriorNetwork.from_config(header["network"])
        network.load_state_dict(weights)
        _check_sizes(problem, network)
    return FittedPosterior(problem, network, metadata[layout.SECTION]["card"]).to(device)


def load_shared(path: str | PathLike[str], device: str = "cpu") -> FittedPosterior:
    """Load a trained posterior, or return the one that was loaded last if its files are still the same.

    For callers that handle many files and do not change it; arguments and errors are those of ``load``.
    """
    folder = find(path)
    parts = (own_file(folder, name) for name in (layout.METADATA, layout.WEIGHTS))
    return _loaded(folder.resolve(), device, *(layout.sha256(part) for part in parts))


@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, device: str, *checksums: str) -> FittedPosterior:
    return load(folder, device)


@contextmanager
def making(folder: Path, metadata: Description) -> Iterator[None]:
    """Make what a bundle describes, in memory of the order of its weights file; what fails is its fault."""
    from monai_inn.fitted.allowance import Allowance
    from monai_inn.problems.registry import PROBLEMS
    from monai_inn.registry import UnknownNameError

    try:
        with Allowance(metadata[layout.SECTION]["weights_bytes"] + _SPARE):
            yield
    except UnknownNameError as error:
        card = metadata[layout.SECTION]["card"]
        is_problem = error.word == PROBLEMS.word
        package = card.get("package") if is_problem else card.get("parts", {}).get(error.name)
        origin, advice = (
            (f" of the package {package['name']} {package['version']}", f"pip install {package['name']}")
            if package
            else ("", "import the module that defines and registers it")
        )
        raise UnknownNameError(
            f"{folder}: needs the {error.word} {error.name!r}{origin}, which is not known here; {advice}.",
            error.word,
            error.name,
        ) from error
    except MemoryError as error:
        raise ValueError(f"{folder}: its description asks for too much memory; {_AGAIN}.") from error
    except Exception as error:
        # Whatever it describes was made before it was saved, so that any error comes from a change.
        raise ValueError(
            f"{folder}: the weights do not fit this release ({one_line(error)}); update with pip install -U "
            "monai_inn, or fit the bundle again."
        ) from error


def _check_sizes(problem: InverseProblem, network: PosteriorNetwork) -> None:
    """Raise a ``ValueError`` if a network is not of the size that its problem needs."""
    import torch

    y, groups = torch.ones(1, len(problem.observation)), network.flow.config["groups"]
    seen = network.encoder.summary(problem.density_features(y))
    sizes = {
        "parameters": (sum(groups), len(problem.parameters)),
        "targets": (groups[0], len(problem.targets)),
        "features": (network.encoder.config["num_features"], problem.features(y).shape[-1]),
        "density features": (network.density.config["num_features"], seen.shape[-1]),
    }
    for name, (found, expected) in sizes.items():
        if found != expected:
            raise ValueError(f"the network has {found} {name}, its problem {expected}")
