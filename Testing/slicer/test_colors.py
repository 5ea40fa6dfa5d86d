"""Color tables: even steps, growing lightness, told apart by every kind of color vision."""

from __future__ import annotations

import numpy as np
import pytest
from INNDisplayLib.scene.colors import TABLES, color_node, lab_to_rgb, rgb_to_lab, table
from INNDisplayLib.scene.patterns import HATCH_RGB

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
PROTAN = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTAN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
TRITAN = [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]


ONE_WAY = [name for name in TABLES if name != "INN difference"]


def seen(rgb, matrix):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(matrix).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_conversion_to_lab_gives_the_known_values_of_the_primaries():
    """CIELAB of the sRGB primaries for D65 and the observer of 2 degrees."""
    rgb = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0]]
    np.testing.assert_allclose(rgb_to_lab(rgb), expected, atol=0.06)
    np.testing.assert_allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-6)


@pytest.mark.parametrize("name", ONE_WAY)
def test_steps_are_even_and_lightness_grows(name):
    colors = table(name)
    assert colors.shape == (256, 3)
    assert ((colors >= 0) & (colors <= 1)).all()
    lab = rgb_to_lab(colors)
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() < 1.1 * steps.min()
    assert (np.diff(lab[:, 0]) > 0).all()
    assert np.ptp(lab[:, 0]) > 70


@pytest.mark.parametrize("vision", [PROTAN, DEUTAN, TRITAN], ids=["protan", "deutan", "tritan"])
@pytest.mark.parametrize("name", ONE_WAY)
def test_order_is_seen_by_every_kind_of_color_vision(name, vision):
    lightness = rgb_to_lab(seen(table(name), vision))[:, 0]
    assert (np.diff(lightness) > -0.02).all()  # rounding in the matrices
    assert np.ptp(lightness) > 70


@pytest.mark.parametrize(
    "vision", [np.eye(3), PROTAN, DEUTAN, TRITAN], ids=["all", "protan", "deutan", "tritan"]
)
def test_both_sides_of_a_difference_are_told_apart(vision):
    lab = rgb_to_lab(seen(table("INN difference"), vision))
    assert 112 < lab[:, 0].argmax() < 144
    assert abs(lab[0, 0] - lab[-1, 0]) < 8
    for share in (0.0, 0.25):
        ends = lab[round(share * 255)], lab[round((1 - share) * 255)]
        assert np.linalg.norm(ends[0] - ends[1]) > 20


@pytest.mark.parametrize("name", TABLES)
def test_the_hatch_is_in_no_table(name):
    hatch = rgb_to_lab(np.array(HATCH_RGB) / 255)
    assert np.linalg.norm(rgb_to_lab(table(name)) - hatch, axis=1).min() > 25


def test_a_node_is_made_once_and_can_follow_decades(scene):
    node = color_node(scene, "INN value")
    assert color_node(scene, "INN value") is node
    color = [0.0] * 4
    node.GetColor(128, color)
    np.testing.assert_allclose(color[:3], table("INN value")[128], atol=0.5 / 255)
    decades = color_node(scene, "INN value", (0.01, 1.0))
    assert decades is not node
    # A tenth of the way along values from 0.01 to 1 lies at half of the decades.
    index = round((0.1 - 0.01) / (1 - 0.01) * (decades.GetNumberOfColors() - 1))
    decades.GetColor(index, color)
    np.testing.assert_allclose(color[:3], table("INN value", 1001)[500], atol=0.01)
