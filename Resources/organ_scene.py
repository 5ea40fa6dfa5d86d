"""The drawn layout of the organ mosaic: where each tissue lies, how it is lit, where the image is bad."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROWS, COLUMNS = 96, 128


class Tissue(NamedTuple):
    """One label: where its spectrum was measured, its assumed brightness and the colour it is shown in."""

    value: int
    name: str
    table: str
    spectrum: str
    mean_reflectance: float  # over 500-1000 nm; assumed, since the tables hold shapes only
    colour: tuple[int, int, int]


TISSUES = (
    Tissue(1, "skin", "pig_organs", "pig skin", 0.50, (222, 184, 160)),
    Tissue(2, "abdominal wall muscle", "pig_organs", "pig muscle", 0.28, (170, 84, 74)),
    Tissue(3, "omentum", "pig_organs", "pig omentum", 0.45, (236, 205, 130)),
    Tissue(4, "liver", "pig_organs", "pig liver", 0.16, (112, 48, 40)),
    Tissue(5, "stomach", "pig_organs", "pig stomach", 0.40, (226, 148, 140)),
    Tissue(6, "small intestine", "pig_organs", "pig small_intestine", 0.36, (240, 170, 120)),
    Tissue(7, "kidney, physiological", "pig_kidney_states", "pig kidney_physiological", 0.24, (186, 60, 90)),
    Tissue(8, "kidney, malperfused", "pig_kidney_states", "pig kidney_malperfused", 0.22, (110, 80, 160)),
    Tissue(9, "kidney, after ICG", "pig_kidney_states", "pig kidney_icg", 0.23, (60, 160, 110)),
    Tissue(10, "heart", "pig_organs", "pig heart", 0.24, (200, 40, 40)),
    Tissue(11, "bladder", "pig_organs", "pig bladder", 0.42, (236, 220, 190)),
    Tissue(12, "phantom background", "phantoms", "background_material_light", np.nan, (150, 170, 190)),
    Tissue(13, "phantom inclusion", "phantoms", "inclusion_material", np.nan, (60, 80, 110)),
)


def labels() -> NDArray[np.uint8]:
    """Label of each pixel, shape ``(ROWS, COLUMNS)``."""
    image = np.full((ROWS, COLUMNS), 1, np.uint8)
    wall, inside = _opening(1.0), _opening(0.93)
    image[wall] = 2
    image[inside] = 3
    image[_bowel() & inside] = 6
    for value, shape in (
        (5, _blob((27, 84), (14, 20), tilt=0.35, waves=((2, 0.16, 2.2), (3, 0.05, 0.5)))),
        (4, _blob((28, 43), (18, 24), tilt=-0.25, waves=((2, 0.10, 0.3), (3, 0.08, 1.2), (5, 0.03, 0.0)))),
        (10, _blob((21, 64), (10, 8), tilt=0.2, waves=((3, 0.10, 1.6),))),
        (11, _blob((82, 64), (6.5, 11), tilt=0.0, waves=((3, 0.05, 1.57),))),
        (7, _kidney((55, 25), 0.15)),
        (9, _kidney((58, 103), 3.0)),
        (8, _kidney((76, 40), -0.95)),
    ):
        image[shape & inside] = value
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    # The clamped vessel feeds the lower pole of the first kidney only.
    image[(image == 7) & (rows - 0.3 * (columns - 26) > 57)] = 8
    image[_rounded_square((83, 116), 11.0)] = 12
    image[np.hypot(rows - 83, columns - 116) < 5.5] = 13
    return image


def shares(label: NDArray[np.uint8]) -> Field:
    """Share of each tissue in each pixel, ``(tissues, ROWS, COLUMNS)``: optics blur the borders."""
    blurred = np.stack([gaussian_filter((label == t.value).astype(float), 0.6) for t in TISSUES])
    result: Field = blurred / blurred.sum(0)
    return result


def illumination(label: NDArray[np.uint8]) -> Field:
    """Light on each pixel relative to white: falloff to the rim, bodies that curve away, a dark corner."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    distance = np.hypot(rows - 42, (columns - 60) * 0.8)
    light = 1.0 - 0.45 * (distance / distance.max()) ** 2
    for t in TISSUES[3:11]:
        depth = distance_transform_edt(label == t.value)
        body = label == t.value
        light[body] *= 0.72 + 0.28 * np.sqrt(1 - (1 - np.clip(depth[body] / 7.0, 0, 1)) ** 2)
    light = gaussian_filter(light, 0.7)
    dark = 1 / (1 + np.exp((rows + 0.9 * columns - 22) / 2.5))
    result: Field = light * (1 - 0.995 * dark)
    return result


def highlights() -> Field:
    """Mirror reflections of the lamp on wet tissue, relative to white: brighter than the camera can hold."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    spots = ((18, 36, 1.1), (20, 40, 0.7), (20, 80, 0.9), (24, 92, 0.8), (15, 63, 0.8), (50, 22, 0.8),
             (53, 105, 0.8), (75, 35, 0.7), (79, 61, 0.9), (49, 62, 0.7), (60, 74, 0.7))  # fmt: skip
    image = np.zeros((ROWS, COLUMNS))
    for row, column, size in spots:
        square = (rows - row) ** 2 + (columns - column) ** 2
        image += 4.0 * np.exp(-square / (2 * size**2)) + 0.06 * np.exp(-square / (2 * (3 * size) ** 2))
    return image


def dead_pixels() -> Mask:
    """A strip of a sensor row that gives nothing."""
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[56:58, 68:108] = True
    return mask


def _opening(scale: float) -> Mask:
    """The abdominal opening, a rounded rectangle."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.abs((rows - 46) / (44 * scale)) ** 3 + np.abs((columns - 64) / (56 * scale)) ** 3 < 1


def _blob(
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    tilt: float,
    waves: tuple[tuple[int, float, float], ...] = (),
) -> Mask:
    """An ellipse whose outline waves: ``(periods, amplitude, phase)`` each."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    y, x = rows - centre[0], columns - centre[1]
    u, v = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    angle = np.arctan2(v / radii[0], u / radii[1])
    outline = 1 + sum(a * np.cos(k * angle + phase) for k, a, phase in waves)
    return np.hypot(u / radii[1], v / radii[0]) < outline


def _kidney(centre: tuple[float, float], hilum: float) -> Mask:
    """A bean: a thick arc, open towards the angle ``hilum``."""
    angle = hilum + np.pi + np.linspace(-0.95, 0.95, 60)
    rows, columns = (8.0 * np.sin(angle), 8.0 * np.cos(angle))
    rows, columns = rows - rows.mean() + centre[0], columns - columns.mean() + centre[1]
    return _tube(rows, columns, 5.8)


def _bowel() -> Mask:
    """Loops of bowel: one tube that winds to and fro, with omentum between the turns."""
    path = []
    for turn, level in enumerate((51.0, 60.5, 70.0)):
        columns = np.linspace(50, 83, 80) if turn % 2 == 0 else np.linspace(83, 50, 80)
        path.append(np.stack([level + 1.6 * np.sin(columns / 5.5 + turn), columns]))
    (first, second, third) = path
    turns = [_half_turn(first[:, -1], second[:, 0], 1.0), _half_turn(second[:, -1], third[:, 0], -1.0)]
    rows, columns = np.concatenate([first, turns[0], second, turns[1], third], axis=1)
    return _tube(rows, columns, 4.0)


def _half_turn(start: Field, end: Field, side: float) -> Field:
    """Half a circle from one point to another, to the right (1) or to the left (-1), ``(2, points)``."""
    angle = np.linspace(0, np.pi, 40)
    middle, half = (start + end) / 2, (end - start) / 2
    across = np.stack([np.zeros_like(angle), side * np.abs(half[0]) * np.sin(angle)])
    result: Field = middle[:, None] - half[:, None] * np.cos(angle) + across
    return result


def _tube(path_rows: Field, path_columns: Field, radius: float) -> Mask:
    """All pixels closer to a path than a radius."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    distance = np.hypot(rows[..., None] - path_rows, columns[..., None] - path_columns).min(-1)
    return distance < radius


def _rounded_square(centre: tuple[float, float], half: float) -> Mask:
    """A square with rounded corners."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return ((rows - centre[0]) / half) ** 6 + ((columns - centre[1]) / half) ** 6 < 1
