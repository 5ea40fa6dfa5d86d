"""What every inverse problem must keep to, checked on one: for its author's tests as for ours."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from monai_inn.fitted.reading import load
from monai_inn.networks.contracts import require
from monai_inn.problems import InverseProblem, ParameterSpace, names
from monai_inn.problems.drawing import BLOCK
from monai_inn.problems.registry import restored
from monai_inn.problems.valid import valid_simulations
from monai_inn.training import Recipe, fit, open_simulations, simulate_to_zarr

__all__ = ["check_problem"]

_ROWS = 64
_OBSERVATIONS = 8
_EPS = 1e-3  # of the latent space, for finite differences
_BRIEF = Recipe(
    num_simulations=2 * BLOCK,
    posterior_steps=3,
    density_steps=2,
    preview_steps=2,
    preview_observations=64,
    batch_size=64,
    measured=64,
    held_out=64,
    guard=128,
    templates=64,
)
_FLOW = {"num_blocks": 2, "hidden_channels": (16,)}
_SMALL = {"flow": _FLOW, "density": {**_FLOW, "members": 2}}


def check_problem(problem: InverseProblem) -> None:
    """Check that a problem keeps to what the whole package relies on, in seconds where it simulates quickly.

    Its class must be registered (``problems.register``) or offered by an installed package.

    Raises:
        ValueError: at the first point that is not kept; the message names it and says what was expected.
    """
    _check_description(problem)
    _check_shapes(problem)
    theta, clean = problem.simulate_clean(2 * BLOCK)
    _check_bounds(problem, theta)
    for check in (_check_bijection, _check_prior, _check_derived):
        check(problem, theta[:_ROWS])
    _check_likelihood(problem)
    _check_streams(problem)
    _check_arguments(problem)
    with tempfile.TemporaryDirectory() as folder:
        _check_store(problem, Path(folder), (theta, clean))
        _check_bundle(problem, Path(folder))


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, NaN in the same places, but for the rounding of other batch sizes."""
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


def _check_description(problem: InverseProblem) -> None:
    name = problem.name
    require(
        name in names(), f"{name!r} is not registered; decorate its class with monai_inn.problems.register."
    )
    space = problem.space  # raises if names repeat
    leading = space.names[: len(problem.targets)]
    require(
        len(problem.targets) > 0 and tuple(problem.targets) == leading,
        f"{name}: targets are {tuple(problem.targets)}, expected the first of the parameters, {space.names}.",
    )
    for p in (*problem.parameters, *problem.derived):
        require(bool(p.unit), f"{name}: {p.name!r} has no unit; give '1' to a pure number.")


def _check_shapes(problem: InverseProblem) -> None:
    theta, clean = problem.simulate_clean(_ROWS, seed=1)
    size = (_ROWS, len(problem.observation))
    require(clean.shape == size, f"forward returned the shape {tuple(clean.shape)}, expected {size}.")
    require(clean.dtype == torch.float32, f"forward returned {clean.dtype} for float32 parameters.")
    noisy = problem.noise(clean, torch.Generator().manual_seed(0))
    require(noisy.shape == size, f"noise returned the shape {tuple(noisy.shape)}, expected {size}.")
    valid = problem.is_valid(noisy)
    require(
        valid.shape == (_ROWS,) and valid.dtype == torch.bool,
        f"is_valid returned {valid.dtype} of shape {tuple(valid.shape)}, expected one boolean a row.",
    )
    require(valid.any(), "no simulated observation is valid; see is_valid.")
    far = problem.lack_of_fit(noisy, clean)
    require(far.shape == (_ROWS,), f"lack_of_fit returned the shape {tuple(far.shape)}, expected {(_ROWS,)}.")
    broken = problem.is_valid(torch.full_like(noisy, torch.nan))
    require(not broken.any(), "is_valid accepts observations of NaN.")
    for what in (problem.features, problem.density_features):
        rows = what(noisy)
        require(
            rows.ndim == 2 and len(rows) == _ROWS,
            f"{what.__name__} returned the shape {tuple(rows.shape)} for {size}.",
        )
        if not problem.observation.may_miss:
            require(rows[valid].isfinite().all(), f"{what.__name__} of a valid observation holds NaN.")
        apart = what(noisy[valid][:1])
        require(
            torch.allclose(apart, rows[valid][:1], rtol=1e-3, atol=1e-4, equal_nan=True),
            f"{what.__name__} of a row depends on the other rows.",
        )
    if problem.can_simulate:
        apart = problem.forward(theta[:3].reshape(3, 1, -1))
        expected = (3, 1, problem.observation.num_values)
        require(apart.shape == expected, f"forward of (3, 1, D) returned {tuple(apart.shape)}.")


def _check_bounds(problem: InverseProblem, theta: Tensor) -> None:
    inside = problem.space.contains(theta)
    worst = theta[~inside][:1].tolist()
    require(inside.all(), f"the prior draws parameters outside their bounds, such as {worst}.")


def _check_bijection(problem: InverseProblem, theta: Tensor) -> None:
    space = problem.space
    again = ParameterSpace.from_config(space.to_config())
    require(again.parameters == space.parameters, "parameters are not those of their own configuration.")
    theta = theta.double()
    latent, log_det = space.forward(theta)
    scale = theta.std(0) + 1e-12
    require(
        ((space.inverse(latent) - theta).abs() / scale).max() < 1e-2,
        "parameters do not survive the way to the latent space.",
    )
    change = space.inverse(latent + _EPS) - space.inverse(latent - _EPS)
    slope = (2 * _EPS / change).log().sum(-1)
    typical = latent.abs().amax(-1) < 3
    require(
        torch.allclose(slope[typical], log_det[typical], atol=1e-2),
        "the log-determinant of the parameter space is not that of its map.",
    )


def _check_prior(problem: InverseProblem, theta: Tensor) -> None:
    density = problem.prior.log_prob(theta)
    require(
        density.shape == (_ROWS,) and density.isfinite().all(),
        "the prior has no finite log density at its own draws; prior and draws disagree.",
    )


def _check_derived(problem: InverseProblem, theta: Tensor) -> None:
    ParameterSpace(problem.shown)  # raises if a name is that of a target or repeats
    values = problem.derive(theta)  # raises for a wrong shape
    for quantity, column in zip(problem.derived, values.unbind(-1), strict=True):
        name = f"the derived quantity {quantity.name!r}"
        require(column.isfinite().all(), f"{name} of draws of the prior is not finite.")
        require(
            quantity.scale != "log" or column.min() > 0,
            f"{name} has a logarithmic scale, and is not positive for draws of the prior.",
        )


def _check_likelihood(problem: InverseProblem) -> None:
    if not problem.has_likelihood:
        return
    theta, y = problem.simulate(_ROWS, seed=1)
    valid = problem.is_valid(y)
    theta, y = theta[valid][:_OBSERVATIONS], y[valid][:_OBSERVATIONS]
    found = torch.stack([problem.log_likelihood(theta, row) for row in y])
    size = (len(y), len(theta))
    require(found.shape == size, f"log_likelihood returned {tuple(found.shape[1:])}, expected {size[1:]}.")
    own = found.diagonal()
    require(own.isfinite().all(), "log_likelihood of the parameters behind an observation is not finite.")
    pairs = problem.log_likelihoods(theta.expand(2, -1, -1), y)
    size = (2, len(y))
    require(pairs.shape == size, f"log_likelihoods returned {tuple(pairs.shape)}, expected {size}.")
    if problem.has_noise:  # else it may be a random estimate
        likelier = own.mean() > found.mean()
        require(likelier, "log_likelihood: observations are likelier under other parameters than their own.")


def _check_streams(problem: InverseProblem) -> None:
    before = torch.get_rng_state()
    one, longer = problem.simulate(_ROWS, seed=5), problem.simulate(BLOCK + _ROWS, seed=5)
    for short, long in zip(one, longer, strict=True):
        require(
            _equal(short, long[:_ROWS]),
            "the same seed gives other simulations; draw from the generator given.",
        )
    if problem.available(5) is None:
        other = problem.simulate(_ROWS, seed=6)
        require(not _equal(one[0], other[0]), "two seeds give the same parameters.")
    require(torch.equal(torch.get_rng_state(), before), "simulating changed torch's global random state.")


def _check_arguments(problem: InverseProblem) -> None:
    again = restored(problem.name, {**problem.to_config(), **problem.tensors})
    require(
        again.space.to_config() == problem.space.to_config(), "to_config and tensors give other parameters."
    )
    if again.can_simulate:
        same = all(map(_equal, again.simulate(_ROWS, 7), problem.simulate(_ROWS, 7)))
        require(same, "a problem made anew from to_config and tensors simulates something else.")


def _check_store(problem: InverseProblem, folder: Path, expected: tuple[Tensor, Tensor]) -> None:
    class _StoppedError(Exception):
        pass

    def stop(done: int, _: int) -> None:
        raise _StoppedError

    for progress in (stop, None):
        try:
            simulate_to_zarr(problem, len(expected[0]), folder / "store", chunk=BLOCK, progress=progress)
        except _StoppedError:
            continue
    for stored, made in zip(open_simulations(folder / "store").load(), expected, strict=True):
        require(_equal(stored, made), "a store that was interrupted and resumed holds other simulations.")


def _check_bundle(problem: InverseProblem, folder: Path) -> None:
    from monai_inn.validation.commands import validate_source

    small = {"flow": {"num_blocks": 1, "hidden_channels": 8}} if problem.has_fields else _SMALL
    fitted = fit(problem, recipe=_BRIEF, network=small, simulations=folder / "store")
    fitted.save(folder / "bundle")
    again = load(folder / "bundle")
    theta, y = valid_simulations(problem, 8, seed=8)
    with torch.no_grad():
        answers = [(q.posterior(y).log_prob(theta), q.waic(y)) for q in (again, fitted)]
    same = all(torch.equal(*pair) for pair in zip(*answers, strict=True))
    require(same, "a bundle gives other numbers than what was saved, if only in the last digit.")
    if problem.observation.is_local:
        channels = y.T[: problem.observation.channels]  # of a neighbourhood those of its first pixel
        maps = again.maps(channels.reshape(1, -1, 2, len(y) // 2), samples=8, batched=True)
        shown = maps["median"].flatten(2)[..., ~problem.observation.is_blank(y)]
        require(shown.isfinite().all(), "maps of simulated observations hold NaN.")
    validate_source(str(folder / "bundle"), folder / "report", n=64, samples=15)
