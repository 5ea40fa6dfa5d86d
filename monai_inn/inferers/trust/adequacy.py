"""Whether a model fits an observation at all: posterior-predictive p-values."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.inferers.curves import Curves, band, curve_values
from monai_inn.inferers.summaries import shared_latents
from monai_inn.networks import PosteriorNetwork
from monai_inn.problems import InverseProblem
from monai_inn.seeding import stream

__all__ = ["Adequacy"]

_LEAST = 19  # simulations


class Adequacy:
    """How often an observation of the model's own fits no better than the measured one.

    Samples of the joint posterior, nuisances included, are simulated as the observation was acquired. The
    problem's noise makes another observation of each. The p-value is the share of samples whose own
    observation lies at least as far from them as the measured one does, by ``problem.lack_of_fit``; the
    measured one counts as one of them. The posterior has seen it, so that p-values of a right model tend to
    be too large: at most about one in twenty is as low as 0.05.

    Args:
        problem: the inverse problem.
        network: its network.
        samples: simulations of each pixel, at least 19; no p-value is below ``1 / (samples + 1)``.
        seed: seed of latents and noise.
        curves: where the curves of pixels and their posterior-predictive bands go, if they are wanted.

    Raises:
        ValueError: if there are fewer, or the problem cannot simulate with and without noise.

    Source: Gelman, Meng and Stern, Posterior predictive assessment of model fitness, 1996.
    """

    def __init__(
        self,
        problem: InverseProblem,
        network: PosteriorNetwork,
        samples: int,
        seed: int,
        curves: Curves | None = None,
    ) -> None:
        if samples < _LEAST:
            raise ValueError(
                f"adequacy = {samples} simulations per pixel; give at least {_LEAST}, with which a p-value "
                "can be as low as 0.05, or 0 for none."
            )
        if not (problem.can_simulate and problem.has_noise):
            raise ValueError(
                f"adequacy = {samples}: the problem {problem.name!r} cannot simulate observations with and "
                "without their noise, which the p-value needs; leave adequacy out, or write the problem as a "
                "class with forward and noise."
            )
        self.problem, self.network, self.seed, self.curves = problem, network, seed, curves
        self._latents = shared_latents(samples, len(problem.parameters), seed)

    def __call__(
        self, observation: Tensor, pixels: Tensor, weighed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the column ``adequacy`` of observations ``(n, C)`` of pixels of these numbers ``(n,)``.

        Args:
            observation: the measured values.
            pixels: their numbers.
            weighed: samples of their posteriors in the flow's space, ``(S, n, D)``, instead of the network's;
                NaN where these are to be taken.
        """
        features = self.problem.features(observation)
        latent = self.network.posterior(features).push(self._latents.to(features))
        if weighed is not None:
            evenly = (torch.arange(len(latent), device=weighed.device) + 0.5) / len(latent) * len(weighed)
            chosen = weighed[evenly.long()]
            latent = torch.where(chosen.isfinite(), chosen, latent)
        # Problems simulate where their tables lie, and generators draw for the processor alone.
        theta, y = self.problem.space.inverse(latent).cpu(), observation.cpu()
        generator = stream(self.seed, int(pixels[0]), "noise of adequacy")
        farther, compared = torch.zeros(2, len(y))
        draws = []
        for row in theta:
            made = self.problem.simulate_again(row, y)
            again = self.problem.noise_again(made, y, generator)
            own = self.problem.lack_of_fit(again, made)
            measured = self.problem.lack_of_fit(y, made)
            farther += own >= measured  # never where one is NaN, as of a simulation that failed
            compared += ~(own.isnan() | measured.isnan())
            if self.curves is not None:
                draws.append(self._curve(again))
        if self.curves is not None:
            ends = band(torch.stack(draws), self.curves.interval)
            self.curves.write(pixels.cpu(), torch.cat([self._curve(y).unsqueeze(1), ends], 1))
        p_value = torch.where(compared > 0, (1 + farther) / (1 + compared), torch.nan)
        return {"adequacy": p_value.unsqueeze(1)}

    def _curve(self, y: Tensor) -> Tensor:
        assert self.curves is not None
        return curve_values(self.problem, y)[..., self.curves.columns]
