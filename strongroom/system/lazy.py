"""Functions that are named by a string and imported when first called, and iterables cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Any, Final, TypeVar

from strongroom.system.errors import PackageMissing

# -- Packages that a host can do without ----------------------------------------------------------

EXTRAS: Final = {
    "apprise": "apprise",
    "asyncssh": "sftp",
    "azure": "azure",
    "boto3": "aws",
    "botocore": "aws",
    "flower": "flower",
    "hvac": "vault",
    "pkcs11": "hsm",
    "psycopg": "postgres",
    "sentry_sdk": "sentry",
}
"""The extra of Strongroom that brings each: those of ``pyproject.toml``."""


def package_missing(error: ModuleNotFoundError) -> PackageMissing | None:
    """Return what a person is told if an import failed for want of an extra; ``None`` if it is a fault."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    extra = f"strongroom[{EXTRAS[package]}]"
    hint = f"Install {extra} into the environment of this program, such as: pip install '{extra}'"
    return PackageMissing(f"The package '{package}' is not installed on this host.", hint=hint)


def require_package(package: str) -> None:
    """Refuse before anything is begun what would need a package that is not installed here.

    Raises:
        PackageMissing: it is not.
    """
    if find_spec(package) is None:
        missing = package_missing(ModuleNotFoundError(name=package))
        assert missing is not None, f"{package} is of no extra"
        raise missing


# -- Functions that are named by a string, so that what they need is imported when they are first called


def resolve(name: str) -> Callable[..., Any]:
    """Import the module of ``module:function`` and return the function.

    Raises:
        PackageMissing: it needs a package that is not installed here.
    """
    module, _, function = name.partition(":")
    try:
        made: Callable[..., Any] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        raise package_missing(error) or error from None
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
