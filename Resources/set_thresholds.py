"""Set the thresholds of trust of shipped bundles anew, and measure what they notice; nothing is trained.

    python Resources/set_thresholds.py oximetry

For a change of the rule by which ordinary observations are told from others.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from measure_again import measure_again

import monai_inn
from monai_inn.drafts import replacing
from monai_inn.files import write_json
from monai_inn.fitted.layout import METADATA, SECTION, WEIGHTS, sha256
from monai_inn.fitted.reading import find
from monai_inn.fitted.writing import write_weights
from monai_inn.training.run import GUARD
from monai_inn.training.thresholds import set_thresholds


def set_anew(name: str) -> None:
    """Set thresholds of one bundle as its training would."""
    folder, fitted = Path(find(name)), monai_inn.load(name)
    set_thresholds(fitted.network, fitted.problem, GUARD)
    write_weights(folder, fitted, monai_weights=False)
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    metadata[SECTION]["weights_sha256"] = sha256(folder / WEIGHTS)
    with replacing(folder / METADATA) as draft:
        write_json(draft, metadata)
    measure_again("trust", name, None)


if __name__ == "__main__":
    for bundle in sys.argv[1:]:
        set_anew(bundle)
