"""Series that are simulated again: what no parameters explain is told, in words, at a known rate."""

from __future__ import annotations

import math

import pytest
import torch
from exact_networks import Exact, Trend, exact_fit

from monai_inn.inferers.trust.resimulated import deviation_names, resimulated_scores
from monai_inn.inferers.trust.verdicts import Explained, reasons
from monai_inn.problems import Application

PIXELS = 4000


class Quick(Application):
    is_quickly_simulated = True


class QuickTrend(Trend):
    """Noise of a level of its own in every series, of which the network knows the largest."""

    def noise(self, y, generator=None):
        share = torch.rand(len(y), 1, generator=generator)
        noisy = super().noise(y, generator)
        return y + 0.1**share * (noisy - y)

    @property
    def application(self):
        return Quick(self)


@pytest.fixture(scope="module")
def fitted():
    return exact_fit(QuickTrend())


def bent(y, size=8.0):
    times = y[:, Trend.most :]
    return torch.cat([y[:, : Trend.most] + size * (times - 0.5).square(), times], 1)


def with_spike(y):
    y = y.clone()
    y[:, 7] += 10 * Trend.noise_sd
    return y


def test_ordinary_series_are_called_so_at_the_given_rate(fitted):
    """Within four standard errors of a threshold from 400 simulations, and of 4,000 observations."""
    y = fitted.problem.simulate(PIXELS, seed=2)[1]
    error = 4 * math.sqrt(0.05 * 0.95 * (1 / PIXELS + 1 / 400))
    assert abs(1 - float(fitted.is_explained(y).float().mean()) - 0.05) < error


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (bent, "a curve of another shape"),
        (with_spike, "a single value far from the curve"),
        (lambda y: y + torch.cat([torch.randn(len(y), Trend.most), torch.zeros(len(y), Trend.most)], 1),
         "deviates more than by the noise of the model"),
    ],
)  # fmt: skip
def test_what_no_straight_line_explains_is_told_in_words(fitted, spoil, kind):
    torch.manual_seed(0)
    y = spoil(fitted.problem.simulate(400, seed=3)[1])
    found = Explained(fitted.problem, fitted.network, 0.05)(y)
    assert float(found["ood"].mean()) > 0.9
    texts = reasons(fitted.problem, fitted.network)
    assert texts[int(found["reason"][found["ood"] > 0].mode().values)] == f"signal: {kind}"


def test_without_simulations_waic_alone_is_asked(fitted):
    """As in a recorded program; the density of this network says the same of everything."""
    y = bent(fitted.problem.simulate(50, seed=3)[1])
    assert not Explained(fitted.problem, fitted.network, 0.05, resimulates=False)(y)["ood"].any()
    slow = exact_fit(Trend())
    assert slow.misfit(y).shape == (50, 1)
    assert slow.is_explained(y).all()
    assert fitted.misfit(y).shape == (50, 1 + len(deviation_names(fitted.problem)))


def test_what_is_left_is_what_least_squares_leave():
    """The posterior may be too wide and beside the point: two steps find the line all the same."""
    problem = QuickTrend()

    class Biased(Exact):
        def posterior(self, features):
            q = super().posterior(features)
            q.mean, q.root = q.mean + 0.5, 3 * q.root
            return q

    y = problem.simulate(200, seed=4)[1]
    level = resimulated_scores(problem, Biased(problem), y)[:, -1].exp()
    there = y[:, : problem.most].isfinite()
    design = torch.where(there.unsqueeze(-1), problem.design(y), 0.0)
    values = torch.where(there, y[:, : problem.most], 0.0).unsqueeze(-1)
    left = (values - design @ torch.linalg.lstsq(design, values).solution).squeeze(-1)
    expected = (left.square().sum(1) / there.sum(1)).sqrt()
    torch.testing.assert_close(level, expected, rtol=0.1, atol=0)


def test_entries_in_any_order_are_one_curve(fitted):
    problem = fitted.problem
    y = bent(problem.simulate(20, seed=5)[1])
    order = torch.randperm(problem.most, generator=torch.Generator().manual_seed(0))
    mixed = torch.cat([y[:, order], y[:, problem.most + order]], 1)
    torch.testing.assert_close(fitted.misfit(mixed), fitted.misfit(y), rtol=1e-3, atol=1e-3)
