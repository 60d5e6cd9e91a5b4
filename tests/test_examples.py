"""The examples that are drawn for a test, on a machine that is busy."""

from __future__ import annotations

import pytest

SLOW = """
import time
from hypothesis import given, settings, strategies as st

@st.composite
def late(draw):
    time.sleep(0.3)
    return draw(st.integers())

@settings(max_examples=5)
@given(late())
def test_it(drawn):
    time.sleep(0.3)
"""


def test_neither_an_example_nor_the_drawing_of_one_has_to_be_fast(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SLOW)
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
