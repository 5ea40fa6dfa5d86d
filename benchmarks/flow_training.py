"""Training and map parts of the flow benchmark: likelihood for a budget, time for a map of equal accuracy."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from flow_work import Report, Work, freia_net, goals_met, torch_threads
from torch import Tensor, nn

import monai_inn
from monai_inn.inferers.summaries import quantiles, shared_latents, sorted_last
from monai_inn.networks import ConditionalFlow, ConditionEncoder, Whitening
from monai_inn.networks.flows.couplings import Context
from monai_inn.training import Recipe
from monai_inn.training.engine import denormals_flushed
from monai_inn.training.optimiser import Optimiser
from monai_inn.training.pool import SimulationPool

MINUTES = float(os.environ.get("BENCHMARK_MINUTES", "4"))
_SIMULATIONS, _HELD_OUT, _BATCH = 1_000_000, 16_384, 1024
_RECIPE, _ADAM_RATE = Recipe(), 2e-3
_LEVELS = (0.025, 0.5, 0.975)


@dataclass
class Contestant:
    """A posterior network in training: parts, its negative log likelihood, and what was measured."""

    module: nn.ModuleDict
    nll: Callable[[Tensor, Tensor], Tensor]
    is_adam: bool = False  # for all weights, as the peer's users train
    steps: int = 0
    held_out: float = math.inf


def _ours(
    problem: monai_inn.problems.InverseProblem, features: int, is_adam: bool = False, **options: object
) -> Contestant:
    channels = len(problem.parameters)
    flow = ConditionalFlow(channels, 32, **options)
    module = nn.ModuleDict({"encoder": ConditionEncoder(features, 32), "flow": flow})

    def nll(x: Tensor, theta: Tensor) -> Tensor:
        return -flow(module["encoder"](x)).log_prob(theta).mean()

    return Contestant(module, nll, is_adam)


def _freia(problem: monai_inn.problems.InverseProblem, features: int) -> Contestant:
    work = Work(channels=len(problem.parameters), condition_channels=32)
    net = freia_net(work)
    module = nn.ModuleDict({"encoder": ConditionEncoder(features, 32), "flow": net})

    def nll(x: Tensor, theta: Tensor) -> Tensor:
        z, log_det = net(theta, c=[module["encoder"](x)])
        return (0.5 * z.square().sum(1) - log_det).mean() + 0.5 * math.log(2 * math.pi) * z.shape[1]

    return Contestant(module, nll, is_adam=True)


@functools.cache
def trained() -> tuple[dict[str, Contestant], Whitening, SimulationPool]:
    """Train everybody for the same processor time on the same simulations, noise and encoder; one thread."""
    problem = monai_inn.problems.Oximetry()
    pool = SimulationPool.simulate(problem, _SIMULATIONS, 0, torch.device("cpu"))
    held_out = SimulationPool.simulate(problem, _HELD_OUT, 99, torch.device("cpu"))
    whitening = Whitening(len(problem.observation) - 1)
    whitening.fit(pool.batch(20_000, 0, "whitening", 0).features)
    config = monai_inn.load("oximetry").network.config["flow"]
    shipped = {name: config[name] for name in ("groups", "num_blocks", "hidden_channels", "coupling")}
    torch.manual_seed(0)
    size = whitening.mean.numel()
    same = {"num_blocks": 8, "hidden_channels": (128, 128), "coupling": "affine"}
    contestants = {
        "FrEIA": _freia(problem, size),
        "same size, Adam": _ours(problem, size, is_adam=True, **same),
        "same size": _ours(problem, size, **same),
        "as shipped": _ours(problem, size, **shipped),
    }
    with torch_threads(1), denormals_flushed():
        for contestant in contestants.values():
            _train(contestant, whitening, pool)
            batch = held_out.batch(_HELD_OUT, 0, "held out", 0)
            with torch.no_grad():
                contestant.held_out = float(contestant.nll(whitening(batch.features), batch.latent))
    return contestants, whitening, held_out


def _train(contestant: Contestant, whitening: Whitening, pool: SimulationPool) -> None:
    """Warm-up and cosine over the budget, clipped gradients, averaged weights: the same for all."""
    first = pool.batch(_BATCH, 0, "first", 0)
    flow = contestant.module["flow"]
    if isinstance(flow, ConditionalFlow):
        with torch.no_grad():
            condition = contestant.module["encoder"](whitening(first.features))
        flow.stack.initialise(first.latent.T[None], Context(condition.T[None]))
    weights = [w for w in contestant.module.parameters() if w.requires_grad]
    average = [w.detach().clone() for w in weights]
    if contestant.is_adam:
        adam = torch.optim.Adam(weights, lr=_ADAM_RATE, betas=(0.9, 0.99), fused=True)
    else:
        ours = Optimiser(weights, _RECIPE.rate)
    spent, step = 0.0, 0
    while (share := spent / (60 * MINUTES)) < 1:
        batch = pool.batch(_BATCH, 0, "training", step)
        features = whitening(batch.features)
        began = time.process_time()
        rate = min(1.0, 50 * share + 0.01) * (0.01 + 0.495 * (1 + math.cos(math.pi * share)))
        contestant.module.zero_grad()
        contestant.nll(features, batch.latent).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        if contestant.is_adam:
            adam.param_groups[0]["lr"] = _ADAM_RATE * rate
            adam.step()
        else:
            steps = int(step / share) if step else 2**31  # that the budget seems to allow
            ours.step(rate * _RECIPE.peak_rate(steps) / _RECIPE.rate)
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1 - min(0.995, (1 + step) / (10 + step)))
        spent += time.process_time() - began
        step += 1
    contestant.steps = step
    with torch.no_grad():
        for weight, value in zip(weights, average, strict=True):
            weight.copy_(value)


def training(work: Work, repeats: int) -> Report:
    """Held-out negative log likelihood after the same time."""
    contestants, _, _ = trained()
    report: Report = {name: {"nll_nats": c.held_out, "steps": c.steps} for name, c in contestants.items()}
    gains = {
        name: contestants["FrEIA"].held_out - contestants[name].held_out
        for name in ("same size", "as shipped")
    }
    named = {f"nats below FrEIA, {name}": value for name, value in gains.items()}
    return report | {"minutes_each": MINUTES, "goals": goals_met(named, dict.fromkeys(named, 0.0))}


def maps(work: Work, repeats: int) -> Report:
    """Time for median and interval maps of the targets, each as accurate about its own distribution.

    FrEIA draws 200 random samples as it is usually called; ours takes the fewest Sobol samples that give no
    larger error.
    """
    contestants, whitening, held_out = trained()
    targets, channels = len(held_out.problem.targets), len(held_out.problem.parameters)
    features = whitening(held_out.batch(work.pixels, 0, "maps", 0).features)
    flow, net = contestants["as shipped"].module, contestants["FrEIA"].module

    def ours(samples: int, seed: int = 0) -> Tensor:
        q = flow["flow"](flow["encoder"](features)).leading(targets)
        return quantiles(sorted_last(q.push(shared_latents(samples, targets, seed))), _LEVELS)

    def freia(samples: int) -> Tensor:
        condition = net["encoder"](features).repeat_interleave(samples, 0)
        draws = net["flow"](torch.randn(len(condition), channels), c=[condition], rev=True, jac=False)[0]
        return draws.view(len(features), samples, -1)[..., :targets].quantile(torch.tensor(_LEVELS), dim=1)

    with torch.no_grad():
        reference = {"ours": ours(8192, 1), "FrEIA": freia(8192 // 4)}
        target_error = _error(freia(work.samples), reference["FrEIA"])
        needed = next(
            s
            for s in (16, 24, 32, 48, 64, 96, 128, 200)
            if _error(ours(s), reference["ours"]) <= target_error
        )
        seconds = {"ours": [], "FrEIA as called": []}
        for _ in range(repeats):
            for name, run in (
                ("ours", lambda: ours(needed)),
                ("FrEIA as called", lambda: freia(work.samples)),
            ):
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
    median = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    goal = "times FrEIA as called, equal accuracy"
    return {
        "pixels": work.pixels,
        "samples": {"ours, Sobol": needed, "FrEIA, random": work.samples},
        "error_posterior_sd": target_error,
        "seconds": median,
        "goals": goals_met({goal: median["FrEIA as called"] / median["ours"]}, {goal: 20.0}),
    }


def _error(estimate: Tensor, reference: Tensor) -> float:
    """Worst root-mean-square error of the three quantiles in posterior standard deviations."""
    spread = (reference[2] - reference[0]) / 3.92
    return float(((estimate - reference) / spread).square().mean((1, 2)).sqrt().max())


def preview(work: Work, repeats: int) -> Report:
    """Seconds for the live preview of a 512 × 512 image of 16 bands, and its error against the flow."""
    problem = monai_inn.problems.Oximetry("imec_ssm4x4_470_620")
    recipe = monai_inn.training.Recipe(65_536, 600, 50, 3000, 20_000, measured=500)
    fitted = monai_inn.fit(problem, recipe=recipe)
    y = problem.simulate(4096, seed=5)[1]
    image = y[torch.randint(len(y), (512 * 512,))].T.reshape(1, -1, 512, 512).contiguous()
    inferer = monai_inn.inferers.PosteriorInferer(problem)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        inferer.preview(image, fitted.network)
        seconds.append(time.perf_counter() - began)
    median = sorted(seconds[1:])[len(seconds[1:]) // 2]
    return {
        "seconds": median,
        "error_posterior_sd": fitted.card["preview"],
        "goals": goals_met({"images a second": 1 / median}, {"images a second": 1.0}),
    }
