"""Who can open: what a person names, what the configuration knows, and, last, a question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.cli.shared import passphrases
from strongroom.cli.shared.options import BackupSource, FurtherOpeningOptions, OpeningOptions
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import LegacyFormat
from strongroom.container.kinds import FileKind
from strongroom.container.wrapping import Stanza
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener, Recipient
from strongroom.keys.allof import AllOfIdentity
from strongroom.keys.identityfile import load_identity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.model import Secret

if TYPE_CHECKING:
    from strongroom.container.manifest import ManifestRecipient
    from strongroom.keys import Opener
    from strongroom.operations.engine.services import Services
    from strongroom.state.records import RecipientPin

    Readers = Sequence[ManifestRecipient] | Sequence[RecipientPin]


def identities_of(
    given: OpeningOptions, output: Output, place: InstallationPlace, *, ask: bool = True
) -> list[Opener]:
    """Return everything at hand that may open, the typed first, a prompt last.

    Args:
        ask: whether a person may be asked for a passphrase, once something needs it.
    """
    found = [load_key(path) for path in given.identity]
    passphrase = passphrases.read_given(given.passphrase_file, output)
    if passphrase is not None:
        found.append(_passphrase_identity(passphrase))
    found += _configured_identities(place, output)
    found += _custodians_of(given, output, place, ask=ask)
    if ask and passphrase is None and prompts.somebody_there():
        found.append(PromptingIdentity())
    return _with_composition(found)


def typed_only(given: OpeningOptions, output: Output, place: InstallationPlace) -> list[Opener]:
    """Return what was given on the command line, and nothing else; nothing if nothing was."""
    found = [load_key(path) for path in given.identity]
    if given.passphrase_file is not None:
        passphrase = passphrases.read_given(given.passphrase_file, output)
        found += [] if passphrase is None else [_passphrase_identity(passphrase)]
    if given.quorum:
        found += _custodians_of(given, output, place, ask=True)
    return _with_composition(found)


def _custodians_of(
    given: OpeningOptions, output: Output, place: InstallationPlace, *, ask: bool
) -> list[Opener]:
    """Return an identity for each quorum that is known. Most installations have none, and load none of it."""
    configured = any(table.get("kind") == "quorum" for table in place.section("keys").values())
    if not (configured or given.quorum or given.share):
        return []
    from strongroom.cli.shared.custodians import custodians_of

    return list(custodians_of(given, output, place, ask=ask))


class CountingIdentity:
    """An identity that remembers that it opened something."""

    def __init__(self, inner: Opener) -> None:
        self.inner = inner
        self.opened = False

    def describe(self) -> str:
        return self.inner.describe()

    def recipient(self) -> Recipient:
        return self.inner.recipient()

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        key = self.inner.unwrap(stanza, context=context)
        self.opened = self.opened or key is not None
        return key


def _with_composition(openers: list[Opener]) -> list[Opener]:
    """Return identities, and last what they are together: some backups need several at once."""
    if not openers:
        return openers
    return [*openers, AllOfIdentity(openers)]


def load_key(path: Path) -> Opener:
    """Return what a file opens with. Raises UsageError or ConfigError."""
    return load_identity(path, passphrases.for_key_file)


def _configured_identities(place: InstallationPlace, output: Output) -> Iterator[Opener]:
    for name, table in place.section("keys").items():
        try:
            yield from _identities_of_table(name, table, place, output)
        except StrongroomError as error:
            output.note(f"note: keys.{name} was ignored: {error.message}")


def _identities_of_table(
    name: str, table: Mapping[str, Any], place: InstallationPlace, output: Output
) -> Iterator[Opener]:
    kind = table.get("kind")
    if kind in _NOT_HERE:
        return
    if kind not in _SIMPLE:
        yield from _identities_by_settings(name)
        return
    path = place.path(table.get("identity_file" if kind == "hpke" else "file"))
    if path is not None:
        yield (
            _passphrase_identity(passphrases.read_file(path, output))
            if kind == "passphrase"
            else load_key(path)
        )


_SIMPLE = frozenset({"passphrase", "keyfile", "hpke"})
"""Kinds of keys that are files, and open without the rest of the configuration."""

_NOT_HERE = frozenset({"quorum", "all-of"})
"""Kinds that open nothing by themselves: people do, or the keys that they name."""


def _identities_by_settings(name: str) -> Iterator[Opener]:
    from strongroom.cli.shared.passphrases import asking
    from strongroom.config import load_settings
    from strongroom.wiring import keys

    return keys.identity(name, load_settings(), asking())


def _passphrase_identity(passphrase: str) -> Opener:
    from strongroom.keys.passphrase import PassphraseIdentity

    return PassphraseIdentity(passphrase)


def without_questions(openers: Sequence[Opener]) -> list[Opener]:
    """Return those that need no question: who is asked counts once there was an answer."""
    alone = [opener for opener in openers if not isinstance(opener, AllOfIdentity)]
    return _with_composition([opener for opener in alone if getattr(opener, "answered", True)])


class PromptingIdentity:
    """An identity that asks for a passphrase when a stanza first needs one, and only then."""

    def __init__(self) -> None:
        self._answer: Opener | None = None

    @property
    def answered(self) -> bool:
        return self._answer is not None

    def describe(self) -> str:
        return "the passphrase that was typed"

    def recipient(self) -> Recipient:
        return self._ask().recipient()

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        return self._ask().unwrap(stanza, context=context) if stanza.kind == "passphrase" else None

    def _ask(self) -> Opener:
        if self._answer is None:
            self._answer = _passphrase_identity(prompts.hidden("Passphrase: "))
        return self._answer


# -- Old Fernet files: read on an explicit flag only, never as a fallback -----------------------


_LEAVE_OUT = "Leave --legacy out. Nothing was read or written."


def refuse_legacy_option(given: BackupSource, kind: FileKind | None) -> None:
    """Refuse to be told that an old file is meant where another thing is named (``None``: a target)."""
    if given.legacy and kind not in (FileKind.LEGACY, FileKind.UNKNOWN):
        raise UsageError(
            f"--legacy is for an old Fernet file, and this is a {kind or 'target'}.", hint=_LEAVE_OUT
        )


def open_plaintext(path: Path, given: BackupSource, output: Output) -> bytes:
    """Open an old file.

    Raises:
        LegacyFormat: ``--legacy`` was not given.
        WrongKey, Truncated, Malformed: it does not open.
    """
    from strongroom.container.legacy import open_legacy

    if not given.legacy:
        raise LegacyFormat(f"'{path}' is an old file: a salt and a Fernet token.")
    passphrase = passphrases.read_given(given.opening.passphrase_file, output)
    if passphrase is None:
        if not prompts.somebody_there():
            raise UsageError(
                "An old file opens with a passphrase.",
                hint="Give --passphrase-file, or set STRONGROOM_PASSPHRASE_FILE.",
            )
        passphrase = prompts.hidden("Passphrase of the old file: ")
    return open_legacy(path.read_bytes(), passphrase)


def secrets_of(path: Path, given: BackupSource, output: Output) -> list[Secret]:
    """Return the secrets of an old file: the JSON that it holds."""
    from strongroom.operations.restore.restorable import secrets_in

    return secrets_in(open_plaintext(path, given, output))


# -- What a person gives beside the configuration to open with --------------------------------------


def with_identities(services: Services, given: FurtherOpeningOptions, output: Output) -> Services:
    """Return the services of this process, which open with what was given as well."""
    return opening_with(services, tuple(typed_identities(given, output)))


def opening_with(services: Services, given: tuple[Opener, ...]) -> Services:
    """Return the services of this process, which open with these keys as well."""
    return dataclasses.replace(services, identities=lambda: (*services.identities(), *given))


def typed_identities(given: FurtherOpeningOptions | OpeningOptions, output: Output) -> Iterator[Opener]:
    """Yield what was given on the command line, or in the environment."""
    yield from (load_key(path) for path in given.identity)
    if (passphrase := passphrases.read_given(given.passphrase_file, output)) is not None:
        yield PassphraseIdentity(passphrase)


# -- Who can open a backup, in words ----------------------------------------------------------------


def describe_recipients(readers: Readers) -> str:
    """Say who can open: any one of them does."""
    return "; or ".join(reader.describes for reader in readers)


def recipient_fields(readers: Readers) -> Iterator[tuple[str, str]]:
    """Yield who can open, and whether a copy that is taken today withstands a quantum computer."""
    if readers:
        yield "opens for", describe_recipients(readers)
        yield "quantum", _quantum_safety(readers)


def _quantum_safety(readers: Readers) -> str:
    falls = [reader.name or reader.type for reader in readers if not reader.post_quantum]
    if not falls:
        return "withstands a quantum computer"
    return f"would fall to a quantum computer, by {', '.join(falls)}"
