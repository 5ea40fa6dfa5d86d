"""Perfusion of a tissue from the curves of a contrast agent in it and in an artery (DCE-MRI)."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from monai_inn.applications.perfusion.application import CurveApplication
from monai_inn.applications.perfusion.curves import TracerCurves
from monai_inn.applications.perfusion.fitting.quick_fit import NUM_FITTED, fitted_features
from monai_inn.applications.perfusion.models import kinetics
from monai_inn.applications.perfusion.models.acquisition import DYNAMIC
from monai_inn.applications.perfusion.models.arteries import ARTERY
from monai_inn.applications.perfusion.models.magnitudes import SPOILED
from monai_inn.problems.derived import Derived
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["MODELS", "Perfusion"]

MODELS = ("extended_tofts", "patlak", "exchange", "tofts")
"""Names of the models of a tissue."""

_TISSUE = (
    Parameter("ktrans", "1/min", 0.001, 5.0, "volume transfer constant (Ktrans)", "log"),
    Parameter("ve", "1", 0.01, 1.0, "volume fraction of the extravascular extracellular space (ve)"),
    Parameter("vp", "1", 0.0, 1.0, "volume fraction of the blood plasma (vp)", "square"),
    Parameter("delay", "s", -10.0, 10.0, "delay of the tissue behind the artery"),
)
_EXTRACTION = Parameter("extraction", "1", 0.01, 0.99, "share of the tracer that is extracted at a pass")


class Perfusion(TracerCurves):
    """A tissue that answers the curve of an artery as extended Tofts, Patlak, exchange or Tofts say.

    Both are measured in the same frames, see ``TracerCurves``.

    With several models, which of them it is comes first among the parameters: its posterior probabilities
    are those of equally likely models. Parameters that a model does not have keep their prior under it.

    Args:
        models: models of a tissue, some of ``MODELS``.
        magnitude_share: share of tissues whose noise is that of magnitude images instead of white.

    Raises:
        ValueError: if there is no model, or one that is not known or given twice; if the share is none.

    Example:
        >>> theta, y = Perfusion().simulate(4)
        >>> theta.shape, y.shape
        (torch.Size([4, 18]), torch.Size([4, 180]))
    """

    name: ClassVar[str] = "perfusion"
    frames = DYNAMIC
    observation = Observation.series(frames.most, "tissue", "artery", context=("time",))
    of_magnitudes = SPOILED
    encoder = MappingProxyType({**TracerCurves.encoder, "whole": NUM_FITTED})

    def __init__(self, models: Sequence[str] = MODELS[:1], magnitude_share: float = 0.25) -> None:
        self.models = tuple(models)
        if not self.models or len({*self.models} & {*MODELS}) != len(self.models):
            raise ValueError(
                f"models = {', '.join(self.models) or 'none'}; give one or more of {', '.join(MODELS)}, each "
                "once."
            )
        super().__init__(magnitude_share)
        which = Parameter(
            "model", "1", 0.0, float(len(self.models)), "model of the tissue", categories=self.models
        )
        tissue = (
            *([which] if len(self.models) > 1 else []),
            *_TISSUE,
            *([_EXTRACTION] if "exchange" in self.models else []),
        )
        self.targets = tuple(p.name for p in tissue)
        self.parameters = (*tissue, *ARTERY)
        rate = functools.partial(_ratio, self.targets.index("ktrans"), self.targets.index("ve"))
        described = "rate constant from the tissue back to the plasma (kep)"
        self.derived = (Derived("kep", "1/min", 0.01, 10.0, described, "log", of=rate),)

    def tissue(self, value: Mapping[str, Tensor], blood: kinetics.Artery, since_s: Tensor) -> Tensor:
        """Return concentrations in tissues in mM, see ``TracerCurves.tissue``."""
        return kinetics.tissue_curve(blood, self.response(value), since_s, value["delay"])

    def features(self, y: Tensor) -> Tensor:
        """Return those of any tracer, then what a quick fit says of the row."""
        return torch.cat([super().features(y), fitted_features(*self.curves(y))], -1)

    def density_features(self, y: Tensor) -> Tensor:
        """Return those of any tracer: an unusual curve is not told by its fit."""
        return super().features(y)

    def response(self, value: Mapping[str, Tensor]) -> kinetics.Response:
        """Return what each tissue does with a unit of tracer, of parameters ``(n,)`` by name."""
        ktrans, ve, vp = (value[p.name] for p in _TISSUE[:3])
        made = {
            "extended_tofts": lambda: kinetics.extended_tofts(ktrans, ve, vp),
            "patlak": lambda: kinetics.patlak(ktrans, vp),
            "tofts": lambda: kinetics.extended_tofts(ktrans, ve, torch.zeros_like(vp)),
            "exchange": lambda: kinetics.exchange(ktrans, value["extraction"], ve, vp),
        }
        responses = [made[name]() for name in self.models]
        if len(responses) == 1:
            return responses[0]
        which = value["model"].long().clamp(0, len(responses) - 1)
        rows = torch.arange(len(which), device=which.device)
        plasma = torch.stack([r.plasma for r in responses], 1)[rows, which]
        amplitudes, rates = (
            torch.stack([_twice(getattr(r, part)) for r in responses], 1)[rows, which]
            for part in ("amplitudes", "rates")
        )
        return kinetics.Response(plasma, amplitudes, rates)

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add ``--models``."""
        parser.add_argument(
            "--models",
            nargs="+",
            choices=MODELS,
            metavar="MODEL",
            help=f"models of a tissue for perfusion, of {', '.join(MODELS)}; the first by default",
        )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Perfusion:
        """Return the problem of some models.

        Raises:
            ValueError: if one is given twice.
        """
        return cls(options.models or MODELS[:1])

    @property
    def rivals(self) -> Perfusion:
        """The problem with its own models if there are several, else with all."""
        return self if len(self.models) > 1 else Perfusion(MODELS, self.magnitude_share)

    @property
    def application(self) -> CurveApplication:
        """Curves and their limits."""
        return CurveApplication(self)


def _ratio(above: int, below: int, theta: Tensor) -> Tensor:
    return theta[..., above] / theta[..., below]


def _twice(values: Tensor) -> Tensor:
    """Amplitudes or rates of two exponentials, of which the second may have none."""
    return values if values.shape[-1] == 2 else torch.cat([values, torch.zeros_like(values)], -1)
