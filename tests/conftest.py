"""What every test may ask for, and the rules that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import warm
from tests.redis_server import RedisServer, server_program

pytest_plugins = [
    "pytester",
    "tests.cheap_passphrases",
    "tests.garbage",
    "tests.nothing_skipped",
    "tests.in_memory",
    "tests.once_a_run",
    "tests.sampled",
    "tests.schedule",
    "tests.seed",
    "tests.statements_once",
]

# What an example takes tells how busy the machine is, and makes no test a bad one.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_sessionfinish() -> None:
    """Leave no process behind."""
    warm.end()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis of this test run's own, on a Unix socket, shared: flush what you use."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the path; 'make services' installs one")
    with RedisServer() as server:
        yield server
