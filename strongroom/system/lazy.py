"""Functions that are named by a string and imported when first called, and iterables cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

# -- Functions that are named by a string, so that what they need is imported when they are first called


def resolve(name: str) -> Callable[..., Any]:
    """Import the module of ``module:function`` and return the function."""
    module, _, function = name.partition(":")
    made: Callable[..., Any] = getattr(import_module(module), function)
    return made


def lazy(name: str) -> Callable[..., Any]:
    """Return a function that imports the module of ``module:function`` only when it is called."""

    def call(*arguments: Any, **options: Any) -> Any:
        return resolve(name)(*arguments, **options)

    return call


# -- Cuts what may be long into lists, so that memory and messages are bounded by one of them ---


T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``items`` in their order, in lists of ``size``; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
