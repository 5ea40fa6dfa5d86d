"""What covers voxels whose numbers are not to be read, whatever map is shown.

The patterns differ in shape, for those who cannot tell their colors: stripes where the measurement is not
explained, dots where it says nothing about a parameter, a grid where there is none. Each has an outline in
two tones, so that a single voxel is not taken for a bright or dark value of the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer.util
from numpy.typing import NDArray

from .colors import color_volume
from .marks import RunNodes, matrix_of

if TYPE_CHECKING:
    from ..results.run import Run

__all__ = ["HATCH_RGB", "hatch", "hatch_all"]

HATCH_RGB = (217, 0, 115)  # in none of the tables
_SOURCE = "INN.source"
_STRIPES, _LEAST_PERIOD = 64, 6  # across the longest side of an image; voxels
_TINT_RGB, _DOT_RGB, _GRID_RGB, _RIM_RGB = (255, 255, 255), (0, 0, 0), (150, 150, 150), (60, 60, 60)
_TINT_ALPHA, _GRID_ALPHA = 140, 110
_FINE, _MOST_PARTS = 512, 3  # of the longest side, so that an outline is about as wide as a pixel of a view


def hatch(run: Run, parameter: str = "") -> slicer.vtkMRMLVectorVolumeNode | None:
    """Return what covers voxels whose numbers are not to be read; nothing if there are none.

    Voxels of small images are divided, so that an outline leaves room for a tone inside.

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
    parts = int(np.clip(_FINE // max(usable.shape[1:]), 1, _MOST_PARTS))
    rgba = _covered(untrusted, silent, ~usable, parts)
    node = color_volume(run, "withheld", rgba, like, _fine_matrix(matrix_of(like), parts))
    node.SetAttribute(_SOURCE, _version(like, shown))
    return node


def hatch_all(run: RunNodes, like: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLVectorVolumeNode:
    """Return stripes over a whole image that is not explained; between them it is as it was."""
    none, matrix = np.zeros(slicer.util.arrayFromVolume(like).shape[:3], bool), matrix_of(like)
    rgba = _covered(~none, none, none, _MOST_PARTS)
    rgba[(rgba[..., :3] != HATCH_RGB).any(-1)] = 0
    return color_volume(run, "withheld", rgba, like, _fine_matrix(matrix, _MOST_PARTS))


def _divided(region: NDArray[np.bool_], parts: int) -> NDArray[np.bool_]:
    return region.repeat(parts, 1).repeat(parts, 2)


def _fine_matrix(matrix: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Index to RAS of voxels divided along i and j; the outer edges of the image stay where they are."""
    to_coarse = np.diag([1 / parts, 1 / parts, 1.0, 1.0])
    to_coarse[:2, 3] = (1 - parts) / (2 * parts)
    return matrix @ to_coarse


def _covered(
    untrusted: NDArray[np.bool_], silent: NDArray[np.bool_], unusable: NDArray[np.bool_], parts: int
) -> NDArray[np.uint8]:
    """Colors of the divided voxels."""
    period = parts * max(_LEAST_PERIOD, max(untrusted.shape) // _STRIPES)
    thick = max(2 * parts, period // 4)
    rim = _divided(_edge(unusable), parts)
    untrusted, silent, unusable = (_divided(region, parts) for region in (untrusted, silent, unusable))
    k, j, i = np.ogrid[tuple(slice(n) for n in untrusted.shape)]
    k = parts * k
    stripe = (i + j + k) % period < thick
    dot = ((i + k) % period < thick) & ((j + k) % period < thick)
    line = (i % period < parts) | (j % period < parts)
    rgba = np.zeros((*untrusted.shape, 4), np.uint8)
    rgba[unusable & line] = (*_GRID_RGB, _GRID_ALPHA)
    rgba[rim] = (*_GRID_RGB, 255)  # what lies below is often a highlight
    rgba[_edge(unusable)] = (*_RIM_RGB, 255)
    for region, mark, color in ((untrusted, stripe, HATCH_RGB), (silent, dot, _DOT_RGB)):
        rim = _edge(region)
        rgba[region] = (*_TINT_RGB, _TINT_ALPHA)
        rgba[_edge(region & ~rim)] = (*_TINT_RGB, 255)  # the second tone of the outline
        rgba[region & mark | rim] = (*color, 255)
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
