"""Measure the shipped bundles' model cards anew, or a part of them; weights and all other figures stay.

    python Resources/measure_again.py all chest_xray blood_cells
    python Resources/measure_again.py information oximetry oximetry_rgb lumbar_spine
    python Resources/measure_again.py exactness lumbar_spine photoacoustics ivim lightfield
    python Resources/measure_again.py trust perfusion dsc ivim
    python Resources/measure_again.py trust contrast_translation --data DATA

``information`` is what an observation tells, in bits, ``exactness`` how far its posterior
is from that of the likelihood: seconds a bundle. ``trust`` is what the application
spoils on purpose, on the simulations of the card: minutes a bundle. ``all`` is every figure of the card, with
its cases and its seed. Bundles that learned from images need these again, see ``train_bundles``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train_bundles import RECIPES

import monai_inn
from monai_inn.drafts import replacing
from monai_inn.files import write_json
from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.card import model_card
from monai_inn.fitted.layout import METADATA, README, SECTION
from monai_inn.fitted.metadata import metadata
from monai_inn.fitted.reading import find
from monai_inn.metrics import information_gain
from monai_inn.problems.valid import valid_simulations
from monai_inn.training.measure import measure, measure_exactness, measure_trust


def whole_card(fitted: FittedPosterior) -> dict[str, Any]:
    """Every figure, on the simulations that the card was measured on."""
    on = fitted.card["measured_on"]
    return measure(fitted, on["simulations"], on["seed"])


def information(fitted: FittedPosterior) -> dict[str, Any]:
    """Bits of 4,000 fresh simulations."""
    return {"information": information_gain(fitted, 4000).summary()}


def exactness(fitted: FittedPosterior) -> dict[str, Any]:
    """KL divergences of 64 fresh simulations."""
    seed = fitted.card["measured_on"]["seed"]
    return measure_exactness(fitted, valid_simulations(fitted.problem, 64, seed)[1], seed)


def trust(fitted: FittedPosterior) -> dict[str, Any]:
    """False alarms and corruptions on the simulations that the card was measured on."""
    on = fitted.card["measured_on"]
    y = valid_simulations(fitted.problem, on["simulations"], on["seed"])[1]
    return {"ood": measure_trust(fitted, y)}


PARTS: dict[str, Callable[[FittedPosterior], dict[str, Any]]] = {
    "all": whole_card,
    "information": information,
    "exactness": exactness,
    "trust": trust,
}


def measure_again(part: str, name: str, data: Path | None) -> None:
    """Measure a bundle, or one part of it, and write its card anew."""
    folder = Path(find(name))
    fitted = monai_inn.load(name)
    if data is not None:
        fitted = FittedPosterior(RECIPES[name][0](data), fitted.network, fitted.card)
    fitted.card |= PARTS[part](fitted)
    content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    section = content[SECTION]
    now = metadata(fitted, name, section["weights_sha256"], section["weights_bytes"])
    section["card"] = now[SECTION]["card"]  # figures that are no numbers are null there
    content["eval_metrics"] = now["eval_metrics"]
    with replacing(folder / METADATA) as draft:
        write_json(draft, content)
    with replacing(folder / README) as draft:
        draft.write_text(model_card(fitted, content), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--data", type=Path, help="folder of the images that the bundles learned from")
    options = parser.parse_args()
    for bundle in options.bundles:
        measure_again(options.part, bundle, options.data)
