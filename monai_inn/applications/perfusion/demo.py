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
        "breast_dce: a tumour of the breast in vivo. Ktrans is high in its rim; the delay should be dotted, "
        "since a frame takes 16 s. Stripes should cover the edge of the breast.",
    ),
)

run = partial(infer_examples, _EXAMPLES)
