"""Blood flow and volume from the first pass of a tracer that stays in the vessels (DSC-MRI)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from monai_inn.applications.perfusion.application import BolusApplication
from monai_inn.applications.perfusion.curves import TracerCurves
from monai_inn.applications.perfusion.models import kinetics
from monai_inn.applications.perfusion.models.acquisition import BOLUS
from monai_inn.applications.perfusion.models.arteries import ARTERY
from monai_inn.applications.perfusion.models.magnitudes import SUSCEPTIBILITY
from monai_inn.problems.derived import Derived
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["PLASMA_G_PER_ML", "BolusPassage"]

_DENSITY_G_PER_ML, _CAPILLARY_HAEMATOCRIT = 1.04, 0.25
PLASMA_G_PER_ML = _DENSITY_G_PER_ML * (1 - _CAPILLARY_HAEMATOCRIT)
"""Grams of tissue in a millilitre of it, times the share of plasma in the blood of its capillaries."""

_MINUTE = 60.0
_LEAST_TAIL = 0.003  # some arteries that are used have no second pass at all


class BolusPassage(TracerCurves):
    """A tracer that passes through the vessels of a tissue and stays in them.

    The concentration in the tissue is ``CBF · (R ∗ ca)(t − delay)``. The residue ``R`` has the mean transit
    time ``MTT = CBV / CBF`` and a shape from plug flow over a well-mixed space to a wide mixture of slow and
    fast vessels, see ``kinetics.passage_curve``. Flow and volume are those of blood a mass of tissue; the
    artery is that of the plasma. See ``TracerCurves`` for what is measured.

    Sources: Ostergaard et al., High resolution measurement of cerebral blood flow using intravascular tracer
    bolus passages, 1996; Mouridsen et al., Bayesian estimation of cerebral perfusion using a physiological
    model of microvasculature, 2006.

    Example:
        >>> theta, y = BolusPassage().simulate(4)
        >>> theta.shape, y.shape
        (torch.Size([4, 18]), torch.Size([4, 384]))
    """

    name: ClassVar[str] = "dsc"
    frames = BOLUS
    observation = Observation.series(frames.most, "tissue", "artery", context=("time",))
    of_magnitudes = SUSCEPTIBILITY
    targets = ("cbv", "mtt", "delay")
    parameters = (
        Parameter("cbv", "ml/100 g", 0.2, 50.0, "blood volume (CBV)", "log"),
        Parameter("mtt", "s", 1.0, 40.0, "mean transit time (MTT)", "log"),
        Parameter("delay", "s", -5.0, 15.0, "delay of the tissue behind the artery"),
        Parameter("spread", "1", 0.1, 1.5, "standard deviation of transit times over their mean"),
        *(dataclasses.replace(p, low=_LEAST_TAIL) if p.name == "tail" else p for p in ARTERY),
    )
    derived = (
        Derived("cbf", "ml/100 g/min", 2.0, 500.0, "blood flow (CBF)", "log",
                of=lambda theta: _MINUTE * theta[..., 0] / theta[..., 1]),
    )  # fmt: skip

    def __init__(self, magnitude_share: float = 0.5) -> None:
        super().__init__(magnitude_share)

    def tissue(self, value: Mapping[str, Tensor], blood: kinetics.Artery, since_s: Tensor) -> Tensor:
        """Return concentrations in tissues in mM, see ``TracerCurves.tissue``."""
        flow = PLASMA_G_PER_ML / 100 * value["cbv"] / value["mtt"]  # of plasma, in 1/s
        passed = kinetics.passage_curve(blood, value["mtt"], value["spread"], since_s, value["delay"])
        return flow.unsqueeze(-1) * passed

    @property
    def application(self) -> BolusApplication:
        """Curves and their limits."""
        return BolusApplication(self)
