"""The shipped bundles on the shipped example images."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.bundles.reading import shipped
from monai_inn.reports.results import infer_image

__all__ = ["XRAY_READING", "Example", "examples_folder", "run_demo"]


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
        "Organs should be trusted; the dark corner and the phantom's inclusion should not. The dye-stained "
        "kidney scores further out than every organ, but within the 5 % threshold: it is not flagged.",
    ),
    Example(
        "retina_fundus.hdr",
        "oximetry_rgb",
        4,
        "retina_fundus: a real photograph of unknown exposure and colour balance, taken as a "
        "three-band image. Three "
        "bands cannot tell the saturation: wide intervals and a large untrusted area are the right answer.",
    ),
)


_XRAY, _SPINE = "lumbar_xray.png", "lumbar_spine"
# What a picture does not tell of itself; see Resources/README.md.
XRAY_READING: dict[str, Any] = {"contrast": "intensity", "unattenuated": 4_000.0, "spacing_mm": 1.59375}
_XRAY_NOTE = (
    "lumbar_xray: simulated from a real CT; every pose of the C-arm that explains it. {statement} {trust}"
)


def examples_folder() -> Path:
    """Return the folder of the example images: inside an installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: if there is neither.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "examples", package.parent / "Resources"):
        if (folder / _EXAMPLES[0].image).is_file():
            return folder
    raise FileNotFoundError(
        f"the example images are missing from {package}; install monai_inn again, or run from a "
        "full checkout."
    )


def run_demo(
    out: str | PathLike[str],
    *,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Infer every example image whose bundle is shipped, and register the example X-ray if nanodrr is there.

    Args:
        out: folder that gets one result folder for each image.
        device: where to compute.
        seed: seed of the posterior samples.
        progress: called with the share that is done.

    Returns:
        Notes, paths of the pictures and summaries, JSON-ready.

    Raises:
        FileNotFoundError: if no bundle or no image is shipped.
    """
    folder = examples_folder()
    usable = [example for example in _EXAMPLES if example.bundle in shipped()]
    if not usable:
        raise FileNotFoundError(
            "this installation has no trained bundle; run `monai-inn fit oximetry -o BUNDLE` first."
        )
    notes, pictures, summaries = [], [], {}
    for done, example in enumerate(usable):

        def report(share: float, before: int = done) -> None:
            progress((before + share) / len(usable))

        target = Path(out) / Path(example.image).stem
        record = infer_image(
            example.bundle,
            folder / example.image,
            target,
            below={"sao2": 0.6},
            shrink=example.shrink,
            save_quantiles=16,  # for the threshold and the posteriors of the viewer; with the samples 5 MB
            save_samples=8,
            device=device,
            seed=seed,
            progress=report,
        )
        notes.append(example.note)
        summaries[target.name] = record["summary"] | {"seconds": record["seconds"]}
        pictures += [str(target / name) for name in record["pictures"]]
    if _SPINE in shipped() and importlib.util.find_spec("nanodrr"):
        target = Path(out) / Path(_XRAY).stem
        record = register_xray(_SPINE, folder / _XRAY, target, device=device, seed=seed, **XRAY_READING)
        statements = {"statement": record["ambiguity"]["statement"], "trust": record["trust"]["statement"]}
        notes.append(_XRAY_NOTE.format(**statements))
        summaries[target.name] = statements | {"seconds": record["seconds"]}
        pictures += [str(target / name) for name in record["pictures"]]
    return {"out": str(out), "notes": notes, "pictures": pictures, "summaries": summaries}
