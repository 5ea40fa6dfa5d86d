"""The verbs of 2D/3D registration: options, calls, and results in words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_inn.applications.registration.option_types import range_of, value_of
from monai_inn.verbs import given, progress_of

__all__ = ["add", "poses_in_words"]

Verb = Callable[..., argparse.ArgumentParser]


def add(verb: Verb) -> None:
    """Add the verbs ``register`` and ``views``.

    Args:
        verb: called with a name, what it runs, a line of help and what says its result in words; returns its
            parser.
    """
    sub = verb("register", register, "find the poses of a C-arm that explain an X-ray", poses_in_words)
    sub.add_argument("bundle", metavar="CT|BUNDLE",
                     help="CT in Hounsfield units, or what `fit registration` wrote")  # fmt: skip
    sub.add_argument("xray", metavar="XRAY", help="PNG, JPEG, TIFF, DICOM, NIfTI or NRRD image")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--samples", type=int, default=1000, help="posterior samples (1000)")
    sub.add_argument(
        "--refine", dest="refined", action="store_true", help="climb from each pose to the best fit near it"
    )
    sub.add_argument("--reweight", dest="reweighted", action="store_true",
                     help="weigh poses by the likelihood itself: exact, and slower")  # fmt: skip
    sub.add_argument("--second", metavar="XRAY2", help="a second X-ray of the unmoved patient")
    sub.add_argument("--turned", type=float, nargs=4, metavar=("LAO1", "CRA1", "LAO2", "CRA2"),
                     help="angles that the gantry showed at both X-rays, degrees")  # fmt: skip
    sub.add_argument("--false-alarm", type=float, default=0.05,
                     help="share of simulated X-rays that may be called untrusted (0.05)")  # fmt: skip
    _add_reading(sub)
    _add_ct(sub)
    sub.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")

    help_of_views = "map how well X-rays from each view of a C-arm would tell the pose"
    sub = verb("views", views, help_of_views, _views)
    sub.add_argument("bundle", metavar="BUNDLE", help="bundle that `fit registration` wrote")
    sub.add_argument("-o", "--out", required=True, help="folder to write")
    sub.add_argument("--after", metavar="FOLDER", help="result of `register`: map the second view after it")
    sub.add_argument("--step", type=float, default=15.0, help="degrees between views (15)")
    sub.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")


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


def _add_ct(sub: argparse.ArgumentParser) -> None:
    """Add what is only asked where a CT is given."""
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
    group.add_argument("--source-detector", dest="source_detector_mm", type=float, metavar="MM",
                       help="distance from source to detector (that of the file, or 1020)")  # fmt: skip
    group.add_argument("--source-isocentre", dest="source_isocentre_mm", type=float, metavar="MM",
                       help="distance from source to isocentre (or 5/6 of the former)")  # fmt: skip


_OF_CT = ("labels", "keep", "range", "fixed", "target", "source_detector_mm", "source_isocentre_mm")
_SAID = {
    "source_detector_mm": "source-detector",
    "source_isocentre_mm": "source-isocentre",
    "refined": "refine",
    "reweighted": "reweight",
}
_OF_BUNDLE = ("refined", "reweighted", "second", "turned")


def register(arguments: argparse.Namespace) -> dict[str, Any]:
    """Find the poses that explain an X-ray."""
    from monai_inn.applications.registration.problem import RANGES
    from monai_inn.applications.registration.results.from_ct import register_to_ct
    from monai_inn.applications.registration.results.registering import register_xray

    options = given(arguments)
    for name in ("contrast", "unattenuated", "scale", "spacing_mm", "frame"):
        if options[name] is None:  # what the file says
            del options[name]
    is_ct = Path(options["bundle"]).is_file()
    for name in _OF_BUNDLE if is_ct else _OF_CT:
        if options.pop(name):
            raise ValueError(
                f"--{_SAID.get(name, name)} is for "
                f"{'a bundle' if is_ct else 'a CT'}, but {options['bundle']} is "
                f"{'a file' if is_ct else 'a bundle'}; leave it out."
            )
    if not is_ct:
        return {"out": arguments.out} | register_xray(**options)
    del options["device"], options["false_alarm"]
    options["fixed"], ranges = dict(options["fixed"]), dict(options.pop("range"))
    known = {name: edges for name, edges in RANGES.items() if name not in options["fixed"]}
    with progress_of(arguments) as show:
        found = register_to_ct(options.pop("bundle"), free=known | ranges, progress=show, **options)
    return {"out": arguments.out} | found


def views(arguments: argparse.Namespace) -> dict[str, Any]:
    """Map how well X-rays from each view would tell the pose."""
    from monai_inn.applications.registration.results.view_planning import plan_views

    with progress_of(arguments) as show:
        return {"out": arguments.out} | plan_views(**given(arguments), progress=show)


def poses_in_words(result: Mapping[str, Any]) -> str:
    """Return what ``register`` found as text for people."""
    free = [(row["name"], row["unit"]) for row in result["parameters"] if row["is_free"]]
    lines = [result["ambiguity"]["statement"]]

    def pose(values: Mapping[str, float], sd: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {values[name]:.1f} ± {sd[name]:.1f} {unit}" for name, unit in free)

    for mode in result["modes"]:
        said, error = pose(mode["pose"], mode["spread"]), mode["mtre_mm"]["median"]
        lines.append(f"  {mode['number']}: {mode['mass']:.0%}  {said}; mTRE {error:.1f} mm")
        if (top := mode["refined"]) is not None:
            gain = top["log_likelihood_gain"]
            lines.append(f"     refined: {pose(top['pose'], top['sd'])}; log likelihood + {gain:.1f} nats")
    if result["weights"] is not None:
        lines.append(result["weights"]["statement"])
    lines += [result["trust"]["statement"], *result["xray"]["notes"]]
    lines += [f"picture: {result['out']}/{name}" for name in result["pictures"]]
    return "\n".join([*lines, result["intended_use"]])


def _views(result: Mapping[str, Any]) -> str:
    pictures = [f"picture: {result['out']}/{name}" for name in result["pictures"]]
    return "\n".join([result["statement"], *pictures])
