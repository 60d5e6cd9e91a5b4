"""The people whose SSH signatures count: OpenSSH's file of allowed signers (``man ssh-keygen``).

Each line binds one key to the names of one person. What would let one key sign for others is refused: a name
with a wildcard, and a certificate authority.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.keys.errors import SignatureRefused
from strongroom.keys.sshsig import check_key, ssh_fingerprint

_LIMIT: Final = 1024 * 1024
_LINE = re.compile(
    r"(?P<names>\S+)\s+(?:(?P<options>[A-Za-z-]+(?:=\"[^\"]*\")?(?:,[A-Za-z-]+(?:=\"[^\"]*\")?)*)\s+)?"
    r"(?P<kind>[a-z0-9@.-]+)\s+(?P<key>[A-Za-z0-9+/=]+)(?:\s+.*)?"
)
_OPTION = re.compile(r"([A-Za-z-]+)(?:=\"([^\"]*)\")?(?:,|$)")
_WILD: Final = frozenset("*?!")
_TIMES: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class AllowedSigner(Struct, frozen=True, kw_only=True):
    """A line: the names of a person, a key of theirs, for which namespaces and from when until when."""

    names: tuple[str, ...]
    key: bytes
    namespaces: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None

    @property
    def fingerprint(self) -> str:
        return ssh_fingerprint(self.key)

    def counts(self, *, namespace: str, now: float) -> bool:
        """Tell whether the line counts for a namespace at a time (epoch seconds)."""
        in_time = (self.after is None or self.after <= now) and (self.before is None or now < self.before)
        return in_time and (not self.namespaces or namespace in self.namespaces)


def read_allowed_signers(path: Path) -> tuple[AllowedSigner, ...]:
    """Return the lines of a file of allowed signers.

    Raises:
        ConfigError: it cannot be read, others may write it, or a line is none that counts.
    """
    return tuple(_lines(path, _text(path)))


def _text(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            data = file.read(_LIMIT + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigError(
            f"The allowed signers in '{path}' cannot be read: {error.strerror}.", hint=_HINT
        ) from None
    if not stat.S_ISREG(mode) or len(data) > _LIMIT:
        raise ConfigError(f"'{path}' is no small regular file.", hint=_HINT)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):  # whoever may add a line may approve
        raise ConfigError(
            f"Others may write the allowed signers in '{path}'.", hint=f"Run: chmod go-w '{path}'."
        )
    return data.decode("utf-8", "replace")


_HINT: Final = "Nothing that needs approvals is done until it is there: docs/how-to/approve.md."


def _lines(path: Path, text: str) -> Iterator[AllowedSigner]:
    for number, line in enumerate(text.splitlines(), start=1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            try:
                yield _parsed(stripped)
            except (ValueError, SignatureRefused) as error:
                why = getattr(error, "message", str(error))
                raise ConfigError(
                    f"'{path}', line {number}: {why}",
                    hint='Write each line as: NAME namespaces="strongroom-approval" ssh-ed25519 AAAA…',
                ) from None


def _parsed(line: str) -> AllowedSigner:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("it is no line of allowed signers.")
    names = tuple(match["names"].split(","))
    if not all(names) or any(_WILD & set(name) for name in names):
        raise ValueError("a name with a wildcard would let one key sign for everybody.")
    try:
        key = base64.b64decode(match["key"], validate=True)
    except binascii.Error:
        raise ValueError("the key is not in base64.") from None
    check_key(key)
    if key[4 : 4 + len(match["kind"])].decode("ascii", "replace") != match["kind"]:
        raise ValueError("the key is not of the kind that the line says.")
    return AllowedSigner(names=names, key=key, **_options(match["options"] or ""))


def _options(text: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in _OPTION.findall(text):
        match name.lower():
            case "namespaces":
                known["namespaces"] = tuple(value.split(","))
            case "valid-after":
                known["after"] = _time(value)
            case "valid-before":
                known["before"] = _time(value)
            case _:
                raise ValueError(f"the option '{name}' does not count here.")
    return known


def _time(text: str) -> float:
    """Return a time as OpenSSH writes it: ``20261127``, ``202611271200Z``; without Z it is this host's."""
    digits = text.removesuffix("Z")
    if not digits.isdecimal() or len(digits) not in _TIMES:
        raise ValueError("a time is not written as OpenSSH does.")
    found = datetime.strptime(digits, _TIMES[len(digits)])  # noqa: DTZ007 - its zone follows
    return (found.replace(tzinfo=UTC) if text.endswith("Z") else found.astimezone()).timestamp()
