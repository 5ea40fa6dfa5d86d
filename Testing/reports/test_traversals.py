"""Pictures of what codes mean."""

from __future__ import annotations

import torch

from monai_inn.metrics import disentanglement
from monai_inn.reports.traversals import most_informative, traversal_figure, traversals


def decode(code: torch.Tensor) -> torch.Tensor:
    """Two columns: the first is as bright as the second code, the other one as the third."""
    return code[:, None, 1:3].expand(-1, 2, -1)


def test_one_code_moves_and_the_others_stay_at_their_mean():
    codes = (
        torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0]) + 5
    )
    mean, sd = codes.mean(0), codes.std(0)
    found = traversals(decode, codes, reach=1.5, steps=3)
    assert found.shape == (3, 3, 2, 2)
    expected = mean[1] + torch.tensor([-1.5, 0.0, 1.5]) * sd[1]
    assert torch.allclose(found[1, :, 0, 0], expected, atol=1e-5)
    assert torch.allclose(found[1, :, 0, 1], mean[2].expand(3))
    assert torch.allclose(found[0, :, 0, 0], mean[1].expand(3))  # the first code changes nothing


def test_codes_that_tell_most_come_first_with_the_factor_they_tell(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    factors = torch.rand(1000, 2, generator=generator)
    noise = torch.randn(1000, 3, generator=generator)
    codes = torch.stack([noise[:, 0], factors[:, 1] + 0.2 * noise[:, 1], factors[:, 0]], 1)
    found = disentanglement(codes, factors, resamplings=2)
    assert most_informative(found).tolist() == [2, 1, 0]
    drawn = []
    monkeypatch.setattr(
        "monai_inn.reports.traversals.draw_traversals",
        lambda axes, images, labels: drawn.append((images, labels)),
    )
    path = traversal_figure(decode, codes, found, ("size", "contrast"), tmp_path / "codes.png", shown=2)
    images, labels = drawn[0]
    assert images.shape == (2, 7, 2, 2)
    assert [label.split()[0] for label in labels] == ["size", "contrast"]
    assert path.stat().st_size > 500
