"""The shipped bundles on the shipped examples, as far as applications offer some."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from monai_inn.applications import offered
from monai_inn.fitted.reading import shipped
from monai_inn.reports.results import infer_image

__all__ = ["Example", "Shown", "examples_folder", "infer_examples", "run_demo"]

_GUIDE = "README.md"  # says where the examples come from


class Example(NamedTuple):
    """One example image.

    Attributes:
        image: file name.
        bundle: shipped bundle that fits its device.
        below: threshold by parameter, for maps of ``probability_below``.
        shrink: block size that keeps the demo below a minute on a laptop.
        note: what to see.
    """

    image: str
    bundle: str
    below: Mapping[str, float]
    shrink: int
    note: str


class Shown(NamedTuple):
    """One example that was inferred.

    Attributes:
        name: of its result folder.
        note: what to see.
        summary: a few numbers or sentences, JSON-ready.
        pictures: files in the result folder.
    """

    name: str
    note: str
    summary: dict[str, Any]
    pictures: list[str]


def examples_folder() -> Path:
    """Return the folder of the examples: inside an installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: if there is neither.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "examples", package.parent / "Resources"):
        if (folder / _GUIDE).is_file():
            return folder
    raise FileNotFoundError(
        f"the examples are missing from {package}; install monai_inn again, or run from a full checkout."
    )


def infer_examples(
    examples: Sequence[Example],
    folder: Path,
    out: Path,
    *,
    device: str,
    seed: int,
    progress: Callable[[float], None],
) -> Iterator[Shown]:
    """Infer the example images in a folder whose bundles are shipped, and yield what there is to see."""
    usable = [example for example in examples if example.bundle in shipped()]
    for done, example in enumerate(usable):

        def report(share: float, before: int = done) -> None:
            progress((before + share) / len(usable))

        name = example.image.split(".")[0]
        record = infer_image(
            example.bundle,
            folder / example.image,
            out / name,
            below=example.below,
            shrink=example.shrink,
            save_quantiles=16,  # for the threshold and the posteriors of the viewer; with the samples 5 MB
            save_samples=8,
            device=device,
            seed=seed,
            progress=report,
        )
        summary = record["summary"] | {"seconds": record["seconds"]}
        yield Shown(name, example.note, summary, record["pictures"])


def run_demo(
    out: str | PathLike[str],
    *,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Infer every example whose bundle is shipped and whose packages are there.

    Args:
        out: folder that gets one result folder for each example.
        device: where to compute.
        seed: seed of the posterior samples.
        progress: called with the share that is done.

    Returns:
        Notes, paths of the pictures and of the result folders, and summaries, JSON-ready.

    Raises:
        FileNotFoundError: if no bundle or no example is shipped.
    """
    folder, shown = examples_folder(), []
    runs = [importlib.import_module(place).run for place in offered("DEMO")]
    for done, run in enumerate(runs):

        def report(share: float, before: int = done) -> None:
            progress((before + share) / len(runs))

        shown += list(run(folder, Path(out), device=device, seed=seed, progress=report))
    if not shown:
        raise FileNotFoundError("this installation has no trained bundle; run `monai-inn fit` first.")
    return {
        "out": str(out),
        "notes": [entry.note for entry in shown],
        "pictures": [str(Path(out) / entry.name / name) for entry in shown for name in entry.pictures],
        "folders": [str(Path(out) / entry.name) for entry in shown],
        "summaries": {entry.name: entry.summary for entry in shown},
    }
