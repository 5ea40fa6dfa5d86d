"""Put the bits that the shipped bundles tell into their model cards; weights and all other figures stay.

    python Resources/measure_information.py oximetry oximetry_rgb lumbar_spine

A bundle trained with this release has them already. Seconds a bundle.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import monai_inn
from monai_inn.bundles.card import model_card
from monai_inn.bundles.layout import METADATA, README, SECTION
from monai_inn.bundles.reading import find
from monai_inn.drafts import replacing
from monai_inn.metrics import information_gain


def measure(name: str) -> None:
    """Measure one bundle on 4,000 fresh simulations and write its card anew."""
    folder = Path(find(name))
    fitted = monai_inn.load(name)
    fitted.card["information"] = information_gain(fitted, 4000).summary()
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    metadata[SECTION]["card"]["information"] = fitted.card["information"]
    text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for file, content in ((METADATA, text), (README, model_card(fitted, metadata))):
        with replacing(folder / file) as draft:
            draft.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    for bundle in sys.argv[1:]:
        measure(bundle)
