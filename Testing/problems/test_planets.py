"""Interiors of planets: the model against closed forms and tables, its exact posterior against samplers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from torch.distributions import Dirichlet

import monai_inn
from monai_inn.applications.planets import interior
from monai_inn.applications.planets.catalogue import read_planets
from monai_inn.applications.planets.interior import MATERIALS, radius
from monai_inn.applications.planets.table import radius_from_table
from monai_inn.physics.tables import read_table
from monai_inn.problems import Planets

DATA = Path(monai_inn.__file__).parents[1] / "benchmarks" / "data"
EARTH_KG, EARTH_M, GRAVITY = 5.9722e24, 6.371e6, 6.6743e-11
PLANETS = Planets()


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def compositions(n: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Mass, core and water fractions of draws of the prior."""
    theta = PLANETS.prior.sample((n,), torch.Generator().manual_seed(seed)).double()
    core, _, water = PLANETS.fractions(theta).unbind(-1)
    return theta[:, 2], core, water


def test_incompressible_layers_have_the_volume_of_their_masses(monkeypatch):
    density = {"iron": 8000.0, "silicate": 4000.0, "water": 1000.0}
    monkeypatch.setattr(interior, "MATERIALS", {name: (rho, 0.0, 1.0) for name, rho in density.items()})
    mass, core, water = compositions(50)
    volume = core / 8000 + (1 - core - water) / 4000 + water / 1000
    expected = (3 * EARTH_KG * mass * volume / (4 * math.pi)) ** (1 / 3) / EARTH_M
    torch.testing.assert_close(radius(mass, core, water), expected, rtol=1e-9, atol=0)
    found = radius(numbers(1), numbers(0.33, 0.2), numbers(0, 0.5))
    torch.testing.assert_close(found, numbers(1.048, 1.490), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("core", "water", "expected"),
    [
        (0.33, 0.0, (0.959, 1.531)),
        (0.2, 0.5, (1.218, 1.927)),
        (0.0, 0.0, (1.023, 1.641)),
        (1.0, 0.0, (0.792, 1.248)),
        (0.0, 1.0, (1.406, 2.218)),
    ],
)
def test_radii_that_others_integrated(core, water, expected):
    """At 1 and 5 Earth masses, by shooting from the surface."""
    torch.testing.assert_close(
        radius(numbers(1, 5), numbers(core), numbers(water)), numbers(*expected), rtol=1e-3, atol=0
    )


def test_halving_the_steps_changes_a_quarter_each_time():
    coarse, middle, fine = (radius(*compositions(500), cells=cells) for cells in (50, 100, 200))
    assert float((coarse / middle - 1).abs().max()) < 1e-4
    order = ((coarse - middle) / (middle - fine)).median()
    assert float(order) == pytest.approx(4, abs=0.3)


def integrated(mass: float, core: float, water: float) -> float:
    """Radius by shooting from the centre outwards in the radius: ``dP/dr``, ``dm/dr``, until ``P = 0``."""
    ends = np.cumsum([core, 1 - core - water]) * mass * EARTH_KG
    materials = list(MATERIALS.values())

    def slopes(r: float, state: np.ndarray) -> list[float]:
        inside, pressure = state
        empty, factor, exponent = materials[int(np.searchsorted(ends, inside, side="right"))]
        density = empty + factor * max(pressure, 0.0) ** exponent
        return [4 * math.pi * r**2 * density, -GRAVITY * inside * density / r**2]

    def surface(r: float, state: np.ndarray) -> float:
        return state[1]

    surface.terminal = True

    def shot(log_pressure: float) -> tuple[float, float]:
        start = 1.0
        heart = materials[int(np.searchsorted(ends, 0.0, side="right"))]
        seed = 4 / 3 * math.pi * start**3 * (heart[0] + heart[1] * math.exp(log_pressure) ** heart[2])
        done = solve_ivp(
            slopes, (start, 1e8), [seed, math.exp(log_pressure)], events=surface, rtol=1e-7, atol=1e-3
        )
        return float(done.y_events[0][0, 0]), float(done.t_events[0][0])

    goal = mass * EARTH_KG
    found = brentq(lambda p: math.log(shot(p)[0] / goal), math.log(1e9), math.log(1e15), xtol=1e-6)
    return shot(found)[1] / EARTH_M


@pytest.mark.parametrize("planet", [(1.0, 0.33, 0.0), (0.3, 0.1, 0.8), (12.0, 0.5, 0.2)])
def test_shooting_in_the_radius_finds_the_same(planet):
    mass, core, water = planet
    found = float(radius(numbers(mass), numbers(core), numbers(water)))
    assert found == pytest.approx(integrated(mass, core, water), rel=1e-4)


def test_model_and_published_curves_differ_by_what_the_problem_allows_for():
    """Zeng et al. 2019, with better equations of state: the error of the model is a parameter of 3 %."""
    table = read_table(DATA / "mass_radius_zeng.csv")
    rows = {"iron": (1.0, 0.0), "rock_675_iron_325": (0.325, 0.0), "rock": (0.0, 0.0)}
    rows |= {"water_50": (0.1625, 0.5), "water": (0.0, 1.0)}
    names = table.header
    full = [row for row in table.rows if 0.5 <= float(row[0]) <= 10]
    assert len(full) == 7
    mass = numbers(*(float(row[0]) for row in full))
    errors = []
    for name, (core, water) in rows.items():
        published = numbers(*(float(row[names.index(name)]) for row in full))
        errors.append(radius(mass, numbers(core), numbers(water)) / published - 1)
    found = torch.stack(errors)
    assert -0.053 < float(found.min()) < -0.045
    assert 0.02 < float(found.max()) < 0.03
    (sd,) = (p.sd for p in PLANETS.parameters if p.name == "model_error")
    assert 0.8 * sd < float(found.square().mean().sqrt()) < sd


def test_table_holds_the_integrated_radii():
    mass, core, water = compositions(2000, seed=1)
    error = (radius_from_table(mass, core / (1 - water), water) / radius(mass, core, water) - 1).abs()
    assert float(error.median()) < 1e-5
    assert float(error.max()) < 5e-4
    edges = torch.cartesian_prod(numbers(0.2, 1, 20), numbers(0, 0.02, 1), numbers(0, 0.001, 0.02, 1))
    mass, share, water = edges.T
    expected = radius(mass, share * (1 - water), water)
    torch.testing.assert_close(radius_from_table(mass, share, water), expected, rtol=5e-4, atol=0)


def test_all_fractions_are_equally_likely():
    theta = PLANETS.prior.sample((20_000,), torch.Generator().manual_seed(0))
    fractions = PLANETS.fractions(theta)
    torch.testing.assert_close(fractions.sum(-1), torch.ones(20_000))
    for layer in fractions.T:
        assert stats.kstest(layer.numpy(), stats.beta(1, 2).cdf).pvalue > 1e-4
    off = theta[:, 3].double()
    of_mass = 1 / (theta[:, 2] * math.log(100))
    of_error = torch.distributions.Normal(0, 0.03).log_prob(off)
    # Core and water of water and core share: the Jacobian is one minus the water.
    of_shares = Dirichlet(torch.ones(3)).log_prob(fractions.clamp_min(1e-9)) + (1 - theta[:, 0]).log()
    expected = of_shares.double() + of_mass.log() + of_error
    torch.testing.assert_close(PLANETS.prior.log_prob(theta).double(), expected, rtol=1e-3, atol=1e-3)
    outside = numbers(1.1, 0.5, 1.0, 0.0)
    assert float(PLANETS.prior.log_prob(outside)) == -math.inf


def test_noise_has_the_errors_that_stand_beside_it():
    y = torch.tensor([3.0, 1.5, 0.3, 0.05]).expand(40_000, -1)
    noisy = PLANETS.noise(y, torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy[:, 2:], y[:, 2:])
    torch.testing.assert_close(noisy.std(0)[:2], y[0, 2:], rtol=5 / math.sqrt(80_000), atol=0)
    _, context = PLANETS.simulate(5000, seed=1)[1].chunk(2, -1)
    assert float(context[:, 0].max() / context[:, 0].min()) > 200


def observed(name: str) -> torch.Tensor:
    names, y = read_planets(DATA / "planets.csv")
    return y[names.index(name)].double()


@pytest.mark.parametrize("name", ["K2-111 b", "TRAPPIST-1 e", "L 98-59 d", "K2-229 b"])
def test_grid_equals_weighed_draws_of_the_prior(name):
    """Means, squares and evidence within five standard errors; mass is drawn near the measured one."""
    y = observed(name)
    generator = torch.Generator().manual_seed(3)
    n = 200_000
    theta = PLANETS.prior.sample((n,), generator).double()
    low, high = float((y[0] - 6 * y[2]).clamp_min(0.2)), float((y[0] + 6 * y[2]).clamp_max(20))
    theta[:, 2] = low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)
    likelihood = PLANETS.log_likelihood(theta, y) - theta[:, 2].log()
    weight = likelihood.softmax(0)
    effective = 1 / float(weight.square().sum())
    assert effective > 500
    reference = PLANETS.reference_posterior(y)
    log_evidence = float(likelihood.logsumexp(0)) - math.log(n) + math.log((high - low) / math.log(100))
    assert float(reference.log_evidence) == pytest.approx(log_evidence, abs=5 / math.sqrt(effective))
    torch.manual_seed(0)
    drawn = reference.sample((20_000,))
    scale = drawn.std(0)
    for power in (1, 2):
        found, expected = (drawn / scale) ** power, (theta / scale) ** power
        mean = (weight[:, None] * expected).sum(0)
        spread = (weight[:, None] * (expected - mean).square()).sum(0).sqrt()
        tolerance = 5 * spread * math.sqrt(1 / effective + 1 / len(drawn))
        assert bool(((found.mean(0) - mean).abs() < tolerance).all())


@pytest.mark.peers
def test_grid_equals_a_markov_chain():
    emcee = pytest.importorskip("emcee")
    y, space = observed("K2-111 b"), PLANETS.space

    def log_density(latent: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(latent)
        theta = space.inverse(z)
        prior = -0.5 * z.square().sum(-1) + (1 - theta[:, 0]).log()
        return (prior + PLANETS.log_likelihood(theta, y)).numpy()

    sampler = emcee.EnsembleSampler(40, 4, log_density, vectorize=True)
    random = np.random.RandomState(0)
    sampler.random_state = random.get_state()
    sampler.run_mcmc(0.5 * random.normal(size=(40, 4)), 1500)
    chain = torch.from_numpy(sampler.get_chain(discard=300, flat=True))
    effective = len(chain) / float(sampler.get_autocorr_time(discard=300, quiet=True).max())
    assert effective > 500
    torch.manual_seed(0)
    grid = space.to_latent(PLANETS.reference_posterior(y).sample((20_000,)))
    for power in (1, 2):
        first, second = chain**power, grid**power
        tolerance = 5 * second.std(0) * math.sqrt(1 / effective + 1 / len(grid))
        assert bool(((first.mean(0) - second.mean(0)).abs() < tolerance).all())


def test_precise_errors_of_the_model_are_found():
    """What the grid says of the model's error, given composition and mass, is the conditional Gaussian."""
    torch.manual_seed(0)
    y = numbers(2.0, 1.25, 0.02, 0.005)
    drawn = PLANETS.reference_posterior(y).sample((20_000,))
    water, share, mass, off = drawn.T
    made = radius_from_table(mass, share, water) * (1 + off)
    assert float(made.mean()) == pytest.approx(1.25, abs=5 * 0.005 / math.sqrt(20_000) + 2e-4)
    assert float(made.std()) == pytest.approx(0.005, rel=0.05)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ((1.0, 3.0, 0.05, 0.02), "more than 6 standard errors from all planets"),
        ((1.0, 0.4, 0.05, 0.02), "look for an atmosphere"),
        ((300.0, 11.0, 5.0, 0.1), "of 0.2 to 20 Earth masses"),
        ((1.0, 1.0, -0.05, 0.02), "give positive numbers"),
        ((1.0, math.nan, 0.05, 0.02), "NaN"),
    ],
)
def test_observations_that_nothing_explains_have_no_exact_posterior(y, words):
    with pytest.raises(ValueError, match=words):
        PLANETS.reference_posterior(numbers(*y)).sample((2,))


def test_what_tells_nothing_is_not_usable():
    rows = [
        ((1.0, 1.0, 0.1, 0.05), True),
        ((1.0, 1.0, 0.6, 0.05), False),
        ((1.0, 1.0, 0.1, 0.3), False),
        ((1.0, 1.0, -0.1, 0.05), False),
        ((1.0, 1.0, 0.1, 0.0), False),
        ((-1.0, 1.0, 0.1, 0.05), False),
        ((25.0, 2.0, 0.1, 0.05), False),
        ((math.nan, 1.0, 0.1, 0.05), False),
    ]
    y = torch.tensor([row for row, _ in rows])
    assert PLANETS.is_valid(y).tolist() == [usable for _, usable in rows]
    assert bool(PLANETS.features(y[:-1]).isfinite().all())


@pytest.mark.parametrize(
    ("planet", "words"),
    [
        ((0.0, 0.3, 0.1), "mass above zero"),
        ((1.0, 0.7, 0.4), "sum is at most 1"),
        ((1.0, -0.1, 0.4), "0 to 1"),
    ],
)
def test_impossible_planets_are_refused(planet, words):
    with pytest.raises(ValueError, match=words):
        radius(*map(numbers, planet))


def test_masses_and_shares_outside_the_table_are_refused():
    with pytest.raises(ValueError, match=r"a mass is 30 Earth masses; expected 0.2 to 20"):
        PLANETS.forward(torch.tensor([[0.1, 0.3, 30.0, 0.0]]))
    with pytest.raises(ValueError, match=r"a share of water is 1.2; expected 0 to 1"):
        radius_from_table(numbers(1), numbers(0.3), numbers(1.2))


TABLE = "name,mass_earth,radius_earth,mass_error,radius_error\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("planet,mass_earth\nEarth,1\n", "no column 'name'"),
        ("name,mass_earth,radius_earth\nEarth,1,1\n", "no column 'mass_up'"),
        (TABLE + "Earth,1,one,.1,.1\n", "'one' is not a number"),
        (TABLE + "Earth,1,1,.1,-0.1\n", r"Earth has mass 1 ± 0.1 and radius 1 ± -0.1"),
        (TABLE + "Vulcan,0,1,.1,.1\n", "Vulcan has mass 0 ± 0.1"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, words):
    (tmp_path / "planets.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_planets(tmp_path / "planets.csv")


def test_upper_and_lower_errors_are_averaged():
    torch.testing.assert_close(observed("K2-111 b"), numbers(5.58, 1.82, 0.735, 0.1), rtol=1e-6, atol=0)
