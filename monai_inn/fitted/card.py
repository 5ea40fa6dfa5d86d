"""The model card of a bundle, written from what was measured, not by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior
    from monai_inn.problems import InverseProblem
    from monai_inn.problems.application import Application

__all__ = ["model_card"]

_NOT_MEASURED = "Not measured: this network was not trained by `fit`."


def model_card(fitted: FittedPosterior, metadata: dict[str, Any]) -> str:
    """Return the bundle's ``docs/README.md`` in Markdown.

    Args:
        fitted: the trained posterior with its card.
        metadata: the bundle's ``metadata.json``.
    """
    sections = (
        f"# {metadata['name']}\n\n{metadata['description']}\n\n**{metadata['intended_use']}**",
        *(f"**Warning. {text}**" for text in fitted.warnings),
        _use(fitted.problem.application),
        _data(fitted, metadata),
        _prior(fitted),
        *_derived(fitted.problem),
        *_classes(fitted),
        _calibration(fitted),
        *_exact(fitted),
        *_information(fitted),
        *_invariance(fitted.card.get("invariance")),
        *_recalibration(fitted.card),
        _trust(fitted),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in fitted.problem.application.limits),
        "## References\n\n" + "\n".join(f"- {entry}" for entry in metadata["references"]),
    )
    return "\n\n".join(sections) + "\n"


def _use(application: Application) -> str:
    extras = ",".join(application.extras)
    exported = (
        "The last two export the maps as TorchScript (needs `models/model.pt`) and as a program of "
        "`torch.export`, `models/model.pt2`. "
        if any("configs/export.json" in line for line in application.usage)
        else ""
    )
    lines = "\n".join(application.usage)
    return (
        f"## Use\n\n```\n{lines}\n```\n\n"
        f'MONAI\'s lines need `pip install "monai_inn[{extras}]"`. {exported}'
        "`monai-inn` reads the tensors and JSON of this folder and evaluates no expression. MONAI evaluates "
        "the expressions in `configs/`: run them only from a source that you trust."
    )


def _data(fitted: FittedPosterior, metadata: dict[str, Any]) -> str:
    training = fitted.card.get("training")
    line = fitted.problem.application.device_line
    seen = f"{line}\n" if line else ""
    trained = "Not trained.\n"
    if training is not None:
        trained = (
            f"Training {fitted.problem.application.cases}: {_number(training.get('simulations'))}, seed "
            f"{_number(training.get('seed'))}, "
            f"{_number(training.get('minutes'))} minutes."
        )
    return f"## Data\n\n{metadata['data_source']}\n{seen}{trained}"


def _prior(fitted: FittedPosterior) -> str:
    from monai_inn.problems.parameters import one_of_each_field

    mapped = dict.fromkeys(fitted.problem.targets, "yes")
    rows = (
        (
            p.whole,
            *(p.description, p.unit, f"{p.low:g}", f"{p.high:g}", p.scale),
            mapped.get(p.name, "no"),
        )
        for p in one_of_each_field(fitted.problem.parameters)
    )
    head = ("parameter", "meaning", "unit", "low", "high", "scale", "mapped")
    text = "## Prior\n\nAnswers outside these bounds cannot come out, whatever the image."
    return f"{text}\n\n{_table(head, rows)}"


def _derived(problem: InverseProblem) -> list[str]:
    """The section on quantities that are functions of the mapped parameters, if there are some."""
    if not problem.derived:
        return []
    rows = ((p.name, p.description, p.unit, f"{p.low:g}", f"{p.high:g}", p.scale) for p in problem.derived)
    return [
        "## Derived quantities\n\n"
        "Functions of the mapped parameters, mapped beside them. Their quantiles are those of joint samples, "
        "also after a recalibration. Calibration errors on this card are those of the parameters.\n\n"
        f"{_table(('quantity', 'meaning', 'unit', 'shown from', 'to', 'scale'), rows)}"
    ]


def _classes(fitted: FittedPosterior) -> list[str]:
    """The section on classes, where one was inferred; bundles of former releases have none."""
    measured = fitted.card.get("classes")
    if measured is None:
        return []
    rows = (
        (name, *(_number(row[figure]) for figure in ("value", "low", "high")))
        for name, row in measured["figures"].items()
    )
    return [
        "## Measured on classes\n\n"
        f"On {_number(measured['cases'])} {fitted.problem.application.unseen}. Expected calibration error: "
        "mean of |accuracy − probability of the class named|, in 15 bins of it; exact probabilities "
        f"stay below {_number(measured['calibration_error_if_exact'])} in 95 % of such measurements.\n\n"
        f"{_table(('figure', 'value', '95 % bounds from', 'to'), rows)}"
    ]


def _calibration(fitted: FittedPosterior) -> str:
    card = fitted.card
    if "measured_on" not in card:
        return f"## Measured calibration\n\n{_NOT_MEASURED}"
    measured = card["measured_on"]
    figures = ("calibration_error", "sbc_p", "contraction")
    parameters = card.get("parameters", {})
    # Cards of former releases do not judge.
    judged = ["status"] if any("status" in row for row in parameters.values()) else []
    rows = (
        (name, *(_number(row.get(figure)) for figure in figures), *(row.get(word, "–") for word in judged))
        for name, row in parameters.items()
    )
    said = ["as by `monai-inn validate`"] * len(judged)
    head = ("parameter", "calibration error", "SBC p-value", "contraction", *said)
    return (
        "## Measured calibration\n\n"
        f"On {_number(measured.get('simulations'))} {fitted.problem.application.unseen} (seed "
        f"{_number(measured.get('seed'))}). "
        f"Held-out negative log-likelihood: {_number(card.get('nll'))} nat, all parameters, physical units. "
        "Calibration error: median over the levels of |coverage − level|; an exact posterior stays below "
        f"{_number(card.get('calibration_noise_floor_95'))} in 95 % of such measurements. "
        "Contraction: 1 − posterior "
        "over prior variance; near 0 the image says nothing about the parameter. If a mapped parameter is "
        "miscalibrated, every use of this bundle says so.\n\n"
        f"{_table(head, rows)}"
    )


def _exact(fitted: FittedPosterior) -> list[str]:
    """The section on the distance from the exact posterior, if the likelihood told."""
    kl = fitted.card.get("kl_from_exact")
    if kl is None:
        return []
    off = (
        f"the network's posterior is off by {_number(kl['median'])} nats in the median and by "
        f"{_number(kl['largest'])} at most (KL divergence of the exact one from it)"
        if kl["known"]
        else "the network's draws did not lead to the exact posterior"
    )
    return [
        "## Distance from the exact posterior\n\n"
        f"Of {_number(kl['cases'])} {fitted.problem.application.cases} the likelihood told the exact "
        f"posterior of {_number(kl['known'])}: {off}. `--reweight` weighs the draws so that nothing of that "
        "is left but the noise of their number."
    ]


def _information(fitted: FittedPosterior) -> list[str]:
    """The section on bits, if they were measured; bundles of former releases have none."""
    gain = fitted.card.get("information")
    if gain is None:
        return []
    joint = {"mapped parameters together": gain["targets"]}
    if gain["every"] != gain["targets"]:  # there are nuisances
        joint["all parameters together"] = gain["every"]
    rows = (
        (name, *(_number(row[figure]) for figure in ("bits", "low", "high")))
        for name, row in {**gain["parameters"], **joint}.items()
        if row is not None
    )
    return [
        "## Measured information\n\n"
        f"What an observation tells beyond the prior, in bits, on {_number(gain['cases'])} "
        f"{fitted.problem.application.cases}. "
        "One bit halves the range of possible values; 0 means that nothing is learned. The figures are lower "
        "bounds of what the measurement holds.\n\n"
        f"{_table(('parameter', 'bits', '95 % bounds from', 'to'), rows)}"
    ]


def _invariance(measured: dict[str, Any] | None) -> list[str]:
    """The section on sites, if the network was trained to mean the same at all of them."""
    if measured is None:
        return []
    figures = list(next(iter(measured["sites"].values())))
    sites = ((name, *(_number(row[f]) for f in figures)) for name, row in measured["sites"].items())
    gates = ((name, _number(gate)) for name, gate in measured["gates"].items())
    return [
        f"## Invariance over {measured['over']}\n\n"
        f"Trained with a weight of {_number(measured['weight'])}. A gate near 0 means that a feature is not "
        f"used. Small p-values speak against invariance ({_number(measured['p_value'])}), and against all "
        f"being alike ({_number(measured['sites_p_value'])}). `nll` is the negative log "
        "density of the mapped parameters, nat.\n\n"
        f"{_table((measured['over'], *figures), sites)}\n\n{_table(('feature', 'gate'), gates)}"
    ]


def _recalibration(card: dict[str, Any]) -> list[str]:
    """The section on recalibration, if one was asked for."""
    about = card.get("recalibration")
    if about is None:
        return []
    if about["status"] == "none needed":
        return [f"## Recalibration\n\nNone needed. {about['statement']}"]
    of_group = ("spread", "latent_p_before", "latent_p_after")
    groups = (
        (", ".join(entry["parameters"]), *(_number(entry[figure]) for figure in of_group))
        for entry in about["groups"]
    )
    errors = (
        (
            name,
            _number(before),
            _number(about["calibration_error_after"][name]),
            _number(about["targets"][name]["coverage_after"]) if name in about["targets"] else "not mapped",
        )
        for name, before in about["calibration_error_before"].items()
    )
    left = [", ".join(entry["parameters"]) for entry in about["groups"] if not entry["is_repaired"]]
    rest = f"Measurable deviations remain after the repair in {'; '.join(left)}.\n\n" if left else ""
    group_head = ("parameters", "samples spread by", "p-value of latents before", "after")
    head = ("parameter", "calibration error before", "after", f"coverage at {about['interval']:g} after")
    return [
        "## Recalibration\n\n"
        f"Repaired with sets of {_number(about['simulations'])} held-out simulations each (seeds "
        f"{', '.join(map(str, about['seeds'].values()))}; the last set only measures). Held-out negative "
        f"log-likelihood: {_number(about['nll_before'])} nat before, {_number(about['nll_after'])} after. "
        "All other figures of this card are those after the repair. The quick preview follows it only "
        f"approximately.\n\n{rest}{_table(group_head, groups)}\n\n{_table(head, errors)}\n\n"
        f"Joint region of the mapped parameters, coverage at {about['interval']:g}: "
        f"{_number(about['region_coverage_after'])}.\n\n"
        f"**Guaranteed.** {about['guarantee']}\n\n**Not guaranteed.** {about['not_guaranteed']}"
    ]


def _trust(fitted: FittedPosterior) -> str:
    ood, application = fitted.card.get("ood"), fitted.problem.application
    if ood is None:
        return f"## Measured trust\n\n{_NOT_MEASURED}"
    return (
        "## Measured trust\n\n"
        f"False alarms on {application.unseen} at a nominal {_number(ood.get('false_alarm_nominal'))}: "
        f"{_number(ood.get('false_alarm_measured'))}.{_spoilt(fitted, ood)}"
    )


def _spoilt(fitted: FittedPosterior, ood: dict[str, Any]) -> str:
    """How well each kind of spoilt observations is noticed; nothing if there was none."""
    kinds = [key.removeprefix("auroc_") for key in ood if key.startswith("auroc_")]
    if not kinds:
        return ""
    rows = (
        (kind.replace("_", " "), _number(ood.get(f"flagged_{kind}")), _number(ood[f"auroc_{kind}"]))
        for kind in kinds
    )
    score = "the p-value" if "classes" in fitted.card else "WAIC"
    table = _table(("what", "share not explained or not usable", f"AUROC of {score}"), rows)
    cases = fitted.problem.application.cases.capitalize()
    return f" {cases} that were spoilt on purpose:\n\n{table}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows))


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
