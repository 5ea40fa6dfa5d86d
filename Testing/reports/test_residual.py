"""What the best pose leaves of an X-ray: its size, its p-value, and where it is, in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.results.residual import _coherent, describe_residual, largest_place
from monai_inn.applications.registration.whitening import Whitening

N, PIXEL = 64, 2.0
DETECTOR = Detector(N, N, PIXEL)


def solution(residual: torch.Tensor, window: torch.Tensor | None = None) -> SimpleNamespace:
    """An X-ray with a residual in standard deviations of white noise, and six slopes."""
    window = torch.ones(N, N) if window is None else window
    whitening = Whitening(window, torch.ones(N, N))
    slopes = whitening(torch.randn(6, N, N, generator=torch.Generator().manual_seed(99)))
    fit = SimpleNamespace(white=whitening(residual)[None], slopes=slopes[None], x=torch.zeros(1, 13).double())
    caster = SimpleNamespace(within=lambda pose: torch.ones(N, N))
    return SimpleNamespace(window=window, draws=SimpleNamespace(fit=fit), image=residual,
                           models=torch.zeros(1, N, N), detector=DETECTOR,
                           level=SimpleNamespace(radiograph=SimpleNamespace(caster=caster)))  # fmt: skip


def noise(seed: int) -> torch.Tensor:
    return torch.randn(N, N, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_explained(seed):
    found = describe_residual(solution(noise(seed)))
    assert found["unexplained"] is None
    # The mean of 4,096 squares is known to .022.
    assert found["chi_square_per_pixel"] == pytest.approx(1, abs=5 * 0.022)
    assert found["compared_pixels"] == N * N


def test_coherent_parts_of_noise_have_the_variance_of_gaussians():
    """Away from the edges: a bar or a spot minus what a Gaussian of 8 pixels leaves of it, over its own."""
    found = _coherent(torch.randn(200, N, N, generator=torch.Generator().manual_seed(0)), torch.ones(N, N))
    bar, spot, level = torch.tensor([10.0, 1.5]).square(), torch.tensor([2.0, 2.0]).square(), 64.0
    for number, shape in ((0, bar), (3, bar), (4, bar), (8, spot)):
        area = shape.prod().sqrt()
        expected = 1 - 4 * area / (2 * shape + level).prod().sqrt() + area / (shape + level).prod().sqrt()
        variance = found[:, number, 24:40, 24:40].square().mean()
        independent = 200 * 16**2 / (4 * torch.pi * area)
        assert abs(float(variance / expected) - 1) < 5 * float((2 / independent).sqrt())


def test_p_values_of_the_model_are_uniform():
    values = torch.tensor(
        [describe_residual(solution(noise(seed)), seed=seed)["p_value"] for seed in range(40)]
    )
    # The mean of 40 uniform numbers is known to .046.
    assert float(values.mean()) == pytest.approx(0.5, abs=4 * 0.046)
    assert float((values <= 0.1).float().mean()) < 0.1 + 4 * 0.047


@pytest.mark.parametrize(
    ("rows", "columns", "sign", "words"),
    [
        ((10, 14), (8, 32), 1, "a band in the upper left of the picture that absorbs more"),
        ((20, 44), (52, 56), -1, "a band on the right side of the picture that absorbs less"),
        ((28, 36), (28, 36), 1, "a spot in the middle of the picture that absorbs more"),
    ],
)
def test_the_place_is_told(rows, columns, sign, words):
    image = noise(1)
    image[rows[0] : rows[1], columns[0] : columns[1]] += 2.5 * sign
    found = describe_residual(solution(image))
    place = found["unexplained"]
    assert words in place["statement"]
    assert "it was compared" in place["statement"]
    assert found["p_value"] == 0.02  # none of the replicates is as large
    for edges, box in ((rows, place["rows"]), (columns, place["columns"])):
        assert box[0] == pytest.approx(edges[0], abs=3)
        assert box[1] == pytest.approx(edges[1] - 1, abs=3)
    sides = sorted(((rows[1] - rows[0]) * PIXEL, (columns[1] - columns[0]) * PIXEL))
    assert sorted(place["size_mm"]) == pytest.approx(sides, abs=3 * PIXEL)


def test_what_was_left_out_is_told_unless_the_user_did():
    image, window = noise(2), torch.ones(N, N)
    image[10:54, 30:35] += 40.0
    window[9:55, 29:36] = 0  # with a pixel all round
    place = describe_residual(solution(image, window))["unexplained"]
    assert "it was left out" in place["statement"]
    assert "in the middle" in place["statement"]
    assert place["rows"] == [10, 53]
    assert place["columns"] == [30, 34]
    assert place["size_mm"] == pytest.approx([44 * PIXEL, 5 * PIXEL], rel=0.05)
    assert largest_place(solution(image, window), 1 - window) is None
    window[9:55, 29:36], window[9:12, 29:32] = 1, 0  # one pixel far off is not a thing
    assert largest_place(solution(noise(2), window)) is None
