"""Epidemics and ecology: particle filters, and outbreaks counted on any days, against exact probabilities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import Epidemic, Outbreak, ReportedCases, Ricker, check_problem
from monai_inn.problems.exact.particles import particle_log_likelihood

CASES = 100
ESTIMATES = 4000


def assert_unbiased(log_estimates: torch.Tensor, exact: float) -> None:
    """The mean of likelihood estimates is the likelihood, within four standard errors, which are small."""
    ratio = (log_estimates - exact).exp()
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert error < 0.03
    assert abs(float(ratio.mean()) - 1) < 4 * error


# --- the particle filter


def kalman(y: list[float], keep: float, step_sd: float, noise_sd: float) -> float:
    """Exact log likelihood of x' = keep x + step_sd e, y = x + noise_sd e, from x = 1 on."""
    mean, variance, total = 1.0, 0.0, 0.0
    for entry in y:
        mean, variance = keep * mean, keep**2 * variance + step_sd**2
        if math.isnan(entry):
            continue
        spread = variance + noise_sd**2
        total += stats.norm(mean, math.sqrt(spread)).logpdf(entry)
        mean += variance / spread * (entry - mean)
        variance *= noise_sd**2 / spread
    return total


@pytest.mark.parametrize("particles", [10, 100])
def test_the_particle_filter_is_unbiased_against_kalmans(particles):
    """Gaps are left out; ten particles are as right on average as a hundred."""
    torch.manual_seed(particles)
    keep, step_sd, noise_sd = 0.9, 0.5, 0.7
    y = [1.3, 0.4, math.nan, -0.6, math.nan, math.nan, -1.1, 0.2]
    found = particle_log_likelihood(
        torch.tensor(y),
        torch.ones(ESTIMATES, particles, 1),
        lambda x: keep * x + step_sd * torch.randn_like(x),
        lambda x, entry: torch.distributions.Normal(x[..., 0], noise_sd).log_prob(entry),
    )
    assert_unbiased(found, kalman(y, keep, step_sd, noise_sd))


def test_the_filter_keeps_parameters_apart_and_knows_the_impossible():
    start = torch.tensor([0.0, 1.0]).reshape(2, 1, 1).expand(2, 5, 1)
    found = particle_log_likelihood(
        torch.tensor([0.0, 0.0]), start, lambda x: x, lambda x, entry: (x[..., 0] == entry).float().log()
    )
    assert found.tolist() == [0.0, -math.inf]


# --- reported cases


class FourPeople(ReportedCases):
    population, infected, dispersion = 4, 2, 3


class ThreePeople(Outbreak):
    population, infected = 3, 1


def enumerated(problem: ReportedCases, theta: list[float], counts: list[float]) -> float:
    """Probability of counts, summed over all courses that a few people can take."""
    contact, recovery, reported, delay = theta
    k, people = problem.dispersion, problem.population

    share = 1 - math.exp(-1 / problem.latent_days) if problem.latent_days else math.nan

    def rest(day: int, susceptible: int, infected: int, exposed: int, waiting: float) -> float:
        if day == len(counts):
            return 1.0
        total = 0.0
        for new, well, begun in itertools.product(*(range(n + 1) for n in (susceptible, infected, exposed))):
            chance = stats.binom.pmf(new, susceptible, 1 - math.exp(-contact * infected / people))
            chance *= stats.binom.pmf(well, infected, 1 - math.exp(-recovery))
            ill = begun if problem.latent_days else new
            chance *= stats.binom.pmf(begun, exposed, share) if problem.latent_days else 1.0
            late = waiting + reported * new
            expected = (1 - math.exp(-1 / delay)) * late
            # The part that waited before has had a day to be reported.
            seen = 1.0 if math.isnan(counts[day]) else stats.nbinom.pmf(counts[day], k, k / (k + expected))
            if chance * seen > 0:
                left = late * math.exp(-1 / delay)
                now = susceptible - new, infected + ill - well, exposed + new - ill
                total += chance * seen * rest(day + 1, *now, left)
        return total

    return rest(0, people - problem.infected, problem.infected, 0, 0.0)


@pytest.mark.parametrize("counts", [[1.0, 0.0, 1.0, 2.0], [0.0, math.nan, 2.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
@pytest.mark.parametrize("latent_days", [0.0, 1.5])
def test_reported_cases_of_four_people_by_enumeration(counts, latent_days):
    problem = FourPeople(most=5, particles=50, latent_days=latent_days)
    theta = [0.9, 0.3, 0.6, 2.0]
    y = torch.full((10,), math.nan)
    for day, count in enumerate(counts):
        if not math.isnan(count):
            y[day], y[5 + day] = count, day + 1
    torch.manual_seed(len(counts))
    found = problem.log_likelihood(torch.tensor([theta]).expand(ESTIMATES, -1), y)
    assert_unbiased(found, math.log(enumerated(problem, theta, counts)))


def test_reports_come_late_and_sum_up_to_their_share():
    """A long time after everybody has been infected, the reports are their share of the infections."""
    problem = ReportedCases(most=80)
    problem.population, problem.infected = 500, 50
    theta = torch.tensor([4.0, 0.05, 0.3, 2.0]).expand(64, -1)
    torch.manual_seed(0)
    expected = problem.forward(theta)
    assert expected.sum(-1).numpy() == pytest.approx(0.3 * 450, rel=1e-3)
    day = (expected * torch.arange(1.0, 81)).sum(-1) / expected.sum(-1)
    wait = 1 / (1 - math.exp(-0.5)) - 1
    prompt = problem.forward(torch.tensor([4.0, 0.05, 0.3, 1.0]).expand(64, -1))
    earlier = (prompt * torch.arange(1.0, 81)).sum(-1) / prompt.sum(-1)
    sooner = 1 / (1 - math.exp(-1)) - 1
    assert float(day.mean() - earlier.mean()) == pytest.approx(wait - sooner, abs=0.1)


def test_reports_scatter_as_negative_binomial_counts():
    problem = ReportedCases(most=5)
    expected = torch.tensor([0.0, 0.5, 3.0, 20.0, 100.0])
    rows = torch.cat([expected, torch.arange(1.0, 6)]).expand(20_000, -1)
    drawn = problem.noise(rows, torch.Generator().manual_seed(0))[:, :5]
    for column, m in zip(drawn.T.double(), expected.tolist(), strict=True):
        law = stats.nbinom(10, 10 / (10 + m))
        assert float(column.mean()) == pytest.approx(m, abs=4 * law.std() / math.sqrt(20_000))
        values = np.arange(int(column.max()) + 1)
        found = problem._log_noise(torch.as_tensor(values), torch.tensor(m)).numpy()
        assert found == pytest.approx(law.logpmf(values), abs=1e-3)


# --- the Ricker model


def two_days(theta: torch.Tensor, y: list[float]) -> torch.Tensor:
    """Exact log probability of catches on days 1 and 2, for parameters ``(n, 3)``, by quadrature."""
    growth, variation, caught = theta.double().unsqueeze(-1).unsqueeze(-1).unbind(1)
    e = torch.linspace(-6, 6, 101, dtype=torch.float64)
    weight = torch.exp(-0.5 * e.square()) / math.sqrt(2 * math.pi) * (e[1] - e[0])
    first = growth.log() + math.log(10) - 10 + variation * e[:, None]
    second = growth.log() + first - first.exp() + variation * e
    chances = [torch.distributions.Poisson(caught * x.exp()).log_prob(torch.tensor(k)).exp()
               for x, k in zip((first, second), y, strict=True)]  # fmt: skip
    return ((chances[0] * (chances[1] @ weight).unsqueeze(-1)).squeeze(-1) @ weight).log()


def caught(counts: list[float], most: int = 5) -> torch.Tensor:
    gap = [math.nan] * (most - len(counts))
    return torch.tensor([*counts, *gap, *range(1, len(counts) + 1), *gap])


@pytest.mark.parametrize(("theta", "y"), [([60.0, 0.5, 12.0], [0.0, 3.0]), ([20.0, 0.2, 5.0], [0.0, 0.0])])
def test_ricker_likelihood_of_two_days_by_quadrature(theta, y):
    problem, rows = Ricker(most=5, particles=50), torch.tensor([theta])
    torch.manual_seed(1)
    found = problem.log_likelihood(rows.expand(ESTIMATES, -1), caught(y))
    assert_unbiased(found, float(two_days(rows, y)))


def test_ricker_posterior_of_two_days_is_the_exact_one():
    """Tempered Monte Carlo over estimates of few particles, against weighted draws of the prior."""
    problem, y = Ricker(most=5, particles=8), [1.0, 4.0]
    torch.manual_seed(2)
    theta = problem.prior.sample((3000,))
    weight = torch.cat([two_days(rows, y) for rows in theta.split(500)]).softmax(0)
    latent = problem.space.to_latent(theta).double()
    mean = weight @ latent
    sd = (weight @ (latent - mean).square()).sqrt()
    drawn = problem.space.to_latent(problem.reference_posterior(caught(y).double()).sample((1000,)))
    error = math.sqrt(1 / 1000 + float(weight.square().sum()))
    # Moves leave a correlation of up to a tenth, and copies of a particle may be left.
    assert ((drawn.mean(0) - mean).abs() / sd).max() < 4 * 1.5 * error
    assert (drawn.std(0) / sd - 1).abs().max() < 4 * 1.5 * error


# --- outbreaks in which everything is seen


def test_outbreak_likelihood_is_a_product_of_binomials():
    problem = Outbreak(most=30)
    theta, y = problem.simulate(5, seed=2)
    for rates, row in zip(theta.double(), y, strict=True):
        contact, recovery = rates.tolist()
        susceptible, infected, exact = 990, 10, 0.0
        for new, well in row[row.isfinite()].reshape(-1, 2).tolist():
            exact += stats.binom.logpmf(new, susceptible, 1 - math.exp(-contact * infected / 1000))
            exact += stats.binom.logpmf(well, infected, 1 - math.exp(-recovery))
            susceptible, infected = susceptible - new, infected + new - well
        assert float(problem.log_likelihood(rates[None], row.double())) == pytest.approx(exact, abs=1e-6)


def test_probabilities_of_all_outbreaks_of_three_people_sum_up_to_one():
    problem, total = ThreePeople(most=2), 0.0
    for new, well, more, later in itertools.product(range(3), range(2), range(3), range(4)):
        if new + more <= 2 and later <= 1 + new - well:
            total += math.exp(problem.log_evidence(torch.tensor([new, well, more, later]).double()))
    assert total == pytest.approx(1, abs=5e-6)  # the ends of both priors are cut


@pytest.mark.parametrize("problem", [Outbreak(), Epidemic(most=12)], ids=["outbreak", "epidemic"])
def test_ranks_are_uniform_and_samples_are_as_likely_as_the_truth(problem):
    torch.manual_seed(1)
    theta, y = problem.simulate(CASES, seed=7)
    assert len(problem.observation.parts(y).measured.any(-1).sum(-1).unique()) > 8
    posterior = problem.reference_posterior(y.double())
    samples = posterior.sample((19,))
    assert sbc_uniformity(sbc_ranks(samples, theta), 19).p_value.min() > 1e-3
    gap = posterior.log_prob(theta.double()) - posterior.log_prob(samples).mean(0)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(CASES)


def test_rows_that_are_no_outbreak_are_not_valid():
    problem = Outbreak(most=6)
    y = problem.simulate(4, seed=0)[1][:1].repeat(4, 1)
    y[1, 0] = 991  # more than there are
    y[2, 1] = 12 + y[2, 0]  # more recover than are infected
    y[3, 2:4] = torch.nan
    y[3, 4:6] = 0.0  # a gap
    assert problem.is_valid(y).tolist() == [True, False, False, False]


# --- the epidemic on any days


def test_the_ten_days_are_one_choice_of_days():
    """The problem of former releases keeps its description, and is a special case of the other."""
    old, new = Epidemic(), Epidemic(most=15)
    assert old.to_config() == {}
    assert old.observation.kind == "pixel"
    theta, y = old.simulate(3, seed=1)
    gap = torch.full((3, 5), torch.nan)
    rows = torch.cat([y, gap, torch.arange(0.0, 160, 17).expand(3, -1), gap], -1)
    one, other = old.reference_posterior(y.double()), new.reference_posterior(rows.double())
    assert torch.allclose(one.log_evidence, other.log_evidence, atol=1e-9)
    assert torch.allclose(one.log_prob(theta.double()), other.log_prob(theta.double()), atol=1e-9)
    expected = new.forward_with_context(theta, rows[:, 15:])
    assert torch.equal(expected[:, :10], old.forward(theta))
    assert bool(expected[:, 10:].isnan().all())


def test_missing_days_leave_the_posterior_of_the_others():
    problem = Epidemic(most=8)
    theta, y = problem.simulate(40, seed=4)
    row = y[y[:, :8].isfinite().sum(1) == 8][0].double()
    row[[1, 4, 6]] = torch.nan
    packed = torch.full((16,), torch.nan).double()
    packed[:5], packed[8:13] = (row[half][row[:8].isfinite()] for half in (slice(8), slice(8, 16)))
    log_prob = [problem.reference_posterior(one).log_prob(theta.double()) for one in (row, packed)]
    assert torch.equal(*log_prob)


@pytest.mark.parametrize("problem", [Epidemic(most=6), Ricker(most=6)], ids=["epidemic", "ricker"])
def test_days_are_whole_and_in_their_range(problem):
    y = problem.simulate(64, seed=0)[1]
    assert bool(problem.is_valid(y).all())
    for day in (-1.0, 2.5, 154.0):
        wrong = y[:1].clone()
        wrong[0, 6 + int(wrong[0, :6].isfinite().nonzero()[0])] = day
        assert not bool(problem.is_valid(wrong))


def test_days_stand_anywhere_and_each_once():
    problem = Ricker(most=6)
    y = caught([3.0, 0.0, 7.0], 6)
    turned = y.reshape(2, 6).flip(1).flatten()
    assert torch.equal(problem._by_day(y).nan_to_num(-1.0), problem._by_day(turned).nan_to_num(-1.0))
    twice = y.clone()
    twice[7] = 1.0
    assert problem.is_valid(torch.stack([y, turned, twice])).tolist() == [True, True, False]


def test_epidemics_of_any_days_keep_the_contract():
    check_problem(Epidemic(most=12))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ricker(most=3), "most = 3 days; give at least 5"),
        (lambda: Ricker(particles=0), "particles = 0; give a positive"),
        (lambda: Outbreak(most=-1), "most = -1; give a positive"),
        (lambda: Epidemic(most=0), "most = 0; give a positive"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
