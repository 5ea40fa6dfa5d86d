"""What people see of oximetry: cameras, reflectances, their colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from monai_inn.applications.spectral import SpectralApplication

if TYPE_CHECKING:
    from monai_inn.applications.oximetry.problem import Oximetry

__all__ = ["CameraApplication"]


class CameraApplication(SpectralApplication):
    """Problems whose observations are reflectances in the bands of a camera."""

    problem: Oximetry
    modality = "multispectral camera"
    value_range = (0, 1)
    unexplained = "a spectrum that no tissue of the model has"
    references = (
        "Adler et al., Uncertainty-aware performance assessment of optical imaging modalities with "
        "invertible neural networks, 2019",
    )

    def __init__(self, problem: Oximetry) -> None:
        super().__init__(problem)
        self.device = problem.camera.name
        self.wavelengths_nm = problem.camera.centre_nm
        self.warnings = problem.camera.warnings

    @property
    def device_line(self) -> str:
        """Name, number of bands and range of the camera."""
        bands, axis = self.problem.camera.num_bands, self.problem.camera.axis_nm
        return f"Camera: `{self.device}`, {bands} bands, {axis[0]:g}–{axis[-1]:g} nm."

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        own = "Only images of the camera above, linear in light and relative to a white reference."
        return (own, *super().limits)

    def channel_text(self, name: str) -> str:
        """Return what a band is."""
        return f"{name}, reflectance relative to white, 1"

    def deviations(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return absorption bands, what too little absorbs, and dyes."""
        from monai_inn.applications.oximetry.deviations import band_shapes, dye_shapes

        dyes = dye_shapes(self.problem)
        return {**band_shapes(self.problem), **({"dye": dyes} if dyes else {})}

    def measured(self, n: int, seed: int) -> Mapping[str, Tensor]:
        """Return spectra around measured means of organs, if the camera sees no further than they go."""
        from monai_inn.applications.oximetry.deviations import measured_organs

        return measured_organs(self.problem, n, seed) if self.problem.tissue == "organ" else {}

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return shuffled bands, a foreign absorber mid-range, and bands that lie elsewhere."""
        from monai_inn.applications.oximetry.deviations import spoilt

        return {**super().corruptions(y), **spoilt(self.problem, y)}
