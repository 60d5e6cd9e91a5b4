"""Files that another program opens: SOPS's, and the store of pass. Plaintext goes through pipes into
memory."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Raw, Struct

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion
from strongroom.sources.batches import only
from strongroom.sources.dotenv import ParsedFiles
from strongroom.sources.errors import EmptySource, SourceUnavailable
from strongroom.sources.json_files import LARGEST as LARGEST_SLICE
from strongroom.sources.json_files import opened, refusal
from strongroom.sources.records import BadRecordError, attempt, parse_value
from strongroom.sources.tree import GONE, Directories, FilesBelow, SecretTreeWalk

# -- Runs a program that decrypts: what it says goes through pipes into memory, and nowhere else ---
#
# Its standard error is looked at and never repeated: gpg and sops quote what they could not read, and
# that can be a value.


SECONDS = 120.0
_ERRORS = 1 << 16
_BLOCK = 1 << 16


class ProgramEnd(Struct, frozen=True):
    """How a program ended and what it said."""

    status: int
    output: bytes
    errors: bytes


def run(command: Sequence[str], *, about: str, stdin: int | None = None, limit: int) -> ProgramEnd:
    """Run a program to its end.

    Args:
        about: what it reads, for messages.
        stdin: a descriptor that it reads from; nothing, if left out.
        limit: how many bytes it may say: a few kilobytes can unpack to any size.

    Raises:
        SourceError: the program is not there, or said more than ``limit``.
        SourceUnavailable: it did not end in time; a smart card or a key server may be slow.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},
            start_new_session=True,  # it, and what it starts, can be ended together
        )
    except OSError:
        process = None
    if process is None:
        raise SourceError(
            f"{about} is read by the program '{command[0]}', which is not to be found here",
            hint=f"Install {command[0]} for the user that makes backups, or give another format.",
        )
    ends = time.monotonic() + SECONDS
    with process:
        try:
            output, errors = _said(process, about, limit, ends)
            # It may close its pipes and stay.
            return ProgramEnd(process.wait(max(0.0, ends - time.monotonic())), output, errors)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(process)
    raise SourceUnavailable(f"the program that reads {about} did not end in {SECONDS:g} seconds")


def _said(process: subprocess.Popen[bytes], about: str, limit: int, ends: float) -> tuple[bytes, bytes]:
    """Read until both pipes are closed. Raises TimeoutExpired, also if it says a little now and then."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    most = {process.stdout: limit, process.stderr: _ERRORS}
    with selectors.DefaultSelector() as waiting:
        for pipe in said:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            left = ends - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, SECONDS)
            for key, _ in waiting.select(left):
                ready_pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                block = os.read(ready_pipe.fileno(), _BLOCK)
                if not block:
                    waiting.unregister(ready_pipe)
                elif len(said[ready_pipe]) <= most[ready_pipe]:
                    said[ready_pipe] += block
            if len(said[process.stdout]) > limit:
                raise SourceError(f"{about} holds more than {limit >> 20} MiB", hint="Exclude it.")
    return bytes(said[process.stdout]), bytes(said[process.stderr])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# -- YAML, strictly: no aliases, no repeated keys, no depth or size without end, no types of a program's
#
# Aliases are refused because a few lines of them stand for gigabytes, and a repeated key because YAML
# readers keep the last one and say nothing: a secret would be missing. Only nodes are looked at, so a
# scalar keeps the text that was written.


LARGEST = 16 << 20
DEEPEST = 64
_STR, _BOOL, _NULL = (f"tag:yaml.org,2002:{word}" for word in ("str", "bool", "null"))
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
"""As JSON spells one; what only YAML calls a number (``0x1f``, ``.inf``) is text to JSON."""
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class BadYamlError(ValueError):
    """What is wrong, and the line where it is. Its text names keys, never a value."""

    def __init__(self, problem: str, *, line: int) -> None:
        super().__init__(problem)
        self.line = line


class Node:
    """A node of a document, as it was written."""

    def __init__(self, node: Any) -> None:
        self._node = node

    @property
    def line(self) -> int:
        """Return the line on which it begins, from 1."""
        return int(self._node.start_mark.line) + 1

    @property
    def is_text(self) -> bool:
        """Say whether it is a scalar that is text, and not a number, a date, ``yes`` or nothing."""
        return bool(self._node.id == "scalar" and self._node.tag == _STR)

    @property
    def is_scalar(self) -> bool:
        """Say whether it is neither a mapping nor a sequence."""
        return bool(self._node.id == "scalar")

    def text(self, what: str) -> str:
        """Return text. Raises BadYamlError if it is anything else."""
        if not self.is_text:
            raise self.bad(f"{what} is not text; put it in quotes")
        return str(self._node.value)

    def written(self) -> str:
        """Return a scalar as it was written, whatever it is."""
        return str(self._node.value)

    @property
    def is_nothing(self) -> bool:
        """Say whether it is ``null``, however that is written; a text of that spelling is none."""
        return bool(self.is_scalar and self._node.tag == _NULL and self._node.value in _NOTHING)

    def said(self) -> str | None:
        """Return a scalar as it was written, or ``None`` for nothing."""
        return None if not self.is_scalar or self.is_nothing else self.written()

    def members(self, what: str) -> dict[str, Node]:
        """Return a mapping. Raises BadYamlError if it is none, or has a key twice or one that is no text."""
        if self._node.id != "mapping":
            raise self.bad(f"{what} is no mapping")
        found: dict[str, Node] = {}
        for key, value in self._node.value:
            name = Node(key).text(f"a key of {what}")
            if name in found:
                raise Node(key).bad(f"{what} has the key {name!r} twice")
            found[name] = Node(value)
        return found

    def items(self, what: str) -> list[Node]:
        """Return a sequence. Raises BadYamlError if it is none."""
        if self._node.id != "sequence":
            raise self.bad(f"{what} is no list")
        return [Node(item) for item in self._node.value]

    def plain(self) -> Any:
        """Return what JSON can say of it; anything that JSON has no word for, a date say, as text."""
        if self._node.id == "mapping":
            return {name: value.plain() for name, value in self.members("a mapping").items()}
        if self._node.id == "sequence":
            return [item.plain() for item in self.items("a list")]
        # A number stays as it is spelled: read and written anew, a long one would be another.
        written = self.written()
        if self.is_nothing:
            return None
        if self._node.tag == _BOOL and written in _BOOLS:
            return _BOOLS[written]
        number = not self._node.style and _NUMBER.fullmatch(written)
        return Raw(written.encode()) if number else written

    def bad(self, problem: str) -> BadYamlError:
        """Make the error for what is wrong here."""
        return BadYamlError(problem, line=self.line)


_JSON_ALONE = re.compile(rb"""\t|\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)""", re.IGNORECASE)
"""What JSON may hold and YAML may not: tabs between words, and a character written as two escapes."""
_NOTHING = ("", "~", "null", "Null", "NULL")


def documents(text: bytes) -> Iterator[Node]:
    """Yield the documents of a YAML text that hold anything.

    Raises:
        BadYamlError: it is no YAML, or more than is read here.
    """
    if len(text) > LARGEST:
        raise BadYamlError(f"the file is larger than {LARGEST >> 20} MiB", line=1)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    problem = None
    text = _from_json(text)
    try:
        _check(yaml, text, loader)
        for node in yaml.compose_all(text, Loader=loader):
            if node is not None and (node.id != "scalar" or node.value not in _NOTHING):
                yield Node(node)
    except yaml.YAMLError as error:  # its words quote the text
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = BadYamlError("broken YAML", line=mark.line + 1 if mark else 1)
    except (UnicodeDecodeError, RecursionError):
        problem = BadYamlError("it is not UTF-8, or nested too deeply", line=1)
    if problem is not None:
        raise problem


def _from_json(text: bytes) -> bytes:
    """Return JSON as YAML spells it, line for line; what is no JSON stays as it is."""
    try:
        msgspec.json.decode(text, type=Raw)
    except (msgspec.DecodeError, RecursionError):
        return text
    return _JSON_ALONE.sub(_spelled, text)


def _spelled(match: re.Match[bytes]) -> bytes:
    high, low = match.groups()
    if high is None:
        return b" " if match[0] == b"\t" else match[0]
    return b"\\U%08x" % (0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)


def _check(yaml: Any, text: bytes, loader: Any) -> None:
    """Walk over the events, of which there are no more than the text is long."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise BadYamlError(
                "it has aliases (*name), which can stand for any size", line=event.start_mark.line + 1
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise BadYamlError(f"it is nested deeper than {DEEPEST}", line=event.start_mark.line + 1)


# -- Files that SOPS sealed, opened by the ``sops`` command: YAML, JSON, dotenv, INI, or anything else
#
# What is at the top of a file is a secret each: its name is the key; its value the text, or, for
# anything else than a scalar, its JSON. Any other file is one secret, named like the file. YAML is asked
# for as YAML, since as JSON sops would give its first document alone. The program is given the file that
# was opened, and no path: what it opens is what was looked at.


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
    ended = run(command, about=f"'{path}'", stdin=descriptor, limit=LARGEST_SLICE)
    if ended.status == 0:
        return ended.output
    problem, hint = _PROBLEMS.get(ended.status, (f"sops could not open it (status {ended.status})", None))
    if b"sops metadata not found" in ended.errors:
        problem, hint = "it was not sealed by sops", _HINT_SEALED
    raise SourceError(f"'{path}': {problem}", hint=hint)


def kind_of(path: str) -> str:
    """Return how sops is to read a file, by its name as sops itself tells."""
    return next((kind for ending, kind in _KINDS if path.endswith(ending)), "binary")


def _parsed(path: str, kind: str, text: bytes) -> Iterator[Secret]:
    if kind == "binary":
        yield only(_NAMED.sub("", Path(path).name), text)
    elif kind == "yaml":
        for document in documents(text):
            for key, node in document.members("the file").items():
                yield _of_yaml(key, node)
    else:
        # What is at the top; a key that is there twice hides a secret, at whatever depth.
        pairs = attempt(_pairs, text)
        json.loads(text, object_pairs_hook=_once)
        if kind == "ini" and pairs.get(_DEFAULT) == _EMPTY:
            del pairs[_DEFAULT]  # sops gives a section that the file has not
        yield from (parse_value(_named(key), value) for key, value in pairs.items())


def _of_yaml(key: str, node: Node) -> Secret:
    if node.is_scalar and not node.is_nothing:
        return only(_named(key), node.written().encode())
    value = SecretBytes(msgspec.json.encode(node.plain()))
    return Secret(name=_named(key), versions=(SecretVersion(number=1, value=value, media=Media.JSON),))


def _once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise BadRecordError(f"the key {name!r} is there twice")


def _named(key: str) -> str:
    if not key:
        raise BadRecordError("a secret has no name")
    return key


# -- A store of ``pass``: a directory of files, each sealed by gpg to the keys of ``.gpg-id`` ---
#
# A secret's name is the file's path without ``.gpg``; its value is all that gpg makes of the file, byte for
# byte. The lines below the password are part of the value and not metadata: they hold PINs, recovery
# codes and seeds as often as user names. What gpg makes goes through a pipe, never to a disk.
#
# gpg runs without a terminal: a key that asks for its passphrase has to be unlocked in gpg's agent
# beforehand, or to have none.


SUFFIX = ".gpg"
_COMMAND = (
    *("gpg", "--batch", "--no-tty", "--quiet", "--status-fd", "2"),
    *("--pinentry-mode", "error", "--no-auto-key-retrieve", "--decrypt"),
)
_LEAST = 4_096
_log = logging.getLogger(__name__)


class PassTree(FilesBelow):
    """The source over a store of ``pass``. Reading raises SourceError if gpg is missing, has no key for a
    file, may not use it, or finds it damaged."""

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every sealed file. Its size is a guess from the file's: gpg packs.

        Raises:
            EmptySource: there is none.
            SourceError: a directory is missing or unreadable, or a name is not UTF-8.
        """
        tags: dict[str, str] | None = {} if with_tags else None
        entry, left_out = None, 0
        for path, size in SecretTreeWalk(self._path).files():
            if any(part.startswith(".") for part in path.split("/")):
                continue  # the store's own: .gpg-id, .git, .extensions
            if not path.endswith(SUFFIX):
                left_out += 1
                continue
            entry = ListedSecret(path.removesuffix(SUFFIX), max(_LEAST, 4 * size), (), tags)
            yield entry
        if left_out:
            _log.warning("%d files of '%s' are not sealed by gpg; left out", left_out, self._path)
        if entry is None:
            raise EmptySource(f"'{self._path}' holds no file that ends with {SUFFIX}")

    def _value(self, directories: Directories, name: str) -> bytes | None:
        if any(part.startswith(".") for part in name.split("/")):
            return None
        try:
            descriptor = directories.open_file(name + SUFFIX)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise refusal(f"{self._path}/{name}{SUFFIX}", error) from None
        if descriptor is None:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return _decrypted(
                name, run(_COMMAND, about=f"secret '{name}'", stdin=descriptor, limit=LARGEST_SLICE)
            )
        finally:
            os.close(descriptor)


def _decrypted(name: str, ended: ProgramEnd) -> bytes:
    """Return the plaintext, if gpg says that it is whole: a cut or changed one comes out too."""
    status = [line.split()[1:] for line in ended.errors.splitlines() if line.startswith(b"[GNUPG:] ")]
    said = {words[0] for words in status if words}
    if ended.status == 0 and b"DECRYPTION_OKAY" in said:
        return ended.output
    problem, hint = _problem(said, ended.errors)
    raise SourceError(f"secret '{name}': {problem}", hint=hint)


def _problem(said: set[bytes], errors: bytes) -> tuple[str, str]:
    """Return what was wrong, and what to do."""
    if b"NODATA" in said:
        return "the file is not sealed by gpg", "Move it out of the store, or exclude it."
    if b"pinentry" in errors.lower():
        return "the key is locked: gpg wants its passphrase, and nobody is there to ask", _UNLOCK
    if b"NO_SECKEY" in said:
        return "gpg has no secret key that opens it", _IMPORT
    return "gpg found the file damaged, or could not open it", "Compare with the store's git history."


_UNLOCK = (
    "Unlock it in gpg's agent for the user that makes backups (gpg-preset-passphrase), "
    "or seal the store to a key for backups too: pass init KEY..."
)
_IMPORT = "Import the key for the user that makes backups (GNUPGHOME), or add one: pass init KEY..."
