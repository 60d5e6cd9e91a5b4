"""With ``CI=true`` a skipped test is a failed one.

A suite that skips what it cannot run stays green while nothing is checked any more. Only
``@pytest.mark.platform`` may still skip: this operating system or processor cannot do it,
which no package would change.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

RULE = "CI=true: nothing may be skipped for want of a component"


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip of a test into its failure."""
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and _in_ci() and item.get_closest_marker("platform") is None:
        report.outcome = "failed"
        report.longrepr = f"{RULE}: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skip of a whole module into its failure."""
    report = yield
    if report.skipped and _in_ci():
        report.outcome = "failed"
        report.longrepr = f"{RULE}: {_reason(report.longrepr)}"
    return report
