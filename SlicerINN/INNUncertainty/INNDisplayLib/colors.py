"""Color tables made for uncertainty, and volumes of colors with an alpha for each voxel.

Slice views draw such volumes in grades; the alpha of a color table they only take as on or off.
"""

from __future__ import annotations

import numpy as np
import slicer.util
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from vtk.util.numpy_support import vtk_to_numpy

from .marks import matrix_of, place
from .run import Run

__all__ = ["HATCH_RGB", "TABLES", "color_node", "graded", "hatch", "lab_to_rgb", "rgb_to_lab", "table"]

Array = NDArray[np.float64]

SIZE, _LOG_SIZE = 256, 1024
HATCH_RGB = (217, 0, 115)  # in none of the tables

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
        label, values = f"{name}, {low:g} to {high:g}", np.linspace(low, high, _LOG_SIZE)
        share = np.log(values / low) / np.log(high / low)
        colors = table(name, _LOG_SIZE)[(share * (_LOG_SIZE - 1)).round().astype(int)]
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


_SOURCE = "INN.source"
_STRIPES, _LEAST_PERIOD = 64, 6  # across the longest side of an image; voxels
_TINT_RGB, _DOT_RGB, _GRID_RGB = (255, 255, 255), (0, 0, 0), (150, 150, 150)
_TINT_ALPHA, _GRID_ALPHA = 140, 110


def graded(
    run: Run, volume: slicer.vtkMRMLScalarVolumeNode, share: NDArray[np.floating], alpha: NDArray[np.floating]
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
    return _colors(run, "graded", rgba, volume)


def hatch(run: Run, parameter: str = "") -> slicer.vtkMRMLVectorVolumeNode | None:
    """Return what covers voxels whose numbers are not to be read; nothing if there are none.

    The patterns differ in shape, so that they tell apart whoever cannot tell colors: stripes where the
    measurement is not explained, dots where it says nothing about a parameter, a grid where there is none.
    Stripes and dots have an outline.

    Args:
        run: whose voxels they are.
        parameter: the parameter that is shown; the first one by default.
    """
    shown, usable = run.parameter(parameter).name, run.usable()
    like = next((n for n in map(run.find, ("ood", "valid", "median")) if n is not None), None)
    if like is None:
        return None
    untrusted = run.untrusted() & usable
    silent = run.uninformative(shown) & usable & ~untrusted
    if usable.all() and not untrusted.any() and not silent.any():
        return None
    if (known := _made_from(run, like, shown)) is not None:
        return known
    rgba = _covered(untrusted, silent, ~usable)
    node = _colors(run, "withheld", rgba, like)
    node.SetAttribute(_SOURCE, _version(like, shown))
    return node


def _covered(
    untrusted: NDArray[np.bool_], silent: NDArray[np.bool_], unusable: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    period = max(_LEAST_PERIOD, max(untrusted.shape) // _STRIPES)
    thick = max(2, period // 4)
    k, j, i = np.ogrid[tuple(slice(n) for n in untrusted.shape)]
    stripe = (i + j + k) % period < thick
    dot = ((i + k) % period < thick) & ((j + k) % period < thick)
    line = (i % period == 0) | (j % period == 0)
    rgba = np.zeros((*untrusted.shape, 4), np.uint8)
    rgba[unusable & line] = (*_GRID_RGB, _GRID_ALPHA)
    for region, mark, color in ((untrusted, stripe, HATCH_RGB), (silent, dot, _DOT_RGB)):
        rgba[region] = (*_TINT_RGB, _TINT_ALPHA)
        rgba[region & (mark | _edge(region))] = (*color, 255)
    return rgba


def _edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a region beside one that is not in it, in the same slice; the image's border is none."""
    padded = np.pad(region, ((0, 0), (1, 1), (1, 1)), mode="edge")
    inner = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    return region & ~inner


def _made_from(
    run: Run, like: slicer.vtkMRMLVolumeNode, parameter: str
) -> slicer.vtkMRMLVectorVolumeNode | None:
    """The patterns that were made from these voxels already: a slider must not wait for new ones."""
    node = run.find("withheld")
    is_current = node is not None and node.GetAttribute(_SOURCE) == _version(like, parameter)
    return node if is_current else None


def _version(volume: slicer.vtkMRMLVolumeNode, parameter: str) -> str:
    return f"{volume.GetID()} {volume.GetImageData().GetMTime()} {parameter}"


def _colors(
    run: Run, kind: str, rgba: NDArray[np.uint8], like: slicer.vtkMRMLVolumeNode
) -> slicer.vtkMRMLVectorVolumeNode:
    node = run.node(kind, "", "vtkMRMLVectorVolumeNode")
    place(node, rgba, matrix_of(like), like)
    node.GetDisplayNode().InterpolateOff()  # stripes and voxels keep their edges
    return node
