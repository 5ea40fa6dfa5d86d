"""What verbs share: their arguments as options of one call, progress, and the call for many files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

__all__ = [
    "Interrupted",
    "add_device",
    "add_image_posterior",
    "add_many",
    "add_workers",
    "check_workers",
    "continuable",
    "for_each",
    "given",
    "is_helper",
    "pattern_of",
    "progress_of",
    "range_of",
    "value_of",
]

_OURS = {"run", "words", "json", "progress_lines", "config", "verb", "files", "scheduler", "workers"}
_FILES = ("bundle", "mask", "white", "dark", "labels", "leave_out", "truth", "parameters")


def value_of(text: str) -> tuple[str, float]:
    """Return name and value of ``NAME=VALUE``."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, e.g. depth=2.5") from None


def range_of(text: str) -> tuple[str, tuple[float, float]]:
    """Return name and bounds of ``NAME=LOW:HIGH``."""
    name, _, edges = text.partition("=")
    try:
        low, high = (float(edge) for edge in edges.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=LOW:HIGH, e.g. depth=0:10") from None
    return name, (low, high)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """What was given for some options, or for all of a verb, by their names; a device is looked for.

    The device of many files is left to the workers, which may be on other machines.
    """
    chosen = {n: getattr(arguments, n) for n in names or vars(arguments).keys() - _OURS}
    if "device" in chosen and pattern_of(arguments) is None:
        chosen["device"] = _found(arguments.device)
    return chosen


def add_device(sub: argparse.ArgumentParser) -> None:
    """Add the option of a verb that says where to compute."""
    sub.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")


def add_image_posterior(sub: argparse.ArgumentParser, interval: float) -> None:
    """Add the options of a verb that infers whole images, slice by slice; ``interval`` is its usual mass."""
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--samples", type=int, default=64, help="posterior samples of each slice (64)")
    sub.add_argument("--interval", type=float, default=interval,
                     help=f"probability inside the interval ({interval:g})")  # fmt: skip
    sub.add_argument("--keep", type=int, default=16, metavar="N", help="coherent samples to write (16)")
    add_device(sub)


def add_many(sub: argparse.ArgumentParser, files: str) -> None:
    """Add the options of a verb whose argument ``files`` may be a pattern that many files match."""
    sub.set_defaults(files=files)
    group = sub.add_argument_group("with a pattern in quotes, such as 'images/*.hdr', for many files")
    add_workers(group, "one per core")


def add_workers(group: argparse._ActionsContainer, usual: str) -> None:
    """Add the options of a verb whose work may be spread; ``usual`` is how many processes have it if not."""
    group.add_argument("--scheduler", metavar="ADDRESS", help="dask scheduler to use (this machine alone)")
    group.add_argument("--workers", type=int, metavar="N", help=f"processes on this machine ({usual})")


def pattern_of(arguments: argparse.Namespace) -> str | None:
    """The pattern of the files that a verb is to be run for, one by one; ``None`` if it is run once.

    Raises:
        ValueError: if a pattern is given among several files, or options of many files without one.
    """
    from monai_inn.cohorts import is_pattern

    if not hasattr(arguments, "files"):
        return None
    value = getattr(arguments, arguments.files)
    texts = [value] if isinstance(value, str) else value
    patterns = [text for text in texts if is_pattern(text)]
    if patterns and len(texts) > 1:
        raise ValueError(f"{patterns[0]} is a pattern and stands alone; give one pattern, or files only.")
    if not patterns and (arguments.scheduler is not None or arguments.workers is not None):
        raise ValueError(
            f"{texts[0]} is one file; --scheduler and --workers are for many, given as a pattern in quotes, "
            "such as 'images/*.hdr'."
        )
    return patterns[0] if patterns else None


def check_workers(arguments: argparse.Namespace) -> None:
    """Raise a ``ValueError`` if ``--workers`` is not a number of processes."""
    if arguments.workers is not None and arguments.workers < 1:
        raise ValueError(f"--workers {arguments.workers}: give at least 1 process.")


def for_each(
    arguments: argparse.Namespace,
    function: Callable[..., Any],
    options: dict[str, Any],
    record: str,
    figures: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    source: Mapping[str, Any],
) -> dict[str, Any]:
    """Run a function for every file that the pattern of a verb matches; see ``cohorts.run_cohort``.

    Args:
        arguments: of the verb.
        function: what the verb calls for one file.
        options: its arguments.
        record: file that says that a result is complete.
        figures: what the summary says of a record.
        source: what the model is, as it was found: results of another one are not mixed in.
    """
    from monai_inn.cohorts import run_cohort

    check_workers(arguments)
    pattern = pattern_of(arguments)
    assert pattern is not None
    options = {name: value for name, value in options.items() if name not in (arguments.files, "out")}
    options |= {
        n: str(Path(options[n]).absolute()) for n in _FILES if options.get(n) and Path(options[n]).exists()
    }
    settings = {name: value for name, value in options.items() if name not in ("device", "bundle")}
    with progress_of(arguments) as show, continuable("run the same command again to continue."):
        return run_cohort(
            partial(_on_device, function), arguments.files, pattern, arguments.out, options,
            record=record, figures=figures, run={"command": arguments.verb, **source, **settings},
            scheduler=arguments.scheduler, workers=arguments.workers,
            progress=lambda share, text: show(share, f"{arguments.verb} {text}"),
        )  # fmt: skip


def _on_device(function: Callable[..., Any], device: str | None = None, **options: Any) -> Any:
    """Call a function in a worker, with a device that this has."""
    return function(**options) if device is None else function(**options, device=_found(device))


def _found(device: str) -> str:
    """The name of the device of this process that an option stands for, as records keep it."""
    from monai_inn.networks.device import device_of

    return str(device_of(device))


def is_helper() -> bool:
    """Whether this is one of the further processes of a training that ``torchrun`` has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0"


@contextmanager
def progress_of(arguments: argparse.Namespace) -> Iterator[Callable[..., None]]:
    """Progress as a bar on a terminal or, if asked for, as lines: gives a function of the share done."""
    label = arguments.verb
    if is_helper():
        yield lambda share, text=label: None
        return
    if arguments.progress_lines:
        yield lambda share, text=label: print(f"PROGRESS {share:.3f} {text}", file=sys.stderr, flush=True)
        return
    from tqdm import tqdm

    with tqdm(
        total=1.0, desc=label, disable=None, bar_format="{desc}: {percentage:3.0f}%|{bar}| {remaining}"
    ) as bar:

        def show(share: float, text: str = label) -> None:
            bar.n = share
            bar.set_description_str(text)

        yield show


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with advice on how to go on: other interrupts may carry messages of Python's own."""


@contextmanager
def continuable(advice: str) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(advice) from stop
