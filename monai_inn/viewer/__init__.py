"""Results in the browser, for those without 3D Slicer."""

from monai_inn.viewer.serving import serve

__all__ = ["serve"]
