"""Measure shipped bundles again and write their model cards anew; weights stay.

    python Resources/measure_cards.py chest_xray blood_cells

With the cases and the seed of the card: figures that it has already do not change. Seconds a bundle.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from measure_again import write_card

import monai_inn
from monai_inn.fitted.layout import METADATA, SECTION
from monai_inn.fitted.metadata import metadata
from monai_inn.fitted.reading import find
from monai_inn.training.measure import measure


def measure_again(name: str) -> None:
    """Measure one bundle and write its card and its metadata."""
    folder = Path(find(name))
    fitted = monai_inn.load(name)
    before = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    about, section = fitted.card["measured_on"], before[SECTION]
    fitted.card |= measure(fitted, about["simulations"], about["seed"])
    now = metadata(fitted, name, section["weights_sha256"], section["weights_bytes"])
    section["card"] = now[SECTION]["card"]
    content = before | {"eval_metrics": now["eval_metrics"], SECTION: section}
    write_card(folder, fitted, content)


if __name__ == "__main__":
    for bundle in sys.argv[1:]:
        measure_again(bundle)
