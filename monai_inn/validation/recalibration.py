"""Repairing a posterior that is too narrow, too wide or shifted: on held-out simulations, only if needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.layout import METADATA
from monai_inn.fitted.reading import load
from monai_inn.folders import check_target
from monai_inn.inferers.levels import QuantileLevels
from monai_inn.networks.flows.bases import AdjustedNormal, Adjustment, Base
from monai_inn.problems.valid import valid_simulations
from monai_inn.training.measure import measure
from monai_inn.validation import simulated

__all__ = ["recalibrate", "recalibrate_bundle"]

# Far from the seeds of training and from any that a user would count up to, and from one another.
_TESTS, _LEVELS, _MEASURE = 0x5EEE_0000, 0x5EEF_0000, 0x5EF0_0000
_ALPHA = 0.01  # rate at which a calibrated posterior is touched all the same, over all tests together
_FEWEST = 200
_INTERVAL = 0.95


def recalibrate(
    fitted: FittedPosterior,
    n: int = 4000,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> FittedPosterior:
    """Return the posterior with its calibration repaired, or as it is if no test finds a fault.

    The latents of the truth should be standard normal. On ``n`` simulations those of each parameter group,
    and the levels at which the truth of each target lies, are tested (1 % over all tests). Where latents
    fail, an ``AdjustedNormal`` takes the place of the flow's base, which changes all samples, densities and
    maps. Where targets fail, another ``n`` simulations give conformal ``QuantileLevels`` for median, interval
    and probabilities in maps. A last ``n`` measure the result. It always starts from the trained flow: an
    earlier recalibration is replaced.

    Args:
        fitted: the trained posterior, left as it is.
        n: simulations for each of the three steps.
        seed: seed of them all.
        progress: called with the share that is done.

    Returns:
        The repaired posterior; its card has the new measurements, and under ``"recalibration"`` tests, seeds,
        figures before and after, and what is guaranteed and what is not.

    Raises:
        ValueError: if ``n`` is below 200.
    """
    if n < _FEWEST:
        raise ValueError(
            f"n = {n} simulations are too few to repair a posterior; give at least {_FEWEST}, better 4000."
        )
    plain = _with(fitted)
    plain.card.pop("recalibration", None)
    held_out = valid_simulations(plain.problem, n, seed + _TESTS)
    latents = simulated.truth_latents(plain, *held_out)
    latent_p = [simulated.latent_p_value(latent) for latent in latents]
    level_p = simulated.level_p_values(simulated.truth_levels(plain, *held_out, seed))
    limit = _ALPHA / (len(latent_p) + len(level_p))
    about = _tests(plain, latent_p, level_p) | {"p_limit": limit, "simulations": n}
    about["seeds"] = {"tests": seed + _TESTS}
    progress(0.25)
    if min(*latent_p, *level_p) >= limit:
        plain.card["recalibration"] = {"status": "none needed", "statement": _untouched(n), **about}
        progress(1.0)
        return plain
    fits = {g: simulated.fit_adjustment(latents[g]) for g, p in enumerate(latent_p) if p < limit}
    result = _with(plain, _base(plain.network.flow.config["groups"], fits))
    has_levels = min(latent_p[0], *level_p) < limit
    if has_levels:
        about["seeds"]["levels"] = seed + _LEVELS
        held_out = valid_simulations(plain.problem, n, seed + _LEVELS)
        scores = simulated.truth_levels(result, *held_out, seed + 1).T.contiguous().sort().values
        radii = simulated.truth_latents(result, *held_out)[0].norm(dim=1).sort().values
        result = _with(result, result.network.base, scores, radii)
    progress(0.5)
    about["seeds"]["measurements"] = seed + _MEASURE
    about |= _measured(plain, result, about, progress)
    given, not_given = _promises(n if has_levels else 0)
    result.card["recalibration"] = {
        "status": "repaired", "guarantee": given, "not_guaranteed": not_given, **about
    }  # fmt: skip
    return result


def recalibrate_bundle(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    n: int = 4000,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Recalibrate a bundle and write it as a new one, with the weights unchanged where nothing was needed.

    Args:
        source: folder of a bundle, or the name of a shipped one.
        out: folder to write.
        n: simulations for each step, see ``recalibrate``.
        seed: seed of them all.
        device: where the network runs.
        progress: called with the share that is done.

    Returns:
        The section ``"recalibration"`` of the new model card.

    Raises:
        FileNotFoundError: if there is no such bundle.
        ValueError: if the source is damaged, ``out`` exists and is not a bundle, or ``n`` is too small.
        OSError: if ``out`` cannot be written.
    """
    check_target(out, METADATA, "a bundle")
    result = recalibrate(load(source, device), n, seed=seed, progress=progress)
    result.save(out)
    return result.card["recalibration"]


def _with(
    fitted: FittedPosterior,
    base: Base | None = None,
    scores: Tensor | None = None,
    radii: Tensor | None = None,
) -> FittedPosterior:
    """A copy with that recalibration, with none by default."""
    network = fitted.network.recalibrated(base, scores, radii)
    return type(fitted)(fitted.problem, network, fitted.card)


def _base(groups: list[int], fits: dict[int, Adjustment]) -> AdjustedNormal | None:
    """The base that repairs some of the groups and leaves the others alone; ``None`` for none."""
    if not fits:
        return None
    base = AdjustedNormal(groups, max(len(fit.radius) for fit in fits.values()))
    for group, fit in fits.items():
        base.set(group, fit)
    return base


def _tests(fitted: FittedPosterior, latent_p: list[float], level_p: list[float]) -> dict[str, Any]:
    names = iter(fitted.problem.space.names)
    groups = [[next(names) for _ in range(size)] for size in fitted.network.flow.config["groups"]]
    return {
        "groups": [
            {"parameters": part, "latent_p_before": p} for part, p in zip(groups, latent_p, strict=True)
        ],
        "targets": {
            name: {"level_p_before": p} for name, p in zip(fitted.problem.targets, level_p, strict=True)
        },
    }


def _measured(
    before: FittedPosterior, after: FittedPosterior, about: dict[str, Any], progress: Callable[[float], None]
) -> dict[str, Any]:
    """Figures of both on the same fresh simulations; those of the latter also replace its card's."""
    n, seed = about["simulations"], about["seeds"]["measurements"]
    old = measure(before, n, seed)
    progress(0.7)
    new = measure(after, n, seed)
    progress(0.9)
    after.card |= new
    fresh = valid_simulations(after.problem, n, seed)
    latents, base = simulated.truth_latents(after, *fresh), after.network.base
    p = [simulated.latent_p_value(latent, fitted_on=n) for latent in latents]
    spreads = [1.0 if base is None else float(base.spread(g)) for g in range(len(latents))]
    inside = latents[0].norm(dim=1) <= after.region_radius(_INTERVAL)
    progress(1.0)
    return {
        "groups": [
            entry | {"latent_p_after": value, "spread": spread, "is_repaired": value >= about["p_limit"]}
            for entry, value, spread in zip(about["groups"], p, spreads, strict=True)
        ],
        "targets": {
            name: entry | {"coverage_after": share}
            for (name, entry), share in zip(about["targets"].items(), _coverage(after, *fresh), strict=True)
        },
        "interval": _INTERVAL,
        "region_coverage_after": float(inside.double().mean()),
        "nll_before": old["nll"],
        "nll_after": new["nll"],
        "calibration_error_before": _errors(old),
        "calibration_error_after": _errors(new),
    }


def _coverage(fitted: FittedPosterior, theta: Tensor, y: Tensor) -> list[float]:
    """Share of truths inside the interval that maps show, for each target."""
    nominal = ((1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2)
    levels = QuantileLevels.of(fitted.network)
    low, high = torch.tensor(nominal).unsqueeze(1) if levels is None else levels.at(nominal).cpu()
    found = simulated.truth_levels(fitted, theta, y, seed=2)
    return ((found >= low) & (found <= high)).double().mean(0).tolist()


def _errors(measured: dict[str, Any]) -> dict[str, float]:
    return {name: row["calibration_error"] for name, row in measured["parameters"].items()}


def _untouched(n: int) -> str:
    return (
        f"No test on {n} simulations found the posterior miscalibrated, so nothing was changed. Deviations "
        "too small for that number of simulations may remain."
    )


def _promises(n: int) -> tuple[str, str]:
    """What holds after a repair with conformal levels from ``n`` simulations (0: none), and what does not."""
    given = "None for intervals of the targets: they needed no repair and were left as they are."
    if n:
        sd = math.sqrt(_INTERVAL * (1 - _INTERVAL) / n)
        given = (
            "For an observation whose parameters and noise are drawn like those of the simulations, the "
            "interval of 1 − α of each target in a map holds the truth with a probability of at least 1 − α "
            f"and less than 1 − α + 2/{n + 1}, on average over such observations and over sets of {n} "
            f"held-out simulations. For this one set the share at {_INTERVAL:.0%} is off by {sd:.2%} (one "
            "standard deviation). This holds for any network, up to the resolution of a map's samples."
        )
    return given, (
        "Coverage for one observation, one kind of tissue or one range of values: it holds on average over "
        "the prior. Several targets at once, other than in the joint region. The shape of the density. "
        "Measured data that the simulator cannot produce."
    )
