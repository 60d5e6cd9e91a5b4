"""Frozen records that every layer shares, and the value type that redacts itself."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NoReturn

from msgspec import Struct, field, json


class SecretBytes:
    """A secret's bytes, which no ``repr``, log line, pickle or JSON can show.

    Only :meth:`reveal` gives the bytes; grep for it to see every place that does.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the plaintext."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash of a weak value is an oracle

    def __repr__(self) -> str:
        return "SecretBytes(redacted)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret value must not be pickled")


COMMAND = "(command)"
"""What stands in the place of a policy's name where a command made a backup."""
EVERY_POLICY = "(every policy)"
"""The same where a run is about the backups of all policies."""


class Role(StrEnum):
    """Who a process is. What it does it signs with the key of its role; pools of workers bear the names of
    theirs, and so do their queues."""

    SUBMIT = "submit"
    """It puts runs on record and does nothing of them, so it has no key for values and makes no folder."""
    BEAT = "beat"
    CONTROL = "control"
    SEAL = "seal"
    TRANSFER = "transfer"
    VERIFY = "verify"
    DRILL = "drill"
    RECOVER = "recover"
    PRUNE = "prune"
    WATCH = "watch"
    PAGE = "page"
    """The page, where people may act on it. It asks the control pool for the few things that they may."""
    OPERATOR = "operator"
    """A person's own command line: it may do what all others may, and signs as whichever it acts for."""


class VersionState(StrEnum):
    """What the source says of one version."""

    LIVE = "live"
    DELETED = "deleted"
    DESTROYED = "destroyed"


class Media(StrEnum):
    """How a value's bytes are to be read; restoring writes the same kind back."""

    TEXT = "text"
    JSON = "json"
    BINARY = "binary"


class SecretVersion(
    Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, rename={"value": "length"}
):
    """One version of a secret. ``value`` is ``None`` unless the version is live.

    Nothing encodes a value: where a version is written as JSON, its value's length takes that place.
    """

    number: int
    value: SecretBytes | None = None
    media: Media = Media.TEXT
    state: VersionState = VersionState.LIVE
    created_at: str | None = None


class RotationSchedule(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """How often a secret is to be rotated."""

    days: int
    enabled: bool = True


class Secret(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret with everything its source knows of it.

    ``versions`` ascend by number; the last one is current. ``metadata`` is free-form,
    may itself be sensitive, and therefore never enters a metadata-only backup.
    Times are RFC 3339 strings, kept as the source wrote them. Names and order of the fields
    are those of a container's rows (:mod:`strongroom.container.segment`).
    """

    name: str
    type: str = field(default_factory=lambda: "generic")  # of a factory's own, never left out
    versions: tuple[SecretVersion, ...]
    tags: dict[str, str] = {}
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    rotation: RotationSchedule | None = None
    metadata: dict[str, Any] = {}

    @property
    def current(self) -> SecretVersion:
        """The newest version, whatever its state."""
        return self.versions[-1]


class ListedSecret(Struct, frozen=True, array_like=True, gc=False):
    """One line of a source's listing: enough to plan with, and to find the secret again.

    ``size`` estimates the bytes of values and metadata. ``locator`` is the source's own
    (for JSONL the offset and length), meaningless to anyone else. ``tags`` are present
    only when the listing was asked for them.
    """

    name: str
    size: int
    locator: tuple[int, ...] = ()
    tags: dict[str, str] | None = None


class ObjectInfo(Struct, frozen=True, kw_only=True):
    """One stored object on a target or in a file. ``size`` in bytes."""

    name: str
    size: int


class Selection(Struct, frozen=True, kw_only=True):
    """Which secrets a policy or command means.

    A name is selected if it matches any ``include`` pattern (all, if empty) and
    no ``exclude`` pattern (:mod:`fnmatch` syntax, case-sensitive), and carries every one
    of ``tags``.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tags: Mapping[str, str] = {}


class ApprovalAction(StrEnum):
    """What a rule may demand the approval of people for."""

    RESTORE = "restore"
    UNDO = "undo"
    EXPORT = "export"
    RECIPIENTS = "recipients"
    RETENTION = "retention"
    RELEASE = "release"
    SIGNERS = "signers"
    SHRED = "shred"
    ROTATE_SECRET = "rotate-secret"  # noqa: S105  # the name of an action


class Depth(StrEnum):
    """How deep a verification looked; each depth includes those before it."""

    PRESENT = "present"
    DIGEST = "digest"
    OPENED = "opened"
    COMPARED = "compared"
    LIVE = "live"


def prepare(*records: type[Struct]) -> None:
    """Have msgspec get ready to read these records now: call it where they are defined.

    Else it does so on first use, and two first uses at once, in threads, end the process
    with a segmentation fault (msgspec 0.22): an import is made by one thread alone.
    """
    for record in records:
        json.Decoder(record)
