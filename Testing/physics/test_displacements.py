"""Displacement fields: closed forms, SciPy's splines and MONAI's layers as oracles."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from scipy.interpolate import BSpline

from monai_inn.applications.deformable.displacements import (
    displacement_of_velocity,
    jacobian_determinant,
    spline_basis,
    spline_velocity,
    warp,
)

SHAPES = pytest.mark.parametrize(
    ("shape", "spacing"), [((20, 24), (2.0, 1.5)), ((9, 12, 10), (2.0, 1.0, 3.0))], ids=["2-D", "3-D"]
)


def positions(shape, spacing):
    """Voxel positions in mm, shape (dims, *shape), float64."""
    axes = [torch.arange(n, dtype=torch.float64) * step for n, step in zip(shape, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def random_velocity(shape, spacing, batch=3, share=0.2, control=3):
    """Velocities whose sd is that share of the smallest distance of the control points."""
    torch.manual_seed(0)
    dims = len(shape)
    distance = min((n - 1) * step / (control - 1) for n, step in zip(shape, spacing, strict=True))
    coefficients = torch.randn(batch, dims, *(control,) * dims, dtype=torch.float64) * share * distance
    return spline_velocity(coefficients, shape)


def middle(field, dims, margin):
    return field[(..., *(slice(margin, -margin),) * dims)]


def test_spline_weights_sum_to_one_and_are_those_of_scipy():
    for size, points in ((20, 3), (7, 2), (30, 6), (5, 5)):
        basis = spline_basis(size, points)
        assert torch.allclose(basis.sum(1), torch.ones(size, dtype=torch.float64), atol=1e-14)
        x = torch.linspace(0, points - 1, size, dtype=torch.float64).numpy()
        # Knots one control point apart; the coefficients at the ends go on outside.
        knots = torch.arange(-3, points + 3, dtype=torch.float64).numpy()
        for k in range(points):
            coefficients = torch.zeros(points, dtype=torch.float64)
            coefficients[k] = 1
            extended = torch.cat([coefficients[:1], coefficients, coefficients[-1:]]).numpy()
            assert basis[:, k].numpy() == pytest.approx(BSpline(knots, extended, 3)(x), abs=1e-12)


@SHAPES
def test_equal_coefficients_are_a_translation(shape, spacing):
    dims = len(shape)
    shift = torch.tensor([3.0, -1.2, 0.7], dtype=torch.float64)[:dims]
    coefficients = shift.reshape(-1, *(1,) * dims).expand(dims, *(3,) * dims)
    velocity = spline_velocity(coefficients, shape)
    expected = shift.reshape(-1, *(1,) * dims).expand(dims, *shape)
    assert torch.allclose(velocity, expected, atol=1e-12)
    displacement = displacement_of_velocity(velocity, spacing)
    assert torch.allclose(displacement, expected, atol=1e-12)
    assert torch.allclose(jacobian_determinant(displacement, spacing), torch.ones(shape).double())


def test_exponential_of_a_linear_velocity():
    """v = A (x − c): u = (exp A − 1)(x − c), away from where paths leave the image.

    Linear fields are interpolated exactly; what is left is Euler's step of 1/64, relative error |A|² / 128.
    """
    shape, spacing = (21, 25), (1.0, 2.0)
    x = positions(shape, spacing) - torch.tensor([10.0, 24.0]).double().reshape(2, 1, 1)
    turn = torch.tensor([[0.05, -0.3], [0.3, -0.1]], dtype=torch.float64)
    displacement = displacement_of_velocity(torch.einsum("ij,j...->i...", turn, x), spacing)
    expected = torch.einsum("ij,j...->i...", torch.linalg.matrix_exp(turn) - torch.eye(2).double(), x)
    near = (x.norm(dim=0) < 7).expand(2, -1, -1)
    bound = float(torch.linalg.matrix_norm(turn, 2)) ** 2 / 128 * 7 * math.exp(0.05)
    assert (displacement - expected)[near].abs().max() < bound
    determinant = jacobian_determinant(displacement, spacing)[x.norm(dim=0) < 5]
    assert (determinant / math.exp(-0.05) - 1).abs().max() < 2 * bound / 7


@SHAPES
def test_opposite_velocities_undo_each_other(shape, spacing):
    """Where no path comes near the border, beyond which the velocity goes on as a constant.

    What is left is linear interpolation: 4 % of the largest displacement at worst, 0.6 % in the mean (of 40
    draws, 3 % and 0.5 %).
    """
    dims = len(shape)
    velocity = random_velocity(shape, spacing)
    there, back = (displacement_of_velocity(sign * velocity, spacing) for sign in (1, -1))
    rest = there + torch.stack([warp(back[:, i], there, spacing) for i in range(dims)], 1)
    furthest = there.abs().flatten(2).amax(2).reshape(-1, dims, *(1,) * dims)
    x, size = positions(shape, spacing), [(n - 1) * step for n, step in zip(shape, spacing, strict=True)]
    last = torch.tensor(size).reshape(-1, *(1,) * dims) - furthest
    inside = ((x >= furthest) & (x <= last)).all(1, keepdim=True).expand_as(there)
    assert inside.double().mean() > 0.3
    assert rest[inside].abs().max() < 0.04 * there.abs().max()
    assert rest[inside].square().mean().sqrt() < 0.006 * there.abs().max()


@SHAPES
def test_half_the_velocity_twice_is_the_whole(shape, spacing):
    velocity = random_velocity(shape, spacing)
    half = displacement_of_velocity(velocity / 2, spacing)
    twice = half + torch.stack([warp(half[:, i], half, spacing) for i in range(len(shape))], 1)
    whole = displacement_of_velocity(velocity, spacing)
    assert (twice - whole).abs().max() < 0.003 * whole.abs().max()


@SHAPES
def test_same_as_the_layers_of_monai(shape, spacing):
    from monai.networks.blocks import DVF2DDF, Warp

    velocity = random_velocity(shape, spacing)
    voxels = torch.tensor(spacing, dtype=torch.float64).reshape(-1, *(1,) * len(shape))
    image = torch.rand(3, *shape, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exponential, warped = DVF2DDF(6, padding_mode="border"), Warp("bilinear", "border")
    displacement = displacement_of_velocity(velocity, spacing)
    assert torch.allclose(displacement, exponential(velocity / voxels) * voxels, atol=1e-10)
    expected = warped(image[:, None], displacement / voxels)[:, 0]
    assert torch.allclose(warp(image, displacement, spacing), expected, atol=1e-10)


@SHAPES
def test_warped_ramp_is_exact(shape, spacing):
    slope = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)[: len(shape)]
    x = positions(shape, spacing)
    ramp = torch.einsum("i,i...->...", slope, x)
    displacement = 0.05 * random_velocity(shape, spacing)
    size = min(spacing)
    assert displacement.abs().max() < size  # so that no inner voxel leaves the image
    warped = warp(ramp, displacement, spacing)
    expected = torch.einsum("i,bi...->b...", slope, x + displacement)
    assert warped.shape == (3, *shape)
    assert torch.allclose(middle(warped, len(shape), 1), middle(expected, len(shape), 1), atol=1e-10)


def test_displacement_points_from_the_fixed_to_the_moving_image():
    moving = torch.zeros(8, 8)
    moving[5, 3] = 1.0
    displacement = torch.zeros(2, 8, 8)
    displacement[0], displacement[1] = 2 * 0.5, -1 * 3.0  # two voxels down axis 0, one up axis 1, in mm
    fixed = warp(moving, displacement, (0.5, 3.0))
    assert fixed[3, 4] == pytest.approx(1.0, abs=1e-5)
    assert fixed.sum() == pytest.approx(1.0, abs=1e-5)
    beyond = warp(torch.arange(8.0).expand(8, 8), torch.full((2, 8, 8), 100.0), (1.0, 1.0))
    assert torch.allclose(beyond, torch.tensor(7.0))


def test_jacobian_determinant_of_fields_in_closed_form():
    shape, spacing = (9, 12, 10), (2.0, 1.0, 3.0)
    x = positions(shape, spacing)
    matrix = torch.tensor([[0.2, 0.1, 0.0], [-0.3, 0.1, 0.05], [0.0, 0.2, -0.4]], dtype=torch.float64)
    affine = jacobian_determinant(torch.einsum("ij,j...->i...", matrix, x), spacing)
    expected = torch.linalg.det(torch.eye(3).double() + matrix)
    assert torch.allclose(affine, expected.expand(shape), atol=1e-12)
    # Central differences of a quadratic are exact: u = (a x y, b y², 0).
    u = torch.stack([0.01 * x[0] * x[1], 0.02 * x[1].square(), torch.zeros(shape).double()])
    expected = (1 + 0.01 * x[1]) * (1 + 0.04 * x[1])
    found = jacobian_determinant(u.expand(2, *u.shape), spacing)
    assert torch.allclose(middle(found[1], 3, 1), middle(expected, 3, 1), atol=1e-12)
    fold = torch.stack([-1.5 * x[0], torch.zeros(shape).double(), torch.zeros(shape).double()])
    assert (jacobian_determinant(fold, spacing) < 0).all()


def test_gradients_and_leading_axes():
    coefficients = torch.randn(2, 2, 2, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    coefficients.requires_grad_()

    def chain(c):
        displacement = displacement_of_velocity(spline_velocity(c, (5, 4)), (1.0, 2.0))
        image = torch.linspace(0, 1, 20, dtype=torch.float64).reshape(5, 4).square()
        return warp(image, displacement, (1.0, 2.0)), jacobian_determinant(displacement, (1.0, 2.0))

    warped, determinant = chain(coefficients)
    assert warped.shape == determinant.shape == (2, 2, 5, 4)
    assert torch.allclose(chain(coefficients[1])[0], warped[1])
    assert torch.autograd.gradcheck(chain, coefficients, atol=1e-6)


def test_bad_shapes_are_named():
    field = torch.zeros(2, 5, 5)
    with pytest.raises(ValueError, match=r"shape \(3, 5, 5\) is not \(…, 2, \*spatial\)"):
        displacement_of_velocity(torch.zeros(3, 5, 5), (1.0, 1.0))
    with pytest.raises(ValueError, match="1 spatial axes; fields have 2 or 3"):
        spline_velocity(field, (5,))
    with pytest.raises(ValueError, match=r"image's shape \(4, 5\) does not end in"):
        warp(torch.zeros(4, 5), field, (1.0, 1.0))
    with pytest.raises(ValueError, match="1 control points on 5 voxels"):
        spline_basis(5, 1)
    with pytest.raises(ValueError, match="at least 2 points"):
        jacobian_determinant(torch.zeros(2, 1, 5), (1.0, 1.0))
