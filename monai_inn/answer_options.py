"""Options of the verbs that answer for images, test the answers, and pass them on.

Each function is given ``verb``: it is called with a name, what it runs, a line of help and what says its
result in words, and returns a parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from monai_inn import plain, verbs
from monai_inn.arguments import add_device, add_many, value_of

__all__ = ["add_archives", "add_files", "add_inferring", "add_sharing", "add_testing"]


def add_inferring(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs ``infer`` and ``ood``."""
    sub = verb(
        "infer", verbs.infer, "posterior maps of an image: NIfTI files, a picture, result.json", plain.maps
    )
    _add_image(sub)
    sub.add_argument("--samples", type=int, default=64, help="posterior samples of each pixel (64)")
    sub.add_argument(
        "--interval", type=float, default=0.95, help="probability inside the mapped interval (0.95)"
    )
    sub.add_argument("--below", action="append", default=[], type=value_of, metavar="NAME=VALUE",
                     help="map the probability of a value below, e.g. depth=2; may be repeated")  # fmt: skip
    sub.add_argument("--adequacy", type=int, default=0, metavar="N",
                     help="map whether the model fits: p-values of N simulations a pixel; of curves, such as "
                     "series, also keep the predictive bands (16 bytes a pixel and place)")  # fmt: skip
    sub.add_argument("--adaptive", action="store_true",
                     help="draw fewer samples where a fourth or a half of them suffices")  # fmt: skip
    sub.add_argument("--reweight", action="store_true",
                     help="weigh the network's draws by the likelihood of the problem: exact posteriors, "
                     "and a map of the share of draws that count; 50 to 500 ms a pixel, in regions of up "
                     "to 100 pixels 10 s and more where few draws count")  # fmt: skip
    sub.add_argument("--usual-fit", type=int, default=0, metavar="N",
                     help="also fit N pixels, evenly spread, as other programs do, if the problem knows "
                     "such a fit, and map where a parameter ends at a bound; some 30 ms a pixel")  # fmt: skip
    sub.add_argument("--evidence", type=int, default=0, metavar="N",
                     help="also weigh the models that the problem knows by their evidence in N pixels, "
                     "evenly spread, and map how probable each is; about a second a pixel")  # fmt: skip
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


def add_testing(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs ``validate`` and ``compare``."""
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
                     help="compare modes with the truth, e.g. depth=0.1; repeat for joint modes")  # fmt: skip
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


def add_files(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs ``convert``, ``view`` and ``export``."""
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


def add_archives(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs ``fetch`` and ``store``."""
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


def add_sharing(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs ``export-network`` and ``demo``."""
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
    sub.add_argument("--double", action="store_true",
                     help="compute in double precision: files and network agree to 1e-5")  # fmt: skip

    sub = verb("demo", verbs.demo, "infer the shipped example images; no training", plain.demo)
    sub.add_argument(
        "-o", "--out", default="monai_inn_demo", metavar="DIR", help="folder to write (monai_inn_demo)"
    )
    add_device(sub)


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
    sub.add_argument("--white", help="white reference of a camera: image or number")
    sub.add_argument("--dark", help="dark reference of a camera: image or number")
    add_device(sub)
    add_many(sub, "image")
