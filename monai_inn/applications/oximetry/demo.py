"""The example images of oximetry."""

from __future__ import annotations

from functools import partial

from monai_inn.reports.demo import Example, infer_examples

__all__ = ["run"]

_EXAMPLES = (
    Example(
        "organ_mosaic.hdr",
        "oximetry",
        {"sao2": 0.6},
        1,
        "organ_mosaic: measured in-vivo spectra of pigs in a drawn layout (not a photograph). "
        "Stripes should cover the phantom and the dye-stained kidney, which no parameters explain, and about "
        "half of the dark corner.",
    ),
    Example(
        "retina_fundus.hdr",
        "oximetry_rgb",
        {"sao2": 0.6},
        4,
        "retina_fundus: a real photograph of unknown exposure and colour balance, taken as a "
        "three-band image. Three bands cannot tell the saturation: wide intervals and a large area that is "
        "not explained are the right answer.",
    ),
)

run = partial(infer_examples, _EXAMPLES)
