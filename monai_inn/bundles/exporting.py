"""A bundle's network as graphs that other runtimes execute: ONNX files, and programs of ``torch.export``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn import __version__
from monai_inn.bundles.graph_files import FORMATS, LATENTS, TENSORS, recorded, require_onnx, written
from monai_inn.files import write_json
from monai_inn.fitted.layout import SECTION, sha256
from monai_inn.fitted.metadata import overview
from monai_inn.fitted.reading import describe, find, load
from monai_inn.folders import check_target, new_folder

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior
    from monai_inn.inferers.modules.graphs import Graph

__all__ = ["FORMATS", "RECORD", "export_network"]

RECORD = "network.json"
_RATES = (0.01, 0.05, 0.1)


def export_network(
    bundle: str | PathLike[str],
    out: str | PathLike[str],
    *,
    formats: Sequence[str] = FORMATS,
    samples: int = 64,
    seed: int = 0,
    is_double: bool = False,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Write what a network answers as graphs, features, units and thresholds included.

    ``sampler`` gives posterior samples, ``log_prob`` their density, ``trust`` WAIC and the p-value that the
    map ``ood`` is made from; pixels and samples may be of any number. Each file is read again and compared
    with the network on simulations. ``latents.npy`` holds the latents of ``infer``, ``network.json`` says
    what goes in and comes out.

    Args:
        bundle: folder of a bundle of maps, or the name of a shipped one.
        out: folder to write; it has its record once it is complete. An older export in it is replaced.
        formats: any of ``onnx`` and ``pt2``, a program of ``torch.export``.
        samples: latents to write.
        seed: their seed.
        is_double: whether graphs compute in double precision; then files and network agree to 1e-5, where
            single precision rounds by more. Arguments and results are of single precision either way.
        progress: called with the share that is done and what comes next.

    Returns:
        The content of ``network.json``, which lists the files.

    Raises:
        ValueError: if the bundle makes no maps or its problem cannot be recorded, or a format is unknown.
        ImportError: if packages for ONNX are missing; the message names the extra.
        RuntimeError: if a graph gives other answers than the network.
        OSError: if ``out`` cannot be written.
    """
    if samples < 1 or not formats or not set(formats) <= set(FORMATS):
        raise ValueError(
            f"samples = {samples}, formats = {list(formats)}; give at least 1, and some of onnx, pt2."
        )
    if "onnx" in formats:
        require_onnx()
    check_target(out, RECORD, "an exported network")
    import numpy as np

    from monai_inn.inferers.modules.graphs import GRAPHS
    from monai_inn.inferers.summaries import shared_latents

    folder = find(bundle)
    fitted = load(folder)
    fitted.problem.require_maps()
    if is_double:
        fitted.network.double()
    described: dict[str, Any] = {}
    with new_folder(out, RECORD, "an exported network") as draft:
        for number, (name, kind) in enumerate(GRAPHS.items()):
            progress(number / len(GRAPHS), name)
            graph = kind(fitted).eval()
            described[name] = _written(draft, name, graph.double() if is_double else graph, formats)
        latents = shared_latents(samples, len(fitted.problem.targets), seed).squeeze(1)
        np.save(draft / LATENTS, latents.numpy())
        record = _record(folder, fitted, described, draft)
        write_json(draft / RECORD, record)
    progress(1.0, "done")
    return record


def _written(draft: Path, name: str, graph: Graph, formats: Sequence[str]) -> dict[str, Any]:
    """Write one graph in some formats; what it takes and gives, and how far its answers are off."""
    from monai_inn.bundles.graph_checks import differences, is_rounding

    program = recorded(graph)
    off: dict[str, dict[str, float]] = {}
    for kind in formats:
        run = written(draft / f"{name}.{kind}", program, graph)
        off[kind] = differences(graph, run)
        if not is_rounding(off[kind], graph.is_double):
            raise RuntimeError(
                f"{name}.{kind} does not give what the network does (differences {off[kind]}); nothing was "
                "written."
            )
    sizes = {"channels": len(graph.problem.observation), "parameters": len(graph.space)}

    def tensor(of: str) -> dict[str, Any]:
        axes, meaning = TENSORS[of]
        return {"name": of, "axes": [sizes.get(a, a) for a in axes], "type": "float32", "meaning": meaning}

    return {
        "files": [f"{name}.{kind}" for kind in formats],
        "inputs": [tensor(of) for of in graph.inputs],
        "outputs": [tensor(of) for of in graph.outputs],
        "computes_in": "float64" if graph.is_double else "float32",
        "largest_difference": off,
    }


def _record(folder: Path, fitted: FittedPosterior, described: dict[str, Any], draft: Path) -> dict[str, Any]:
    """The content of ``network.json``."""
    from monai_inn.inferers.trust.resimulated import is_resimulated

    metadata = describe(folder)
    known = overview(folder, metadata)
    guard, application = fitted.guard, fitted.problem.application
    notices_more = is_resimulated(fitted.problem, fitted.network)
    return {
        "format_version": 1,
        "monai_inn": __version__,
        "intended_use": known["intended_use"],
        "bundle": {
            "name": folder.name,
            "version": known["version"],
            "problem": known["problem"],
            "device": known["camera"],
            "weights_sha256": metadata[SECTION]["weights_sha256"],
        },
        "warnings": known["warnings"],
        "observation": {
            "channels": list(fitted.problem.observation.columns),
            "value_range": list(application.value_range),
            "meaning": "float32, as the bundle's readers give it; answers to what cannot be inferred are NaN",
        },
        "parameters": known["targets"],
        "graphs": described,
        "trust": {
            "rule": "p_value at most the false-alarm rate that is accepted: not explained, show no number"
            + ("; maps simulate series again, and notice more" if notices_more else ""),
            "waic_thresholds": {str(r): guard.threshold(r) for r in _RATES if r * (guard.n + 1) >= 1},
            "held_out_simulations": guard.n,
        },
        "files": [
            {"file": path.name, "sha256": sha256(path)} for path in sorted(draft.iterdir()) if path.is_file()
        ],
    }
