"""Whether two images agree in their fine detail, which no other patient and no mirror image shares."""

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


def fine_detail(fixed: Volume, moving: Volume, theta: Tensor) -> float:
    """Return how the moving image's fine detail correlates with a curve of the fixed one's grey values.

    Organs and bones of all people are alike if they are blurred; what is a few millimetres large is not.

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
    return float((curve @ own) / (curve.norm() * own.norm()).clamp_min(1e-12))


def _blurred(values: Tensor, affine: Tensor, sigma_mm: float) -> Tensor:
    volume = Volume(values, affine)
    return volume.resampled(float(volume.spacing_mm[0]), sigma_mm).values
