"""Two workers that all tests of cohorts share."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("distributed")


@pytest.fixture(scope="package")
def scheduler():
    """Address of a scheduler with two workers of one thread each."""
    from distributed import LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, **options) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def nobody(monkeypatch):
    """Address at which no scheduler answers, and little patience."""
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "300ms"}):
        yield "tcp://127.0.0.1:9"
