"""monai_inn: calibrated posteriors and out-of-distribution guards for inverse problems in medical imaging.

Everything is loaded when it is first used: ``import monai_inn`` costs neither MONAI nor matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.bundles import load
    from monai_inn.fitted import FittedPosterior
    from monai_inn.training.fit import fit

__version__ = "0.1.0"

__all__ = ["FittedPosterior", "__version__", "fit", "load"]

_SUBPACKAGES = (
    "bundles",
    "inferers",
    "metrics",
    "networks",
    "physics",
    "problems",
    "reports",
    "training",
    "transforms",
    "validation",
)
_HOMES = {"FittedPosterior": "fitted", "fit": "training", "load": "bundles"}


__getattr__ = lazy_attributes(__name__, _HOMES, _SUBPACKAGES)


def __dir__() -> list[str]:
    return sorted((*__all__, *_SUBPACKAGES))
