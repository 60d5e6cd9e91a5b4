"""Where tests cross parameters, ``make test`` runs a sample of the crossings; ``make test-long`` the others.

``@pytest.mark.sampled(every=3)``: on a test, those of its parameters' places whose sum is a multiple of
three, so that each value of each parameter is among them where two are crossed. On a class, or as a
module's ``pytestmark``: each third of all its tests. What is no part of the sample is marked as ``long``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is no part of a sample, before it is chosen what runs."""
    ahead: Counter[str] = Counter()
    values: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for item in items:
        node, mark = next(item.iter_markers_with_node("sampled"), (None, None))
        if node is None or mark is None or item.get_closest_marker("long"):
            continue
        place = ahead[node.nodeid]
        ahead[node.nodeid] += 1
        if isinstance(node, pytest.Function):
            place = sum(
                _place(value, among=values[node.nodeid.partition("[")[0], name])
                for name, value in node.callspec.params.items()
            )
        if place % mark.kwargs["every"]:
            item.add_marker(pytest.mark.long)


def _place(value: Any, *, among: list[Any]) -> int:
    for place, other in enumerate(among):
        if other is value:
            return place
    among.append(value)
    return len(among) - 1
