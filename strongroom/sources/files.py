"""Files as a source: ``.env``, JSON, JSONL, manifests, SOPS files, and directories of secret files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from strongroom.errors import SourceError, UsageError
from strongroom.model import ListedSecret, Secret
from strongroom.sources import Listable, Source
from strongroom.sources.dotenv import Dotenv
from strongroom.sources.json_files import MARK, Jsonl, JsonLayout, SlicedFile, holds_records, opened, refusals
from strongroom.sources.tree import SecretTree
from strongroom.system.lazy import lazy

_SNIFFED = 1 << 16
_STORE_MARK = ".gpg-id"
"""The file that makes a directory a store of ``pass``."""


# What needs a program or YAML is imported by those who have it: others start twice as fast.
_PASS = lazy("strongroom.sources.sealed_files:PassTree")
_KUBERNETES = lazy("strongroom.sources.kubernetes:kubernetes")
_SOPS = lazy("strongroom.sources.sealed_files:sops")
_is_sealed = lazy("strongroom.sources.sealed_files:is_sealed")

_MAKERS: dict[str, Callable[[str, str], Source]] = {
    "env": lambda path, name: SlicedFile(path, Dotenv(), name=name),
    "json": lambda path, name: SlicedFile(path, JsonLayout(), name=name),
    "jsonl": lambda path, name: SlicedFile(path, Jsonl(), name=name),
    "tree": lambda path, name: SecretTree(path, name=name),
    "pass": lambda path, name: _PASS(path, name=name),
    "kubernetes": lambda path, name: _KUBERNETES(path, name=name),
    "sops": lambda path, name: _SOPS(path, name=name),
}
FORMATS = tuple(_MAKERS)
_HINT = f"Give its format: {', '.join(FORMATS)}."
_MANIFEST = re.compile(rb"^(?:- |  )?kind:\s*[\"']?(?:Secret|List|SecretList)[\"']?\s*$", re.MULTILINE)


def open_files(
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002 - what a person calls it
    *,
    name: str | None = None,
) -> Source:
    """Return the source over a file or directory; nothing is touched before its first use.

    Args:
        path: where the secrets are.
        format: one of :data:`FORMATS`; found out from the name, then the content, if left out.
        name: what the source is called in digests and manifests; the path if left out.
    """
    if format is not None and format not in _MAKERS:
        raise UsageError(f"{format!r} is no format of secrets", hint=f"Use one of: {', '.join(FORMATS)}.")
    return FilesSource(os.fspath(path), layout=format, name=name or os.fspath(path))


class FilesSource(Source):
    """A file or directory whose format is found out when it is first used."""

    def __init__(self, path: str, *, layout: str | None, name: str) -> None:
        self._path = path
        self._layout = layout
        self.name = name

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        return self._source().list(with_tags=with_tags)

    def parts(self, most: int) -> Sequence[Listable]:
        source = self._source()
        return source.parts(most)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        return self._source().read(entries)

    def _source(self) -> Source:
        return _MAKERS[self._layout or detect(self._path)](self._path, self.name)


def detect(path: str) -> str:
    """Return the format of what lies at ``path``.

    Raises:
        SourceError: there is nothing, it may not be read, or it is none of the formats.
    """
    with refusals(path):
        if Path(path).is_dir():
            return "pass" if Path(path, _STORE_MARK).is_file() else "tree"
    base = Path(path).name
    if base.endswith((".yaml", ".yml")):
        # A file that sops sealed ends with what it needs to open it; a manifest says its kind, sealed too.
        start, end = _ends(path)
        if _MANIFEST.search(start):
            return "kubernetes"
        if _is_sealed(end) or _names_sops(Path(path).name):
            return "sops"
        raise SourceError(f"'{path}' is neither a Secret manifest nor sealed by sops", hint=_HINT)
    found = _by_name(base)
    if found in ("json", "env") and _is_sealed(_ends(path)[1]):
        return "sops"  # what is written in it would pass for values
    return found or _sniff(path)


def _by_name(base: str) -> str | None:
    if _names_sops(base):
        return "sops"
    if base.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if base.endswith(".json"):
        return "json"
    return "env" if base == ".env" or base.startswith(".env.") or base.endswith(".env") else None


def _names_sops(base: str) -> bool:
    return ".sops." in base[1:]  # and not .sops.yaml, which is sops' own configuration


def _ends(path: str) -> tuple[bytes, bytes]:
    """Return a file's beginning and its end."""
    with opened(path) as fd:
        last = max(0, os.fstat(fd).st_size - _SNIFFED)
        return os.pread(fd, _SNIFFED, 0), os.pread(fd, _SNIFFED, last)


def _sniff(path: str) -> str:
    with opened(path) as fd:
        start = os.pread(fd, _SNIFFED, 0).removeprefix(MARK)
    if start.lstrip()[:1] in (b"{", b"["):
        return "jsonl" if holds_records(start) else "json"
    if Dotenv().starts(start):
        return "env"
    raise SourceError(f"'{path}' is of no format known here", hint=_HINT)
