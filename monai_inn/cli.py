"""The command ``monai-inn``: parses, calls, prints; heavy imports happen inside the verbs."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TextIO

from monai_inn import __version__, plain, verbs
from monai_inn.applications import offered
from monai_inn.arguments import add_device, add_many, add_workers, is_helper, value_of
from monai_inn.settings_file import add_config, with_config

__all__ = ["main"]

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        0; 1 if some of many files failed; 2 for bad input (one line on standard error says what); 130 after
        Ctrl-C or SIGTERM.
    """
    if argv is None:  # a process of its own; schedulers and containers end it by SIGTERM
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    argv = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    try:
        parser, of_verb = _parser(argv)
        arguments = parser.parse_args(with_config(argv, of_verb))
        result: dict[str, Any] = arguments.run(arguments)
    except KeyboardInterrupt as stop:
        _say(f"monai-inn: interrupted; {str(stop) or 'nothing half-written is left.'}", sys.stderr)
        return _INTERRUPTED
    except (ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        if not _is_expected(error):
            raise
        _say(f"monai-inn: {' '.join(_message(error).split())}", sys.stderr)
        return _BAD_INPUT
    if is_helper():
        return 0  # the first process speaks
    words = plain.cohort if "cohort" in result else arguments.words
    if arguments.json:
        _say(json.dumps(result, indent=2), sys.stdout)
    else:
        _say(plain.with_warnings(words(result), result), sys.stdout)
    return _FAILED if "cohort" in result and result["cohort"]["failed"] else 0


def _complete() -> None:
    """Answer the shell, which has called because somebody has pressed the tabulator key, and leave."""
    import argcomplete

    written = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    argcomplete.autocomplete(_parser(shlex.split(written, posix=False)[1:])[0])


def _say(text: str, stream: TextIO) -> None:
    """Print; a character that the stream cannot show, as a file name may have, is shown by its number."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


class _Parser(argparse.ArgumentParser):
    """Parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with the exit code of bad input."""
        _say(f"monai-inn: {' '.join(message.split())}; see `{self.prog} --help`.", sys.stderr)
        sys.exit(_BAD_INPUT)


def _is_expected(error: BaseException) -> bool:
    """Whether an error is about the input: the system's, or one that this package raises on purpose."""
    if isinstance(error, OSError):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_globals.get("__name__", "").startswith("monai_inn")


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def _parser(
    argv: Sequence[str],
) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the command, and those of its verbs."""
    parser = _Parser(
        prog="monai-inn",
        description="Calibrated posteriors and trust maps for inverse problems in medical imaging. "
        "Research only.",
    )
    parser.add_argument("--version", action="version", version=f"monai-inn {__version__}")
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str,
        run: Callable[[argparse.Namespace], dict[str, Any]],
        text: str,
        words: Callable[[Mapping[str, Any]], str],
        is_random: bool = True,
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, words=words)
        sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument(
            "--progress-lines",
            action="store_true",
            help="report progress as lines `PROGRESS SHARE WHAT` on standard error, for programs",
        )
        add_config(sub)
        if is_random:
            sub.add_argument("--seed", type=_seed, default=0, help="seed of everything random (0)")
        return sub

    verb(
        "problems",
        verbs.problems,
        "list the inverse problems, their parameters and units, and shipped bundles",
        plain.problems,
        is_random=False,
    )

    sub = verb(
        "bundles",
        verbs.bundles,
        "list the shipped bundles and those in folders, for whom and how good",
        plain.bundles,
        is_random=False,
    )
    sub.add_argument("folders", nargs="*", metavar="FOLDER", help="bundle, or folder that holds bundles")

    sub = verb(
        "simulate",
        verbs.simulate,
        "draw parameters and observations into a Zarr store; an interrupted run continues",
        plain.simulated,
    )
    _add_problem(sub, argv)
    sub.add_argument("-n", type=int, required=True, help="number of simulations")
    sub.add_argument("-o", "--out", required=True, metavar="ZARR", help="folder to write or continue")
    add_workers(sub, "1")

    sub = verb(
        "fit", verbs.fit, "train the posterior of a problem, measure it, and write a bundle", plain.fit
    )
    _add_problem(sub, argv)
    sub.add_argument("-o", "--out", required=True, metavar="BUNDLE", help="bundle folder to write")
    sub.add_argument("--members", type=int, default=5, help="flows behind the trust score, at least 2 (5)")
    sub.add_argument(
        "--minutes", type=float, help="time budget for everything; without it the full recipe is trained"
    )
    sub.add_argument("--simulations", metavar="ZARR", help="train on what `simulate` wrote")
    sub.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted run into the same BUNDLE, if it has a checkpoint",
    )
    add_device(sub)
    sub.add_argument("--invariant-over", metavar="NAME",
                     help="parameter whose classes are sites: use what means the same at all")  # fmt: skip
    sub.add_argument("--invariance", type=float, metavar="WEIGHT", help="weight of that in the loss (2000)")
    sub.add_argument("--warm", metavar="BUNDLE2",
                     help="start from the network of this bundle, of another patient; by default from a "
                     "shipped one of the same parameters and ranges, `none` starts afresh")  # fmt: skip

    for place in offered("COMMANDS"):
        importlib.import_module(place).add(verb)

    sub = verb(
        "infer", verbs.infer, "posterior maps of an image: NIfTI files, a picture, result.json", plain.maps
    )
    _add_image(sub)
    sub.add_argument("--samples", type=int, default=64, help="posterior samples of each pixel (64)")
    sub.add_argument(
        "--interval", type=float, default=0.95, help="probability inside the mapped interval (0.95)"
    )
    sub.add_argument("--below", action="append", default=[], type=value_of, metavar="NAME=VALUE",
                     help="map the probability of a value below, e.g. sao2=0.6; may be repeated")  # fmt: skip
    sub.add_argument("--adequacy", type=int, default=0, metavar="N",
                     help="map whether the model fits: p-values of N simulations a pixel; of curves, such as "
                     "series, also keep the predictive bands (16 bytes a pixel and place)")  # fmt: skip
    sub.add_argument("--adaptive", action="store_true",
                     help="draw fewer samples where a fourth or a half of them suffices")  # fmt: skip
    sub.add_argument("--no-picture", dest="has_picture", action="store_false",
                     help="leave out maps.png, which takes seconds")  # fmt: skip
    sub.add_argument(
        "--save-samples", type=int, default=0, metavar="N", help="write N coherent posterior samples too"
    )
    sub.add_argument("--preview", metavar="FOLDER", help="write a quick result of the same form here first")
    sub.add_argument(
        "--save-quantiles", type=int, default=0, metavar="N",
        help="write N equally likely quantiles of each pixel too",
    )  # fmt: skip

    text = "only the trust maps of an image: WAIC, p-value, untrusted pixels"
    sub = verb("ood", verbs.ood, text, plain.maps, is_random=False)
    _add_image(sub)

    sub = verb(
        "validate",
        verbs.validate,
        "test whether posteriors hold what they promise; write a report",
        plain.report,
    )
    sub.add_argument(
        "source",
        metavar="SOURCE",
        help="bundle folder, or name of a shipped one, tested on fresh simulations; or posterior samples: "
        "NPZ, Zarr, CSV, or folder of `infer --save-samples`",
    )
    sub.add_argument("-o", "--out", required=True, metavar="REPORT", help="folder to write")
    sub.add_argument("-n", type=int, default=4000, help="simulations, for a bundle (4000)")
    sub.add_argument("--samples", type=int, default=255, help="posterior samples of each case (255)")
    sub.add_argument("--truth", metavar="FILE", help="true values of CSV or NIfTI samples")
    sub.add_argument("--parameters", metavar="JSON", help="names, units and periods of foreign samples")
    sub.add_argument("--tolerance-width", type=float, default=0.1, metavar="SHARE",
                     help="share by which intervals may be too narrow or wide (0.1)")  # fmt: skip
    sub.add_argument("--tolerance-shift", type=float, default=0.1, metavar="SD",
                     help="posterior standard deviations by which values may be off (0.1)")  # fmt: skip
    sub.add_argument("--mode", action="append", default=[], type=value_of, metavar="NAME=TOLERANCE",
                     help="compare modes with the truth, e.g. sao2=0.05; repeat for joint modes")  # fmt: skip
    sub.add_argument(
        "--recalibrate",
        dest="recalibrated",
        metavar="BUNDLE",
        help="write a repaired copy of the bundle here",
    )
    sub.add_argument(
        "--pdf", dest="is_printed", action="store_true", help="write the page as PDF too, by Chromium"
    )
    add_device(sub)
    add_many(sub, "source")

    text = "posterior of the change between two results of `infer`, at two points in time, as a third result"
    sub = verb("compare", verbs.compare, text, plain.changed, is_random=False)
    sub.add_argument("before", metavar="BEFORE", help="folder of the earlier result, with quantiles")
    sub.add_argument("after", metavar="AFTER", help="that of the later one, by the same bundle")
    sub.add_argument("-o", "--out", required=True, help="folder to write")

    sub = verb(
        "compare-devices",
        verbs.compare_devices,
        "train every device of a problem equally and show which tells how much about which parameter",
        plain.compared,
    )
    sub.add_argument("problem", metavar="PROBLEM", help="name of a problem that has devices, such as cameras")
    sub.add_argument(
        "--device", action="append", default=[], required=True, dest="specs", metavar="SPEC",
        help="name or file of a device, with settings if it has some, NAME@light=0.5; repeat it",
    )  # fmt: skip
    sub.add_argument("-o", "--out", required=True, help="folder to write, or to continue")
    sub.add_argument(
        "--minutes", type=float, help="time budget of one training; without it the full recipe is trained"
    )
    sub.add_argument("--cases", type=int, default=1000, help="phantoms that every device sees (1000)")
    add_workers(sub, "1")

    sub = verb(
        "design-bands",
        verbs.design_bands,
        "choose the bands that tell most, out of all that a device has; measure by how much they are better",
        plain.designed,
    )
    _add_problem(sub, argv)
    sub.add_argument("--bands", type=int, required=True, metavar="K", help="bands to choose")
    sub.add_argument(
        "--device", dest="spec", metavar="SPEC", help="device whose bands to choose from, NAME@light=0.5"
    )
    sub.add_argument("--parameter", action="append", default=[], dest="parameters", metavar="NAME",
                     help="what they shall tell about; may be repeated (all that maps show)")  # fmt: skip
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument(
        "--minutes", type=float, help="time budget of the training; without it the full recipe is trained"
    )
    sub.add_argument("--cases", type=int, default=1000, help="phantoms that figures are measured on (1000)")

    sub = verb(
        "convert",
        verbs.convert,
        "write an image of any format as NRRD, which 3D Slicer reads",
        plain.converted,
        is_random=False,
    )
    sub.add_argument("image", metavar="IMAGE", help="ENVI, TIFF, NIfTI, NRRD, NPZ, PNG or JPEG image")
    sub.add_argument("-o", "--out", required=True, metavar="NRRD", help="file to write")

    sub = verb("view", verbs.view, "show a result in the browser", plain.viewed, is_random=False)
    sub.add_argument("folder", metavar="OUT", help="folder that `infer` or another verb wrote")
    sub.add_argument("--port", type=int, default=0, help="port to listen on (a free one)")
    sub.add_argument("--no-browser", action="store_true", help="only print the address")

    sub = verb(
        "export",
        verbs.export,
        "write a result of `infer` as tables, a page for the record, or DICOM",
        plain.export,
        is_random=False,
    )
    sub.add_argument("folder", metavar="FOLDER", help="folder that `infer` wrote")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument(
        "--format", action="append", default=[], choices=("nifti", "csv", "html", "pdf", "dicom"),
        help="what to write; may be repeated (nifti, csv and html)",
    )  # fmt: skip
    sub.add_argument(
        "--source", metavar="DICOM_DIR", help="series that the image came from, for --format dicom"
    )

    text = "fetch a series from a hospital's archive into a folder, by DICOMweb or DIMSE"
    sub = verb("fetch", verbs.fetch, text, plain.fetched, is_random=False)
    _add_archive(sub)
    sub.add_argument("-o", "--out", required=True, metavar="SERIES", help="folder to write")
    sub.add_argument("--series", metavar="UID", help="its Series Instance UID, or narrow it down by:")
    sub.add_argument("--study", metavar="UID", help="Study Instance UID")
    sub.add_argument("--patient", metavar="ID", help="Patient ID")
    sub.add_argument("--accession", metavar="NUMBER", help="Accession Number")
    sub.add_argument("--date", metavar="DATE", help="of the study, YYYYMMDD, or a range YYYYMMDD-YYYYMMDD")
    sub.add_argument("--modality", metavar="CODE", help="such as MR")
    sub.add_argument("--description", metavar="TEXT", help="of the series; * stands for any text")

    text = "store the DICOM objects of a result in a hospital's archive, each exactly once"
    sub = verb("store", verbs.store, text, plain.stored, is_random=False)
    sub.add_argument("folder", metavar="FOLDER", help="folder that `export --format dicom` wrote")
    _add_archive(sub)

    sub = verb(
        "export-network",
        verbs.export_network,
        "write the network of a bundle as ONNX files and programs of torch.export, for other runtimes",
        plain.exported_network,
    )
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle folder, or the name of a shipped bundle")
    sub.add_argument("-o", "--out", required=True, metavar="FOLDER", help="folder to write")
    sub.add_argument("--format", action="append", default=[], choices=("onnx", "pt2"),
                     help="what to write; may be repeated (both)")  # fmt: skip
    sub.add_argument("--latents", type=int, default=64, help="latents to write for the sampler (64)")

    sub = verb("demo", verbs.demo, "infer the shipped example images; no training", plain.demo)
    sub.add_argument(
        "-o", "--out", default="monai_inn_demo", metavar="DIR", help="folder to write (monai_inn_demo)"
    )
    add_device(sub)
    return parser, commands.choices


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative, give 0 or a positive number")
    return value


def _add_problem(sub: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the problem and, if the command line names one, its own options."""
    sub.add_argument("problem", metavar="PROBLEM", help="name of a problem, see `monai-inn problems`; "
                     f"`{sub.prog} PROBLEM --help` lists its own options")  # fmt: skip
    if sub.prog.split()[-1] not in argv[:1] or all(text.startswith("-") for text in argv[1:]):
        return
    from monai_inn.problems.registry import find, names

    known = set(names())
    given = [(before.startswith("-"), text) for before, text in itertools.pairwise(argv) if text in known]
    if given:  # what follows an option may be its value
        name = min(given, key=lambda entry: entry[0])[1]
        find(name).add_options(sub.add_argument_group(f"options of {name}"))


def _add_archive(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "address", metavar="ARCHIVE",
        help="https://HOST/PATH of its DICOMweb service, or dimse://TITLE@HOST:PORT; user and password come "
        "from the environment or a netrc file, see docs/archive.md",
    )  # fmt: skip


def _add_image(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle folder, or the name of a shipped bundle")
    sub.add_argument("image", metavar="IMAGE", help="ENVI, TIFF, NIfTI, NRRD, NPZ, PNG or JPEG image")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--false-alarm", type=float, default=0.05,
                     help="share of in-distribution pixels that may be called untrusted (0.05)")  # fmt: skip
    sub.add_argument("--shrink", type=int, default=1, metavar="N", help="average N by N pixels first (1)")
    sub.add_argument("--mask", help="image that is not zero where results are wanted")
    sub.add_argument("--white", help="white reference: image or number")
    sub.add_argument("--dark", help="dark reference: image or number")
    add_device(sub)
    add_many(sub, "image")
