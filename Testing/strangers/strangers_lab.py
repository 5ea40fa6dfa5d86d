"""Six problems as another laboratory would write them; the tests install this file as a package."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from monai_inn.networks import Encoder, register
from monai_inn.problems import Derived, InverseProblem, Observation, Parameter


class Lab(InverseProblem):
    """White noise, no arguments."""

    noise_sd = 0.1

    def noise(self, y, generator=None):
        noisy = y + self.noise_sd * torch.randn(y.shape, generator=generator)
        values = self.observation.num_values
        return torch.cat([noisy[..., :values], y[..., values:]], -1)

    def to_config(self):
        return {}


class Steps(Lab):
    """Growth and threshold of a process that is run step by step."""

    name = "strange_steps"
    parameters = (
        Parameter("growth", "1/s", 0.1, 1.0, "growth"),
        Parameter("threshold", "1", 0.5, 2.0, "threshold"),
    )
    targets = ("growth", "threshold")
    observation = Observation.pixel("early", "late")

    def forward(self, theta):
        rows = theta.reshape(-1, 2)
        made = []
        for growth, threshold in rows.tolist():
            value, early = 0.1, 0.0
            for step in range(8):
                value += growth * value * (1 - value / threshold)
                early = value if step == 3 else early
            made.append([early, value])
        return torch.tensor(made).reshape(*theta.shape[:-1], 2)


class Heading(Lab):
    """Heading from its cosine and sine."""

    name = "strange_heading"
    parameters = (Parameter("heading", "deg", -180.0, 180.0, "heading", is_periodic=True),)
    targets = ("heading",)
    observation = Observation.pixel("east", "north")

    def forward(self, theta):
        angle = torch.deg2rad(theta)
        return torch.cat([angle.cos(), angle.sin()], -1)


@register
class Set(Encoder):
    """Mean over the entries of a series of what a small network makes of each."""

    kind = "strange_set"

    def __init__(self, num_features, most, out_channels=8):
        super().__init__()
        self.observation = Observation.series(most, "signal", context=("time",))
        self.each = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.outlet = nn.Linear(17, out_channels)
        self.out_channels = out_channels
        self.config = {"num_features": num_features, "most": most, "out_channels": out_channels}

    def forward(self, features):
        parts = self.observation.parts(features)
        seen = self.each(torch.cat([parts.values, parts.context], -1))
        there = parts.measured.to(seen)
        number = there.sum(-2).clamp_min(1)
        mean = (seen * there).sum(-2) / number
        return self.outlet(torch.cat([mean, number.log()], -1))


class Relaxation(Lab):
    """Rate of a decay from three to six measurements at known times."""

    name = "strange_relaxation"
    most = 6
    noise_sd = 0.05
    parameters = (Parameter("rate", "1/s", 0.2, 3.0, "rate", "log"),)
    targets = ("rate",)
    derived = (
        Derived(
            "half_life",
            "s",
            0.2,
            4.0,
            "time in which half of it is gone",
            "log",
            of=lambda theta: math.log(2) / theta[..., 0],
        ),
    )
    observation = Observation.series(most, "signal", context=("time",))
    encoder: ClassVar = {"kind": "strange_set", "most": most}

    def draw_context(self, n, generator):
        times = 3 * torch.rand(n, self.most, generator=generator).sort(1).values
        number = torch.randint(3, self.most + 1, (n, 1), generator=generator)
        return torch.where(torch.arange(self.most) < number, times, torch.nan)

    def forward(self, theta):
        usual = torch.linspace(0, 3, self.most).expand(*theta.shape[:-1], -1)
        return self.forward_with_context(theta, usual)

    def forward_with_context(self, theta, context):
        return torch.exp(-theta * context)


@register
class Looking(Encoder):
    """A small convolutional network."""

    kind = "strange_looking"

    def __init__(self, num_features, side, out_channels=8):
        super().__init__()
        self.side, self.out_channels = side, out_channels
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(out_channels)
        )
        self.layers(torch.zeros(1, 1, side, side))
        self.config = {"num_features": num_features, "side": side, "out_channels": out_channels}

    def forward(self, features):
        image = features.reshape(-1, 1, self.side, self.side)
        return self.layers(image).reshape(*features.shape[:-1], -1)


class Spot(Lab):
    """Place of a bright spot in an image."""

    name = "strange_spot"
    side = 8
    parameters = (
        Parameter("row", "mm", 0.0, 7.0, "row"),
        Parameter("column", "mm", 0.0, 7.0, "column"),
    )
    targets = ("row", "column")
    observation = Observation.image((side, side), "brightness")
    encoder: ClassVar = {"kind": "strange_looking", "side": side}

    def forward(self, theta):
        axis = torch.arange(float(self.side))
        row, column = (torch.exp(-((axis - theta[..., i : i + 1]) ** 2) / 2) for i in range(2))
        return (row.unsqueeze(-1) * column.unsqueeze(-2)).flatten(-2)


class Finding(Lab):
    """One of three findings, from two measurements around its centre."""

    name = "strange_finding"
    noise_sd = 0.7
    centres = ((0.0, 0.0), (1.5, 0.0), (0.0, 1.5))
    parameters = (Parameter("finding", "1", 0.0, 3.0, "finding", categories=("none", "benign", "malignant")),)
    targets = ("finding",)
    observation = Observation.pixel("size", "contrast")

    def forward(self, theta):
        return torch.tensor(self.centres)[theta[..., 0].long().clamp(0, 2)]

    def probabilities(self, y):
        """By Bayes' rule, ``(n, 3)``."""
        distance = (y.unsqueeze(1) - torch.tensor(self.centres)).square().sum(-1)
        return (-distance / (2 * self.noise_sd**2)).softmax(1)


class Slope(Lab):
    """Height of a surface at a pixel, from its neighbourhood."""

    name = "strange_slope"
    parameters = (
        Parameter("height", "mm", 0.0, 1.0, "height"),
        Parameter("tilt", "1", -math.inf, math.inf, "tilt", sd=0.2),
    )
    targets = ("height",)
    observation = Observation.neighbourhood((3, 3), "shade")

    def forward(self, theta):
        height, tilt = theta[..., :1], theta[..., 1:]
        return height + tilt * torch.tensor([-1.0, 0.0, 1.0]).repeat_interleave(3)
