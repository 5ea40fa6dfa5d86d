"""A bundle's network as graphs that other runtimes execute: ONNX files, and programs of ``torch.export``."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn import __version__
from monai_inn.bundles.layout import SECTION, sha256
from monai_inn.bundles.metadata import overview
from monai_inn.bundles.reading import describe, find, load
from monai_inn.folders import check_target, new_folder

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.inferers import FittedPosterior
    from monai_inn.inferers.graphs import Graph

__all__ = ["FORMATS", "RECORD", "export_network"]

FORMATS = ("onnx", "pt2")
RECORD, LATENTS = "network.json", "latents.npy"

# Axes and meaning of every tensor that a graph takes or gives.
_TENSORS = {
    "observation": (("pixels", "channels"), "as listed under observation"),
    "latent": (("samples", "parameters"), f"standard normal; those of maps are in {LATENTS}"),
    "parameters": (("pixels", "parameters"), "units as listed under parameters"),
    "samples": (("samples", "pixels", "parameters"), "units as listed under parameters"),
    "log_prob": (("pixels",), "log density of the parameters in their units, nat"),
    "waic": (("pixels",), "nat, high = unlike the training data"),
    "p_value": (("pixels",), "not explained where it is at most the false-alarm rate that is accepted"),
}
_RATES = (0.01, 0.05, 0.1)
_RECORDED = (9, 7)  # pixels and samples
Run = Callable[..., Sequence["Tensor"]]


def export_network(
    bundle: str | PathLike[str],
    out: str | PathLike[str],
    *,
    formats: Sequence[str] = FORMATS,
    samples: int = 64,
    seed: int = 0,
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
        _require_onnx()
    check_target(out, RECORD, "an exported network")
    import numpy as np

    from monai_inn.inferers.graphs import GRAPHS
    from monai_inn.inferers.summaries import shared_latents

    folder = find(bundle)
    fitted = load(folder)
    fitted.problem.require_maps()
    described: dict[str, Any] = {}
    with new_folder(out, RECORD, "an exported network") as draft:
        for number, (name, kind) in enumerate(GRAPHS.items()):
            progress(number / len(GRAPHS), name)
            described[name] = _written(draft, name, kind(fitted).eval(), formats)
        latents = shared_latents(samples, len(fitted.problem.targets), seed).squeeze(1)
        np.save(draft / LATENTS, latents.numpy())
        record = _record(folder, fitted, described, draft)
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        (draft / RECORD).write_text(text + "\n", encoding="utf-8")
    progress(1.0, "done")
    return record


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ONNX files need onnx, onnxscript and onnxruntime; install them with pip install "
            '"monai_inn[export]", or write programs of torch.export alone: --format pt2.'
        ) from error


def _written(draft: Path, name: str, graph: Graph, formats: Sequence[str]) -> dict[str, Any]:
    """Write one graph in some formats; what it takes and gives, and how far its answers are off."""
    from monai_inn.bundles.graph_checks import differences, is_rounding

    program = _recorded(graph)
    makers = {"onnx": _write_onnx, "pt2": _write_program}
    off: dict[str, dict[str, float]] = {}
    for kind in formats:
        with _quiet():
            run = makers[kind](draft / f"{name}.{kind}", program, graph)
        off[kind] = differences(graph, run)
        if not is_rounding(off[kind]):
            raise RuntimeError(
                f"{name}.{kind} does not give what the network does (differences {off[kind]}); nothing was "
                "written."
            )
    sizes = {"channels": len(graph.problem.observation), "parameters": len(graph.space)}

    def tensor(of: str) -> dict[str, Any]:
        axes, meaning = _TENSORS[of]
        return {"name": of, "axes": [sizes.get(a, a) for a in axes], "type": "float32", "meaning": meaning}

    return {
        "files": [f"{name}.{kind}" for kind in formats],
        "inputs": [tensor(of) for of in graph.inputs],
        "outputs": [tensor(of) for of in graph.outputs],
        "largest_difference": off,
    }


def _recorded(graph: Graph) -> Any:
    """The program of ``torch.export``, for any number of pixels and samples."""
    import torch

    from monai_inn.bundles.graph_checks import arguments_of
    from monai_inn.networks.kernels.plain import PlainOperations

    graph.requires_grad_(False)
    for buffer in graph.buffers():
        buffer.data = buffer.contiguous()  # others are stored with a warning
    inputs = arguments_of(graph, *_RECORDED)
    try:
        with torch.no_grad(), PlainOperations(), _quiet():
            return torch.export.export(graph, inputs, dynamic_shapes=_free_axes(graph), strict=False)
    except Exception as error:  # torch raises many types, whatever it cannot follow
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the problem {graph.problem.name!r} cannot be exported ({reason[:200]}); its features and "
            "is_valid must consist of operations of torch on tensors, without conversions to numbers or to "
            "NumPy."
        ) from error


def _free_axes(graph: Graph) -> tuple[dict[int, Any], ...]:
    """Which axes of each argument may have any length."""
    import torch

    free = {name: torch.export.Dim(name) for name in ("pixels", "samples")}
    return tuple(
        {i: free[axis] for i, axis in enumerate(_TENSORS[name][0]) if axis in free} for name in graph.inputs
    )


def _write_onnx(path: Path, program: Any, graph: Graph) -> Run:
    import onnxruntime
    import torch

    made: Any = torch.onnx.export(
        program,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_shapes=_free_axes(graph),  # for their names alone
    )
    made.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> list[Tensor]:
        named = {name: value.numpy() for name, value in zip(graph.inputs, inputs, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, named)]

    return run


def _write_program(path: Path, program: Any, graph: Graph) -> Run:
    import torch

    torch.export.save(program, path)
    return torch.export.load(path).module()


def _record(folder: Path, fitted: FittedPosterior, described: dict[str, Any], draft: Path) -> dict[str, Any]:
    """The content of ``network.json``."""
    metadata = describe(folder)
    known = overview(folder, metadata)
    guard, application = fitted.guard, fitted.problem.application
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
            "rule": "p_value at most the false-alarm rate that is accepted: not explained, show no number",
            "waic_thresholds": {str(r): guard.threshold(r) for r in _RATES if r * (guard.n + 1) >= 1},
            "held_out_simulations": guard.n,
        },
        "files": [
            {"file": path.name, "sha256": sha256(path)} for path in sorted(draft.iterdir()) if path.is_file()
        ],
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of packages that are not needed, and print of what they cannot follow."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
