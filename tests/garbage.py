"""What a module leaves is collected at its end, and fails its last test, so that no other answers for it.

Python collects garbage whenever it has made enough objects, in whatever test that happens to be: a socket
that nobody closed then fails an innocent one. Where such a thing fails nobody, each test is followed by a
collection, and none comes while one runs. And what pytest knows of 14,000 tests is no garbage: nothing is
collected while it is made, and no collection looks at it later.
"""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from _pytest.unraisableexception import collect_unraisable

_CLIENTS = "it holds clients of S3 and Azure, which were seen to leave sockets and event loops"
KNOWN = dict.fromkeys(("tests/live/", "tests/hosts/", "tests/journeys/"), _CLIENTS)
"""Where what is left open fails no test, and why. It is in the report all the same."""


def _is_known(item: pytest.Item) -> bool:
    return item.nodeid.startswith(tuple(KNOWN))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect nothing while the tests are looked for, and out of what is there later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Collect nothing while a test runs that would fail of what an earlier one left, and need not."""
    if _is_known(item):
        gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Collect after a module's last test, whose fixtures are gone by now, and say what was left open."""
    gc.enable()
    is_last = nextitem is None or nextitem.path != item.path
    if not is_last and not _is_known(item):
        return
    gc.collect(2 if is_last else 0)  # what one test made is all among the youngest
    left: list[str] = []
    try:
        collect_unraisable(item.config)
    except* pytest.PytestUnraisableExceptionWarning as group:
        left = [str(one.__cause__ or one) for one in group.exceptions]
    if not left:
        return
    module, _, _ = item.nodeid.partition("::")
    said = f"a test of {module} left open:\n" + "\n".join(left)
    if _is_known(item):
        item.add_report_section("teardown", "left open", said)
    else:
        pytest.fail(said, pytrace=False)
