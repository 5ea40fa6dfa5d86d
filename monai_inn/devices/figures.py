"""What is said of devices in numbers and words, from the cases that all of them saw; JSON-ready."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.trust.verdicts import PriorMass
from monai_inn.metrics import bootstrap_bounds, coverage_interval
from monai_inn.metrics.bootstrap import mean_of_cases, median_of_cases
from monai_inn.metrics.verdicts import rounded
from monai_inn.problems import labels
from monai_inn.validation.cases import Cases
from monai_inn.validation.measures import CaseFigures

__all__ = ["WELL", "Measured", "bounded", "cautions", "differences", "entry_of", "figures_of", "summary"]

# Share of the prior inside the 95 % interval, over .95, up to which a parameter is well recovered, and from
# which on it is hardly recovered; share of cases with several modes from which on it is ambiguous.
WELL, HARDLY, AMBIGUOUS = 0.25, 0.75, 0.05
_REGIONS = 5
_LEVEL = 0.95  # of the interval
_FEWEST_IN_REGION = 20


@dataclass(frozen=True, eq=False)
class Measured:
    """One device after the phantoms.

    Attributes:
        cases: samples, truth and information.
        report: what ``validate`` says of them.
        figures: the figures of every case.
        fitted: the trained posterior.
    """

    cases: Cases
    report: dict[str, Any]
    figures: CaseFigures
    fitted: FittedPosterior

    @functools.cached_property
    def columns(self) -> dict[str, Tensor]:
        """Figures that devices are compared in, one row a case and one column a target, by name."""
        assert self.cases.information is not None
        count = len(self.cases.targets)
        error = self.figures.median - self.cases.truth
        period = self.cases.space.period.to(error)
        # An angle is at most half a turn off.
        error = torch.where(period.isfinite(), error - period * (error / period).round(), error)
        return {
            "bits": self.cases.information.bits,
            "interval_width_95": self.figures.width[:, :count].double(),
            "width_over_prior": self._prior_share[:, :count] / _LEVEL,
            "absolute_error": error[:, :count].abs().double(),
            "share_multimodal": (self.figures.modes[:, :count] > 1).double(),
        }

    @property
    def _prior_share(self) -> Tensor:
        """Share of the prior inside the central interval, ``(N, targets)``: a width on any scale."""
        count = len(self.cases.targets)
        turn = self.cases.space.period[:count]
        levels = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=torch.float64)
        ends = self.cases.samples[..., :count].double().quantile(levels, dim=0)
        share = PriorMass(self.fitted.problem)(*ends)
        return torch.where(turn.isfinite(), self.figures.width[:, :count].double() / turn, share)


_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "bits": mean_of_cases,
    "interval_width_95": median_of_cases,
    "width_over_prior": median_of_cases,
    "absolute_error": median_of_cases,
    "share_multimodal": mean_of_cases,
}


def figures_of(
    name: str, folder: str, measured: Measured, parameters: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Any]:
    """Return the figures of one device."""
    card, problem = measured.fitted.card, measured.fitted.problem
    assert measured.cases.information is not None
    gain = measured.cases.information.summary(seed)
    training = card.get("training", {})
    return {
        "name": name,
        "bundle": folder,
        "text": problem.application.device_text,
        "channels": len(problem.observation),
        "training": {
            "minutes": training.get("minutes"),
            "simulations": training.get("simulations"),
            "steps": training.get("recipe", {}).get("posterior_steps"),
        },
        "warnings": cautions(measured.fitted),
        "together": gain["targets"],
        "resimulation": measured.report["joint"]["resimulation"],
        "parameters": [_parameter(d, measured, about, seed) for d, about in enumerate(parameters)],
    }


def _parameter(d: int, measured: Measured, about: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The figures of one target."""
    report = next(row for row in measured.report["parameters"] if row["name"] == about["name"])
    columns = {key: values[:, d] for key, values in measured.columns.items()}
    entry: dict[str, Any] = {"name": about["name"]}
    entry |= {key: bounded(values, _STATISTICS[key], seed) for key, values in columns.items()}
    several = int(columns["share_multimodal"].sum())
    low, high = coverage_interval(several, len(measured.cases))  # exact, also for none of the cases
    entry["share_multimodal"] |= {"low": rounded(low), "high": rounded(high)}
    entry |= {key: report[key] for key in ("calibration_error", "calibration_error_noise_floor", "status")}
    entry["regions"] = list(_regions(d, measured, columns, seed))
    entry["verdict"] = _verdict(entry)
    return entry


def _regions(d: int, measured: Measured, columns: Mapping[str, Tensor], seed: int) -> Any:
    """The figures by the true value, in equally filled bins."""
    assert measured.cases.information is not None
    bins = min(_REGIONS, len(measured.cases) // _FEWEST_IN_REGION)
    value = measured.cases.truth[:, d]
    for region in measured.cases.information.by(measured.cases.targets[d], bins):
        inside = (value >= region.low) & (value <= region.high)
        yield {
            "low": rounded(region.low),
            "high": rounded(region.high),
            "cases": int(inside.sum()),
            **{key: bounded(values[inside], _STATISTICS[key], seed) for key, values in columns.items()},
        }


def _verdict(entry: Mapping[str, Any]) -> str:
    """How well a parameter is recovered, in words."""
    share, several = entry["width_over_prior"]["value"], entry["share_multimodal"]
    how = "well recovered" if share <= WELL else "hardly recovered" if share >= HARDLY else "partly recovered"
    if several["low"] <= AMBIGUOUS:
        return how
    worst = max(entry["regions"], key=lambda row: row["share_multimodal"]["value"])
    return (
        f"{how}, with more than one likely value in {several['value']:.0%} of the cases, "
        f"most often ({worst['share_multimodal']['value']:.0%}) from {worst['low']:.3g} to "
        f"{worst['high']:.3g}"
    )


def differences(measured: Mapping[str, Measured], seed: int) -> list[dict[str, Any]]:
    """Return differences of every two devices on the same phantoms, first minus second, paired."""
    columns = {name: m.columns for name, m in measured.items()}
    targets = next(iter(measured.values())).cases.targets
    return [
        {"first": a, "second": b, "parameter": parameter}
        | {
            key: bounded(
                torch.stack([columns[a][key][:, d], columns[b][key][:, d]], -1), _minus(statistic), seed
            )
            for key, statistic in _STATISTICS.items()
        }
        for a, b in itertools.combinations(measured, 2)
        for d, parameter in enumerate(targets)
    ]


def _minus(statistic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def difference(pairs: Tensor) -> Tensor:
        first, second = statistic(pairs).unbind(-1)
        return first - second

    return difference


def summary(record: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every target: who tells most, and by how much more than the next."""
    words = labels((p["name"], p["description"]) for p in record["parameters"])
    sentences = []
    for p in record["parameters"]:
        ranked = sorted(
            ((entry_of(device, p["name"]), device["name"]) for device in record["devices"]),
            key=lambda pair: -(pair[0]["bits"]["value"] or -math.inf),
        )
        (best, name), (_, second) = ranked[:2]
        gap = _difference(record, p["name"], name, second)
        lead = (
            f"{gap['value']:.2f} bits more than {second} ({gap['low']:.2f} to {gap['high']:.2f})"
            if gap["low"] > 0
            else f"not measurably more than {second}"
        )
        sentences.append(
            f"{words[p['name']]}: {name} tells most, {_bits(best['bits'])}, {lead}; with it the parameter is "
            f"{best['verdict']}. Least tells {ranked[-1][1]}, {_bits(ranked[-1][0]['bits'])}: "
            f"{ranked[-1][0]['verdict']}."
        )
    return sentences


def entry_of(device: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """Return the figures of one target in the record of a device."""
    return next(row for row in device["parameters"] if row["name"] == parameter)


def _difference(record: Mapping[str, Any], parameter: str, first: str, second: str) -> dict[str, float]:
    """Bits of one device minus those of another."""
    for row in record["differences"]:
        if row["parameter"] == parameter and {row["first"], row["second"]} == {first, second}:
            value, low, high = (row["bits"][key] or 0.0 for key in ("value", "low", "high"))
            if row["first"] == first:
                return {"value": value, "low": low, "high": high}
            return {"value": -value, "low": -high, "high": -low}
    raise KeyError(parameter)


def _bits(block: Mapping[str, Any]) -> str:
    if block["value"] is None:
        return "no finite number of bits"
    value, low, high = (round(block[key], 2) + 0.0 for key in ("value", "low", "high"))  # no −0.00
    return f"{value:.2f} bits ({low:.2f} to {high:.2f})"


def cautions(fitted: FittedPosterior) -> list[str]:
    """Return the warnings of a posterior, and by how much its training exceeded the budget, if it did."""
    late = fitted.card.get("training", {}).get("overrun")
    return [*fitted.warnings, *([late] if late else [])]


def bounded(values: Tensor, statistic: Callable[[Tensor], Tensor], seed: int) -> dict[str, float | None]:
    """Return a statistic of cases ``(N, …)`` with its bootstrap bounds, JSON-ready."""
    low, high = bootstrap_bounds(values, statistic, seed=seed)
    return {"value": rounded(statistic(values)), "low": rounded(low), "high": rounded(high)}
