"""What people are told of contrast translation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from monai_inn.problems.application import Application

if TYPE_CHECKING:
    from monai_inn.applications.contrast.problem import ContrastTranslation

__all__ = ["TranslationApplication"]


class TranslationApplication(Application):
    """Slices in a contrast that was not acquired."""

    problem: ContrastTranslation
    modality = "MR"
    cases = "slices"
    data_source = "Slices of patients, mirrored and shifted; one patient decided when the training stopped."
    data_type = "co-registered NIfTI volumes of the observed contrasts, brain alone"
    verb = "translate"
    result = "images"
    references = (
        "Ardizzone et al., Conditional invertible neural networks for diverse image-to-image translation, "
        "2021",
    )
    warnings = ("Intervals hold lesions much less often than other tissue.",)

    @property
    def volumes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The observed contrasts."""
        return self.problem.given

    @property
    def task(self) -> str:
        """What the network is for."""
        return f"Posterior of {self.problem.target} slices, given {' and '.join(self.problem.given)}"

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return shuffled values, contrasts in another order, and the first one in the place of all."""
        spoilt = super().corruptions(y)
        images = y.unflatten(-1, (-1, len(self.problem.given)))
        if images.shape[-1] > 1:
            spoilt["contrasts_swapped"] = images.flip(-1).flatten(-2)
            spoilt["first_contrast_again"] = images[..., :1].expand_as(images).flatten(-2)
        return spoilt

    def evaluator(self) -> dict[str, Any]:
        """Return what ``inference.json`` runs for a folder with a file of each contrast."""
        return {
            "_target_": "monai_inn.applications.contrast.translation.translate",
            "files": {name: f"$@dataset_dir + '/{name}.nii.gz'" for name in self.problem.given},
            "samples": 64,
            "seed": 0,
        }

    @property
    def usage(self) -> tuple[str, ...]:
        """Command lines for the model card."""
        files = " ".join(f"{contrast}={contrast.upper()}.nii.gz" for contrast in self.problem.given)
        return (f"monai-inn translate . {files} -o OUT",)

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            "Learned from the images of few patients on one scanner.",
            "Intervals hold lesions much less often than other tissue, and the mean is too dark there.",
            "Its calibration was measured on the patient by whom its widths were set.",
        )
