"""What each verb of the command line does: turns arguments into one call."""

from __future__ import annotations

import argparse
import functools
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from monai_inn.arguments import (
    check_workers,
    continuable,
    for_each,
    given,
    pattern_of,
    progress_of,
)

if TYPE_CHECKING:
    from monai_inn.problems import InverseProblem

__all__ = [
    "bundles",
    "compare",
    "compare_devices",
    "convert",
    "demo",
    "design_bands",
    "export",
    "export_network",
    "fetch",
    "fit",
    "infer",
    "ood",
    "problems",
    "simulate",
    "store",
    "validate",
    "view",
]


def _problem(arguments: argparse.Namespace) -> InverseProblem:
    """The problem of the command line; what is doubtful about it is said now, before the work begins."""
    from monai_inn.problems.registry import find

    return _warned(lambda: find(arguments.problem).from_options(arguments))


def _warned(make: Callable[[], InverseProblem]) -> InverseProblem:
    """The problem that is made, with its warnings as lines of the command line."""
    with warnings.catch_warnings(record=True) as caught:
        problem = make()
    for warning in caught:
        print(f"monai-inn: WARNING: {' '.join(str(warning.message).split())}", file=sys.stderr, flush=True)
    return problem


def problems(_: argparse.Namespace) -> dict[str, Any]:
    """List problems, what they can be made for, and shipped bundles."""
    from monai_inn import bundles
    from monai_inn.problems.parameters import one_of_each_field
    from monai_inn.problems.registry import create, find, names

    listed: dict[str, Any] = {}
    for name in names():
        kind = find(name)
        needs = kind.needs()
        # Arguments without a default say what the parameters are.
        problem = None if needs else create(name)
        described = [] if problem is None else one_of_each_field(problem.parameters)
        rows = [asdict(parameter) for parameter in described]
        for row in rows:
            row["target"] = problem is not None and row["name"] in problem.targets
            row["name"] = row["field"] or row["name"]
            row |= {edge: None if abs(row[edge]) == float("inf") else row[edge] for edge in ("low", "high")}
        listed[name] = {
            "description": (kind.__doc__ or "").strip().splitlines()[0].replace("``", ""),
            "needs": needs,
            "parameters": rows,
            "choices": kind.choices(),
        }
    return {"problems": listed, "bundles": list(bundles.shipped())}


def bundles(arguments: argparse.Namespace) -> dict[str, Any]:
    """List bundles."""
    from monai_inn.fitted.metadata import list_bundles

    return {"bundles": list_bundles(arguments.folders)}


def simulate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write simulations into a Zarr store."""
    from monai_inn.training import simulate_to_zarr

    check_workers(arguments)
    problem = _problem(arguments)
    with progress_of(arguments) as show, continuable("run the same command again to continue."):
        stored = simulate_to_zarr(
            problem, arguments.n, arguments.out, arguments.seed, arguments.workers or 1,
            progress=lambda done, total: show(done / total), scheduler=arguments.scheduler,
        )  # fmt: skip
    return {
        "out": arguments.out,
        "simulations": len(stored),
        "problem": problem.name,
        "seed": arguments.seed,
        "device": problem.application.device_text,
        "warnings": list(problem.application.warnings),
    }


def fit(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a bundle."""
    from monai_inn.bundles.fitting import fit_bundle
    from monai_inn.fitted.metadata import donor_of

    problem = _problem(arguments)
    names = ("minutes", "seed", "members", "simulations", "resume", "device", "invariant_over", "invariance")
    options = given(arguments, *names)
    donors = {None: donor_of(problem), "none": None}
    with progress_of(arguments) as show, continuable("run the same command with --resume to continue."):
        warm = donors.get(arguments.warm, arguments.warm)
        return fit_bundle(problem, arguments.out, warm=warm, progress=show, **options)


def infer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write posterior maps of an image, or of many."""
    from monai_inn.reports import infer_image

    below = dict(arguments.below)
    if len(below) < len(arguments.below):
        raise ValueError("--below was given twice for one parameter; a result maps one threshold of each.")
    options = given(arguments) | {"below": below}
    if pattern_of(arguments) is not None:
        if options.pop("preview") is not None:
            raise ValueError("--preview writes into one folder and is for one image; leave it out.")
        return _each_image(arguments, infer_image, options)
    with progress_of(arguments) as show:
        return {"out": arguments.out} | infer_image(**options, progress=show)


def ood(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write trust maps of an image, or of many."""
    from monai_inn.reports import trust_image

    options = given(arguments)
    if pattern_of(arguments) is not None:
        return _each_image(arguments, trust_image, options)
    return {"out": arguments.out} | trust_image(**options)


def _each_image(
    arguments: argparse.Namespace, function: Callable[..., Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Run a function for each image that matches."""
    from monai_inn.fitted.metadata import identity
    from monai_inn.reports.records import figures
    from monai_inn.reports.schemas import RESULT

    return for_each(arguments, function, options, RESULT, figures, identity(arguments.bundle))


def validate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Test whether posteriors hold what they promise."""
    from monai_inn.validation import Tolerance
    from monai_inn.validation.commands import validate_source, verdicts
    from monai_inn.validation.report import REPORT

    options = given(arguments)
    options["tolerance"] = Tolerance(options.pop("tolerance_width"), options.pop("tolerance_shift"))
    options["mode_tolerance"] = dict(options.pop("mode"))
    if pattern_of(arguments) is not None:
        if options.pop("recalibrated") is not None:
            raise ValueError("--recalibrate writes one bundle and is for one source; leave it out.")
        return for_each(arguments, validate_source, options, REPORT, verdicts, {})
    with progress_of(arguments) as show:
        return {"out": arguments.out} | validate_source(**options, progress=show)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the change between two results."""
    from monai_inn.viewer.comparing import compare_results

    with progress_of(arguments) as show:
        return {"out": arguments.out} | compare_results(**given(arguments), progress=show)


def compare_devices(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train devices and compare them."""
    from pathlib import Path

    from monai_inn.devices import compare_devices
    from monai_inn.problems.registry import find

    check_workers(arguments)
    kind = find(arguments.problem)
    devices: dict[str, InverseProblem] = {}
    for spec in arguments.specs:
        name = Path(spec).stem if Path(spec).suffix in (".csv", ".json") else Path(spec).name
        if name in devices:
            raise ValueError(
                f"--device {spec} is given twice, or its name {name} is; name the file otherwise."
            )
        devices[name] = _warned(functools.partial(kind.of_device, spec))
    options = given(arguments, "minutes", "cases", "seed", "scheduler", "workers")
    with progress_of(arguments) as show, continuable("run the same command again to continue."):
        made = compare_devices(devices, arguments.out, **options, device="auto", progress=show)
        return {"out": arguments.out} | made


def design_bands(arguments: argparse.Namespace) -> dict[str, Any]:
    """Choose bands."""
    from monai_inn.devices import design_bands
    from monai_inn.problems.registry import find

    if arguments.spec is None:
        problem = _problem(arguments)
    else:
        problem = _warned(functools.partial(find(arguments.problem).of_device, arguments.spec))
    options = given(arguments, "bands", "parameters", "minutes", "cases", "seed")
    with progress_of(arguments) as show:
        made = design_bands(problem, out=arguments.out, **options, device="auto", progress=show)
        return {"out": arguments.out} | made


def convert(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write an image in a form that 3D Slicer reads."""
    from monai_inn.transforms import read_multispectral, write_nrrd

    image = read_multispectral(arguments.image)
    saturated = image.meta.get("saturated")
    if saturated is not None:
        image[:, saturated[0]] = float("nan")  # the new file cannot say it otherwise
    write_nrrd(arguments.out, image)
    written = {"out": arguments.out, "bands": len(image), "size": list(image.shape[1:])}
    return written | {key: value for key, value in image.meta.items() if key == "synthetic"}


def view(arguments: argparse.Namespace) -> dict[str, Any]:
    """Serve a result until Ctrl-C."""
    # Said before the imports, which take most of the time until the page can be opened.
    print("Opening the viewer...", file=sys.stderr, flush=True)
    from monai_inn.viewer import serve

    serve(arguments.folder, arguments.port, open_browser=not arguments.no_browser)
    return {"folder": arguments.folder}


def export(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write a result in formats that others read."""
    from monai_inn.reports.exporting import DEFAULT_FORMATS, export_result

    formats = arguments.format or DEFAULT_FORMATS
    return {"out": arguments.out} | export_result(
        arguments.folder, arguments.out, formats=formats, source=arguments.source
    )


def fetch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fetch a series of an archive."""
    from monai_inn.archives.fetching import fetch_series

    with progress_of(arguments) as show:
        return {"out": arguments.out} | fetch_series(**given(arguments), progress=show)


def store(arguments: argparse.Namespace) -> dict[str, Any]:
    """Store the DICOM objects of a result in an archive."""
    from monai_inn.archives.storing import store_objects

    with progress_of(arguments) as show, continuable("run the same command again; nothing is sent twice."):
        return store_objects(**given(arguments), progress=show)


def export_network(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write a bundle's network as graphs for other runtimes."""
    from monai_inn.bundles.exporting import FORMATS, export_network

    with progress_of(arguments) as show:
        options = given(arguments, "bundle", "out", "seed")
        return {"out": arguments.out} | export_network(
            **options,
            samples=arguments.latents,
            formats=arguments.format or FORMATS,
            is_double=arguments.double,
            progress=show,
        )


def demo(arguments: argparse.Namespace) -> dict[str, Any]:
    """Infer the example images."""
    from monai_inn.reports.demo import run_demo

    with progress_of(arguments) as show:
        return run_demo(**given(arguments), progress=show)
