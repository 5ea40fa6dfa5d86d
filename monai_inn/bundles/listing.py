"""What a program that offers bundles for choice has to know of them, from their metadata alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.bundles.layout import METADATA, PRETRAINED, README, SECTION
from monai_inn.bundles.older import result_of
from monai_inn.bundles.reading import describe
from monai_inn.inferers.card_warnings import card_warnings

if TYPE_CHECKING:
    from monai_inn.problems import InverseProblem

__all__ = ["donor_of", "list_bundles", "overview"]


def list_bundles(folders: Iterable[str | PathLike[str]] = ()) -> list[dict[str, Any]]:
    """Describe the shipped bundles and those in some folders, JSON-ready.

    Args:
        folders: bundles, or folders that hold bundles; one that does not exist holds none.

    Returns:
        For each bundle ``name``, ``path`` and ``shipped``; then either ``error``, the line that says why it
        cannot be used, or its problem, camera, number of bands, targets with units and bounds, calibration
        error of each target beside what is noise, warnings, intended use, and the path of its model card.
    """
    shipped = [_entry(path, shipped=True) for path in _inside(PRETRAINED)]
    return shipped + [_entry(path, shipped=False) for folder in folders for path in _inside(Path(folder))]


def donor_of(problem: InverseProblem) -> str | None:
    """Return the name of a shipped bundle from whose network the training of an image's problem may start."""
    if problem.observation.is_local:
        return None
    wanted = [(p.name, p.low, p.high) for p in problem.parameters]
    for folder in _inside(PRETRAINED):
        section = describe(folder)[SECTION]
        found = [(row["name"], row["low"], row["high"]) for row in section["parameters"]]
        if section["problem"] == problem.name and found == wanted:
            return folder.name
    return None


def _inside(folder: Path) -> Iterator[Path]:
    """The bundle that a folder is, or those that it holds."""
    found = [folder / METADATA, *sorted(folder.glob(f"*/{METADATA}"))]
    return (path.parent.parent for path in found if path.is_file())


def _entry(folder: Path, shipped: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": folder.name, "path": str(folder.resolve()), "shipped": shipped}
    try:
        metadata = describe(folder)
        return entry | overview(folder, metadata)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return entry | {"error": str(error)}


def overview(folder: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """What people should see of a bundle wherever its answers are shown, JSON-ready."""
    section, card = metadata[SECTION], metadata[SECTION]["card"]
    wanted = section["targets"]
    measured = card.get("parameters", {})
    return {
        "version": metadata["version"],
        "description": metadata["description"],
        "intended_use": metadata.get("intended_use", "Research only."),
        "problem": section["problem"],
        "result": section.get("result") or result_of(metadata),
        "camera": section.get("camera"),
        "bands": metadata["network_data_format"]["inputs"]["image"]["num_channels"],
        "targets": [row for row in section["parameters"] if row["name"] in wanted],
        "calibration": {
            "simulations": card.get("measured_on", {}).get("simulations"),
            "errors": {name: measured[name]["calibration_error"] for name in wanted if name in measured},
            "noise": card.get("calibration_noise_floor_95"),
            "recalibrated": card.get("recalibration", {}).get("status") == "repaired",
        },
        "warnings": card_warnings(card, wanted),
        "card": str((folder / README).resolve()),
    }
