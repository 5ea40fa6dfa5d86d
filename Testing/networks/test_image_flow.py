"""Flows of images: round trips, log-determinants, coarse marginals, their start in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from monai_inn.networks import ImageFlow, check_flow
from monai_inn.networks.images.given import DenseStart
from monai_inn.networks.images.rows import FieldFlow
from monai_inn.networks.parts import build, describe

SIZE = (16, 16)


def perturbed(flow: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The flow with weights that are no longer the identity's."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in flow.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += 0.05 * noise.to(parameter)
    return flow


def pairs(size: tuple[int, ...], count: int = 400, classes: int = 0) -> tuple[Tensor, Tensor, Tensor | None]:
    """Two correlated unknown channels, seen with noise, beside one that tells nothing."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(count, 5, *size, dtype=torch.float64, generator=generator)
    unknown = white[:, :2] + 0.5 * white[:, :2].roll(1, -1)
    unknown[:, 1] += unknown[:, 0]
    label = torch.arange(count) % classes if classes else None
    if label is not None:
        unknown[:, :, :2] += label.view(-1, 1, 1, 1)
    return unknown, torch.cat([unknown + 0.3 * white[:, 2:4], white[:, 4:]], 1), label


def covariance(number: int) -> Tensor:
    """Some covariance of that many values without any order."""
    white = torch.randn(number, number, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    return white @ white.T / number + 0.1 * torch.eye(number, dtype=torch.float64)


@pytest.fixture(scope="module", params=["affine", "spline", "classes", "volume", "dense"])
def fitted(request: pytest.FixtureRequest) -> tuple[ImageFlow, Tensor, Tensor, Tensor | None]:
    """A flow with couplings of its own, and what it was fitted to."""
    size = (16, 16, 32) if request.param == "volume" else SIZE
    classes = 2 if request.param == "classes" else 0
    unknown, observed, label = pairs(size, 60 if request.param == "volume" else 400, classes)
    coupling = "spline" if request.param == "spline" else "affine"
    sizes = {"levels": 2, "num_blocks": 1, "hidden_channels": 8, "features": (4,) * 5}
    start = "dense" if request.param == "dense" else "fitted"
    flow = ImageFlow(len(size), 2, 3, size, coupling=coupling, classes=classes, start=start, **sizes).double()
    if isinstance(flow.start, DenseStart):
        flow.start.set(covariance(unknown[0].numel()))
    flow.initialise([(unknown, observed, label)])
    return perturbed(flow, 1), unknown, observed, label  # type: ignore[return-value]


def of(fitted: tuple[ImageFlow, Tensor, Tensor, Tensor | None], rows: slice):
    flow, unknown, observed, label = fitted
    return flow(observed[rows], None if label is None else label[rows]), unknown[rows]


@torch.no_grad()
def test_push_undoes_latent(fitted: tuple[ImageFlow, Tensor, Tensor, Tensor | None]) -> None:
    q, images = of(fitted, slice(0, 3))
    latent = q.latent(images)
    torch.testing.assert_close(q.push(latent.unsqueeze(0))[0], images, atol=1e-9, rtol=0)
    shared = q.push(latent[None, :1])
    torch.testing.assert_close(shared[0, 0], images[0], atol=1e-9, rtol=0)
    assert q.sample((2,)).shape == (2, *images.shape)


# A Jacobian of the 16,384 values of the volume would be too large.
@pytest.mark.parametrize("fitted", ["affine", "spline", "classes", "dense"], indirect=True)
def test_densities_are_those_of_the_map(fitted: tuple[ImageFlow, Tensor, Tensor, Tensor | None]) -> None:
    q, images = of(fitted, slice(0, 1))
    point = images[0].flatten()
    shape = images.shape

    def latent(values: Tensor) -> Tensor:
        return q.latent(values.view(shape)).flatten()

    is_batched = fitted[0].config["coupling"] == "affine"  # autograd of splines takes one row at a time
    jacobian = torch.autograd.functional.jacobian(latent, point, vectorize=is_batched)
    z = latent(point)
    normal = -0.5 * z.square().sum() - 0.5 * len(z) * math.log(2 * math.pi)
    torch.testing.assert_close(q.log_prob(images)[0], normal + torch.linalg.slogdet(jacobian)[1])


@torch.no_grad()
def test_coarse_images_have_the_exact_marginal(
    fitted: tuple[ImageFlow, Tensor, Tensor, Tensor | None],
) -> None:
    q, images = of(fitted, slice(0, 2))
    pool = torch.nn.functional.avg_pool2d if fitted[0].spatial_dims == 2 else torch.nn.functional.avg_pool3d
    means, coarse = pool(images, 2), q.coarse(1)
    assert coarse.event_shape == means.shape[1:]
    latent = coarse.latent(means)
    torch.testing.assert_close(latent, q.latent(images)[:, : latent.shape[1]], atol=1e-9, rtol=0)
    torch.testing.assert_close(coarse.push(latent.unsqueeze(0))[0], means, atol=1e-9, rtol=0)


def test_densities_of_coarse_images_are_those_of_the_map() -> None:
    unknown, observed, _ = pairs(SIZE)
    flow = ImageFlow(2, 2, 3, SIZE, levels=2, num_blocks=1, hidden_channels=8, features=(4,) * 5).double()
    flow.initialise([(unknown, observed, None)])
    q = perturbed(flow, 2)(observed[:1]).coarse(1)
    point = torch.nn.functional.avg_pool2d(unknown[:1], 2)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: q.latent(v.view_as(point)).flatten(), point.flatten(), vectorize=True
    )
    z = q.latent(point)[0]
    normal = -0.5 * z.square().sum() - 0.5 * len(z) * math.log(2 * math.pi)
    torch.testing.assert_close(q.log_prob(point)[0], normal + torch.linalg.slogdet(jacobian)[1])


@torch.no_grad()
def test_samples_under_gradients_and_without_are_the_same() -> None:
    observed = pairs(SIZE)[1]
    flow = perturbed(ImageFlow(2, 2, 3, SIZE, levels=2, features=(4,) * 5).double(), 3)
    latent = torch.randn(40, 3, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    plain = flow(observed[:3]).push(latent)
    with torch.enable_grad():
        recorded = flow(observed[:3]).push(latent)
    assert recorded.requires_grad
    torch.testing.assert_close(plain, recorded.detach())


@torch.no_grad()
def test_the_start_is_the_least_squares_posterior() -> None:
    """Mean and covariance against those of ordinary regression on the few pixels that a shift reaches."""
    generator = torch.Generator().manual_seed(5)
    unknown = torch.randn(4400, 1, *SIZE, dtype=torch.float64, generator=generator)
    noise = torch.randn(unknown.shape, dtype=torch.float64, generator=generator)
    observed = unknown.roll(1, -1) + 2 * unknown.roll((3, 2), (-2, -1)) + noise
    flow = ImageFlow(2, 1, 1, SIZE, levels=3, num_blocks=0).double()
    flow.initialise([(unknown[400:], observed[400:], None)])
    unknown, observed = unknown[:400], observed[:400]
    q = flow(observed)
    # Exact: x ~ N(0, I), y = A x + n, both diagonal in Fourier space.
    kernel = torch.zeros(SIZE, dtype=torch.float64)
    kernel[0, 1], kernel[3, 2] = 1, 2
    response = torch.fft.fft2(kernel)
    variance = 1 / (1 + response.abs().square())
    mean = torch.fft.ifft2(response.conj() * variance * torch.fft.fft2(observed)).real
    left = q.push(torch.zeros(1, 1, 256, dtype=torch.float64))[0] - mean
    # An estimate of one filter value from n pairs is off by sd / √n of the mean's.
    assert left.std() < 12 * mean.std() / math.sqrt(4000)
    white = torch.fft.fft2(unknown - mean, norm="ortho") / variance.sqrt()
    exact = -0.5 * (white.abs().square() + variance.log() + math.log(2 * math.pi)).sum((-3, -2, -1))
    gap = (exact - q.log_prob(unknown)).mean()
    # Mean and variance of each frequency have an estimate each: one nat for n pairs and n parameters.
    assert 0 < gap < 3 * unknown[0].numel() / 4000


@torch.no_grad()
def test_a_dense_start_has_the_covariance_that_is_set() -> None:
    """Two channels; the covariance of rows is in their order, the channels of a place beside each other."""
    given = covariance(512)
    flow = FieldFlow(512, 512, SIZE, levels=3, num_blocks=0, start="dense").double()
    flow.set_covariance(given)
    mean = torch.randn(2, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(10))
    exact = torch.distributions.MultivariateNormal(mean, given)
    points = mean + 0.3 * torch.randn(4, 2, 512, dtype=torch.float64)
    torch.testing.assert_close(flow(mean).log_prob(points), exact.log_prob(points))


@torch.no_grad()
def test_constant_channels_tell_nothing() -> None:
    unknown, observed, _ = pairs(SIZE)
    ones = torch.ones_like(observed[:, :1])
    found = []
    for seen in (0 * ones, 3.3 * ones, torch.cat([0 * ones, 3.3 * ones], 1)):
        flow = ImageFlow(2, 2, seen.shape[1], SIZE, levels=2, num_blocks=0).double()
        flow.initialise([(unknown, seen, None)])
        found.append(flow(seen[:5]).log_prob(unknown[:5]))
    for beside in (observed, torch.cat([observed, 3.3 * ones], 1)):
        flow = ImageFlow(2, 2, beside.shape[1], SIZE, levels=2, num_blocks=0).double()
        flow.initialise([(unknown, beside, None)])
        found.append(flow(beside[:5]).log_prob(unknown[:5]))
    for one, other in ((0, 1), (0, 2), (3, 4)):
        torch.testing.assert_close(found[one], found[other], rtol=1e-6, atol=0)
    assert (found[3] > found[0] + 100).all()


@pytest.mark.parametrize("categories", [(), ((0, 2),)], ids=["image", "class and image"])
def test_rows_keep_to_the_contract(categories: tuple[tuple[int, int], ...]) -> None:
    length = 256 + len(categories)
    groups = [1, 256] if categories else [256]
    sizes = {"levels": 1, "num_blocks": 1, "hidden_channels": 4, "features": (2,) * 5}
    flow = FieldFlow(length, 512, SIZE, groups, categories=categories, **sizes)
    generator = torch.Generator().manual_seed(6)

    def draw(number: int) -> tuple[Tensor, Tensor]:
        return torch.randn(1500, length, generator=generator), torch.randn(1500, 512, generator=generator)

    flow.initialise(draw, 100_000)
    again = build(describe(flow))
    again.load_state_dict(flow.state_dict())
    assert describe(again) == describe(flow)
    check_flow(perturbed(flow, 7), torch.randn(1, 512, generator=generator))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (16, 20), "levels": 3}, "cannot be halved 3 times"),
        ({"size": (8, 8)}, "at least 16"),
        ({"size": (16, 16, 16)}, "spatial_dims = 2"),
        ({"levels": 5}, "levels = 5"),
        ({"coupling": "cubic"}, "coupling"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageFlow(2, 1, 1, **arguments)  # type: ignore[arg-type]


def test_images_of_another_size_and_missing_classes_are_refused() -> None:
    flow = ImageFlow(2, 1, 1, SIZE, levels=1, num_blocks=0, classes=2)
    with pytest.raises(ValueError, match="give the class"):
        flow(torch.zeros(1, 1, *SIZE))
    with pytest.raises(ValueError, match="observations have the shape"):
        flow(torch.zeros(1, 1, 32, 32), torch.zeros(1, dtype=torch.long))
    q = flow(torch.zeros(2, 1, *SIZE), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="values have the shape"):
        q.log_prob(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="levels = 1"):
        q.coarse(1)


def test_mixed_precision_is_for_training_alone() -> None:
    unknown, observed, _ = (part.float() if part is not None else None for part in pairs(SIZE))
    assert unknown is not None
    assert observed is not None
    flow = ImageFlow(2, 2, 3, SIZE, levels=1, num_blocks=1, hidden_channels=4, features=(2,) * 5)
    flow.initialise([(unknown, observed, None)])
    unknown, observed = unknown[:1], observed[:1]
    exact = perturbed(flow, 8).train()(observed).log_prob(unknown)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = flow(observed).log_prob(unknown)
        with torch.no_grad():
            same = flow.eval()(observed).log_prob(unknown)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(same, exact.detach())
    torch.testing.assert_close(mixed, exact, rtol=0.01, atol=0)
    assert not torch.equal(mixed, exact)
