"""The verb that makes images of concentrations: options, the call, and its result in words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from monai_inn.arguments import given

__all__ = ["add"]

_OF_SPOILED = {
    "t1": "--t1",
    "flip_angles": "--flip-angles",
    "angles_deg": "--angles",
    "flip_deg": "--flip",
    "tr_ms": "--tr",
    "artery_t1": "--artery-t1",
}
_OF_ECHOES = {
    "te_ms": "--te",
    "second": "--second-echo",
    "second_te_ms": "--second-te",
    "artery_relaxivity": "--artery-relaxivity",
}
_OF_BOTH = {"relaxivity": "--relaxivity", "baseline": "--baseline"}
_OPTIONS = _OF_SPOILED | _OF_ECHOES | _OF_BOTH | {"mask": "--artery-mask"}
_TOGETHER = {
    "angles_deg": "flip_angles",
    "artery_t1": "mask",
    "artery_relaxivity": "mask",
    "second_te_ms": "second",
}


def add(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``concentration``.

    Args:
        verb: called with a name, what it runs, a line of help, what says its result in words, and whether
            anything in it is random; returns its parser.
    """
    text = "turn a dynamic MR series into concentrations of contrast agent with times and artery"
    sub = verb("concentration", concentration, text, _in_words, is_random=False)
    sub.add_argument("series", metavar="SERIES",
                     help="4-D NIfTI with its JSON, folder of DICOM files, or one DICOM file")  # fmt: skip
    sub.add_argument("-o", "--out", required=True, metavar="NIFTI", help="file to write; a JSON goes with it")
    artery = sub.add_argument_group("artery, one of").add_mutually_exclusive_group(required=True)
    artery.add_argument("--aif", dest="table", metavar="CSV",
                        help="curve of the artery, its header with units: time_s,plasma_mM")  # fmt: skip
    artery.add_argument("--artery-mask", dest="mask", metavar="MASK", help="image that is not 0 in an artery")
    group = sub.add_argument_group("about the artery")
    group.add_argument("--haematocrit", type=float, metavar="H",
                       help="share of cells in whole blood (0.42); 0 for a curve of plasma")  # fmt: skip
    group.add_argument("--artery-t1", type=float, metavar="SECONDS",
                       help="T1 of the blood, with a mask (median of the mask in the map of T1)")  # fmt: skip
    group = sub.add_argument_group("T1 of the tissue, one of").add_mutually_exclusive_group()
    group.add_argument("--flip-angles", nargs="+", default=[], metavar="FILES",
                       help="images at several flip angles: NIfTI files, DICOM folders")  # fmt: skip
    group.add_argument("--t1", metavar="MAP|SECONDS", help="map of T1 in s, or one number for all voxels")
    group = sub.add_argument_group("for a T2*-weighted series (dynamic susceptibility contrast)")
    group.add_argument("--dsc", dest="is_dsc", action="store_true", help="the series is such a one")
    group.add_argument("--te", dest="te_ms", type=float, metavar="MS", help="its echo time")
    group.add_argument("--second-echo", dest="second", metavar="SERIES",
                       help="the same images at a later echo")  # fmt: skip
    group.add_argument("--second-te", dest="second_te_ms", type=float, metavar="MS", help="its echo time")
    group.add_argument("--artery-relaxivity", type=float, metavar="R",
                       help="of R2* in the blood, /mM/s, with a mask")  # fmt: skip
    group = sub.add_argument_group("where the files do not say it")
    group.add_argument("--angles", dest="angles_deg", type=float, nargs="+", metavar="DEG",
                       help="flip angles of the images of --flip-angles, in their order")  # fmt: skip
    group.add_argument("--flip", dest="flip_deg", type=float, metavar="DEG", help="flip angle of the series")
    group.add_argument("--tr", dest="tr_ms", type=float, metavar="MS", help="its repetition time")
    group.add_argument("--relaxivity", type=float, metavar="R",
                       help="of the contrast agent, /mM/s (4.5); with --dsc of R2* in tissue")  # fmt: skip
    group.add_argument("--interval", dest="interval_s", type=float, metavar="SECONDS",
                       help="time between two images")  # fmt: skip
    group.add_argument("--times", metavar="CSV", help="times of the images, in a column such as time_s")
    group.add_argument("--baseline", type=int, metavar="N",
                       help="number of images before the bolus (found in the series)")  # fmt: skip
    group.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N images (0)")
    group.add_argument("--average", type=int, default=1, metavar="N",
                       help="make one frame of N images, where there are too many (1)")  # fmt: skip
    group.add_argument("--already-concentration", dest="is_concentration", action="store_true",
                       help="the series holds mM; its JSON may say so as well, by units")  # fmt: skip


def concentration(arguments: argparse.Namespace) -> dict[str, Any]:
    """Turn a series into concentrations."""
    from monai_inn.applications.perfusion.checks import is_millimolar
    from monai_inn.applications.perfusion.models.acquisition import BOLUS, DYNAMIC
    from monai_inn.applications.perfusion.series.concentrations import Settings
    from monai_inn.applications.perfusion.series.converting import Artery, convert_series
    from monai_inn.applications.perfusion.series.images import with_times
    from monai_inn.applications.perfusion.series.reading import read_series
    from monai_inn.applications.perfusion.series.susceptibility import Susceptibility, ratio_of_echoes

    options, is_dsc = given(arguments), arguments.is_dsc
    series = with_times(read_series(arguments.series), arguments.times, arguments.interval_s, arguments.skip)
    is_concentration = arguments.is_concentration or is_millimolar(series.units)
    unused, what = _OF_ECHOES, "T1-weighted signals; give --dsc as well, or"
    if is_concentration:
        unused, what = _OF_SPOILED | _OF_ECHOES | _OF_BOTH, f"a series of concentrations, as {series.path};"
    elif is_dsc:
        unused, what = _OF_SPOILED, "T2*-weighted signals;"
    for name, option in unused.items():
        if options[name]:
            raise ValueError(f"{option} is not for {what} leave it out.")
    if is_concentration and series.units and not is_millimolar(series.units):
        raise ValueError(f"{series.path}: its values are in {series.units}, expected mM; convert them.")
    for option, other in _TOGETHER.items():
        if options[option] and not options[other]:
            flag, needed = (_OPTIONS[name] for name in (option, other))
            raise ValueError(f"{flag} goes with {needed}; give both, or leave it out.")
    if options["second"]:
        echoes = (options[name] for name in ("te_ms", "second", "second_te_ms", "skip"))
        series, options["te_ms"] = ratio_of_echoes(series, *echoes), None
    kind: type[Settings | Susceptibility] = Susceptibility if is_dsc else Settings
    settings = None if is_concentration else kind(**{name: options[name] for name in kind._fields})
    artery = Artery(arguments.table, arguments.mask, arguments.haematocrit, arguments.artery_t1)
    limits = BOLUS if is_dsc else DYNAMIC
    made = convert_series(series, arguments.out, artery, settings, arguments.average, limits)
    return {"out": arguments.out} | made


def _in_words(result: Mapping[str, Any]) -> str:
    times, done = result["time"], result["voxels"] - result["failed"]
    peak = max(result["artery"])
    lines = [
        f"{len(times)} frames over {times[-1]:g} s, artery up to {peak:.3g} mM: {result['out']}",
        f"{done:,} of {result['voxels']:,} voxels have concentrations; the others are NaN.",
        *result["acquisition"]["notes"],
        f"Next: monai-inn infer BUNDLE {result['out']} -o OUT",
    ]
    return "\n".join(lines)
