"""Kubernetes Secret manifests, and the strict YAML that they are read with."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strongroom.errors import SourceError
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.sources.batches import media_of
from strongroom.sources.dotenv import ParsedFiles
from strongroom.sources.json_files import opened, refusal
from strongroom.sources.sealed_files import LARGEST, BadYamlError, Node, decrypted, documents, is_sealed
from strongroom.sources.tree import Directories, SecretTreeWalk, contents

ENDINGS = (".yaml", ".yml", ".json")
DEFAULT_NAMESPACE = "default"
_COPY = "kubectl.kubernetes.io/last-applied-configuration"
"""An annotation in which kubectl keeps the whole manifest once more, values included."""


def kubernetes(path: str, *, name: str) -> ParsedFiles:
    """Return the source over a manifest, or a directory of them."""
    return ParsedFiles(lambda: _secrets(path), name=name, nothing=f"'{path}' holds no Secret manifest")


def _secrets(path: str) -> Iterator[Secret]:
    files = _directory(path) if Path(path).is_dir() else _file(path)
    for file, text in files:
        problem = None
        try:
            for document in documents(text):
                yield from _document(document)
        except BadYamlError as error:
            problem = SourceError(f"{file}, line {error.line}: {error}")
        if problem is not None:  # outside of the handler: what was caught may hold a value
            raise problem


def _file(path: str) -> Iterator[tuple[str, bytes]]:
    with opened(path) as fd:
        yield _opened(path, os.pread(fd, LARGEST + 1, 0), fd)


def _opened(path: str, text: bytes, descriptor: int) -> tuple[str, bytes]:
    """Return what messages call the text, and the text; what sops sealed, opened."""
    if is_sealed(text):
        return f"what sops made of '{path}'", decrypted(path, descriptor)
    return f"'{path}'", text


def _directory(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield the manifests below a directory; links are followed within it, as in a tree."""
    directories = Directories(path)
    try:
        for name, _ in SecretTreeWalk(path).files():
            if not name.endswith(ENDINGS):
                continue
            found = _contents(directories, path, name)
            if found is not None:
                yield found
    finally:
        directories.close()


def _contents(directories: Directories, path: str, name: str) -> tuple[str, bytes] | None:
    try:
        descriptor = directories.open_file(name)
    except OSError as error:
        raise refusal(f"{path}/{name}", error) from None
    if descriptor is None:
        return None
    try:
        text = contents(descriptor, name)
        return None if text is None else _opened(f"{path}/{name}", text, descriptor)
    finally:
        os.close(descriptor)


def _document(document: Node) -> Iterator[Secret]:
    fields = document.members("a manifest")
    kind = fields["kind"].written() if "kind" in fields and fields["kind"].is_scalar else ""
    if kind == "Secret":
        yield from _manifest(fields, document)
    elif kind in ("List", "SecretList") and "items" in fields:
        for item in fields["items"].items("'items'"):
            if kind == "SecretList":
                yield from _manifest(item.members("a manifest"), item)
            else:
                yield from _document(item)


def _manifest(fields: dict[str, Node], at: Node) -> Iterator[Secret]:
    about = fields["metadata"].members("'metadata'") if "metadata" in fields else {}
    name = _part(_name(about, at), at)
    namespace = (
        _part(about["namespace"].text("a namespace"), at) if "namespace" in about else DEFAULT_NAMESPACE
    )
    for key, value in _values(fields).items():
        _part(key, at)
        yield Secret(
            name=f"{namespace}/{name}/{key}",
            versions=(SecretVersion(number=1, value=SecretBytes(value), media=media_of(value)),),
            type=fields["type"].text("a Secret's type") if "type" in fields else "Opaque",
            tags=_labels(about.get("labels")),
            created_at=about["creationTimestamp"].said() if "creationTimestamp" in about else None,
            metadata=_metadata(fields, about),
        )


def _name(about: dict[str, Node], at: Node) -> str:
    """Return a Secret's name; of one whose name the server makes up, what that begins with."""
    for field in ("name", "generateName"):
        if field in about:
            return about[field].text("a Secret's name")
    raise at.bad("a Secret has no name, and no generateName")


def _part(text: str, at: Node) -> str:
    """Refuse what the API server refuses, too: with slashes, two secrets may come to one name."""
    if not text or "/" in text or not text.isprintable():
        raise at.bad(f"a namespace, a name and a key are not empty and hold no slash: {text!r}")
    return text


def _values(fields: dict[str, Node]) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for key, node in _mapping(fields, "data").items():
        values[key] = _decoded(key, node)
    for key, node in _mapping(fields, "stringData").items():
        values[key] = node.text(f"the value of key {key!r}").encode()
    return values


def _mapping(fields: dict[str, Node], name: str) -> dict[str, Node]:
    """Return a mapping; there may be nothing behind its name, which is allowed."""
    node = fields.get(name)
    return {} if node is None or (node.is_scalar and not node.is_text) else node.members(f"'{name}'")


def _decoded(key: str, node: Node) -> bytes:
    if node.is_scalar and not node.is_text and not node.written():
        return b""
    text = node.text(f"the value of key {key!r}")
    try:
        # Line breaks are passed over, as by the API server; anything else that is not base64 is not.
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        problem = node.bad(f"the value of key {key!r} is not base64")
    raise problem


def _labels(node: Node | None) -> dict[str, str]:
    if node is None or node.is_scalar:
        return {}
    return {name: value.written() for name, value in node.members("'labels'").items() if value.is_scalar}


def _metadata(fields: dict[str, Node], about: dict[str, Node]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    annotations = {key: value for key, value in _labels(about.get("annotations")).items() if key != _COPY}
    if annotations:
        found["annotations"] = annotations
    if "immutable" in fields and fields["immutable"].plain() is True:
        found["immutable"] = True
    return {"kubernetes": found} if found else {}
