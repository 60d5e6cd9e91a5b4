from __future__ import annotations

import pytest

SKIPS = """
import pytest

def test_wants_a_component():
    pytest.skip("no such server")
"""
PLATFORM = """
import pytest

@pytest.mark.platform
def test_wants_another_system():
    pytest.skip("not on this system")
"""
MODULE = """
import pytest
pytest.importorskip("no_such_module_anywhere")
"""
EXPECTED_FAILURE = """
import pytest

@pytest.mark.xfail(strict=True)
def test_known_to_fail():
    assert False
"""


def outcomes(pytester: pytest.Pytester, source: str) -> dict[str, int]:
    pytester.makeini("[pytest]\nmarkers = platform: excused\n")
    pytester.makepyfile(source)
    # Modules of ours that a test before this one imported are no matter here.
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    return pytester.runpytest_inprocess(
        "-p", "tests.nothing_skipped", "-p", "no:timeout", *quiet
    ).parseoutcomes()


def test_a_skip_fails_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert outcomes(pytester, SKIPS) == {"failed": 1}


def test_a_skipped_module_fails_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert outcomes(pytester, MODULE) == {"errors": 1}


def test_a_skip_is_a_skip_elsewhere(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert outcomes(pytester, SKIPS) == {"skipped": 1}


def test_another_operating_system_is_an_excuse_even_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert outcomes(pytester, PLATFORM) == {"skipped": 1}


def test_an_expected_failure_stays_one_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert outcomes(pytester, EXPECTED_FAILURE) == {"xfailed": 1}
