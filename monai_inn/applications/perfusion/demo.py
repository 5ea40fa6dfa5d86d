"""The example series of perfusion."""

from __future__ import annotations

from functools import partial

from monai_inn.reports.demo import Example, infer_examples

__all__ = ["run"]

_EXAMPLES = (
    Example(
        "breast_dce.nii.gz",
        "perfusion",
        {"ktrans": 0.2},
        1,
        "breast_dce: a tumour of the breast in vivo, where Ktrans is high. Dots should cover the delay "
        "around it, since a frame takes 16 s. Stripes should cover the edge of the breast, and four voxels "
        "in ten, most of whose curves have another shape than the model's.",
    ),
)

run = partial(infer_examples, _EXAMPLES)
