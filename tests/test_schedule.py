"""Files that share what takes long to make go to one process, and what takes long begins first."""

from __future__ import annotations

import re

import pytest


def ran(pytester: pytest.Pytester, *words: str) -> list[tuple[str, str]]:
    """Return the process and the file of each test, in the order in which they ended."""
    plugins = ("-p", "tests.schedule", "-p", "no:timeout", "-p", "no:cacheprovider")
    said = pytester.runpytest_subprocess("-v", *plugins, *words, "tests")
    return re.findall(r"\[(gw\d)\].* PASSED (tests/\w+/\w+)\.py", said.stdout.str())


def write(pytester: pytest.Pytester, *files: str) -> None:
    for file in files:
        path = pytester.path / "tests" / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import pytest\n\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n): pass\n")


def test_files_that_share_a_house_go_to_one_process(pytester: pytest.Pytester) -> None:
    write(pytester, *(f"journeys/test_{number}" for number in range(6)), "cli/test_other")
    found = ran(pytester, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    assert len(found) == 21
    assert len({process for process, file in found if file.startswith("tests/journeys/")}) == 1


def test_long_tests_begin_before_short_ones(pytester: pytest.Pytester) -> None:
    write(pytester, "config/test_short", "workers/test_long")
    found = ran(pytester, "-n", "1", "--dist", "loadfile", "--no-loadscope-reorder")
    assert [file for _, file in found] == ["tests/workers/test_long"] * 3 + ["tests/config/test_short"] * 3
