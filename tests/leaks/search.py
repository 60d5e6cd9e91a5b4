"""Looks for planted values in bytes, in whatever shape they lie there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.leaks.forms import forms
from tests.leaks.layers import peeled

MARK = b"CANARY-"
"""Begins every planted value, and is repeated in long ones: a part of a value shows too."""
FORMS = forms(MARK)
DEEPEST = 3

Found = str
Blob = tuple[str, bytes]


def search(blobs: Iterable[Blob]) -> list[Found]:
    """Return each place where a planted value shows, and in what shape."""
    return [found for name, data in blobs for found in _look(name, data, DEEPEST)]


def _look(name: str, data: bytes, depth: int) -> Iterator[Found]:
    for form, pattern in FORMS.items():
        if pattern in data:
            yield f"{name}: {form}"
    if depth:
        for layer, content in peeled(data):
            yield from _look(f"{name} > {layer}", content, depth - 1)
