"""What one module leaves open fails that module, and no test of another."""

from __future__ import annotations

import pytest

LEAVES = """
import socket

def test_it_leaves_a_socket_in_a_circle():
    circle = [socket.socket()]
    circle.append(circle)
"""
INNOCENT = """
import gc

def test_it_collects():
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.collect()
"""
QUIET = ("-p", "no:timeout", "-p", "no:cacheprovider", "-W", "error")


def test_a_socket_that_a_module_left_open_fails_that_module_and_no_other(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_a=LEAVES, test_b=INNOCENT)
    done = pytester.runpytest_subprocess(*QUIET, "-p", "tests.garbage", "-v")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["test_a.py::* ERROR*", "a test of test_a.py left open:", "unclosed <socket*"])
    without = pytester.runpytest_subprocess(*QUIET)
    assert without.ret != 0


LATER = """
def test_it_makes_garbage():
    for _ in range(100_000):
        circle = []
        circle.append(circle)
"""


def test_what_a_test_of_a_known_module_left_is_not_collected_in_another(pytester: pytest.Pytester) -> None:
    folder = pytester.path / "tests/live"
    folder.mkdir(parents=True)
    (folder / "test_a.py").write_text(LEAVES + LATER)
    done = pytester.runpytest_subprocess(*QUIET, "-p", "tests.garbage", "-rA")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["a test of tests/live/test_a.py left open:", "unclosed <socket*"])


def test_what_a_known_module_leaves_is_in_its_report_and_fails_nobody(pytester: pytest.Pytester) -> None:
    folder = pytester.path / "tests/live"
    folder.mkdir(parents=True)
    (folder / "test_a.py").write_text(LEAVES)
    (folder / "test_b.py").write_text(INNOCENT.replace("assert gc", "assert not gc", 1))
    done = pytester.runpytest_subprocess(*QUIET, "-p", "tests.garbage", "-rA")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(
        ["*left open*", "a test of tests/live/test_a.py left open:", "unclosed <socket*"]
    )
