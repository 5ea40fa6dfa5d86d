"""Everything public of the networks and of a fitted posterior, in every mode that torch can be in."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import monai_inn.inferers.posterior as walk
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers import MapNetwork
from monai_inn.networks import ConditionalFlow, FlowEnsemble
from monai_inn.networks.encoders.encoders import Components, Whitening
from monai_inn.networks.flows.bases import AdjustedNormal, Adjustment
from monai_inn.networks.kernels.chunks import on_all_threads

SIZES = {"in_channels": 4, "condition_channels": 3, "num_blocks": 2, "hidden_channels": (16, 16)}
BFLOAT = {"device_type": "cpu", "dtype": torch.bfloat16}


@contextlib.contextmanager
def double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "bfloat16": lambda: torch.autocast(**BFLOAT),
    "float64 by default": double_by_default,
}


@pytest.fixture(autouse=True)
def small_pieces_on_two_threads(monkeypatch) -> Iterator[None]:
    """The tests run with one thread otherwise, and their images fit into one piece."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr("monai_inn.networks.flows.distributions.rows_per_chunk", lambda *_: 128)
    monkeypatch.setattr(walk, "_PIXELS", 10)
    yield
    torch.set_num_threads(before)


def base() -> AdjustedNormal:
    made = AdjustedNormal((4,), 3)
    radius, factor = torch.tensor([-0.5, 0.5, 1.0]), torch.tensor([0.1, 0.2, 0.3])
    made.set(0, Adjustment(torch.full((4,), 0.2), torch.full((4,), 0.3), radius, factor))
    return made


def flows() -> dict[str, ConditionalFlow | FlowEnsemble]:
    made: dict[str, ConditionalFlow | FlowEnsemble] = {
        "affine": ConditionalFlow(**SIZES, coupling="affine"),
        "spline": ConditionalFlow(**SIZES),
        "periodic": ConditionalFlow(**SIZES, periodic=(1,)),
        "groups": ConditionalFlow(**SIZES, groups=(2, 2)),
        "unconditional": ConditionalFlow(**SIZES | {"condition_channels": 0}),
        "ensemble": FlowEnsemble(3, **SIZES),
    }
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for flow in made.values():
            for weight in flow.parameters():
                weight += 0.05 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return {name: flow.eval() for name, flow in made.items()}


FLOWS = flows()


def answers(flow: ConditionalFlow | FlowEnsemble, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What a flow says, without random numbers of its own."""
    generator = torch.Generator().manual_seed(1)
    condition, x, latent = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((40, 3), (40, 4), (8, 1, 4))
    )
    q = flow(condition) if flow.condition_channels else flow().expand((40,))
    found = {"samples": q.push(latent), "log_prob": q.log_prob(x), "latent": q.latent(x)}
    found["samples again"], found["their density"] = q.push_with_log_prob(latent)
    leading = flow.stack.groups[0]
    found["leading"] = q.leading(leading).log_prob(x[:, :leading])
    if len(flow.stack.groups) == 1:
        found["with base"] = q.with_base(base().to(dtype)).log_prob(x)
    return {key: value.detach() for key, value in found.items()}


def assert_as_good(found: dict[str, Tensor], plain: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """Not ten times as far from the answers in float64 as the plain run is.

    Another order of the same sums changes the largest rounding error by a small factor; eight bits instead of
    24 would make it 65,536 times as large.
    """
    assert set(found) == set(plain)
    for name, value in found.items():
        assert value.dtype == plain[name].dtype, name
        error, expected = ((v.double() - exact[name]).abs().max() for v in (value, plain[name]))
        assert error <= 10 * expected, (name, float(error), float(expected))


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_gives_the_same_answers_in_every_mode(name):
    flow = FLOWS[name]
    plain, exact = answers(flow), answers(copy.deepcopy(flow).double(), torch.float64)
    for mode, context in MODES.items():
        with context():
            found = answers(flow)
        assert_as_good(found, plain, exact)
        assert torch.is_grad_enabled(), mode


@pytest.mark.parametrize("name", ["groups", "ensemble"])
def test_random_samples_are_those_of_the_plain_run(name):
    flow = FLOWS[name]
    condition = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))

    def samples() -> Tensor:
        torch.manual_seed(5)
        q = flow(condition)
        return torch.cat([q.sample((8,)), q.rsample((8,)).detach()])

    plain = samples()
    for context in MODES.values():
        with context():
            torch.testing.assert_close(samples(), plain, rtol=1e-3, atol=1e-3)


def test_several_threads_at_once_get_the_answers_of_one():
    plain = {name: answers(flow) for name, flow in FLOWS.items()}

    def ask(number: int) -> tuple[str, dict[str, Tensor]]:
        name = list(FLOWS)[number % len(FLOWS)]
        with list(MODES.values())[number % 3]():  # the default number format belongs to all threads
            return name, answers(FLOWS[name])

    with ThreadPoolExecutor(6) as outer:
        for name, found in outer.map(ask, range(12)):
            for key, value in found.items():
                torch.testing.assert_close(value, plain[name][key], rtol=1e-3, atol=1e-3)


@pytest.mark.timeout(120)
def test_walks_inside_walks_of_several_threads_come_to_an_end():
    device = torch.device("cpu")

    def inner(number: int) -> float:
        return float(torch.ones(10, number).sum())

    def outer(number: int) -> float:
        return sum(on_all_threads(inner, range(number), device))

    def all_of(_: int) -> list[float]:
        return list(on_all_threads(outer, range(9), device))

    with ThreadPoolExecutor(8) as callers:
        for found in callers.map(all_of, range(16)):
            assert found == [10 * sum(range(number)) for number in range(9)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "bfloat16", None])
def test_a_task_is_in_the_modes_of_its_caller_without_autocast(threads, mode):
    torch.set_num_threads(threads)

    def modes(_: object = None) -> tuple[bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with contextlib.nullcontext() if mode is None else MODES[mode]():
        expected = modes()
        tasks = on_all_threads(
            lambda _: (modes(), torch.is_autocast_enabled("cpu")), range(4), torch.device("cpu")
        )
        assert set(tasks) == {(expected, False)}
        assert modes() == expected


def test_a_walk_that_is_left_half_way_leaves_no_mode_behind():
    with torch.inference_mode():
        walked = on_all_threads(lambda number: number, range(6), torch.device("cpu"))
        next(walked)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    next(walked)
    assert torch.is_grad_enabled()


def child(answer: Any) -> None:
    found = answers(FLOWS["spline"])
    answer.send({key: value.numpy() for key, value in found.items()})


@pytest.mark.timeout(120)
def test_a_fork_after_threads_were_started_does_not_wait_for_them():
    with torch.no_grad():
        plain = answers(FLOWS["spline"])
    torch.ones(1_000_000).exp()  # on the threads of torch itself, which do not live on in a fork either
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(there,))
    process.start()
    try:
        assert here.poll(60), "the child does not answer"
        for key, value in here.recv().items():
            torch.testing.assert_close(torch.from_numpy(value), plain[key], rtol=1e-3, atol=1e-3)
    finally:
        process.kill()
        process.join()


class Pixels(Dataset):
    """Scores of images, each computed in a worker of a data loader."""

    def __init__(self, fitted: FittedPosterior, observations: Tensor) -> None:
        self.fitted, self.observations = fitted, observations

    def __len__(self) -> int:
        return len(self.observations)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        y = self.observations[index]
        medians = self.fitted.maps(y.T, samples=8)["median"].as_tensor()
        return self.fitted.waic(y), medians


@pytest.mark.slow  # new processes
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader_give_the_same_maps(gaussian_fit, start):
    y = gaussian_fit.problem.simulate(60, seed=3)[1].reshape(3, 20, -1)
    pixels = Pixels(gaussian_fit, y)
    expected = [pixels[index] for index in range(len(y))]
    workers = 2 if start == "fork" else 1
    loader = DataLoader(
        pixels, batch_size=None, num_workers=workers, multiprocessing_context=start, timeout=300
    )
    for found, wanted in zip(loader, expected, strict=True):
        for value, right in zip(found, wanted, strict=True):
            torch.testing.assert_close(value, right, rtol=1e-3, atol=1e-3)


def fitted_answers(fitted: FittedPosterior, image: Tensor) -> dict[str, Tensor]:
    """What a fitted posterior says of an image and of its pixels."""
    targets = len(fitted.problem.targets)
    y = image.flatten(1).T
    theta = fitted.problem.simulate(len(y), seed=5)[0]
    torch.manual_seed(2)
    name = fitted.problem.targets[0]
    middle = float(fitted.problem.space.subset([name]).inverse(torch.zeros(1, 1)))
    maps = fitted.maps(image, samples=16, below={name: middle}, quantiles=4)
    found = {f"maps {key}": value for key, value in maps.items()}
    found |= {f"trust {key}": value for key, value in fitted.trust(image).items()}
    found |= {f"preview {key}": value for key, value in fitted.preview(image).items()}
    found |= {
        "draw": torch.stack([sample.as_tensor() for sample in fitted.draw(image, 2)]),
        "log_prob": fitted.posterior(y).log_prob(theta),
        "log_prob of targets": fitted.target_posterior(y).log_prob(theta[:, :targets]),
        "samples": fitted.posterior(y).sample((8,)),
        "samples with gradients": fitted.target_posterior(y).rsample((8,)),
        "waic": fitted.waic(y),
        "density": fitted.density_log_prob(y),
        "is_inside": fitted.is_inside(theta[:, :targets], y).float(),
        "width": fitted.posterior_width(y),
    }
    return {key: value.as_subclass(Tensor).detach() for key, value in found.items()}


def test_a_fitted_posterior_gives_the_same_answers_in_every_mode(camera_fit, image):
    plain = fitted_answers(camera_fit, image)
    for mode, context in MODES.items():
        with context():
            found = fitted_answers(camera_fit, image)
        assert set(found) == set(plain)
        for name, value in found.items():
            rtol = 5e-3 if "waic" in name else 1e-4  # a variance of log densities, see test_maps
            torch.testing.assert_close(
                value, plain[name], rtol=rtol, atol=1e-4, msg=lambda text, at=(mode, name): f"{at}: {text}"
            )


def test_drawing_samples_leaves_the_modes_of_the_caller_alone(gaussian_fit):
    for _ in gaussian_fit.draw(torch.randn(3, 4, 5), 2):
        assert torch.is_grad_enabled()


def test_training_under_autocast_is_in_mixed_precision():
    """The subnets have eight bits, harmlessly: each of 2 · 4 scales is off by about 2^-8 of its size."""
    flow = copy.deepcopy(FLOWS["spline"]).train()
    condition, x = torch.randn(200, 3), torch.randn(200, 4)
    plain = flow(condition).log_prob(x)
    with torch.autocast(**BFLOAT):
        mixed = flow(condition).log_prob(x)
    error = float((mixed - plain).abs().mean().detach())
    assert 0 < error < 8 * 2**-8
    (-mixed.mean()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in flow.parameters())
    with torch.autocast(**BFLOAT), torch.no_grad():
        torch.testing.assert_close(flow(condition).log_prob(x), plain.detach(), rtol=1e-4, atol=1e-4)


def test_fixed_maps_in_front_of_a_network_are_not_rounded_in_training():
    """Whitening takes differences 1000 times smaller than their terms, of which 8 bits keep nothing."""
    generator = torch.Generator().manual_seed(0)
    common, own = (torch.randn(500, size, generator=generator) for size in (1, 6))
    features = common + 1e-3 * own
    whitening, components = Whitening(6), Components(6, 2, 1)
    whitening.fit(features)
    components.fit(features, features)
    plain = whitening(features), components(features), components.summary(features)
    with torch.autocast(**BFLOAT):
        rounded = whitening(features), components(features), components.summary(features)
    for value, expected in zip(rounded, plain, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_importing_computes_nothing():
    """Neither a tensor nor memory: every operation of torch during the import is written down."""
    code = """
from torch.utils._python_dispatch import TorchDispatchMode
class Listed(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        print(function)
        return function(*arguments, **(options or {}))
with Listed():
    import monai_inn.networks.posterior, monai_inn.networks.freia.importing
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_a_compiled_flow_gives_the_same_answers():
    """A small one, because compiling takes its time; the map network below holds the larger ones."""
    flow = ConditionalFlow(2, 1, 1, (4,), "affine")
    generator = torch.Generator().manual_seed(1)
    condition, x = torch.randn(300, 1, generator=generator), torch.randn(300, 2, generator=generator)

    def ask(condition: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        q = flow(condition)
        return q.sample((4,)), q.log_prob(x)

    with torch.no_grad():
        torch.manual_seed(0)
        found = torch.compile(ask, backend="eager", fullgraph=True)(condition, x)
        torch.manual_seed(0)
        for value, expected in zip(found, ask(condition, x), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_a_compiled_map_network_gives_the_same_maps(gaussian_fit):
    problem = gaussian_fit.problem
    network = MapNetwork(
        {"name": problem.name, **problem.to_config()}, gaussian_fit.network.config, samples=8
    )
    network.network.load_state_dict(gaussian_fit.network.state_dict())
    image = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    image[:, :, 0, 0] = torch.nan
    with torch.no_grad():
        found = torch.compile(network.eval(), backend="eager", fullgraph=True)(image)
        torch.testing.assert_close(found, network(image), rtol=1e-4, atol=2e-3, equal_nan=True)


def test_the_density_of_a_fitted_posterior_compiles_in_one_piece(gaussian_fit):
    theta, y = gaussian_fit.problem.simulate(20, seed=3)

    def density(y: Tensor, theta: Tensor) -> Tensor:
        return gaussian_fit.posterior(y).log_prob(theta)

    with torch.no_grad():
        found = torch.compile(density, backend="eager", fullgraph=True)(y, theta)
        torch.testing.assert_close(found, density(y, theta), rtol=1e-4, atol=1e-4)
