"""Of crossed parameters a sample runs, the rest runs when the long tests do, and none is lost."""

from __future__ import annotations

import re

import pytest

CROSSED = """
import pytest

@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("a", "wxyz")
@pytest.mark.parametrize("b", "01")
def test_crossed(a, b): pass

@pytest.mark.sampled(every=3)
class TestAll:
    def test_a(self): pass
    def test_b(self): pass
    @pytest.mark.parametrize("n", range(2))
    def test_c(self, n): pass

@pytest.mark.long
@pytest.mark.sampled(every=1)
@pytest.mark.parametrize("n", range(2))
def test_long(n): pass
"""


def ran(pytester: pytest.Pytester, expression: str) -> list[str]:
    pytester.makepyfile(CROSSED)
    markers = ("-o", "markers=long: x\nsampled: x")
    said = pytester.runpytest_subprocess("-v", "-p", "tests.sampled", *markers, "-m", expression)
    return re.findall(r"::(test_\S+) PASSED", said.stdout.str())


def test_each_value_of_each_parameter_is_in_the_sample_and_the_rest_is_long(
    pytester: pytest.Pytester,
) -> None:
    short, long = ran(pytester, "not long"), ran(pytester, "long")
    crossed = [name for name in short if "crossed" in name]
    assert len(crossed) == 4
    assert {name[-2] for name in crossed} == set("wxyz")
    assert {name[-4] for name in crossed} == set("01")
    assert [name for name in short if name not in crossed] == ["test_a", "test_c[1]"]
    assert not set(short) & set(long)
    assert len(short) + len(long) == 4 * 2 + 4 + 2
