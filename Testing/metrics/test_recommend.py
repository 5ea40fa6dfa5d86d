"""The decision table over the full product of answers."""

import importlib
import inspect
import itertools
import pkgutil
from typing import get_args

import pytest

import monai_inn.metrics
from monai_inn.metrics.recommend import _FACTS, _TABLE, NEEDS, Application, Reference, Shape, Use, recommend

FLAGS = (False, True)
EVERY = [
    Application(*answers)
    for answers in itertools.product(
        get_args(Reference), get_args(Shape), get_args(Use), FLAGS, FLAGS, FLAGS, FLAGS
    )
]


def names(application):
    return [recommendation.metric for recommendation in recommend(application)]


def public_functions():
    found = set()
    for module in pkgutil.walk_packages(monai_inn.metrics.__path__, "monai_inn.metrics."):
        content = importlib.import_module(module.name)
        names = getattr(content, "__all__", ())
        found |= {name for name in names if inspect.isfunction(getattr(content, name))}
    return found


def test_every_combination_of_answers_gets_a_metric_whose_needs_are_met():
    assert len(EVERY) == 6 * 3 * 4 * 16
    for application in EVERY:
        given = {NEEDS[fact] for fact in _FACTS[application.reference]}
        found = recommend(application)
        assert found
        assert all(given.issuperset(recommendation.needs) for recommendation in found)
        # Out-of-distribution scores alone would be no validation of the posterior.
        assert {r.metric for r in found} - {"waic", "auroc"}
        assert len({r.reason for r in found}) == len(found)


def test_every_row_is_used_and_complete():
    assert len(_TABLE) >= 12
    used = {r.reason for application in EVERY for r in recommend(application)}
    assert used == {row.reason for row in _TABLE}
    for row in _TABLE:
        assert row.reason.endswith(".")
        assert row.pitfall.endswith(".")
        assert set(row.when) <= set(Application._fields)
        assert set(row.needs) <= set(NEEDS)


def test_every_metric_is_a_public_function():
    assert {row.metric for row in _TABLE} <= public_functions()


def test_precision_is_never_advised_without_all_solutions():
    for application in EVERY:
        advice = [r for r in recommend(application) if r.metric == "mode_scores"]
        if application.shape != "several modes":
            assert not advice
        elif application.reference in ("exact posterior", "exhaustive modes"):
            assert ["precision" in r.reason for r in advice] == [True]
        elif application.reference in ("several known", "one known"):
            assert ["precision" in r.reason for r in advice] == [False]
        else:
            assert not advice


def test_known_applications():
    poses = names(Application("exhaustive modes", "several modes", "mode choice", has_angles=True))
    assert poses == ["mode_scores", "find_modes_batch", "hds_length", "posterior_sd"]
    tissue = names(Application("simulator only", "ridge", "map", may_be_out_of_distribution=True))
    assert {"resimulation_error", "coverage", "tarp", "contraction", "waic"} <= set(tissue)
    assert "crps" not in tissue
    assert "crps" in names(Application("one known", "one mode", "one number"))
    assert "coverage_interval" in names(Application("one known", "one mode", "map", is_few_cases=True))
    assert "calibration_error" not in names(Application("one known", "one mode", "map", is_few_cases=True))
    assert names(Application("none", "one mode", "map")) == ["interval_width"]
    assert "c2st" in names(Application("exact posterior", "one mode", "image"))
    assert "log_score" in names(Application("simulator only", "ridge", "map", compares_devices=True))


def test_wrong_answers_are_refused():
    with pytest.raises(ValueError, match=r"reference = 'gold'; choose one of 'exact posterior', 'exhaust"):
        recommend(Application("gold", "ridge", "map"))
    with pytest.raises(ValueError, match="shape = 'round'"):
        recommend(Application("none", "round", "map"))
    with pytest.raises(ValueError, match="use = 'fun'"):
        recommend(Application("none", "ridge", "fun"))
    with pytest.raises(TypeError, match="has_angles = 1, expected True or False"):
        recommend(Application("none", "ridge", "map", has_angles=1))
