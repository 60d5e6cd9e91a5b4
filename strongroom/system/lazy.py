"""What is imported late or never: functions named by a string, packages of extras, and modules whose names
others have taken. And iterables cut into batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from strongroom.system.errors import NameTaken, PackageMissing

# -- Packages that a host can do without ----------------------------------------------------------

EXTRAS: Final = {
    "apprise": "apprise",
    "asyncssh": "sftp",
    "azure": "azure",
    "boto3": "aws",
    "botocore": "aws",
    "flower": "flower",
    "google": "gcs",
    "hvac": "vault",
    "joserfc": "oidc",
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


# -- Modules of ours whose names are common ones ---------------------------------------------------

TOP_LEVEL: Final = frozenset({"beat_schedule", "tasks", "workers"})


class OwnModules:
    """Finds the modules of ours that stand on the top level, and refuses to have others run in their place.

    They would run with the keys of this process. Another package may lie before ours on the path, or have
    written its files over ours: an installer warns of neither.
    """

    @classmethod
    def find_spec(
        cls, name: str, _path: Sequence[str] | None = None, _target: object = None
    ) -> ModuleSpec | None:
        """Leave every other module to whoever finds it. Raises NameTaken."""
        if name not in TOP_LEVEL:
            return None
        spec = PathFinder.find_spec(name)
        file = Path(spec.origin) if spec and spec.origin else None
        if spec is None or file is None:
            return None  # a folder of that name, without a module, is none
        folder = file.parents[1] if spec.submodule_search_locations else file.parent
        if folder != Path(__file__).parents[2] or b"trongroom" not in file.read_bytes():
            raise NameTaken(f"The module '{name}' of this environment is another package's: {file}")
        return spec


def refuse_taken_names() -> None:
    """Have this process run no module in place of ours. A program that merely uses ours keeps its own."""
    if OwnModules not in sys.meta_path:
        sys.meta_path.insert(0, OwnModules)


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
