"""From an inverse problem to a trained, measured posterior in one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from monai_inn.fitted import FittedPosterior
from monai_inn.networks.device import device_of
from monai_inn.networks.encoders.layers import as_encoder
from monai_inn.networks.parts import foreign_packages
from monai_inn.problems import InverseProblem, Parameter
from monai_inn.problems.called import Simulator
from monai_inn.problems.simulated import problem_of
from monai_inn.registry import package_of
from monai_inn.training.budget import Budget
from monai_inn.training.engine import Progress
from monai_inn.training.measure import measure
from monai_inn.training.objectives.invariance import gated_encoder
from monai_inn.training.ranks import together
from monai_inn.training.recipe import Recipe
from monai_inn.training.run import MEASURE, Run, merged

__all__ = ["fit"]


@torch.inference_mode(False)
@torch.enable_grad()
@together()
def fit(
    problem: InverseProblem | str | None = None,
    *,
    prior: Distribution | Mapping[str, Distribution] | None = None,
    simulator: Simulator | None = None,
    theta: Tensor | None = None,
    x: Tensor | None = None,
    names: Sequence[str | Parameter] | None = None,
    units: Sequence[str] | None = None,
    is_vectorised: bool = False,
    minutes: float | None = None,
    seed: int = 0,
    members: int = 5,
    coupling: str | None = None,
    recipe: Recipe | None = None,
    encoder: nn.Module | None = None,
    network: Mapping[str, Any] | None = None,
    invariant_over: str | None = None,
    invariance: float | None = None,
    simulations: str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    warm: FittedPosterior | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[Progress], None] | None = None,
) -> FittedPosterior:
    """Train the posterior, the density of the observations and the preview of a problem, and measure them.

    The problem is given as such, as a prior and a Python function, or as finished simulations.

    Args:
        problem: the inverse problem, or the name of one that needs no arguments.
        prior: distribution of the parameters, event shape ``(D,)``, or one of single numbers for each name.
        simulator: function that returns one simulated observation, with its noise, of parameters ``(D,)``, or
            NaN where there is none.
        theta: finished simulations: parameters drawn from their prior, physical units, shape ``(n, D)``.
        x: their observations, with noise, shape ``(n, C)``.
        names: names of the parameters; not needed if ``prior`` has them. Of finished simulations a
            ``Parameter`` in the place of a name says bounds, a period or classes.
        units: their units; ``"1"`` by default.
        is_vectorised: whether the simulator maps parameters ``(n, D)`` to observations ``(n, C)``.
        minutes: time budget for everything; the recipe's sizes are scaled to it. Half of it, at most three
            quarters, goes into simulations, however slow they are. If all takes more than a tenth longer,
            the card says under ``"training"`` why: ``"overrun"``.
        seed: seed of simulations, noise and weights; the same seed and recipe give the same network.
        members: flows in the density ensemble that WAIC is made from, at least 2.
        coupling: ``"spline"`` or ``"affine"`` couplings in the posterior flow; by default affine ones for
            images and classes, splines for all else.
        recipe: sizes; ``Recipe()`` if neither it nor ``minutes`` is given.
        encoder: network between observation and condition: layers of ``torch.nn``, which see features
            ``(N, F)``, or an ``Encoder`` of a class that ``networks.register`` knows; the problem's own, or
            the usual one of such observations, by default.
        network: sizes of the other parts, ``{"encoder": {…}, "flow": {…}, "density": {…},
            "num_ood_scores": …}``, each further arguments of its class.
        invariant_over: parameter behind the targets whose classes are sites, of finished simulations the last
            column of ``theta``: what the targets' posterior uses of an observation then means the same at
            all of them, see ``training.objectives.invariance``. An observation to be answered needs no site.
        invariance: weight of that in the loss; 2000 by default.
        simulations: Zarr store of ``simulate_to_zarr``; simulated now if not given.
        checkpoint: folder for the training state; needed for ``resume``.
        resume: continue from the state in ``checkpoint``, to the same weights as without the interruption;
            where there is none, because the run was stopped before its first step, start anew. The card
            says under ``"training"`` what was done: ``"resumed"``.
        warm: trained posterior of the same parameters to start from, where observations are whole images:
            that of another object, such as another patient's CT.
        device: where to train, a torch device, or ``auto``: a GPU if there is one.
        progress: called with a ``Progress`` at every evaluation.

    Returns:
        The fitted posterior; its ``card`` holds the calibration and out-of-distribution figures measured on
        fresh simulations. Of several processes that train together, see ``training.ranks``, all return the
        same network, the first one with its card.

    Raises:
        ValueError: if the seed is no whole number from 0 on, torch's default number format is not single
            precision, the budget is not positive or too small for this problem on this machine, there are
            fewer than two members, a checkpoint is damaged or of another run, or ``simulations`` are damaged.
        RuntimeError: if ``device`` is a CUDA device and there is none.
    """
    if members < 2:
        raise ValueError(
            f"members = {members}; trust compares the members of an ensemble, so give at least 2 (usual: 5)."
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed = {seed!r}; give a whole number from 0 on.")
    seed = int(seed)  # NumPy's cannot be written into the card
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"the default number format is {torch.get_default_dtype()}, and networks are trained in single "
            "precision; call torch.set_default_dtype(torch.float32) before."
        )
    if resume and checkpoint is None:
        raise ValueError("resume was asked for without a folder; give the one of the first run: checkpoint=…")
    described = {"names": names, "units": units, "is_vectorised": is_vectorised}
    problem = problem_of(problem, prior, simulator, theta, x, invariant_over, **described)
    budget = Budget(minutes, problem, time.monotonic())
    target = device_of(device)
    own = {} if coupling is None else {"coupling": coupling}
    usual: dict[str, Any] = {"flow": own, "density": {"members": members}, "seed": seed}
    if (invariant_over, invariance) != (None, None):
        usual["encoder"] = gated_encoder(problem, invariant_over, invariance, own=encoder is not None)
    chosen = merged(usual, network or {})
    if encoder is not None:
        features = problem.features(torch.ones(1, len(problem.observation)))
        encoder = as_encoder(encoder, features.shape[-1])
    run = Run(problem, seed, chosen, encoder, checkpoint, progress or (lambda _: None), target, warm, budget)
    state = run.resumable() if resume else None
    fitted, about = run.train(recipe or Recipe(), simulations, state)
    if not run.ranks.is_first:
        return fitted  # the first of several processes measures
    card = measure(fitted, about["recipe"]["measured"], seed + MEASURE)
    budget.ended("measure")
    package = package_of(type(problem))
    card |= {"package": package} if package else {}
    foreign = foreign_packages(fitted.network)
    card |= {"parts": foreign} if foreign else {}
    doubts = list(problem.application.warnings)
    card |= {"warnings": doubts} if doubts else {}
    overrun = budget.overrun()
    about |= {"minutes": round(run.minutes(), 2)} | ({"overrun": overrun} if overrun else {})
    fitted.card = card | {"training": about}
    return fitted
