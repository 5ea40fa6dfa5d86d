"""What people see of photoacoustics: wavelengths, initial pressures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.applications.spectral import SpectralApplication
from monai_inn.problems.application import Application, Curve

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.applications.photoacoustics.problem import Photoacoustics

__all__ = ["LaserApplication", "Lasers"]

_BAND_NM = 20.0  # standard deviation of an absorption band


@dataclass
class Lasers:
    """Wavelengths of a device in the form that images are matched to."""

    name: str
    band_names: Sequence[str]
    centre_nm: NDArray[np.float64]


class LaserApplication(SpectralApplication):
    """Problems whose observations are initial pressures at a few wavelengths."""

    problem: Photoacoustics
    camera = "application.lasers"
    matching: ClassVar[dict[str, float]] = {"tolerance_nm": 1.0}
    modality = "photoacoustic tomography"
    unexplained = "a spectrum that no vessel below such tissue has"
    references = (
        "Nölke et al., Invertible neural networks for uncertainty quantification in photoacoustic imaging, "
        "2020",
    )

    def __init__(self, problem: Photoacoustics) -> None:
        super().__init__(problem)
        axis = problem.wavelengths_nm
        self.device = f"{len(axis)} wavelengths, {axis[0]:g}–{axis[-1]:g} nm"
        self.wavelengths_nm = np.array(axis * problem.views)

    @property
    def curve(self) -> Curve | None:
        """The spectrum of a vessel that is seen from one side; several have no common axis."""
        one = self.problem.views == 1
        return Curve("pressure over the mean of the spectrum", "1", "wavelength", "nm") if one else None

    @property
    def lasers(self) -> Lasers:
        """What an image must be of."""
        assert self.wavelengths_nm is not None
        return Lasers(str(self.device), self.problem.observation.names, self.wavelengths_nm)

    @property
    def device_line(self) -> str:
        """The wavelengths."""
        return f"Wavelengths: {', '.join(f'{w:g}' for w in self.problem.wavelengths_nm)} nm."

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            "A vessel below plane layers, lit from above by a beam wider than its depth. In a round body "
            "that is lit from all sides this holds for the outer 8 mm.",
            "Reconstructed initial pressures; errors of the reconstruction are not in the simulation.",
            *super().limits,
        )

    def channel_text(self, name: str) -> str:
        """Return what a channel is."""
        return f"initial pressure at {name}, in any unit"

    def match(self, image: MetaTensor, path: str) -> MetaTensor:
        """Return the wavelengths of the device, which were checked; of several views only their number."""
        if self.problem.views > 1:
            return Application.match(self, image, path)
        return super().match(image, path)

    def deviations(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return absorption bands, as of contrast agents."""
        axis = torch.tensor(self.problem.wavelengths_nm)
        shapes = {
            f"an absorption band at {peak:g} nm": torch.exp(-0.5 * ((axis - peak) / _BAND_NM).square())
            for peak in range(int(axis[0]), int(axis[-1]) + 1, 40)
        }
        return {"band": {name: shape.repeat(self.problem.views) for name, shape in shapes.items()}}

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return shuffled wavelengths, a dye in the vessel, and a wavelength without light."""
        axis = torch.tensor(self.problem.wavelengths_nm * self.problem.views, dtype=y.dtype)
        dye = y + 0.5 * y.mean(-1, keepdim=True) * torch.exp(-0.5 * ((axis - 780) / 25).square())
        dark = y.clone()
        dark[:, len(axis) // 2] *= 0.5
        return {**super().corruptions(y), "dye": dye, "weak_pulse": dark}
