"""Results of the command line as text for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "bundles",
    "changed",
    "cohort",
    "compared",
    "converted",
    "demo",
    "designed",
    "export",
    "exported_network",
    "fetched",
    "fit",
    "maps",
    "problems",
    "report",
    "simulated",
    "stored",
    "viewed",
    "with_warnings",
]

_MOST_LINES = 20  # a field of displacements has hundreds of parameters


def with_warnings(text: str, result: Mapping[str, Any]) -> str:
    """Return a text with the warnings of its result last, where they are not overlooked."""
    return "\n".join([text, *(f"WARNING: {warning}" for warning in result.get("warnings", ()))])


def simulated(result: Mapping[str, Any]) -> str:
    """Return what ``simulate`` wrote."""
    problem, out = result["problem"], result["out"]
    lines = [
        f"{result['simulations']:,} simulations of {problem}, seed {result['seed']}: {out}",
        result["device"],
        f"Next, with the same options of the problem: monai-inn fit {problem} --simulations "
        f"{shlex.quote(out)} -o BUNDLE",
    ]
    return "\n".join(line for line in lines if line)


def converted(result: Mapping[str, Any]) -> str:
    """Return what ``convert`` wrote."""
    size = " × ".join(map(str, result["size"]))
    lines = [result.get("synthetic", ""), f"{result['bands']} channels of {size} pixels: {result['out']}"]
    return "\n".join(line for line in lines if line)


def viewed(result: Mapping[str, Any]) -> str:
    """Return what ``view`` has shown."""
    return f"{result['folder']} is no longer shown."


def demo(result: Mapping[str, Any]) -> str:
    """Return what ``demo`` made."""
    lines = [*result["notes"], "", "Pictures:", *result["pictures"], "", "Next, in the browser:"]
    return "\n".join([*lines, *(f"  monai-inn view {shlex.quote(folder)}" for folder in result["folders"])])


def fit(result: Mapping[str, Any]) -> str:
    """Return what ``fit`` made, how good it is, and what to do with it."""
    card = result["measured"]
    training, trust = card["training"], card["ood"]
    targets, unseen = result["targets"], result["unseen"]
    others = [row["status"] for name, row in card["parameters"].items() if name not in targets]
    lines = [
        *result["notes"],
        f"Problem: {result['problem']}",
        result["device"],
        f"Training: {training['simulations']:,} {result['cases']}, {training['minutes']:.1f} minutes",
        *class_lines(card.get("classes")),
        f"Calibration on {card['measured_on']['simulations']:,} {unseen}, judged as by `monai-inn validate`:",
        *(
            f"  {_label(result, name)}: {_quality(card['parameters'][name])}"
            for name in targets[:_MOST_LINES]
        ),
        *([f"  {len(targets) - _MOST_LINES} more in the model card"] if len(targets) > _MOST_LINES else []),
        *([f"  parameters that maps do not show: {_counted(others)}"] if others else []),
        f"False alarms: {trust['false_alarm_measured']:.1%} of {unseen} are called untrusted, "
        f"{trust['false_alarm_nominal']:.0%} were aimed at",
        f"Bundle: {result['out']}",
        f"Next: {result['next']}",
    ]
    return "\n".join(line for line in lines if line)


def class_lines(summary: Mapping[str, Any] | None) -> list[str]:
    """Return how good classes are, of ``inferers.classes.class_summary``; nothing if there is none."""
    if summary is None:
        return []
    figures = summary["figures"]
    exact = f"; exact probabilities stay below {summary['calibration_error_if_exact']:.3f}"
    return [
        f"  {name}: {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        + (exact if name == "expected calibration error" else "")
        for name, row in figures.items()
    ]


def _label(result: Mapping[str, Any], name: str) -> str:
    """What people call a parameter, with its name."""
    label: str = result["labels"][name]
    return label if label == name or label.endswith(f"({name})") else f"{label} ({name})"


def _quality(row: Mapping[str, Any]) -> str:
    """How well a parameter is calibrated, and how much the data say about it."""
    text, status = row["verdict"], row["status"]
    named = text if status in ("calibrated", "undecided") else f"{status}: {text}"
    return f"{named}; the data remove {max(0.0, row['contraction']):.0%} of the prior variance"


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def problems(result: Mapping[str, Any]) -> str:
    """Return the problems, their parameters in words and units."""
    lines = []
    for name, problem in result["problems"].items():
        lines += [f"{name}: {problem['description']}"]
        if problem["needs"]:
            lines += [f"    needs: {', '.join(problem['needs'])}"]
        for row in problem["parameters"]:
            mark = "*" if row["target"] else " "
            lines.append(f"  {mark} {row['description'] or row['name']}: {_bounds(row)} ({row['name']})")
        lines += [f"    {what}: {', '.join(values)}" for what, values in problem["choices"].items()]
        lines.append("")
    lines.append(
        "* shown in maps; the others are inferred as well. In brackets: the name in files and options."
    )
    lines.append(f"Shipped bundles: {', '.join(result['bundles']) or 'none'}")
    return "\n".join([*lines, "Next: monai-inn fit PROBLEM -o BUNDLE --minutes 10"])


def _bounds(row: Mapping[str, Any]) -> str:
    """Where a parameter lies, with its unit."""
    low, high, unit = row["low"], row["high"], "" if row["unit"] == "1" else f" {row['unit']}"
    if low is None:
        return f"unbounded, in{unit}" if unit else "unbounded"
    return f"above {low:.4g}{unit}" if high is None else f"{low:.4g} to {high:.4g}{unit}"


def bundles(result: Mapping[str, Any]) -> str:
    """Return the bundles and how good they are."""
    lines = []
    for entry in result["bundles"]:
        lines.append(f"{entry['name']}{' (shipped)' if entry['shipped'] else ''}: {entry['path']}")
        if "error" in entry:
            lines.append(f"  cannot be used: {entry['error']}")
            continue
        device = f", device {entry['camera']}" if entry["camera"] else ""
        lines.append(f"  {entry['problem']}{device}: {entry['input']}")
        for target in [*entry["targets"], *entry["derived"]]:
            error = entry["calibration"]["errors"].get(target["name"])
            known = "calibration not measured" if error is None else f"calibration error {error:.2%}"
            unit = "" if target["unit"] == "1" else f", in {target['unit']}"
            kinds = f": {', '.join(target['categories'])}" if target.get("categories") else ""
            text = target["description"] or target["name"]
            lines.append(f"  {text}{kinds}{unit} ({target['name']}); {known}")
        lines += [*class_lines(entry.get("classes")), f"  {entry['intended_use']}"]
        lines += [f"  WARNING: {text}" for text in entry["warnings"]]
    return "\n".join(lines)


def maps(result: Mapping[str, Any]) -> str:
    """Return a summary of the maps of ``infer`` and ``ood``."""
    from monai_inn.problems.parameters import labels

    summary, out = result["summary"], result["out"]
    untrusted = summary["share_untrusted"]
    share = "" if untrusted is None else f", {untrusted:.1%} of them not explained"
    lines = [
        f"{summary['valid_pixels']} of {summary['pixels']} pixels valid{share}"
        if summary["valid_pixels"]
        else f"none of {summary['pixels']} pixels is valid: values are missing, negative, dark or saturated",
        *(f"  {share:.1%} {reason}" for reason, share in summary.get("reasons", {}).items()),
    ]
    words = labels((row["name"], row["description"]) for row in result["parameters"])
    rows = summary.get("trusted_pixels", {})
    found = {words[n]: row for n, row in rows.items() if row["median_of_medians"] is not None}
    lines += ["Medians over the other pixels:"] if found else []
    for word, row in found.items():
        unit = "" if row["unit"] == "1" else f" {row['unit']}"
        value, width = row["median_of_medians"], row["median_interval_width"]
        lines.append(f"  {word}: {value:g}{unit}, interval width {width:g}{unit}")
    for name, row in rows.items():
        if "mean_probability" in row and found:
            shares = ", ".join(f"{label} {share:.1%}" for label, share in row["mean_probability"].items())
            lines.append(f"  {words[name]}: {shares}, on average")
    if summary.get("share_inadequate") is not None:
        lines.append(f"  the model does not fit {summary['share_inadequate']:.1%} of the others (p ≤ 0.05)")
    if (share := summary.get("share_reweighted")) is not None:
        lines.append(f"  by the likelihood: {share:.1%} of the others; elsewhere too few draws count")
    if (fits := summary.get("usual_fit")) and fits["pixels"]:
        share = f"{fits['share_at_bound']:.1%} of {fits['pixels']:,} pixels"
        lines.append(f"  {fits['name']} ends with a parameter at a bound in {share}")
    if (weighed := summary.get("models")) and weighed["pixels"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in weighed["mean_probability"].items())
        lines.append(f"  models, on average over {weighed['pixels']:,} pixels: {shares}")
    lines += [f"maps: {out}/*.nii.gz ({len(result['files'])} files)"]
    lines += [f"picture: {out}/{name}" for name in result["pictures"]]
    return "\n".join(
        [*lines, f"Next, in the browser: monai-inn view {shlex.quote(out)}", result["intended_use"]]
    )


def changed(result: Mapping[str, Any]) -> str:
    """Return what ``compare`` found."""
    from monai_inn.problems.parameters import labels

    summary, out, change = result["summary"], result["out"], result["change"]
    untrusted = summary["share_untrusted"]
    lines = [
        f"{summary['valid_pixels']} of {summary['pixels']} pixels usable in both, "
        f"{'none' if untrusted is None else f'{untrusted:.1%}'} of them withheld in one of the two",
        f"{change['second']} minus {change['first']}, medians over the other pixels:",
    ]
    words = labels((row["name"], row["description"]) for row in result["parameters"])
    for name, row in summary["trusted_pixels"].items():
        if row["median_of_medians"] is not None:
            unit = "" if row["unit"] == "1" else f" {row['unit']}"
            value, width = row["median_of_medians"], row["median_interval_width"]
            lines.append(f"  {words[name]}: {value:+.3g}{unit}, interval width {width:.3g}{unit}; lower in "
                         f"{row['share_lower']:.1%}, higher in {row['share_higher']:.1%}")  # fmt: skip
    return "\n".join(
        [
            *lines,
            f"Lower and higher: the {result['settings']['interval']:.0%} interval is without 0. The errors "
            "of the two are taken as independent.",
            f"maps: {out}/*.nii.gz ({len(result['files'])} files)",
            f"Next, in the browser: monai-inn view {shlex.quote(out)}",
            result["intended_use"],
        ]
    )


def cohort(result: Mapping[str, Any]) -> str:
    """Return how many files were done, and why others were not."""
    counts, out = result["cohort"], result["out"]
    kept = f", {counts['kept']} of them before" if counts["kept"] else ""
    errors = list(counts["errors"].items())
    lines = [
        f"{counts['done']} of {counts['cases']} files done{kept}; {counts['failed']} failed",
        *(f"  {name}: {error}" for name, error in errors[:_MOST_LINES]),
        *([f"  {len(errors) - _MOST_LINES} more in the table"] if len(errors) > _MOST_LINES else []),
        *(["Run the same command again to try these once more."] if errors else []),
        f"table: {out}/cohort.csv",
    ]
    return "\n".join(lines)


def report(result: Mapping[str, Any]) -> str:
    """Return the verdicts of ``validate``."""
    from monai_inn.inferers.classes import class_summary
    from monai_inn.validation.cases import basis

    targets = [entry for entry in result["parameters"] if entry["name"] in result["targets"]]
    lines = [
        f"{result['title']}: {result['status']}{basis(result['source'])}",
        *([result["source"]["note"]] if "note" in result["source"] else []),
        *(f"  {entry['verdict']}" for entry in targets),
        *class_lines(class_summary(result["classes"]) if result["classes"] else None),
    ]
    if "recalibration" in result:
        about = result["recalibration"]
        lines.append(f"recalibration: {about['status']}; bundle: {about['bundle']}")
    return "\n".join([*lines, f"report, to open in a browser: {result['out']}/report.html"])


def compared(result: Mapping[str, Any]) -> str:
    """Return what a comparison of devices found."""
    lines = [f"{len(result['devices'])} devices on the same {result['cases']:,} phantoms", *result["summary"]]
    lines += [f"{name} could not be trained: {error}" for name, error in result["failures"].items()]
    lines += [f"{device['name']}: {text}" for device in result["devices"] for text in device["warnings"]]
    return "\n".join([*lines, f"Page, table, figures and a bundle for each: {result['out']}/index.html"])


def designed(result: Mapping[str, Any]) -> str:
    """Return which bands were chosen, and how much better they are."""
    words = {"linear": "the linearised choice", "even": "even spacing", "random": "random choices"}
    lines = []
    for choice in result["choices"]:
        best = choice["sets"][0]
        chosen = ", ".join(result["channels"][number] for number in best["channels"])
        lines.append(f"{choice['bands']} of {len(result['channels'])}: {chosen}")
        lines.append(f"{best['bits']['value']:.2f} bits")
        for name, gain in choice["gains"].items():
            lines.append(
                f"{gain['value']:+.2f} bits ({gain['low']:.2f} to {gain['high']:.2f}) against {words[name]}"
            )
    return "\n".join([*lines, *result["warnings"], f"Page, table and figures: {result['out']}/index.html"])


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


def fetched(result: Mapping[str, Any]) -> str:
    """Return what ``fetch`` wrote."""
    out, count = result["out"], len(result["files"])
    return f"{count} {result['modality']} images of the series {result['series_instance_uid']}: {out}"


def stored(result: Mapping[str, Any]) -> str:
    """Return what ``store`` has sent."""
    lines = [
        f"{result['archive']} holds all {result['objects']} objects: {result['sent']} were sent now, "
        f"{result['before']} were there before"
        + (", and has committed to keep them" if result["committed"] else ""),
        f"journal: {result['journal']}",
    ]
    return "\n".join(lines)


def exported_network(result: Mapping[str, Any]) -> str:
    """Return what ``export-network`` wrote, and how far the graphs are from the network."""
    lines = [f"{result['bundle']['name']} ({result['bundle']['problem']}): {result['out']}"]
    for name, graph in result["graphs"].items():
        takes, gives = (", ".join(t["name"] for t in graph[way]) for way in ("inputs", "outputs"))
        largest: dict[str, float] = {}
        for found in graph["largest_difference"].values():
            largest |= {output: max(off, largest.get(output, 0.0)) for output, off in found.items()}
        off = ", ".join(f"{output} {value:.0e}" for output, value in largest.items())
        lines.append(f"  {name}: {takes} → {gives}; off by at most {off} ({', '.join(graph['files'])})")
    return "\n".join([*lines, result["intended_use"]])
