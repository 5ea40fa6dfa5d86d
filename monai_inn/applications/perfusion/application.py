"""What people see of perfusion: curves of contrast agent over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.problems.application import Application, Curve

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.applications.perfusion.curves import TracerCurves
    from monai_inn.applications.perfusion.ivim import IntravoxelMotion
    from monai_inn.problems.observation import Observation

__all__ = ["BolusApplication", "CurveApplication", "DiffusionApplication"]

_CHANNELS = {
    "tissue": "concentration of contrast agent in the tissue, in mM",
    "artery": "concentration of contrast agent in the plasma of the artery, in mM",
    "time": "time since the first frame, in s",
}
_CHECKED, _DELAYED = 4096, 512  # voxels of an image; those whose delay is looked at


class CurveApplication(Application):
    """Curves of contrast agent in a tissue and in an artery."""

    problem: TracerCurves
    modality = "DCE-MRI"
    is_without_patients = True
    is_quickly_simulated = True
    unexplained = "a curve that no tissue has behind such an artery"
    curve = Curve("concentration in the tissue", "mM", "time since the first frame", "s")
    series_advice = ", or convert a series of signals with `monai-inn concentration`, which writes it"
    usual_fit = "the extended Tofts model by bounded least squares"
    references = (
        "Tofts et al., Estimating kinetic parameters from dynamic contrast-enhanced T1-weighted MRI of a "
        "diffusable tracer: standardized quantities and symbols, 1999",
        "Sourbron and Buckley, Tracer kinetic modelling in MRI: estimating perfusion and capillary "
        "permeability, 2012",
    )

    own_limits: tuple[str, ...] = (
        "Concentrations in, not signals. An artery that was measured too small by a factor makes the "
        "transfer constant and the volume fractions too large by the same factor, and nothing in the "
        "curves tells.",
        "The artery is that of the plasma; one of whole blood is divided by one minus the haematocrit.",
    )

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            *self.own_limits,
            "The bolus arrives after the first frame. Frames are instants; how long each takes is not in the "
            "simulation.",
            *super().limits,
        )

    def match(self, image: MetaTensor, path: str) -> MetaTensor:
        """Return an image whose times, artery and concentrations may be those of the simulations.

        Raises:
            ValueError: if they are not, as in another unit; the message says how to mend it.
        """
        from monai_inn.applications.perfusion.checks import (
            check_arrival,
            check_artery,
            check_times,
            check_tissue,
            is_millimolar,
        )

        image = super().match(image, path)
        if not is_millimolar(unit := image.meta.get("units", "mM")):
            raise ValueError(f"{path}: its values are in {unit}, expected mM; convert them.")
        tissue, artery, times = self.problem.curves(_some_voxels(image, self.problem.observation))
        check_tissue(tissue.T.numpy(), path)
        acquisitions = list(_distinct(artery, times))
        for curve, clock in acquisitions:
            there = np.isfinite(clock)
            check_times(clock[there], path, self.problem.frames)
            check_artery(curve[there], clock[there], path)
        if len(acquisitions) == 1:
            delay = self.problem.space.parameters[self.problem.space.index("delay")]
            some = tissue[:: -(-len(tissue) // _DELAYED), there].T.numpy()
            check_arrival(some, curve[there], clock[there], (delay.low, delay.high), path)
        return image

    def ends_at_bound(self, y: Tensor) -> Tensor:
        """Return whether ``usual_fit`` ends with a parameter at a bound, boolean, ``(n,)``; 30 ms each."""
        from monai_inn.applications.perfusion.fitting.least_squares import fit_extended_tofts

        found = []
        for tissue, artery, times in zip(*self.problem.curves(y), strict=True):
            there = tissue.isfinite() & artery.isfinite() & times.isfinite()
            fit = fit_extended_tofts(tissue[there].unsqueeze(0), artery[there], times[there])
            found.append(fit.is_at_bound.any())
        return torch.stack(found)

    def channel_text(self, name: str) -> str:
        """Return what a column is, with its unit."""
        kind, _, frame = name.partition(" ")
        return f"{_CHANNELS[kind]}, frame {frame}"

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return shuffled values, both curves swapped, a tissue that jumps, and a clock that is too slow.

        The jump is half of the largest concentration of the tissue, from the middle of its frames on. By the
        clock all took half as long as they did.
        """
        tissue, artery, times = self.problem.curves(y)
        jump = 0.5 * tissue.nan_to_num(0.0).amax(-1, keepdim=True) * _is_late(times)

        def rows(*curves: Tensor, times: Tensor = times) -> Tensor:
            return torch.cat([torch.stack(curves, -1).flatten(-2), times], -1)

        return {
            **super().corruptions(y),
            "artery_for_tissue": rows(artery, tissue),
            "jump_of_the_tissue": rows(tissue + jump, artery),
            "clock_at_half_speed": rows(tissue, artery, times=times / 2),
        }


class BolusApplication(CurveApplication):
    """Curves of the first pass of a tracer that stays in the vessels."""

    modality = "DSC-MRI"
    usual_fit = ""
    references = (
        "Ostergaard et al., High resolution measurement of cerebral blood flow using intravascular tracer "
        "bolus passages, 1996",
        "Mouridsen et al., Bayesian estimation of cerebral perfusion using a physiological model of "
        "microvasculature, 2006",
    )

    own_limits = (
        "Concentrations in, not signals. An artery that was measured too small by a factor makes blood flow "
        "and volume too large by the same factor, as does a wrong ratio of the relaxivities of tissue and "
        "blood, and nothing in the curves tells.",
        "The artery is that of the plasma. Blood flow and volume are those of tissue with 1.04 g/ml and a "
        "haematocrit of .25 in its capillaries.",
        "The tracer stays in the vessels: leakage, as in tumours, is not in the simulation.",
    )


class DiffusionApplication(Application):
    """Signals of diffusion-weighted images at several b-values."""

    problem: IntravoxelMotion
    modality = "diffusion-weighted MRI"
    is_without_patients = True
    is_quickly_simulated = True
    unexplained = "signals that no tissue has at such b-values"
    curve = Curve("signal over that at b = 0", "1", "b-value", "s/mm²")
    references = (
        "Le Bihan et al., Separation of diffusion and perfusion in intravoxel incoherent motion MR imaging, "
        "1988",
    )

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            "Two compartments, each with one diffusion coefficient: above 1000 s/mm² tissue often has more "
            "than one.",
            "At usual noise the pseudo-diffusion coefficient is hardly known; its interval says so.",
            "All signals of a voxel have the same echo and repetition time; directions are not told apart.",
            *super().limits,
        )

    def match(self, image: MetaTensor, path: str) -> MetaTensor:
        """Return an image whose b-values may be those of the simulations.

        Raises:
            ValueError: if they are not, as in another unit; the message says how to mend it.
        """
        from monai_inn.applications.perfusion.checks import check_weightings

        image = super().match(image, path)
        rows = _some_voxels(image, self.problem.observation)
        for (b,) in _distinct(rows[:, self.problem.observation.num_values :]):
            check_weightings(b[np.isfinite(b)], path)
        return image

    def channel_text(self, name: str) -> str:
        """Return what a column is, with its unit."""
        kind, _, entry = name.partition(" ")
        said = {"signal": "magnitude, in any unit", "b": "b-value in s/mm²"}[kind]
        return f"{said}, image {entry}"

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return shuffled signals, and those whose second half was scaled otherwise."""
        signal, b = y.split(self.problem.observation.num_values, -1)
        brighter = signal * (1 + 0.5 * _is_late(b))
        return {**super().corruptions(y), "scale_of_half_the_images": torch.cat([brighter, b], -1)}


def _is_late(settings: Tensor) -> Tensor:
    """1 for entries of the second half of series with settings ``(n, T)``, NaN beyond the last; else 0."""
    number = settings.isfinite().sum(-1, keepdim=True)
    return (torch.arange(settings.shape[-1], device=settings.device) >= number // 2).to(settings)


def _some_voxels(image: MetaTensor, observation: Observation) -> Tensor:
    """Rows ``(n, C)`` of some voxels that have values, evenly spread; of the first voxel if none has any."""
    values = image.as_tensor().flatten(1)
    first = values[: observation.num_values : len(observation.names)]
    there = first.nan_to_num().ne(0).any(0).nonzero()[:, 0]
    chosen = there if len(there) else torch.zeros(1, dtype=torch.long)
    return values[:, chosen[:: -(-len(chosen) // _CHECKED)]].T.double()


def _distinct(*settings: Tensor) -> Iterator[list[NDArray[np.float64]]]:
    """Settings ``(n, K)`` of voxels, once for all that have the same: those of an image file all have."""
    rows = np.stack([part.numpy() for part in settings], 1)
    yield from ([*row] for row in {row.tobytes(): row for row in rows}.values())
