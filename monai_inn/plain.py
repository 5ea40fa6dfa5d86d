"""Results of the command line as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["bundles", "demo", "entries", "export", "fit", "maps", "problems", "report", "with_warnings"]


def with_warnings(text: str, result: Mapping[str, Any]) -> str:
    """Return a text with the warnings of its result last, where they are not overlooked."""
    return "\n".join([text, *(f"WARNING: {warning}" for warning in result.get("warnings", ()))])


def entries(result: Mapping[str, Any]) -> str:
    """Return a line for each entry of a result."""
    return "\n".join(f"{key}: {value}" for key, value in result.items())


def demo(result: Mapping[str, Any]) -> str:
    """Return what ``demo`` made."""
    return "\n".join([*result["notes"], "", "Pictures:", *result["pictures"]])


def fit(result: Mapping[str, Any]) -> str:
    """Return what ``fit`` measured."""
    card = result["measured"]
    lines = [
        *result["notes"],
        f"calibration error on {card['measured_on']['simulations']:,} fresh simulations:",
    ]
    lines += [f"  {name}: {row['calibration_error']:.4f}" for name, row in card["parameters"].items()]
    lines.append(f"an exact posterior stays below {card['calibration_noise_floor_95']:.4f}")
    return "\n".join([*lines, f"bundle: {result['out']}"])


def problems(result: Mapping[str, Any]) -> str:
    """Return the problems, their parameters and units."""
    lines = []
    for name, problem in result["problems"].items():
        lines += [f"{name}: {problem['description']}"]
        for row in problem["parameters"]:
            bounds = "unbounded" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
            mark = "*" if row["target"] else " "
            lines.append(f"  {mark} {row['name']:<14}{row['unit']:<6}{bounds:<20}{row['description']}")
        lines += [f"    {what}: {', '.join(values)}" for what, values in problem["choices"].items()]
    lines += ["", "* shown in maps; the others are inferred as well."]
    return "\n".join([*lines, f"shipped bundles: {', '.join(result['bundles']) or 'none'}"])


def bundles(result: Mapping[str, Any]) -> str:
    """Return the bundles and how good they are."""
    lines = []
    for entry in result["bundles"]:
        lines.append(f"{entry['name']}{' (shipped)' if entry['shipped'] else ''}: {entry['path']}")
        if "error" in entry:
            lines.append(f"  cannot be used: {entry['error']}")
            continue
        camera = f", camera {entry['camera']}" if entry["camera"] else ""
        lines.append(f"  {entry['problem']}{camera}, {entry['bands']} channels")
        for target in entry["targets"]:
            error = entry["calibration"]["errors"].get(target["name"])
            known = "calibration not measured" if error is None else f"calibration error {error:.2%}"
            lines.append(f"  {target['name']} [{target['unit']}]: {target['description']}; {known}")
        lines += [f"  {entry['intended_use']}", *(f"  WARNING: {text}" for text in entry["warnings"])]
    return "\n".join(lines)


def maps(result: Mapping[str, Any]) -> str:
    """Return a summary of the maps of ``infer`` and ``ood``."""
    summary, out = result["summary"], result["out"]
    untrusted = summary["share_untrusted"]
    lines = [
        f"{summary['valid_pixels']} of {summary['pixels']} pixels valid, "
        f"{'none' if untrusted is None else f'{untrusted:.1%}'} of them untrusted",
    ]
    for name, row in summary.get("trusted_pixels", {}).items():
        if row["median_of_medians"] is not None:
            unit = "" if row["unit"] == "1" else f" {row['unit']}"
            lines.append(
                f"  {name}: {row['median_of_medians']:g}{unit}, interval width "
                f"{row['median_interval_width']:g}{unit}"
            )
    lines += [f"maps: {out}/*.nii.gz ({len(result['files'])} files)"]
    lines += [f"picture: {out}/{name}" for name in result["pictures"]]
    return "\n".join([*lines, result["intended_use"]])


def report(result: Mapping[str, Any]) -> str:
    """Return the verdicts of ``validate``."""
    from monai_inn.validation.verdicts import basis

    targets = [entry for entry in result["parameters"] if entry["name"] in result["targets"]]
    lines = [
        f"{result['title']}: {result['status']}{basis(result['source'])}",
        *(f"  {entry['verdict']}" for entry in targets),
    ]
    if "recalibration" in result:
        about = result["recalibration"]
        lines.append(f"recalibration: {about['status']}; bundle: {about['bundle']}")
    return "\n".join([*lines, f"report: {result['out']}/report.html"])


def export(result: Mapping[str, Any]) -> str:
    """Return what ``export`` wrote."""
    pixels, out = result["pixels"], result["out"]
    lines = [
        f"{result['image']}: {pixels['usable']} of {pixels['all']} pixels usable, "
        f"{pixels['withheld']} of them withheld"
    ]
    for name in result["formats"]:
        written = [entry["file"] for entry in result["files"] if entry["format"] == name]
        shown = ", ".join(f"{out}/{file}" for file in written)
        lines.append(f"{name}: " + (shown if len(written) < 3 else f"{out}/{name}/ ({len(written)} files)"))
    return "\n".join([*lines, result["intended_use"]])
