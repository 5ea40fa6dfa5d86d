"""What a validation works on: posterior samples with the truth they should hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.metrics.cases import check_cases, check_sample_count
from monai_inn.metrics.information import InformationGain
from monai_inn.problems import Parameter, ParameterSpace

__all__ = ["Cases", "Images", "basis", "cases_of", "check_counts", "describe", "pixel_cases"]

_FEWEST_SAMPLES, _FEWEST_CASES = 9, 40


def check_counts(cases: int, samples: int) -> None:
    """Raise a ``ValueError`` if so many cases, or samples of each, are too few for a report."""
    check_sample_count(samples, _FEWEST_SAMPLES)
    if cases < _FEWEST_CASES:
        raise ValueError(
            f"{cases} cases are too few for any verdict; give at least {_FEWEST_CASES}, and about 800 to see "
            "intervals that are 10 % too narrow."
        )


@dataclass
class Images:
    """Where the cases lie, if they are the pixels of images.

    Args:
        shape: ``(images, *spatial)``.
        pixel: position of each case among the flattened pixels, shape ``(N,)``, int64.
    """

    shape: tuple[int, ...]
    pixel: Tensor

    def number(self) -> Tensor:
        """Index of the image that each case lies in, shape ``(N,)``."""
        return self.pixel // math.prod(self.shape[1:])

    def map(self, values: Tensor) -> Tensor:
        """Put values ``(N,)`` back into images, NaN where there is no case."""
        image = values.new_full((math.prod(self.shape),), torch.nan)
        image[self.pixel] = values
        return image.reshape(self.shape)


@dataclass
class Cases:
    """Posterior samples of many observations, and the true parameters.

    Args:
        samples: shape ``(S, N, D)``, physical units.
        truth: shape ``(N, D)``, same units.
        parameters: name, unit and, for angles, period of each.
        source: where they come from, JSON-ready.
        targets: names of the parameters that the verdict is about; all by default.
        log_prob: log density of the truth in nats, shape ``(N,)``, if known.
        residuals: measured minus resimulated observation of a posterior draw, and of the truth, ``(N, C)``.
        trust: figures of the out-of-distribution guard, JSON-ready.
        information: bits of every case.
        classes: figures of the class, where that is what is unknown, JSON-ready.
        images: where the cases lie, if they are pixels.

    Raises:
        ValueError: if shapes do not belong together, values are NaN, there are fewer than 40 cases or 9
            samples a case, or a parameter is constant.
    """

    samples: Tensor
    truth: Tensor
    parameters: tuple[Parameter, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    log_prob: Tensor | None = None
    residuals: tuple[Tensor, Tensor] | None = None
    trust: Mapping[str, Any] | None = None
    information: InformationGain | None = None
    classes: Mapping[str, Any] | None = None
    images: Images | None = None

    def __post_init__(self) -> None:
        if len(self.parameters) != self.truth.shape[-1]:
            names = ", ".join(p.name for p in self.parameters)
            raise ValueError(
                f"{len(self.parameters)} parameters ({names}), but the truth has {self.truth.shape[-1]} "
                "columns; give one name and unit for each."
            )
        check_cases(self.samples, self.truth, period=self.space.period)
        check_counts(len(self.truth), len(self.samples))
        self.targets = self.targets or self.space.names
        self._check_spread()

    @property
    def space(self) -> ParameterSpace:
        """The parameters as a space."""
        return ParameterSpace(self.parameters)

    @property
    def period(self) -> Tensor | None:
        """Length of a turn of each parameter, ``inf`` for those that are not angles; ``None`` if none is."""
        period = self.space.period
        return period if bool(period.isfinite().any()) else None

    def __len__(self) -> int:
        return len(self.truth)

    def _check_spread(self) -> None:
        for d, p in enumerate(self.parameters):
            if float(self.truth[:, d].max() - self.truth[:, d].min()) == 0:
                raise ValueError(
                    f"the truth of {p.name} is {float(self.truth[0, d]):g} in all cases; leave it out, or "
                    "give cases in which it varies."
                )
            first = self.samples[:, :, d]
            constant = int((first.amax(0) == first.amin(0)).sum())
            if constant > len(self) // 2:
                raise ValueError(
                    f"{constant} of {len(self)} cases have equal samples of {p.name}; a point estimate is "
                    "not a posterior: draw samples (different seeds, dropout switched on)."
                )


def pixel_cases(
    samples: Tensor, truth: Tensor, parameters: tuple[Parameter, ...], source: Mapping[str, Any]
) -> Cases:
    """Return every pixel with a known truth as a case.

    Args:
        samples: shape ``(S, B, D, *spatial)``.
        truth: shape ``(B, D, *spatial)``, NaN where nothing is known.
        parameters: ``D`` of them.
        source: where they come from.
    """
    shape = (truth.shape[0], *truth.shape[2:])
    rows = truth.movedim(1, -1).reshape(-1, truth.shape[1])
    pixel = torch.nonzero(rows.isfinite().all(-1)).squeeze(1)
    drawn = samples.movedim(2, -1).reshape(samples.shape[0], -1, truth.shape[1])[:, pixel]
    return Cases(drawn, rows[pixel], parameters, source, images=Images(shape, pixel))


def basis(source: Mapping[str, Any]) -> str:
    """Return what has to stand behind a status: what the cases of a bundle were."""
    kind = cases_of(source)
    return "" if kind == "cases" else f" on {kind}"


def cases_of(source: Mapping[str, Any]) -> str:
    """Return what was validated: simulations, held-out images, or cases of unknown origin."""
    kind = str(source.get("kind"))
    return kind if kind == "simulations" or kind.startswith("held-out ") else "cases"


def describe(
    names: Sequence[str], units: Sequence[str | None], given: tuple[Parameter, ...] | None, path: Path
) -> tuple[Parameter, ...]:
    """Return the parameters of a file, in the order of the description where there is one."""
    if given is None:
        return tuple(
            Parameter(name, unit or "1", -math.inf, math.inf) for name, unit in zip(names, units, strict=True)
        )
    for p in given:
        if p.name not in names:
            raise ValueError(f"{path}: has no parameter {p.name!r}; it has {', '.join(names)}.")
        unit = units[names.index(p.name)]
        if unit not in (None, p.unit):
            raise ValueError(
                f"{path}: {p.name} is in {unit!r}, but the description says {p.unit!r}; convert one of them."
            )
    return given
