"""The rate of a decay from its level at a few times: an inverse problem in a package of its own."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from monai_inn.problems import InverseProblem, Observation, Parameter

NOISE_SD = 0.01


class Decay(InverseProblem):
    """Rate of a decay from its level at three times.

    Args:
        last_s: time of the last measurement, in s.
    """

    name = "decay"
    parameters = (Parameter("rate", "1/s", 0.1, 2.0, "rate of the decay", scale="log"),)
    observation = Observation.pixel("level_1", "level_2", "level_3")
    targets = ("rate",)

    def __init__(self, last_s: float = 3.0) -> None:
        self.last_s = last_s

    def forward(self, theta: Tensor) -> Tensor:
        """Return the levels ``(…, 3)`` of rates ``(…, 1)``."""
        times = torch.linspace(self.last_s / 3, self.last_s, 3).to(theta)
        return torch.exp(-theta * times)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add white noise."""
        return y + NOISE_SD * torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add ``--last``."""
        parser.add_argument("--last", type=float, default=3.0, metavar="S", help="time of the last level (3)")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Decay:
        """Return the problem of the times that the options give."""
        return cls(options.last)
