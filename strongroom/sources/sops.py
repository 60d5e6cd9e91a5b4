"""Files that SOPS sealed, opened by the ``sops`` command: YAML, JSON, dotenv, INI, or anything else.

What is at the top of a file is a secret each: its name is the key; its value the text, or, for
anything else than a scalar, its JSON. Any other file is one secret, named like the file. YAML is asked
for as YAML, since as JSON sops would give its first document alone. The program is given the file that
was opened, and no path: what it opens is what was looked at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.sources.history import only
from strongroom.sources.parsed import ParsedFiles
from strongroom.sources.program import ProgramEnd, run
from strongroom.sources.records import BadRecordError, attempt, parse_value
from strongroom.sources.slices import LARGEST, opened
from strongroom.sources.yamlnodes import BadYamlError, Node, documents

_KINDS = ((".yaml", "yaml"), (".yml", "yaml"), (".json", "json"), (".env", "dotenv"), (".ini", "ini"))
_NAMED = re.compile(r"\.(sops|enc)(?=\.|$)")
_SEALED = re.compile(rb'^sops:\s*$|^sops_mac=ENC\[|"mac":\s*"ENC\[AES256_GCM,', re.MULTILINE)
_pairs = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_DEFAULT, _EMPTY = "DEFAULT", msgspec.Raw(b"{}")
_HINT_KEY = "Give the user that makes backups a key of the file's (age, PGP, KMS), or exclude the file."
_HINT_CHANGED = "Somebody changed it without sops, or it was damaged. Compare with its history."
_HINT_SEALED = "Check that it is a file that sops sealed."
# github.com/getsops/sops, cmd/sops/codes
_PROBLEMS = {
    128: ("sops found no key that opens it", _HINT_KEY),
    51: ("its checksum is not the one that sops wrote", _HINT_CHANGED),
    52: ("its checksum is missing", _HINT_CHANGED),
    25: ("a value of it does not open", _HINT_CHANGED),
    2: ("sops could not read it", _HINT_SEALED),
}


def sops(path: str, *, name: str) -> ParsedFiles:
    """Return the source over a file that SOPS sealed."""
    return ParsedFiles(lambda: _secrets(path), name=name, nothing=f"'{path}' holds no secret")


def _secrets(path: str) -> Iterator[Secret]:
    kind = kind_of(path)
    with opened(path) as descriptor:
        text = decrypted(path, descriptor)
    problem = None
    try:
        yield from _parsed(path, kind, text)
    except BadYamlError as error:
        problem = f"line {error.line} of what sops made of '{path}': {error}"
    except BadRecordError as error:
        problem = f"what sops made of '{path}': {error}"
    if problem is not None:  # outside of the handler: what was caught may hold a value
        raise SourceError(problem)


def is_sealed(text: bytes) -> bool:
    """Say whether a file that has this in it, or ends so, was sealed by sops."""
    return _SEALED.search(text) is not None


def decrypted(path: str, descriptor: int) -> bytes:
    """Return what sops makes of an open file.

    Raises:
        SourceError: it is damaged, no key opens it, or sops is missing.
    """
    kind = kind_of(path)
    output = {"yaml": "yaml", "binary": "binary"}.get(kind, "json")
    command = ("sops", "--decrypt", "--input-type", kind, "--output-type", output, "/dev/stdin")
    os.lseek(descriptor, 0, os.SEEK_SET)
    return _checked(path, run(command, about=f"'{path}'", stdin=descriptor, limit=LARGEST))


def kind_of(path: str) -> str:
    """Return how sops is to read a file, by its name as sops itself tells."""
    return next((kind for ending, kind in _KINDS if path.endswith(ending)), "binary")


def _checked(path: str, ended: ProgramEnd) -> bytes:
    if ended.status == 0:
        return ended.output
    problem, hint = _PROBLEMS.get(ended.status, (f"sops could not open it (status {ended.status})", None))
    if b"sops metadata not found" in ended.errors:
        problem, hint = "it was not sealed by sops", _HINT_SEALED
    raise SourceError(f"'{path}': {problem}", hint=hint)


def _parsed(path: str, kind: str, text: bytes) -> Iterator[Secret]:
    if kind == "binary":
        yield only(_NAMED.sub("", Path(path).name), text)
    elif kind == "yaml":
        for document in documents(text):
            for key, node in document.members("the file").items():
                yield _of_yaml(key, node)
    else:
        pairs = _members(text)
        if kind == "ini" and pairs.get(_DEFAULT) == _EMPTY:
            del pairs[_DEFAULT]  # sops gives a section that the file has not
        yield from (_of_json(key, value) for key, value in pairs.items())


def _of_yaml(key: str, node: Node) -> Secret:
    if node.is_scalar and not node.is_nothing:
        return only(_named(key), node.written().encode())
    value = SecretBytes(msgspec.json.encode(node.plain()))
    return Secret(name=_named(key), versions=(SecretVersion(number=1, value=value, media=Media.JSON),))


def _of_json(key: str, value: msgspec.Raw) -> Secret:
    return parse_value(_named(key), value)


def _members(text: bytes) -> dict[str, msgspec.Raw]:
    """Return what is at the top; a key that is there twice hides a secret, at whatever depth."""
    pairs = attempt(_pairs, text)
    json.loads(text, object_pairs_hook=_once)
    return pairs


def _once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise BadRecordError(f"the key {name!r} is there twice")


def _named(key: str) -> str:
    if not key:
        raise BadRecordError("a secret has no name")
    return key
