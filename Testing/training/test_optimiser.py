"""The optimiser against Adam and against the symmetry that Adam lacks."""

from __future__ import annotations

import torch
from torch import nn

from monai_inn.training.engine import denormals_flushed
from monai_inn.training.optimiser import Optimiser, Soap


def gradients(shape, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, *shape, generator=generator, dtype=torch.float64)


def stepped(start, sequence, identity=False, lr=0.01):
    """A weight after Soap's steps along given gradients; with the identity as its basis if asked."""
    p = nn.Parameter(start.clone())
    optimiser = Soap([p], lr)
    for number, gradient in enumerate(sequence):
        p.grad = gradient.clone()
        optimiser.step()
        if identity and number == 0:
            state = optimiser.state[p]
            for side in ("left", "right"):
                state[side] = torch.eye(state[side].shape[-1], dtype=start.dtype).expand_as(state[side])
    return p.detach()


def test_in_the_basis_of_the_entries_it_is_adam():
    sequence = gradients((4, 3), 2)  # the basis turns after the second step
    start = torch.zeros(4, 3, dtype=torch.float64)
    adam = nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([adam], lr=0.01, betas=(0.9, 0.99))
    for gradient in sequence[1:]:
        adam.grad = gradient.clone()
        optimiser.step()
    torch.testing.assert_close(stepped(start, sequence, identity=True), adam.detach())


def test_steps_turn_with_the_coordinates():
    """``U W Vᵀ`` with gradients ``U G Vᵀ`` goes the way of ``W``: no axis is special."""
    sequence = gradients((5, 4), 60)
    u, v = (torch.linalg.qr(gradients((n, n), 1, seed=n)[0])[0] for n in (5, 4))
    start = torch.zeros(5, 4, dtype=torch.float64)
    expected = u @ stepped(start, sequence) @ v.mT
    torch.testing.assert_close(stepped(start, u @ sequence @ v.mT), expected, rtol=1e-6, atol=1e-9)


def test_bases_approach_the_eigenvectors():
    scale = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    turned = torch.linalg.qr(gradients((4, 4), 1, seed=7)[0])[0]
    p = nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
    optimiser = Soap([p], 0.01)
    for gradient in gradients((4, 4), 400):
        p.grad = turned @ (scale[:, None] * gradient)
        optimiser.step()
    # Covariances average about 40 gradients of 4 columns: directions to some 1 / √160.
    overlap = (turned.mT @ optimiser.state[p]["left"][0]).abs()
    assert (torch.diagonal(overlap) > 0.95).all()


def test_separate_matrices_are_stepped_separately():
    sequence = gradients((2, 6, 4), 30)
    start = torch.zeros(2, 6, 4, dtype=torch.float64)
    apart = [stepped(s, g) for s, g in zip(start, sequence.unbind(1), strict=True)]
    torch.testing.assert_close(stepped(start, sequence), torch.stack(apart))


def test_vectors_go_to_adam_and_matrices_do_not():
    weights = [nn.Parameter(torch.zeros(shape)) for shape in ((5,), (2, 5, 1), (2, 5, 3))]
    optimiser = Optimiser(weights, 1e-3)
    for p in weights:
        p.grad = torch.ones_like(p)
    optimiser.step(0.5)
    for p in weights[:2]:  # Adam's first step has the size of its rate
        torch.testing.assert_close(p.detach(), torch.full_like(p, -5e-4))
    assert not weights[2].any()  # Soap's first call only measures


def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened():
    def trained(interrupt):
        weights = [nn.Parameter(torch.ones(s)) for s in ((4,), (4, 3))]
        optimiser = Optimiser(weights, 1e-2)
        for step in range(6):
            if step == 3 and interrupt:
                state = optimiser.state()
                optimiser = Optimiser(weights, 1e-2)
                optimiser.load(state)
            generator = torch.Generator().manual_seed(step)
            for p in weights:
                p.grad = torch.randn(p.shape, generator=generator)
            optimiser.step()
        return weights

    for one, other in zip(trained(False), trained(True), strict=True):
        assert torch.equal(one, other)


def test_vanished_gradients_do_not_slow_down_a_training():
    before = float(torch.tensor(1e-40) * 1.0)
    with denormals_flushed():
        assert float(torch.tensor(1e-40) * 1.0) == 0
    assert float(torch.tensor(1e-40) * 1.0) == before
