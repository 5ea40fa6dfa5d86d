"""The example slice of photoacoustics."""

from __future__ import annotations

from functools import partial

from monai_inn.reports.demo import Example, infer_examples

__all__ = ["run"]

_EXAMPLES = (
    Example(
        "photoacoustic_slice.hdr",
        "photoacoustics",
        {"so2": 0.8},
        1,
        "photoacoustic_slice: simulated arteries (saturation .97) and veins (.60), in pairs at 3, 8, 13 and "
        "18 mm. Intervals grow with depth. Stripes should cover the vessel with a dye and the tissue "
        "between the vessels.",
    ),
)

run = partial(infer_examples, _EXAMPLES)
