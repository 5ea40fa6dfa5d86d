"""What people see of light fields: views, disparities, layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from monai_inn.problems.application import Application

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.applications.lightfield.problem import LightField

__all__ = ["LightFieldApplication", "standardised"]

_SURROUNDINGS_PX = 12.0
_REACH_SD = 3.0
_LEAST_CONTRAST = 0.2
_ROUNDING = 1e-5


class LightFieldApplication(Application):
    """Light fields of views along a line."""

    problem: LightField
    modality = "light field"
    is_without_patients = True
    unexplained = "views that do not belong to one or two layers of such disparities"
    references = (
        "Leistner et al., Towards multimodal depth estimation from light fields, 2022",
        "Wanner and Goldluecke, Variational light field analysis for disparity estimation and "
        "super-resolution, 2014",
    )
    task = "Posterior maps of the disparity of one or two layers, and how many there are"
    data_type = (
        "light fields as a stack of views (S, rows, columns) or (S, T, rows, columns), whose views lie along "
        "the columns"
    )

    @property
    def device_line(self) -> str:
        """The views, and the calibration."""
        known = self.problem.calibration
        lens = "" if known is None else (
            f"; focal length {known[0]:g} px, views {known[1]:g} mm apart, in focus at {known[2]:g} mm"
        )  # fmt: skip
        return f"Light field: {self.problem.views} views{lens}."

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences on what the network cannot do."""
        return (
            "Two layers at most. Layers less than .3 px per view apart are often taken for one.",
            "Layers are parallel to the image within an EPI: at an edge of an object its depth is doubtful.",
            "Textures are Gaussian in the simulation. Where an image has hardly any, it is left out.",
            *super().limits,
        )

    def channel_text(self, name: str) -> str:
        """Return what a channel is."""
        return f"brightness in {name}, in any unit"

    def match(self, image: MetaTensor, path: str) -> MetaTensor:
        """Return the views of the middle row, standardised; see ``standardised``.

        Raises:
            ValueError: if there is another number of views, or their rows are even in number.
        """
        from monai_inn.transforms.images import with_metadata

        if image.ndim == 4:
            if image.shape[1] % 2 == 0:
                raise ValueError(
                    f"{path}: a light field of shape {tuple(image.shape)} has an even number of rows of "
                    "views; give (S, T, rows, columns) with an odd T, or one row of views (S, rows, columns)."
                )
            affine = image.affine
            image = cast("MetaTensor", image[:, image.shape[1] // 2])
            image.affine = affine[:, [1, 2, 0, 3]]  # the axis of the rows of views is gone
        if image.ndim != 3 or image.shape[-1] < self.problem.columns:
            raise ValueError(
                f"{path}: a light field of shape {tuple(image.shape)}; give views (S, rows, columns) of at "
                f"least {self.problem.columns} columns."
            )
        image = super().match(image, path)
        return cast("MetaTensor", with_metadata(standardised(image.as_tensor()), image))

    def loading(self) -> list[dict[str, Any]]:
        """Return the transforms of ``inference.json``."""
        application = "$@network_def.problem.application"
        return [
            *super().loading(),
            {
                "_target_": "monai_inn.transforms.MatchApplicationd",
                "keys": "image",
                "application": application,
            },
        ]

    def corruptions(self, y: Tensor) -> dict[str, Tensor]:
        """Return EPIs with shuffled views, and with a view of something else."""
        views = y.unflatten(-1, (-1, self.problem.views))
        other = views.clone()
        other[..., 0] = other[..., 0].roll(1, 0)
        return {**super().corruptions(y), "another_view": other.flatten(1)}


def standardised(views: Tensor) -> Tensor:
    """Return views ``(S, rows, columns)`` without their local brightness, over the local contrast.

    Both are means over surroundings of 12 px (sd), the contrast over all views. Pixels without texture, a
    fifth of the median contrast, are NaN, as are those near NaN.

    Raises:
        ValueError: if no pixel has any contrast.
    """
    kernel = torch.arange(-_SURROUNDINGS_PX * _REACH_SD, _SURROUNDINGS_PX * _REACH_SD + 1)
    kernel = torch.exp(-0.5 * (kernel / _SURROUNDINGS_PX).square())
    known = views.isfinite().all(0)
    filled = torch.where(known, views, 0.0).float()
    weight = _blurred(known.float()[None], kernel).clamp_min(1e-6)
    rest = torch.where(known, filled - _blurred(filled, kernel) / weight, 0.0)
    contrast = (_blurred(rest.square().mean(0, keepdim=True), kernel) / weight).sqrt()[0]
    usual = contrast[known].median() if bool(known.any()) else contrast.new_zeros(())
    if not float(usual) > _ROUNDING * float(filled.abs().max()):
        raise ValueError("the light field has no texture to tell disparities by; check its file.")
    usable = known & (contrast > _LEAST_CONTRAST * usual)
    return torch.where(usable, rest / contrast, torch.nan)


def _blurred(images: Tensor, kernel: Tensor) -> Tensor:
    """Images ``(n, rows, columns)`` times a kernel along both axes; zero beyond the borders."""
    half = len(kernel) // 2
    rows = torch.nn.functional.conv2d(images.unsqueeze(1), kernel[None, None, :, None], padding=(half, 0))
    both = torch.nn.functional.conv2d(rows, kernel[None, None, None], padding=(0, half))
    return both.squeeze(1)
