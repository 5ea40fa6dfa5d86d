"""The example images of oximetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monai_inn.bundles.reading import shipped
from monai_inn.reports.demo import Shown
from monai_inn.reports.results import infer_image

__all__ = ["Example", "run"]


@dataclass(frozen=True)
class Example:
    """One example image.

    Attributes:
        image: file name.
        bundle: shipped bundle that fits its camera.
        shrink: block size that keeps the demo below a minute on a laptop.
        note: what to see.
    """

    image: str
    bundle: str
    shrink: int
    note: str


_EXAMPLES = (
    Example(
        "organ_mosaic.hdr",
        "oximetry",
        1,
        "organ_mosaic: measured in-vivo spectra of pigs in a drawn layout (not a photograph). "
        "Stripes should cover the phantom and the dye-stained kidney, which no parameters explain, and parts "
        "of the dark corner. They also cover about 7 % of the skin, another tissue than the model's.",
    ),
    Example(
        "retina_fundus.hdr",
        "oximetry_rgb",
        4,
        "retina_fundus: a real photograph of unknown exposure and colour balance, taken as a "
        "three-band image. Three bands cannot tell the saturation: wide intervals and a large area that is "
        "not explained are the right answer.",
    ),
)


def run(
    folder: Path, out: Path, *, device: str, seed: int, progress: Callable[[float], None]
) -> Iterator[Shown]:
    """Infer the example images in a folder, and yield what there is to see."""
    usable = [example for example in _EXAMPLES if example.bundle in shipped()]
    for done, example in enumerate(usable):

        def report(share: float, before: int = done) -> None:
            progress((before + share) / len(usable))

        name = Path(example.image).stem
        record = infer_image(
            example.bundle,
            folder / example.image,
            out / name,
            below={"sao2": 0.6},
            shrink=example.shrink,
            save_quantiles=16,  # for the threshold and the posteriors of the viewer; with the samples 5 MB
            save_samples=8,
            device=device,
            seed=seed,
            progress=report,
        )
        summary = record["summary"] | {"seconds": record["seconds"]}
        yield Shown(name, example.note, summary, record["pictures"])
