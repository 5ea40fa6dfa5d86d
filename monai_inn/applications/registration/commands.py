"""The verbs of 2D/3D registration: options, calls, and results in words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn.applications.registration.results.words import poses_in_words, prepared_in_words, statement_of
from monai_inn.arguments import (
    add_device,
    add_many,
    for_each,
    given,
    pattern_of,
    progress_of,
    range_of,
    value_of,
)

if TYPE_CHECKING:
    from monai_inn.applications.registration.carm import Detector

__all__ = ["add"]

Verb = Callable[..., argparse.ArgumentParser]


def add(verb: Verb) -> None:
    """Add the verbs ``prepare``, ``register``, ``aim`` and ``views``.

    Args:
        verb: called with a name, what it runs, a line of help, what says its result in words, and whether
            anything in it is random; returns its parser.
    """
    help_of_prepare = "make a CT ready for X-rays, so that registration need not"
    sub = verb("prepare", prepare, help_of_prepare, prepared_in_words, is_random=False)
    sub.add_argument("ct", metavar="CT", help="CT in Hounsfield units: NIfTI, NRRD, MetaImage, DICOM folder")
    sub.add_argument("-o", "--out", required=True, help="folder to write; `register` takes it for the CT")
    _add_patient(sub)
    _add_image(_add_distances(sub))

    sub = verb("register", register, "find the poses of a C-arm that explain an X-ray", poses_in_words)
    sub.add_argument("bundle", metavar="CT|PATIENT|BUNDLE",
                     help="CT in Hounsfield units, what `prepare` or `fit registration` wrote")  # fmt: skip
    sub.add_argument("xrays", metavar="XRAY", nargs="+",
                     help="PNG, JPEG, TIFF, DICOM, NIfTI or NRRD; several of an unmoved patient")  # fmt: skip
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--samples", type=int, default=1000, help="posterior samples of the pose (1000)")
    sub.add_argument(
        "--refine", dest="refined", action="store_true", help="climb from each pose to the best fit near it"
    )
    sub.add_argument("--reweight", dest="reweighted", action="store_true",
                     help="weigh poses by the likelihood itself: exact, and slower")  # fmt: skip
    sub.add_argument("--turned", "--gantry", dest="gantry", type=float, nargs="+", metavar="DEGREES",
                     help="LAO and CRA that the gantry showed at each X-ray (as the files say)")  # fmt: skip
    sub.add_argument("--false-alarm", type=float, metavar="SHARE",
                     help="of simulated X-rays that a bundle may call untrusted (0.05)")  # fmt: skip
    _add_reading(sub)
    _add_patient(sub)
    group = _add_distances(sub)
    group.add_argument("--leave-out", metavar="MASK",
                       help="picture, not black where the (first) X-ray is not to be compared")  # fmt: skip
    group.add_argument("--gantry-sd", type=float, metavar="DEGREES",
                       help="take its angles for the pose of a patient turned by so much (sd)")  # fmt: skip
    group.add_argument("--source-sd", type=float, metavar="MM",
                       help="the source may be off its place by so much (sd, 0)")  # fmt: skip
    add_device(sub)
    add_many(sub, "xrays")

    help_of_aim = "carry a planned target or line through all poses of a registration"
    sub = verb("aim", aim, help_of_aim, statement_of, is_random=False)
    sub.add_argument("folder", metavar="FOLDER", help="result of `register`")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    coordinates: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "A", "S")}
    sub.add_argument("--target", required=True, **coordinates, help="planned point, RAS in mm")
    sub.add_argument("--entry", **coordinates, help="where the line to it begins")
    sub.add_argument("--labels", help="segmentation with structures that the line must not touch")
    sub.add_argument("--avoid", type=int, nargs="+", default=[], metavar="LABEL", help="their labels")
    sub.add_argument("--radius", dest="radius_mm", type=float, default=0.0, metavar="MM",
                     help="of the screw or needle (0)")  # fmt: skip

    help_of_views = "map how well X-rays from each view of a C-arm would tell the pose"
    sub = verb("views", views, help_of_views, statement_of)
    sub.add_argument("bundle", metavar="CT|PATIENT|BUNDLE",
                     help="CT in Hounsfield units, what `prepare` or `fit registration` wrote")  # fmt: skip
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--after", metavar="FOLDER", help="result of `register`: map the second view after it")
    sub.add_argument("--step", type=float, default=15.0, help="degrees between views (15)")
    _add_patient(sub)
    _add_image(_add_distances(sub))
    add_device(sub)


def _add_reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--contrast", choices=("intensity", "attenuation"),
                     help="whether bone is dark (intensity) or bright (attenuation)")  # fmt: skip
    sub.add_argument("--unattenuated", type=float, metavar="GREY",
                     help="grey value where nothing is in the beam (99.9 %% of the image's)")  # fmt: skip
    sub.add_argument("--scale", type=float, help="line integral of one grey value, if bone is bright")
    sub.add_argument(
        "--spacing", dest="spacing_mm", type=float, metavar="MM", help="side of a pixel on the detector"
    )
    sub.add_argument("--mirror", action="store_true", help="the image is shown from the other side")
    sub.add_argument("--frame", type=int, help="frame of a DICOM run, from 1")


def _add_patient(sub: argparse.ArgumentParser) -> None:
    """Add what is unknown of a CT's pose, and what of the CT is compared."""
    group = sub.add_argument_group("with a CT")
    group.add_argument("--labels", help="segmentation on the CT's voxels")
    group.add_argument("--keep", type=int, nargs="+", default=[], metavar="LABEL",
                       help="labels to compare; all of the CT without, as real X-rays need")  # fmt: skip
    group.add_argument("--range", action="append", default=[], type=range_of, metavar="NAME=LOW:HIGH",
                       help="range of a pose parameter, degrees or mm; may be repeated")  # fmt: skip
    group.add_argument("--fixed", action="append", default=[], type=value_of, metavar="NAME=VALUE",
                       help="value of a pose parameter that is known; may be repeated")  # fmt: skip
    group.add_argument("--target", type=float, nargs=3, metavar=("R", "A", "S"),
                       help="point near the isocentre, RAS in mm (centre of the bone)")  # fmt: skip


def _add_distances(sub: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = sub.add_argument_group("with a CT, or a patient that `prepare` wrote")
    group.add_argument("--source-detector", dest="source_detector_mm", type=float, metavar="MM",
                       help="distance from source to detector (that of the file, or 1020)")  # fmt: skip
    group.add_argument("--source-isocentre", dest="source_isocentre_mm", type=float, metavar="MM",
                       help="distance from source to isocentre (or 5/6 of the former)")  # fmt: skip
    return group


def _add_image(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--like", metavar="XRAY", help="an X-ray of the same C-arm and image size")
    group.add_argument("--side", type=float, metavar="MM", help="side of a square image, on the detector")
    group.add_argument("--spacing", dest="spacing_mm", type=float, metavar="MM",
                       help="side of a pixel of --like")  # fmt: skip


_OF_PATIENT = ("labels", "keep", "range", "fixed", "target")
_OF_UNIT = ("source_detector_mm", "source_isocentre_mm", "gantry_sd", "source_sd", "leave_out")
_OF_IMAGE = ("like", "side", "source_detector_mm", "source_isocentre_mm", "spacing_mm")
_OF_BUNDLE = ("refined", "reweighted", "false_alarm")
_SAID = {"refined": "refine", "reweighted": "reweight"}
_FOREIGN = {
    "a CT": _OF_BUNDLE,
    "a patient": (*_OF_PATIENT, *_OF_BUNDLE),
    "a bundle": (*_OF_PATIENT, *_OF_UNIT),
}
_ANEW = (
    "the CT is made ready anew for each X-ray; quicker: monai-inn prepare CT --like XRAY -o PATIENT once, "
    "and PATIENT in its place."
)


def prepare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make a CT ready for X-rays."""
    from monai_inn.applications.registration.poses.solver import SIZES
    from monai_inn.applications.registration.prepared import prepare_patient

    options = given(arguments)
    detectors = _detectors(options, SIZES)
    with progress_of(arguments) as show:
        found = prepare_patient(
            options["ct"], options["out"], detectors, progress=show, **_patient_options(options)
        )
    return {"out": arguments.out} | found


def _detectors(options: dict[str, Any], sizes: Sequence[int]) -> list[Detector]:
    """Take what describes the images out of options; returns their detector at each size."""
    from monai_inn.applications.registration.xrays.sizes import detectors_like

    taken = {name: options.pop(name, None) for name in _OF_IMAGE}
    return detectors_like(taken.pop("like"), taken.pop("side"), sizes, **taken)


def _patient_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take what describes a patient out of options; returns it as ``Patient.of_files`` wants it."""
    from monai_inn.applications.registration.patient import wide_ranges

    taken = {name: options.pop(name) for name in _OF_PATIENT}
    fixed, ranges = dict(taken["fixed"]), dict(taken.pop("range"))
    return taken | {"fixed": fixed, "free": wide_ranges(fixed) | ranges}


def register(arguments: argparse.Namespace) -> dict[str, Any]:
    """Find the poses that explain an X-ray."""
    from monai_inn.applications.registration.results.from_ct import register_to_ct
    from monai_inn.applications.registration.results.record import figures
    from monai_inn.applications.registration.results.registering import register_xray
    from monai_inn.applications.registration.results.schema import REGISTRATION

    source = Path(arguments.bundle)
    kind = _kind(source)
    _check_order(source, arguments.xrays)
    options = _options_of(arguments, kind, _FOREIGN[kind])
    if pattern_of(arguments) is not None:
        function = register_xray if kind == "a bundle" else _register_to
        if kind == "a CT":
            print(f"monai-inn: WARNING: {_ANEW}", file=sys.stderr, flush=True)
        return for_each(arguments, function, options, REGISTRATION, figures, _identity(source, kind))
    if kind == "a bundle":
        return {"out": arguments.out} | register_xray(**options)
    with progress_of(arguments) as show:
        found = register_to_ct(options.pop("bundle"), progress=show, **options)
    return {"out": arguments.out} | found


def _options_of(arguments: argparse.Namespace, kind: str, foreign: Sequence[str]) -> dict[str, Any]:
    """The options that were given, without those that are not for what stands in the place of a bundle.

    Raises:
        ValueError: if one of them is not for it.
    """
    if kind != "a bundle" and arguments.device not in ("auto", "cpu"):
        raise ValueError(
            f"--device {arguments.device} is for a bundle; with {kind} the CPU computes, leave it out."
        )
    options = given(arguments)
    for name in foreign:
        value = options.pop(name)
        if value is not None and value is not False and value != []:
            said = _SAID.get(name, name.removesuffix("_mm").replace("_", "-"))
            raise ValueError(f"--{said} is not for {kind}, as {arguments.bundle} is; leave it out.")
    if kind != "a bundle":
        del options["device"]
    if kind == "a CT":
        options |= _patient_options(options)
    # What the file says, or the usual.
    return {name: value for name, value in options.items() if value is not None}


def _kind(source: Path) -> str:
    """What stands in the place of a bundle; a folder of DICOM files is a CT."""
    from monai_inn.applications.registration.results.schema import PATIENT
    from monai_inn.reading.dicom import is_series

    if source.suffix and not source.exists():
        raise FileNotFoundError(f"{source}: no such file; check the path.")
    if (source / PATIENT).is_file():
        return "a patient"
    return "a CT" if source.is_file() or is_series(source) else "a bundle"


def _check_order(source: Path, xrays: Sequence[str]) -> None:
    """Refuse a picture in the place of a CT and a volume in that of an X-ray."""
    from monai_inn.reading.volumes import VOLUMES

    endings = tuple(ending for kind in VOLUMES.values() for ending in kind)
    volumes = [x for x in xrays if Path(x).is_dir() or x.lower().endswith(endings)]
    if volumes and source.is_file() and not source.name.lower().endswith(endings):
        raise ValueError(
            f"CT and X-ray seem to be exchanged: {source} is a picture, and {volumes[0]} a volume; give the "
            "CT first: monai-inn register CT XRAY."
        )


def _register_to(bundle: str, **options: Any) -> dict[str, Any]:
    """Register to what stands in the place of a bundle: a CT or a patient."""
    from monai_inn.applications.registration.results.from_ct import register_to_ct

    return register_to_ct(bundle, **options)


def _identity(source: Path, kind: str) -> dict[str, Any]:
    """What tells results of one bundle, patient or CT from those of another."""
    from monai_inn.applications.registration.results.schema import PATIENT
    from monai_inn.fitted.layout import sha256
    from monai_inn.fitted.metadata import identity

    if kind == "a bundle":
        return identity(source)
    return {"bundle": {"name": source.name, "sha256": sha256(source if kind == "a CT" else source / PATIENT)}}


def aim(arguments: argparse.Namespace) -> dict[str, Any]:
    """Carry a target or a line through all poses."""
    from monai_inn.applications.registration.results.aiming import aim as carry

    return {"out": arguments.out} | carry(**given(arguments))


def views(arguments: argparse.Namespace) -> dict[str, Any]:
    """Map how well X-rays from each view would tell the pose."""
    from monai_inn.applications.registration.poses.forecast import FORECAST_SIZES
    from monai_inn.applications.registration.results.view_planning import plan_views

    kind = _kind(Path(arguments.bundle))
    options = _options_of(arguments, kind, () if kind == "a CT" else (*_OF_PATIENT, *_OF_IMAGE))
    if kind == "a CT":
        options["detectors"] = _detectors(options, FORECAST_SIZES)
    with progress_of(arguments) as show:
        return {"out": arguments.out} | plan_views(**options, progress=show)
