"""From image files to classes: probabilities, sets, trust, and what speaks for them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.classification.image_files import read_image
from monai_inn.applications.classification.problem import classifier_of
from monai_inn.applications.classification.truth import measured, read_truth
from monai_inn.files import cell_text, write_json
from monai_inn.fitted.reading import load
from monai_inn.folders import new_folder
from monai_inn.networks.classes.evidence import evidence_map
from monai_inn.reports.schemas import FORMAT_VERSION

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["RECORD", "answers", "classify", "with_shares"]

# The display library of the viewer and of 3D Slicer reads all but the table.
RECORD, _IMAGES, _EVIDENCE, _TABLE = "classification.json", "images.npy", "evidence.npy", "classes.csv"
_MIDDLES = "middles.png"
_ROUNDED = 0.011  # by which shares of two digits may miss 1
_AT_ONCE = 256  # images whose evidence is computed together


def classify(
    bundle: str | PathLike[str],
    images: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    coverage: float = 0.9,
    false_alarm: float = 0.05,
    shares: Mapping[str, float] | str | None = None,
    levels: tuple[float, float] | None = None,
    truth: str | PathLike[str] | None = None,
    pictures: bool = False,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write the classes of images with their probabilities, and return the record, JSON-ready.

    Args:
        bundle: folder or name of a bundle of ``labelled_images``.
        images: image files.
        out: folder to write: ``classification.json`` and ``classes.csv``; what the network saw and the
            evidence of each pixel for each pair of classes, ``images.npy`` and ``evidence.npy``, which
            ``monai-inn view`` shows; and, if asked for, a picture an image and one
            of the middles of all classes, ``middles.png``.
        coverage: probability with which the set of classes holds the true one, in each class.
        false_alarm: share of usual images that may be called of no class.
        shares: how frequent the classes are where the images come from, by name; ``"estimated"`` if they, and
            how the classes lie there, shall be found in the images that are of some class; by default those
            of the training.
        levels: values that are black and white, see ``read_image``.
        truth: table with the columns ``file`` and ``class``, to measure the answers with, and maybe
            ``group``, to measure them in each group; see ``read_truth``.
        pictures: whether to draw each image with its evidence and its counterfactual, and the middles.
        device: where to compute.
        progress: called with the share that is done.

    Raises:
        ValueError: if the bundle is of another problem, a file does not fit, or an option is not usable.
        OSError: if the folder cannot be written.
    """
    fitted = load(bundle).to(device)
    problem, density = classifier_of(fitted)
    if not images:
        raise ValueError("no image was given; name at least one file.")
    names = [str(path) for path in images]
    known = None if truth is None else read_truth(truth, names, problem.classes)
    rows = torch.stack(
        [read_image(path, problem.size, len(problem.observation.names), levels) for path in images]
    )
    rows = rows.flatten(1)
    progress(0.5)
    with_shares(fitted, rows, shares, false_alarm)
    found = answers(fitted, rows, coverage, false_alarm)
    with new_folder(out, RECORD, "a classification", source=names[0]) as draft:
        entries = [{"image": name, **entry} for name, entry in zip(names, found, strict=True)]
        files = [{"file": name} for name in (_TABLE, _IMAGES, _EVIDENCE)]
        pairs = list(combinations(range(len(problem.classes)), 2))
        np.save(draft / _IMAGES, rows.round().clamp(0, 255).byte().unflatten(1, (*problem.size, -1)).numpy())
        np.save(draft / _EVIDENCE, _evidence(fitted, rows, pairs).numpy())
        if pictures:
            from monai_inn.applications.classification.figures import draw, draw_classes

            draw_classes(fitted, draft / _MIDDLES)
            files.append({"file": _MIDDLES})
            for number, entry in enumerate(entries, 1):
                file = f"evidence_{number:04d}.png"
                draw(fitted, rows[number - 1], entry, draft / file)
                files.append({"file": file})
                progress(0.5 + 0.5 * number / len(entries))
        record = {
            "format_version": FORMAT_VERSION,
            "intended_use": "Research only. Not a medical device; not for diagnosis or treatment.",
            "bundle": str(bundle),
            "classes": list(problem.classes),
            "pairs": pairs,
            "shares": dict(zip(problem.classes, density.log_shares.exp().tolist(), strict=True)),
            "settings": {"coverage": coverage, "false_alarm": false_alarm, "levels": levels},
            "images": entries,
            "measured": None if known is None else measured(found, known, problem.classes),
            "warnings": fitted.warnings,
            "files": files,
        }
        _write_table(draft / _TABLE, entries, problem.classes)
        write_json(draft / RECORD, record)
    return record


def with_shares(
    fitted: FittedPosterior,
    rows: Tensor,
    shares: Mapping[str, float] | str | None,
    false_alarm: float = 0.05,
) -> None:
    """Set how frequent classes are, as ``classify`` takes it, for observations ``(n, C)``.

    What is estimated rests on the images that are of some class: ``false_alarm`` is that of ``classify``.
    """
    problem, density = classifier_of(fitted)
    if shares is None:
        return
    if isinstance(shares, str):
        if shares != "estimated":
            raise ValueError(f"shares = {shares!r}; give a number for each class, or 'estimated'.")
        rows = rows.to(fitted.device, torch.float32)
        usual = fitted.is_explained(rows, false_alarm)
        if not bool(usual.any()):
            raise ValueError(
                f"all {len(rows)} images are of no class, so their shares cannot be estimated; give a share "
                "for each class."
            )
        density.adapt(problem.features(rows[usual]))
        return
    if set(shares) != set(problem.classes):
        raise ValueError(
            f"shares of {', '.join(shares) or 'nothing'} were given; the classes are "
            f"{', '.join(problem.classes)}: give one of each."
        )
    if abs((total := sum(shares.values())) - 1) > _ROUNDED and total > 0:
        whole = ",".join(f"{name}={share / total:.3g}" for name, share in shares.items())
        raise ValueError(f"the shares add up to {total:g}, expected 1; give {whole} if these are meant.")
    density.set_shares(torch.tensor([shares[name] for name in problem.classes]))


@torch.no_grad()
def answers(
    fitted: FittedPosterior, rows: Tensor, coverage: float = 0.9, false_alarm: float = 0.05
) -> list[dict[str, Any]]:
    """Return what is said of images ``(n, C)``, one entry each, JSON-ready.

    Probabilities are of an image that is of some class; whether it is of any says ``p_value``.
    """
    problem, density = classifier_of(fitted)
    sets = fitted.class_sets
    assert sets is not None
    rows = rows.to(fitted.device, torch.float32)
    probability = fitted.class_probability(rows)
    inside = sets(probability, coverage)
    p_value = fitted.p_value(rows)
    log_prob, mirrored = (density.log_prob(problem.features(values)) for values in (rows, 255 - rows))
    entries = []
    for row, best in enumerate(probability.argmax(1).tolist()):
        is_strange = not float(p_value[row]) > false_alarm
        notes = []
        if is_strange:
            notes.append("unlike the images that the network was trained on: do not rely on its class")
            if float(mirrored[row] - log_prob[row]) > 0:
                notes.append("it would be less strange if black and white were exchanged")
        entries.append(
            {
                "class": problem.classes[best],
                "probability": dict(zip(problem.classes, probability[row].tolist(), strict=True)),
                "set": [name for name, holds in zip(problem.classes, inside[row], strict=True) if holds],
                "p_value": float(p_value[row]),
                "is_of_no_class": is_strange,
                "log_density_nats": float(log_prob[row]),
                "notes": notes,
            }
        )
    return entries


def _evidence(fitted: FittedPosterior, rows: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Evidence of each place of images ``(n, C)`` for each pair of classes, nats, ``(n, pairs, *size)``."""
    problem, density = classifier_of(fitted)
    found = []
    for some in rows.split(_AT_ONCE):
        features = problem.features(some.to(fitted.device, torch.float32))
        maps = [evidence_map(density, features, *pair) for pair in pairs]
        found.append(torch.stack(maps, 1).unflatten(2, (*problem.size, -1)).sum(-1).cpu())
    return torch.cat(found)


def _write_table(path: Path, entries: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            ["file", "class", *(f"p({name})" for name in classes), "set", "p_value", "of_no_class"]
        )
        for entry in entries:
            numbers = [f"{value:.6g}" for value in entry["probability"].values()]
            image, best, sets = map(cell_text, (entry["image"], entry["class"], " | ".join(entry["set"])))
            no_class = int(entry["is_of_no_class"])
            table.writerow([image, best, *numbers, sets, f"{entry['p_value']:.4g}", no_class])
