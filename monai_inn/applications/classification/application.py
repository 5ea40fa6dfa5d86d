"""What people see of classified images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.problems.application import Application

if TYPE_CHECKING:
    from monai_inn.applications.classification.problem import LabelledImages

__all__ = ["ImageClasses"]


class ImageClasses(Application):
    """Images of a few classes."""

    problem: LabelledImages
    modality = "image"
    result = "classes"
    value_range = (0.0, 255.0)
    cases = "images"
    unexplained = "an image of no class that it knows"
    references = (
        "Ardizzone et al., Training normalizing flows with the information bottleneck for competitive "
        "generative classification, 2020",
        "Mackowiak et al., Generative classifiers as a basis for trustworthy image classification, 2021",
    )
    data_type = "images as PNG, JPEG, TIFF, DICOM or NIfTI, brought to the size of the network"
    verb = "classify"

    @property
    def task(self) -> str:
        """What the network is for."""
        return f"Which class an image is of: {', '.join(self.problem.classes)}; and whether it is of any"

    @property
    def data_source(self) -> str:
        """Where training data come from."""
        return "Images whose classes were given; those that the network was measured on are in the bundle."

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        size = " × ".join(map(str, self.problem.size))
        return (
            f"It sees images of {size} pixels; what is finer is lost.",
            "Probabilities are right for images of the same source. Other devices, other patients and other "
            "shares of the classes change them. Shares can be given; what else differs is mended in part if "
            "some dozens of images are classified together with --shares estimated.",
            "Labels were taken as they are. What is evidence for a class need not be its cause.",
            *super().limits,
        )

    @property
    def usage(self) -> tuple[str, ...]:
        """Command lines for the model card."""
        return ("monai-inn classify . IMAGE… -o OUT", "monai-inn validate . -o REPORT")

    def evaluator(self) -> dict[str, Any]:
        """Return what ``inference.json`` runs for an image or a folder of images."""
        return {
            "_target_": "monai_inn.applications.classification.classifying.classify",
            "images": "$[item['image'] for item in @items]",
        }

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return images ``(n, C)`` that a guard should notice, by what was done to them."""
        generator = torch.Generator().manual_seed(0)
        return {
            **super().corruptions(y),
            "inverted": 255 - y,
            "noise_alone": 255 * torch.rand(y.shape, generator=generator),
            "black": torch.zeros_like(y),
        }

    def input_format(self) -> dict[str, Any]:
        """Return the entry ``inputs.image`` of a bundle's ``network_data_format``."""
        return {**super().input_format(), "modality": self.modality}
