"""Which metrics suit an application, why, and what each cannot see: ``recommend.json`` and its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from monai_inn.files import read_json

__all__ = ["Application", "Recommendation", "recommend"]

Reference = Literal[
    "exact posterior", "exhaustive modes", "several known", "one known", "simulator only", "none"
]
Shape = Literal["one mode", "several modes", "ridge"]
Use = Literal["one number", "mode choice", "map", "image"]

# What there is to compare with, for each kind of reference.
_FACTS: dict[str, frozenset[str]] = {
    "exact posterior": frozenset({"exact posterior", "all solutions", "solutions", "truths", "simulator"}),
    "exhaustive modes": frozenset({"all solutions", "solutions"}),
    "several known": frozenset({"solutions"}),
    "one known": frozenset({"solutions", "truths"}),
    "simulator only": frozenset({"truths", "simulator"}),
    "none": frozenset(),
}
NEEDS = {
    "exact posterior": "samples or densities of the exact posterior",
    "all solutions": "all solutions of each case",
    "solutions": "one or more known solutions of each case",
    "truths": "the parameters behind each observation, measured or simulated from the prior",
    "simulator": "the forward model and its noise",
}


class Application(NamedTuple):
    """What a task offers and asks for.

    Attributes:
        reference: what posteriors can be compared with: ``"exact posterior"``, ``"exhaustive modes"``,
            ``"several known"`` or ``"one known"`` (solutions per case; others may exist),
            ``"simulator only"`` or ``"none"``.
        shape: what posteriors are expected to look like: ``"one mode"``, ``"several modes"`` or ``"ridge"``.
        use: what people act on: ``"one number"``, ``"mode choice"``, ``"map"`` or ``"image"``.
        has_angles: whether a parameter is an angle or a pose.
        may_be_out_of_distribution: whether inputs unlike the training data may come.
        is_few_cases: whether there are fewer than 100 cases.
        compares_devices: whether two devices or networks are compared.
    """

    reference: Reference
    shape: Shape
    use: Use
    has_angles: bool = False
    may_be_out_of_distribution: bool = False
    is_few_cases: bool = False
    compares_devices: bool = False


class Recommendation(NamedTuple):
    """One metric for the application.

    Attributes:
        metric: name of the function in ``monai_inn.metrics``.
        reason: why it suits.
        needs: what it is computed from besides posterior samples; all of it is there.
        pitfall: what it does not see, or how it misleads.
    """

    metric: str
    reason: str
    needs: tuple[str, ...]
    pitfall: str


class _Row(NamedTuple):
    """A recommendation for every application whose answers are all among those of ``when``."""

    metric: str
    when: dict[str, list[Any]]
    needs: list[str]
    reason: str
    pitfall: str


_TABLE = tuple(_Row(**row) for row in read_json(Path(__file__).with_suffix(".json")))


def recommend(application: Application) -> list[Recommendation]:
    """Return the metrics for an application, those closest to its decision first.

    Returns:
        At least one metric, and none that needs what the reference does not offer.

    Raises:
        ValueError: if an answer is not one of those that ``Application`` names.
        TypeError: if a flag is not a bool.

    Source: the decisions of Adler et al., Application-driven validation of posteriors in inverse problems,
    2023, in our own reading.
    """
    for name, choices in (("reference", Reference), ("shape", Shape), ("use", Use)):
        answer = getattr(application, name)
        if answer not in get_args(choices):
            raise ValueError(f"{name} = {answer!r}; choose one of {', '.join(map(repr, get_args(choices)))}.")
    for name in application._fields[3:]:
        if not isinstance(getattr(application, name), bool):
            raise TypeError(f"{name} = {getattr(application, name)!r}, expected True or False.")
    facts = _FACTS[application.reference]
    return [
        Recommendation(row.metric, row.reason, tuple(NEEDS[need] for need in row.needs), row.pitfall)
        for row in _TABLE
        if facts.issuperset(row.needs)
        and all(getattr(application, name) in answers for name, answers in row.when.items())
    ]
