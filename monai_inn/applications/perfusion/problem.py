"""Perfusion of a tissue from the curves of a contrast agent in it and in an artery (DCE-MRI)."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.applications.perfusion import kinetics
from monai_inn.applications.perfusion.acquisition import (
    ARTERY_NOISE,
    LEAST_PEAK_MM,
    MOST,
    TISSUE_NOISE,
    artery_scale,
    draw_times,
    noise_level_of,
    noisy_curves,
)
from monai_inn.applications.perfusion.application import CurveApplication
from monai_inn.applications.perfusion.arteries import ARTERY, artery
from monai_inn.applications.perfusion.features import NUM_FEATURES, curve_features
from monai_inn.applications.perfusion.likelihood import log_likelihood_of_any_level
from monai_inn.physics.rows import by_rows
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.derived import Derived
from monai_inn.problems.known import split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter
from monai_inn.problems.tempering import Start, TemperedSamples, tempered_samples

__all__ = ["MODELS", "Perfusion"]

MODELS = ("extended_tofts", "patlak", "exchange")
"""Names of the models of a tissue."""

_TISSUE = (
    Parameter("ktrans", "1/min", 0.001, 5.0, "volume transfer constant (Ktrans)", "log"),
    Parameter("ve", "1", 0.01, 1.0, "volume fraction of the extravascular extracellular space (ve)"),
    Parameter("vp", "1", 0.0, 1.0, "volume fraction of the blood plasma (vp)", "square"),
    Parameter("delay", "s", -10.0, 10.0, "delay of the tissue behind the artery"),
)
_EXTRACTION = Parameter("extraction", "1", 0.01, 0.99, "share of the tracer that is extracted at a pass")
_ROWS = 1024
_USUAL_INTERVAL_S = 5.0
_MINUTE = 60.0
_FEWEST_FRAMES = 4


class Perfusion(InverseProblem):
    """A tissue that tracer reaches from an artery, both measured in the same frames.

    The tissue answers the arterial curve as extended Tofts, Patlak or two-compartment exchange say. The
    artery itself is known only in frames and with noise: between them it is any member of a wide family
    (``arteries.ARTERY``), whose parameters are inferred as well. So a network works for any artery, times of
    frames and level of noise.

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
    observation = Observation.series(MOST, "tissue", "artery", context=("time",))
    encoder = MappingProxyType({"kind": "series", "channels": NUM_FEATURES, "watched": 2})

    def __init__(self, models: Sequence[str] = MODELS[:1], magnitude_share: float = 0.25) -> None:
        self.models = tuple(models)
        if not self.models or len({*self.models} & {*MODELS}) != len(self.models):
            raise ValueError(
                f"models = {', '.join(self.models) or 'none'}; give one or more of {', '.join(MODELS)}, each "
                "once."
            )
        if not 0 <= magnitude_share <= 1:
            raise ValueError(f"magnitude_share = {magnitude_share}; give a number from 0 to 1.")
        self.magnitude_share = float(magnitude_share)
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

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw times of frames, see ``acquisition.draw_times``."""
        return draw_times(n, generator)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the curves in frames of 5 s, ``(…, 2 · MOST)``; see ``forward_with_context``."""
        times = _USUAL_INTERVAL_S * torch.arange(MOST, dtype=theta.dtype, device=theta.device)
        return self.forward_with_context(theta, times.expand(*theta.shape[:-1], -1))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return concentrations in tissue and artery in mM, those of one frame beside each other.

        Args:
            theta: parameters in physical units, shape ``(…, D)``.
            context: times of the frames in s after the first, shape ``(…, MOST)``; NaN for none.

        Returns:
            Shape ``(…, 2 · MOST)``, float32; NaN where there is no frame.

        Raises:
            ValueError: if the last axis of ``theta`` is not one entry a parameter.
        """
        split_parameters(theta, self.space)
        rows = torch.cat([theta, context.to(theta)], -1).reshape(-1, len(self.parameters) + MOST)
        with torch.no_grad():
            made = by_rows(self._curves, rows.detach().cpu().float(), _ROWS)
        return made.reshape(*theta.shape[:-1], 2 * MOST).to(theta.device)

    def _curves(self, rows: Tensor) -> Tensor:
        """Both curves of rows of parameters and times ``(n, D + MOST)``."""
        value = dict(zip(self.space.names, rows.unbind(-1), strict=False))
        since_arrival = rows[:, len(self.parameters) :] - value["arrival"].unsqueeze(-1)
        blood = artery(value)
        tissue = kinetics.tissue_curve(blood, self.response(value), since_arrival, value["delay"])
        return torch.stack([tissue, kinetics.concentration_at(blood, since_arrival)], -1).flatten(-2)

    def response(self, value: Mapping[str, Tensor]) -> kinetics.Response:
        """Return what each tissue does with a unit of tracer, of parameters ``(n,)`` by name."""
        ktrans, ve, vp = (value[p.name] for p in _TISSUE[:3])
        made = {
            "extended_tofts": lambda: kinetics.extended_tofts(ktrans, ve, vp),
            "patlak": lambda: kinetics.patlak(ktrans, vp),
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

    @staticmethod
    def curves(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return concentrations in tissue and artery in mM, and times in s, each ``(…, MOST)``, of rows."""
        tissue, blood = y[..., : 2 * MOST].unflatten(-1, (MOST, 2)).unbind(-1)
        return tissue, blood, y[..., 2 * MOST :]

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return curves ``(…, C)`` with noise, see ``acquisition.noisy_curves``; times stay."""
        tissue, blood, times = self.curves(y)
        noisy = noisy_curves(tissue, blood, self.magnitude_share, generator)
        return torch.cat([torch.stack(noisy, -1).flatten(-2), times], -1)

    def noise_again(self, made: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return curves ``(…, C)`` with noise of the levels that the residuals of ``y`` tell; times stay."""
        tissue, blood, times = self.curves(made)
        seen_tissue, seen_blood, _ = self.curves(y)
        relative = (seen_blood - blood) / artery_scale(blood).unsqueeze(-1)
        levels = (
            noise_level_of(seen_tissue - tissue, TISSUE_NOISE, generator),
            noise_level_of(relative, ARTERY_NOISE, generator),
        )
        noisy, artery = noisy_curves(tissue, blood, self.magnitude_share, generator, levels)
        # Of magnitudes the level is that before the tracer; the residuals tell that of the whole curve.
        whole = (noisy - tissue).square().nanmean(-1, keepdim=True).sqrt()
        noisy = tissue + (noisy - tissue) * (levels[0] / whole)
        return torch.cat([torch.stack([noisy, artery], -1).flatten(-2), times], -1)

    def features(self, y: Tensor) -> Tensor:
        """Return ``features.curve_features`` of each frame, then times in minutes; NaN for NaN."""
        tissue, blood, times = self.curves(y)
        return torch.cat([curve_features(tissue, blood, times).flatten(-2), times / _MINUTE], -1)

    def explained_features(self, y: Tensor) -> Tensor:
        """Return rows ``(…, C)`` as they are: noise is white in concentrations."""
        return y

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether rows ``(…, C)`` have four frames of both curves in order of time, and a bolus."""
        tissue, blood, times = self.curves(y)
        is_frame = tissue.isfinite() | blood.isfinite()
        both = (tissue.isfinite() & blood.isfinite()).sum(-1)
        # Frames that were left out do not count: each is compared with the latest before it.
        latest = torch.where(is_frame, times, -torch.inf).cummax(-1).values
        before = torch.cat([torch.full_like(latest[..., :1], -torch.inf), latest[..., :-1]], -1)
        is_ordered = (~is_frame | (times > before)).all(-1)
        reaches = blood.nan_to_num(0.0).amax(-1) >= LEAST_PEAK_MM
        return self.observation.is_usable(y) & (both >= _FEWEST_FRAMES) & is_ordered & reaches

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Log density of an observation ``(C,)`` given parameters ``(n, D)``, nats, ``(n,)``.

        The levels of both noises are integrated out, both white: exact for ``magnitude_share=0``.
        """
        seen_tissue, seen_blood, times = (part[y[2 * MOST :].isfinite()] for part in self.curves(y))
        rows = torch.cat([theta, times.to(theta).expand(len(theta), -1)], -1)
        clean = by_rows(self._curves, rows.float(), _ROWS)
        tissue, blood = clean.unflatten(-1, (-1, 2)).unbind(-1)
        return log_likelihood_of_any_level(tissue, seen_tissue, TISSUE_NOISE) + log_likelihood_of_any_level(
            blood, seen_blood, ARTERY_NOISE, artery_scale(blood)
        )

    def exact_samples(self, y: Tensor, n: int, seed: int = 0, start: Start | None = None) -> TemperedSamples:
        """Draw from the exact posterior of one observation ``(C,)`` by tempered Monte Carlo, a minute or so.

        Args:
            y: the observation.
            n: number of samples.
            seed: seed of all random numbers.
            start: a network's posterior in the flow's space, ``fitted.posterior(y).base``. From the prior the
                way is so long that runs end in different places when the noise is little.

        Returns:
            Samples in the flow's space, ``(n, D)``; ``space.inverse`` gives physical units.
        """
        return tempered_samples(
            lambda latent: self.log_likelihood(self.space.inverse(latent).float(), y),
            len(self.parameters),
            n,
            seed,
            start,
        )

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
    def application(self) -> CurveApplication:
        """Curves and their limits."""
        return CurveApplication(self)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"models": list(self.models), "magnitude_share": self.magnitude_share}


def _ratio(above: int, below: int, theta: Tensor) -> Tensor:
    return theta[..., above] / theta[..., below]


def _twice(values: Tensor) -> Tensor:
    """Amplitudes or rates of two exponentials, of which the second may have none."""
    return values if values.shape[-1] == 2 else torch.cat([values, torch.zeros_like(values)], -1)
