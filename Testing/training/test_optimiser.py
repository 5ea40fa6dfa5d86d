"""The optimiser's matrix steps against their algebra."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_inn.training.optimiser import MatrixMomentum, optimisers, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_singular_vectors_stay_and_values_approach_one(shape):
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    u, values, vt = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalised(matrices)
    core = u.mT @ result @ vt.mT
    diagonal = torch.diagonal(core, dim1=1, dim2=2)
    torch.testing.assert_close(core, torch.diag_embed(diagonal), rtol=0, atol=1e-12)
    share = values / values.norm(dim=1, keepdim=True)
    # Three rounds lift a value by up to 3.44³ and bound it near one.
    assert (diagonal > share.clamp_max(0.5)).all()
    assert (diagonal < 1.3).all()


def test_a_step_does_not_depend_on_the_size_of_the_gradient():
    def stepped(scale):
        p = nn.Parameter(torch.zeros(2, 6, 4))
        p.grad = scale * torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))
        MatrixMomentum([p], lr=0.1).step()
        return p.detach()

    torch.testing.assert_close(stepped(1.0), stepped(1e4), rtol=1e-4, atol=1e-6)


def test_separate_matrices_are_stepped_separately():
    generator = torch.Generator().manual_seed(3)
    gradient = torch.randn(2, 6, 4, generator=generator)
    together, apart = nn.Parameter(torch.zeros(2, 6, 4)), [nn.Parameter(torch.zeros(6, 4)) for _ in range(2)]
    together.grad = gradient
    for p, g in zip(apart, gradient, strict=True):
        p.grad = g.clone()
    MatrixMomentum([together], lr=0.1).step()
    MatrixMomentum(apart, lr=0.1).step()
    torch.testing.assert_close(together.detach(), torch.stack([p.detach() for p in apart]))


def test_vectors_go_to_adam_and_matrices_do_not():
    vector, column, matrix = (nn.Parameter(torch.zeros(s)) for s in ((5,), (2, 5, 1), (2, 5, 3)))
    first, second = optimisers([vector, column, matrix], 1e-3)
    assert [p.shape for p in first.param_groups[0]["params"]] == [matrix.shape]
    assert [p.shape for p in second.param_groups[0]["params"]] == [vector.shape, column.shape]
