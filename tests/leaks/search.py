"""Looks for planted values in bytes, in whatever shape they lie there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.leaks.forms import forms
from tests.leaks.layers import peeled

MARK = b"CANARY-"
"""Begins every planted value, and is repeated in long ones: a part of a value shows too."""
NAME_MARK = b"MAGPIE-"
"""Is in every name: names can be sensitive too, but the source's own table may hold them."""

VALUES: Final = forms(MARK)
NAMES: Final = forms(NAME_MARK)
DEEPEST: Final = 3

Found = str
Blob = tuple[str, bytes]


def search(blobs: Iterable[Blob], wanted: Mapping[str, bytes] = VALUES) -> list[Found]:
    """Return each place where a planted value (or name) shows, and in what shape."""
    return [found for name, data in blobs for found in _look(name, data, wanted, DEEPEST)]


def _look(name: str, data: bytes, wanted: Mapping[str, bytes], depth: int) -> Iterator[Found]:
    for form, pattern in wanted.items():
        if pattern in data:
            yield f"{name}: {form}"
    if depth:
        for layer, content in peeled(data):
            yield from _look(f"{name} > {layer}", content, wanted, depth - 1)
