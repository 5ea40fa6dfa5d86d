"""Which metrics suit an application, why, and what each cannot see: a decision table and its reader."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

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
    when: dict[str, tuple[Any, ...]]
    needs: tuple[str, ...]
    reason: str
    pitfall: str


_TABLE = (
    _Row(
        "mode_scores",
        {"shape": ("several modes",)},
        ("all solutions",),
        "All solutions are known, so modes are scored as detected objects: precision, recall, F1, average "
        "precision, mass error.",
        "Blind to the width of modes; average precision does not punish a false mode that is the lightest.",
    ),
    _Row(
        "mode_scores",
        {"shape": ("several modes",), "reference": ("several known", "one known")},
        ("solutions",),
        "Recall within the tolerance, rank and error of the matching mode, modes per case; with several "
        "known solutions also how often all are found.",
        "A mode without a reference need not be wrong: set exhaustive=False. Never average references.",
    ),
    _Row(
        "find_modes_batch",
        {"shape": ("several modes",), "use": ("mode choice",)},
        (),
        "People choose among modes: how many they are shown is part of the result.",
        "Fewer than 1,000 samples lose modes of 2 %; the count says nothing about which one is right.",
    ),
    _Row(
        "c2st",
        {},
        ("exact posterior",),
        "A classifier between posterior and exact samples sees any difference, 0.5 is ideal.",
        "Its value depends on the number of samples and says nothing of what is different.",
    ),
    _Row(
        "mmd",
        {"use": ("image",)},
        ("exact posterior",),
        "A two-sample test that needs no training, for posteriors of many dimensions.",
        "Depends on the kernel width; weak against errors much finer or coarser than it.",
    ),
    _Row(
        "grid_divergence",
        {"use": ("one number", "mode choice", "map")},
        ("exact posterior",),
        "With one to three parameters the divergence from the exact density on a grid is in nats.",
        "A grid coarser than the modes invents modes and negative information; halve the step and repeat.",
    ),
    _Row(
        "sbc_ranks",
        {},
        ("truths",),
        "Ranks of the truth are uniform for a correct posterior of any shape.",
        "The prior passes, too; show the width beside it. In images rank region means, not pixels.",
    ),
    _Row(
        "calibration_error",
        {"use": ("one number", "map"), "is_few_cases": (False,)},
        ("truths",),
        "One number per parameter for whether intervals hold what they promise.",
        "Never zero: compare with 0.60 / √cases; the prior passes, too.",
    ),
    _Row(
        "coverage",
        {"use": ("one number", "map")},
        ("truths",),
        "Coverage at the very levels that are displayed, with bounds.",
        "Pooled over an image it hides regions that are never covered; neighbouring pixels are dependent.",
    ),
    _Row(
        "coverage_interval",
        {"is_few_cases": (True,)},
        ("truths",),
        "With few cases a rate means nothing without its exact interval.",
        "Cases of one patient are not independent; count patients.",
    ),
    _Row(
        "tarp",
        {"shape": ("several modes", "ridge")},
        ("truths",),
        "Tests the joint posterior: wrong correlations and lost modes that marginal ranks miss.",
        "Passes the prior if its reference points do not depend on the observation.",
    ),
    _Row(
        "crps",
        {"shape": ("one mode",), "use": ("one number", "map")},
        ("truths",),
        "A proper score in the parameter's unit that rewards both accuracy and narrowness.",
        "Hardly sees a width wrong by a factor of 2.",
    ),
    _Row(
        "energy_score",
        {"shape": ("ridge", "several modes")},
        ("truths",),
        "The proper score of the joint posterior.",
        "Weak on correlations; scale the parameters first.",
    ),
    _Row(
        "log_score",
        {"compares_devices": (True,)},
        ("truths",),
        "Differences of mean log density are information in nats, of whatever shape the posterior is.",
        "One truth that is excluded makes it infinite; equal noise per band, or devices are not comparable.",
    ),
    _Row(
        "resimulation_error",
        {},
        ("simulator",),
        "Whether samples explain the observation, in units of its noise; 1 is exact.",
        "Blind to missing modes and wrong masses. Its mean follows a few wild samples; give the median, too.",
    ),
    _Row(
        "hds_length",
        {"shape": ("several modes", "ridge")},
        (),
        "Length of the densest set: how much is left open, whatever the shape.",
        "A narrow posterior may be wrong; an interquartile range across modes would mean nothing.",
    ),
    _Row(
        "interval_width",
        {"shape": ("one mode",)},
        (),
        "Width of the interval that is displayed.",
        "A narrow posterior may be wrong; always beside a measure of calibration.",
    ),
    _Row(
        "contraction",
        {"shape": ("ridge",)},
        ("simulator",),
        "How much each parameter, along and across the ridge, is known better than before.",
        "Along a ridge no contraction is the right answer.",
    ),
    _Row(
        "posterior_sd",
        {"has_angles": (True,)},
        (),
        "Spread of angles on the circle; give every metric the period or a ModeSpace as well.",
        "Euclidean distances of raw angles call 359° and 1° far apart.",
    ),
    _Row(
        "waic",
        {"may_be_out_of_distribution": (True,)},
        (),
        "Needed beside every posterior: outside the training data all other metrics are void. Report them on "
        "accepted cases, with the share accepted.",
        "Smooth or averaged inputs look most ordinary; look at typicality as well.",
    ),
    _Row(
        "auroc",
        {"may_be_out_of_distribution": (True,)},
        (),
        "How well the score separates inputs inside and outside, without a threshold.",
        "Needs examples of what may come; on others it promises nothing.",
    ),
)


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
