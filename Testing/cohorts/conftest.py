"""Two workers that all tests of cohorts share."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("distributed")


_running = ExitStack()


@pytest.fixture(scope="session")
def scheduler():
    """Address of a scheduler with two workers of one thread each."""
    from distributed import LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    return _running.enter_context(LocalCluster(n_workers=2, **options)).scheduler_address


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the cluster with this folder: idle to the end of the session, it takes a tenth of a processor."""
    if nextitem is None or nextitem.path.parent != Path(__file__).parent:
        _running.close()


@pytest.fixture
def nobody(monkeypatch):
    """Address at which no scheduler answers, and little patience."""
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "300ms"}):
        yield "tcp://127.0.0.1:9"
