"""The files of graphs: recorded by torch for any number of pixels and samples, written, and read again."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.inferers.modules.graphs import Graph

__all__ = ["FORMATS", "LATENTS", "TENSORS", "recorded", "require_onnx", "written"]

FORMATS = ("onnx", "pt2")
LATENTS = "latents.npy"

TENSORS = {
    "observation": (("pixels", "channels"), "as listed under observation"),
    "latent": (("samples", "parameters"), f"standard normal; those of maps are in {LATENTS}"),
    "parameters": (("pixels", "parameters"), "units as listed under parameters"),
    "samples": (("samples", "pixels", "parameters"), "units as listed under parameters"),
    "log_prob": (("pixels",), "log density of the parameters in their units, nat"),
    "waic": (("pixels",), "nat, high = unlike the training data"),
    "p_value": (("pixels",), "not explained where it is at most the false-alarm rate that is accepted"),
}
"""Axes and meaning of every tensor that a graph takes or gives."""
_RECORDED = (9, 7)  # pixels and samples
_NO_LINES = "do_not_emit_stack_traces"  # older releases of torch do not know it
Run = Callable[..., Sequence["Tensor"]]


def require_onnx() -> None:
    """Raise an ``ImportError`` that names the extra if packages for ONNX are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ONNX files need onnx, onnxscript and onnxruntime; install them with pip install "
            '"monai_inn[export]", or write programs of torch.export alone: --format pt2.'
        ) from error


def recorded(graph: Graph) -> Any:
    """Return the program of ``torch.export``, for any number of pixels and samples.

    Raises:
        ValueError: if torch cannot follow the problem's features.
    """
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
        raise ValueError(
            f"the problem {graph.problem.name!r} cannot be exported ({_reason(error)}); its features and "
            "is_valid must consist of operations of torch on tensors, without conversions to numbers or to "
            "NumPy."
        ) from error


def _reason(error: Exception) -> str:
    """The first cause's message, of which only the first line is for people."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _free_axes(graph: Graph) -> tuple[dict[int, Any], ...]:
    """Which axes of each argument may have any length."""
    import torch

    free = {name: torch.export.Dim(name) for name in ("pixels", "samples")}
    return tuple(
        {i: free[axis] for i, axis in enumerate(TENSORS[name][0]) if axis in free} for name in graph.inputs
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of packages that are not needed, and print of what they cannot follow.

    And without the lines of code behind each operation: they would name folders of this machine in the files.
    """
    import torch.fx.config as settings

    before = logging.root.manager.disable, getattr(settings, _NO_LINES, False)
    logging.disable(logging.WARNING)
    setattr(settings, _NO_LINES, True)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before[0])
        setattr(settings, _NO_LINES, before[1])


_WRITERS: dict[str, Callable[[Path, Any, Graph], Run]] = {"onnx": _write_onnx, "pt2": _write_program}


def written(path: Path, program: Any, graph: Graph) -> Run:
    """Write a program in the format of the path's ending, and return what answers as the file does.

    Raises:
        ValueError: if the format lacks what the problem's features need.
        OSError: if the file cannot be written.
    """
    kind = path.suffix[1:]
    try:
        with _quiet():
            return _WRITERS[kind](path, program, graph)
    except OSError:
        raise
    except Exception as error:  # torch and ONNX raise many types
        raise ValueError(
            f"{path.name} cannot be made ({_reason(error)}); the features of the problem "
            f"{graph.problem.name!r} may need an operation that {kind} lacks. Try another --format."
        ) from error
