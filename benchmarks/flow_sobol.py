"""Accuracy part of the flow benchmark: how many samples a map needs with random and with Sobol latents."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from flow_work import Report, Work, goals_met
from torch import Tensor

from monai_inn.networks import ConditionalFlow

_GOAL = "fewer samples for the same median"


def sobol(work: Work, repeats: int) -> Report:
    """Error of median, bound and mean maps from random and from Sobol latents that all pixels share."""
    flow, observations = _trained_small_flow()
    posterior = flow(observations)
    with torch.no_grad():
        truth = _maps(posterior.push(_latents("sobol", 1 << 15, flow.in_channels, seed=1234)[:, None]))
        spread = posterior.push(_latents("sobol", 1 << 12, flow.in_channels, seed=99)[:, None]).std(0)
        report: Report = {"unit": "posterior standard deviations, root mean square over pixels and seeds"}
        for samples in (64, 200, 1024):
            errors = {
                kind: _map_errors(posterior, kind, samples, truth, spread, seeds=max(repeats, 4))
                for kind in ("random", "sobol")
            }
            gain = {name: errors["random"][name] / errors["sobol"][name] for name in errors["random"]}
            report[f"{samples} samples"] = {**errors, "ratio": gain}
    # The error of random samples falls as 1/√S, so that a ratio r saves a factor r² of samples.
    saved = {name: value**2 for name, value in report["200 samples"]["ratio"].items()}
    report["goals"] = goals_met({_GOAL: saved["median"]}, {_GOAL: 3.0})
    return report | {"fewer_samples_at_200": saved}


def _trained_small_flow() -> tuple[ConditionalFlow, Tensor]:
    """A five-parameter affine flow after a few hundred steps on a curved toy problem, and 64 observations."""
    torch.manual_seed(0)
    flow = ConditionalFlow(5, 4, num_blocks=4, hidden_channels=(32, 32), coupling="affine")
    mixing = torch.randn(5, 4)

    def simulate(n: int) -> tuple[Tensor, Tensor]:
        theta = torch.randn(n, 5)
        return theta, torch.tanh(theta @ mixing / 2) + 0.2 * torch.randn(n, 4)

    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    for _ in range(400):
        theta, y = simulate(256)
        loss = -flow(y).log_prob(theta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return flow, simulate(64)[1]


def _latents(kind: str, samples: int, channels: int, seed: int) -> Tensor:
    if kind == "random":
        return torch.randn(samples, channels, generator=torch.Generator().manual_seed(seed))
    uniform = torch.quasirandom.SobolEngine(channels, scramble=True, seed=seed).draw(
        samples, dtype=torch.float64
    )
    tiny = 2.0**-40  # ndtri is infinite at the ends
    return torch.special.ndtri(uniform.clamp(tiny, 1 - tiny)).float()


def _maps(samples: Tensor) -> dict[str, Tensor]:
    ordered = samples.sort(0).values

    def quantile(q: float) -> Tensor:
        position = q * (len(ordered) - 1)
        below = math.floor(position)
        return torch.lerp(ordered[below], ordered[min(below + 1, len(ordered) - 1)], position - below)

    return {"median": quantile(0.5), "lower_bound": quantile(0.025), "mean": samples.mean(0)}


def _map_errors(
    posterior: torch.distributions.Distribution,
    kind: str,
    samples: int,
    truth: Mapping[str, Tensor],
    spread: Tensor,
    seeds: int,
) -> dict[str, float]:
    squares = dict.fromkeys(truth, 0.0)
    for seed in range(seeds):
        maps = _maps(posterior.push(_latents(kind, samples, spread.shape[-1], seed)[:, None]))
        for name, value in maps.items():
            squares[name] += ((value - truth[name]) / spread).square().mean().item() / seeds
    return {name: square**0.5 for name, square in squares.items()}
