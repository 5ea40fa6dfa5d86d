"""Color tables made for uncertainty, and volumes of colors with an alpha for each voxel.

Slice views draw such volumes in grades; the alpha of a color table they only take as on or off.
"""

from __future__ import annotations

import numpy as np
import slicer.util
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from vtk.util.numpy_support import vtk_to_numpy

from .marks import RunNodes, matrix_of, place

__all__ = ["TABLES", "color_node", "color_volume", "graded", "lab_to_rgb", "rgb_to_lab", "table"]

Array = NDArray[np.float64]

SIZE, _MOST = 256, 1 << 16
_STEP = 0.01  # of a scale of decades, between two colors at its lower end

# Anchors as sRGB; the path through them is smooth in CIELAB, and walked in steps of equal length.
TABLES: dict[str, tuple[str, ...]] = {
    "INN value": ("#2d1160", "#2a5a8c", "#21918c", "#6cc05a", "#fbe723"),
    "INN interval width": ("#1b0c2e", "#6a1f6d", "#c5413f", "#f59b2f", "#fcf5bf"),
    "INN probability": ("#0b1d3a", "#1d4f91", "#3f8fc4", "#8fc7dc", "#f1f7f0"),
    "INN difference": ("#0f4c5c", "#5a97a8", "#e9e9e9", "#c98a5e", "#7a3b12"),
    "INN distrust": ("#141414", "#565656", "#8f8f8f", "#c6c6c6", "#f5f5f5"),
}

_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _TO_XYZ.sum(1)
_FINE = 4096


def table(name: str, size: int = SIZE) -> Array:
    """Return the colors of a table as sRGB in [0, 1], shape ``(size, 3)``."""
    anchors = np.array([[int(code[k : k + 2], 16) for k in (1, 3, 5)] for code in TABLES[name]]) / 255
    smooth = PchipInterpolator(np.linspace(0, 1, len(anchors)), rgb_to_lab(anchors))
    path = rgb_to_lab(lab_to_rgb(smooth(np.linspace(0, 1, _FINE))))  # as far as a screen can follow it
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    even = np.linspace(0, length[-1], size)
    return lab_to_rgb(np.stack([np.interp(even, length, column) for column in path.T], -1))


def color_node(
    scene: slicer.vtkMRMLScene, name: str, decades: tuple[float, float] | None = None
) -> slicer.vtkMRMLColorTableNode:
    """Return the color node of a table in a scene; made at the first call, saved with the scene.

    Args:
        scene: where the node lives.
        name: name of the table.
        decades: ends of a scale whose values span decades; colors then follow their logarithm.
    """
    if decades is None:
        label, colors = name, table(name)
    else:
        low, high = decades
        size = int(np.clip(high / low / np.log(high / low) / _STEP, 4 * SIZE, _MOST))
        label, values = f"{name}, {low:g} to {high:g}", np.linspace(low, high, size)
        share = np.log(values / low) / np.log(high / low)
        colors = table(name, 4 * SIZE)[(share * (4 * SIZE - 1)).round().astype(int)]
    found = scene.GetFirstNode(label, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(label)
    node.SetNumberOfColors(len(colors))
    for k, rgb in enumerate(colors):
        node.SetColor(k, str(k), *(float(c) for c in rgb), 1.0)
    return scene.AddNode(node)


def rgb_to_lab(rgb: Array) -> Array:
    """CIELAB (D65) of sRGB colors ``(..., 3)`` in [0, 1]."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_rgb(lab: Array) -> Array:
    """Turn CIELAB colors into sRGB in [0, 1]: shape ``(..., 3)``; colors that no screen has are clipped."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], -1)
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    linear = np.clip((ratio * _WHITE) @ np.linalg.inv(_TO_XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def graded(
    run: RunNodes,
    volume: slicer.vtkMRMLScalarVolumeNode,
    share: NDArray[np.floating],
    alpha: NDArray[np.floating],
) -> slicer.vtkMRMLVectorVolumeNode:
    """Return a map as colors with an alpha for each voxel.

    Args:
        run: whose map it is.
        volume: the map, with its color table; voxels without a value stay clear.
        share: position of each voxel on the color scale, 0 to 1, shape ``(K, J, I)``.
        alpha: 0 to 1, likewise.
    """
    table = vtk_to_numpy(volume.GetDisplayNode().GetColorNode().GetLookupTable().GetTable())[:, :3]
    rgba = np.empty((*share.shape, 4), np.uint8)
    rgba[..., :3] = table[(share * (len(table) - 1)).round().astype(int)]
    rgba[..., 3] = np.where(np.isfinite(slicer.util.arrayFromVolume(volume)), (255 * alpha).round(), 0)
    return color_volume(run, "graded", rgba, volume, matrix_of(volume))


def color_volume(
    run: RunNodes, kind: str, rgba: NDArray[np.uint8], like: slicer.vtkMRMLVolumeNode, matrix: Array
) -> slicer.vtkMRMLVectorVolumeNode:
    """Return a volume of colors with their alpha, made at the first call.

    Args:
        run: whose it is.
        kind: which of the run's it is.
        rgba: bytes ``(K, J, I, 4)``.
        like: the volume whose transform it follows.
        matrix: index to RAS millimeters, ``(4, 4)``.
    """
    node = run.node(kind, "", "vtkMRMLVectorVolumeNode")
    place(node, rgba, matrix, like)
    node.GetDisplayNode().InterpolateOff()  # stripes and voxels keep their edges
    return node
