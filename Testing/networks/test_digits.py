"""The tutorial of guided generation does what it says: digits of the class that was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="brings the digits, install the extra `peers`")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def tutorial():
    sys.path.insert(0, str(EXAMPLES))
    import guided_generation

    sys.path.remove(str(EXAMPLES))
    return guided_generation


@pytest.mark.slow
def test_digits_are_of_the_class_asked_for_and_as_diverse_as_real_ones(tutorial) -> None:
    digits = tutorial.Digits()
    found = tutorial.measured(tutorial.trained(digits, 300), digits)
    assert found["generated digits in their class"] > 0.9
    assert found["moved to the next class, in it"] > 0.85
    assert 0.8 < found["diversity over the real one, mean"] < 1.2
    assert found["bits per pixel"] < 3.2


def test_grey_levels_come_back(tutorial) -> None:
    digits = tutorial.Digits()
    assert tutorial.grey_levels(tutorial.scaled(digits.new)).equal(digits.new)
