"""How long attacks go on: a fixed small number in the suite, minutes with ``make fuzz``."""

import time

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-minutes",
        type=float,
        default=0.0,
        help="minutes of random attacks, shared by the tests that attack; 0: the fixed few of the suite",
    )


@pytest.fixture(scope="session")
def fuzz_minutes(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--fuzz-minutes"))


@pytest.fixture(scope="session")
def attack_numbers(fuzz_minutes: float):
    """The numbers of the attacks of one test: few in the suite, else as many as its share of time allows."""

    def numbers(suite: int, share: float):
        if not fuzz_minutes:
            yield from range(suite)
            return
        end, number = time.monotonic() + 60 * fuzz_minutes * share, 0
        while time.monotonic() < end:
            yield number
            number += 1

    return numbers
