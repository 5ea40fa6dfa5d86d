"""Whether two images agree in their fine detail, which other patients and mirror images seldom share."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.applications.rigid.likelihood import Curve
from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.volumes import Volume, mapped

__all__ = ["fine_detail"]

_VOXEL_MM, _MOST_VOXELS = 3.0, 200_000  # of the comparison
_NATIVE = 0.6  # blur, in the coarser image's voxels
_COARSE = 4 / 3  # voxels: what a Gaussian of this standard deviation keeps is not detail
_KNOTS = tuple((k + 0.5) / 24 for k in range(24))  # so many that the curve follows any contrast
_RIDGE = 1e-6
_LEAST_SHARE, _LEAST_VOXELS = 0.02, 20  # of the mean variance, in an eighth; of its voxels


def fine_detail(fixed: Volume, moving: Volume, theta: Tensor) -> float:
    """Return how the moving image's fine detail correlates with a curve of the fixed one's grey values.

    Organs and bones of all people are alike if they are blurred; what is a few millimetres large is not. A
    mirrored image or another patient's spine may still agree well in half of the image. So it is cut into
    eighths, and the correlation is that of the one that agrees least but for one. An eighth in which nothing
    is to be seen does not count.

    Args:
        fixed: the larger image.
        moving: the smaller one, of any contrast.
        theta: motion, shape ``(6,)``.

    Returns:
        At most 1; voxels outside of the fixed image do not count.
    """
    native = float(torch.cat([fixed.spacing_mm, moving.spacing_mm]).max())
    spacing = max(_VOXEL_MM, native, float(moving.size_mm.prod() / _MOST_VOXELS) ** (1 / 3))
    blur = max(spacing / 2, _NATIVE * native)
    # A curve of a blurred image is not a blurred curve: grey values go through it before they are averaged.
    fine = moving.resampled(spacing / 2, blur)
    matrix = Motions.of(theta[None]).matrix(moving.centre)[0]
    x = fixed.at(mapped(fine.points(), matrix))
    inside = x.isfinite()
    hats = [hat * inside for hat in Curve.of(x[inside], _KNOTS).hats(x.nan_to_num())]
    parts = [
        Volume(part.reshape(fine.values.shape), fine.affine).resampled(spacing, blur).values
        for part in (*hats, inside.float())
    ]
    y = moving.resampled(spacing, blur)
    window = parts[-1] > 0.99
    weight, coarse = window.float(), _COARSE * float(y.spacing_mm[0])
    total = _blurred(weight, y.affine, coarse).clamp_min(1e-3)
    # What a blur within the window takes away.
    details = torch.stack(
        [
            (part - _blurred(part * weight, y.affine, coarse) / total)[window]
            for part in (*parts[:-1], y.values)
        ]
    )
    details = details.double() - details.double().mean(1, keepdim=True)
    basis, own = details[:-1], details[-1]
    gram = basis @ basis.T
    gram = gram + _RIDGE * gram.diagonal().max() * torch.eye(len(gram))
    curve = torch.linalg.solve(gram, basis @ own) @ basis
    return _least_agreement(curve, own, window)


def _least_agreement(curve: Tensor, own: Tensor, window: Tensor) -> float:
    """Correlation of details in the eighth of a window where it is least but for one; of few, the least."""
    part = (2 * torch.nonzero(window) // torch.tensor(window.shape)) @ torch.tensor([4, 2, 1])
    least = _LEAST_SHARE * float(curve.square().mean())
    found = []
    for k in range(8):
        one, other = curve[part == k], own[part == k]
        if len(one) >= _LEAST_VOXELS and float(one.var()) >= least:
            found.append(float(torch.corrcoef(torch.stack([one, other]))[0, 1].nan_to_num()))
    return sorted(found)[len(found) // 5] if found else 0.0


def _blurred(values: Tensor, affine: Tensor, sigma_mm: float) -> Tensor:
    volume = Volume(values, affine)
    return volume.resampled(float(volume.spacing_mm[0]), sigma_mm).values
