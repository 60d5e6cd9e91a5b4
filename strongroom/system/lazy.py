"""Functions that are named by a string, so that what they need is imported when they are first called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


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
