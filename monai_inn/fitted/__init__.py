"""A problem with its trained network, and the folder in which it is kept, a MONAI bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.fitted.posterior import FittedPosterior

__all__ = ["FittedPosterior"]

# The list of bundles needs their records alone, and does not wait for torch.
__getattr__ = lazy_attributes(__name__, {"FittedPosterior": "posterior"})
