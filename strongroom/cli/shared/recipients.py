"""Who shall be able to open: configured keys, public keys, key files, passphrases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from strongroom.cli.errors import UnsafeSetup
from strongroom.cli.shared import passphrases
from strongroom.cli.shared.options import RecipientOptions
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config.failure_domains import UnlockPath, single_points_of_failure
from strongroom.errors import StrongroomError, TargetError, UsageError
from strongroom.keys import Recipient
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.operations.keys.trial import keys_under

# -- What must not be together: a key and what it opens, a Vault and the only key to its backup ---


_VAULTS = ("vault", "raft")


def refuse_on_target(path: Path, place: InstallationPlace) -> None:
    """Refuse to write a key where backups lie, under whatever link. Raises UnsafeSetup."""
    folder = path.absolute().parent.resolve()
    for name, table in place.section("targets").items():
        target = place.path(table.get("path")) if table.get("kind") == "directory" else None
        if target is not None and folder.is_relative_to(target.resolve()):
            raise UnsafeSetup(
                f"{path} would be on the target '{name}': anyone who gets that has the backups and their key",
                hint="Never store a key with backups. Write it elsewhere.",
            )


def warn_of_keys_beside(file: Path, output: Output) -> None:
    """Say so if a private key lies in the folder that a backup is written to."""
    folder = file.absolute().parent
    try:
        found = list(keys_under(folder, deep=False))
    except TargetError:
        return  # writing there says what is wrong with it
    if found:
        are = "is a private key" if len(found) == 1 else "are private keys"
        output.warn(
            f"{', '.join(found)} in {folder} {are}: anyone who gets that folder has the backup and a key. "
            "Keep them apart."
        )


def refuse_circular_keys(source: str, names: Sequence[str], place: InstallationPlace) -> None:
    """Refuse a backup of a Vault that only that Vault's own keys would open. Raises UnsafeSetup.

    Args:
        names: the configured keys that it is sealed for, if it is for nobody else.
    """
    if not names or place.section("sources").get(source, {}).get("kind") not in _VAULTS:
        return
    from strongroom.config import load_settings
    from strongroom.config.checks.stores import SHUT_IN, needs_its_source

    if needs_its_source(load_settings(), source, names):
        raise UnsafeSetup(SHUT_IN[0], hint=SHUT_IN[1])


# -- Who shall be able to open: configured keys, public keys, key files, passphrases ------------


def recipients_of(
    given: RecipientOptions, output: Output, place: InstallationPlace, *, source: str = ""
) -> list[Recipient]:
    """Return for whom to seal what a source holds.

    What is typed counts alone. Otherwise the passphrase of the environment, otherwise the
    configured keys, otherwise a person is asked.

    Raises:
        UsageError: nobody could open the backup.
        UnsafeSetup: only what is backed up itself could.
    """
    refuse_circular_keys(source, _only_configured(given, output, place), place)
    typed = [recipient_of(word, output, place) for word in given.recipient]
    if given.passphrase_file is not None:
        typed.append(_passphrase_recipient(passphrases.read_file(given.passphrase_file, output), output))
    return typed or _default_recipients(output, place)


def _only_configured(given: RecipientOptions, output: Output, place: InstallationPlace) -> Sequence[str]:
    """Return the names of the keys that are sealed for, if all are configured ones."""
    keys = place.section("keys")
    if given.recipient or given.passphrase_file is not None:
        configured = given.passphrase_file is None and all(word in keys for word in given.recipient)
        return given.recipient if configured else ()
    return [] if passphrases.from_environment(output) else list(keys)


def warn_of_no_spare(recipients: Sequence[Recipient], output: Output) -> None:
    """Say so if one accident could close the backup for ever."""
    needed = single_points_of_failure([_unlock_path(recipient) for recipient in recipients])
    if needed:
        words = next(
            each.describe()
            for recipient in recipients
            for each in _keys_in(recipient)
            if each.fingerprint in needed
        )
        output.warn(
            f"{words} can open this backup, and nobody else. If that key is lost, so is the backup. "
            "Give --recipient more than once to have a second key."
        )


def _unlock_path(recipient: Recipient) -> UnlockPath:
    """Return the keys that a recipient rests on; custodians are each other's spares unless all are needed."""
    if recipient.type == "all-of":
        return [[thing for each in leg for thing in _unlock_path(each)[0]] for leg in _legs(recipient)]
    if recipient.type == "quorum":
        from strongroom.keys.quorum import QuorumRecipient

        assert isinstance(recipient, QuorumRecipient)
        if recipient.quorum.threshold < len(recipient.quorum.custodians):
            return [[None]]
    return [[recipient.fingerprint]]


def _keys_in(recipient: Recipient) -> list[Recipient]:
    return [each for leg in _legs(recipient) for each in leg] or [recipient]


def _legs(recipient: Recipient) -> Sequence[Sequence[Recipient]]:
    if recipient.type != "all-of":
        return ()
    assert isinstance(recipient, AllOfRecipient)
    return recipient.legs


def _default_recipients(output: Output, place: InstallationPlace) -> list[Recipient]:
    if passphrase := passphrases.from_environment(output):
        return [_passphrase_recipient(passphrase, output)]
    keys = place.section("keys")
    configured = [_configured_recipient(name, table, output, place) for name, table in keys.items()]
    return configured or [_passphrase_recipient(passphrases.ask_new(output), output, checked=True)]


def configured_without_questions(output: Output, place: InstallationPlace) -> Iterator[Recipient]:
    """Yield the configured keys as far as they can be had here without asking anybody anything."""
    for name, table in place.section("keys").items():
        if table.get("kind") == "passphrase" and "file" not in table:
            continue  # the one that was given is at hand already
        with suppress(StrongroomError, OSError):
            yield _configured_recipient(name, table, output, place, ask=False)


def recipient_of(word: str, output: Output, place: InstallationPlace) -> Recipient:
    """Return the recipient that a person means by a word.

    Raises:
        UsageError: it is none of the kinds.
    """
    keys = place.section("keys")
    if word in keys:
        return _configured_recipient(word, keys[word], output, place)
    if word.startswith("srpub"):
        return _public_key(word)
    path = Path(word)
    if not path.is_file():
        known = f" Configured keys: {', '.join(keys)}." if keys else ""
        raise UsageError(
            "--recipient is neither a configured key, nor a public key, nor a file.",
            hint=f"Make a pair with 'strongroom keys new' and give its public half.{known}",
        )
    return _recipient_of_file(path)


def _recipient_of_file(path: Path) -> Recipient:
    with path.open("rb") as file:
        begins = file.read(4096)
    if begins.startswith(b"srpub"):
        return _public_key(begins.decode("ascii", "replace").strip(), label=in_line(path.stem))
    if begins.startswith((b"strongroom-private-key", b"strongroom-sealed-private-key")):
        raise UsageError(
            f"{path} is the private half, which does not belong on a machine that makes backups.",
            hint="Give the public half, which 'strongroom keys new' wrote beside it.",
        )
    return _key_file(path, label=in_line(path.stem))


def _configured_recipient(
    name: str, table: Mapping[str, Any], output: Output, place: InstallationPlace, *, ask: bool = True
) -> Recipient:
    kind, path = table.get("kind"), place.path(table.get("file"))
    if kind == "hpke":
        return _configured_public_key(name, table, place)
    if kind == "keyfile" and path is not None:
        return _key_file(path, label=name)
    if kind != "passphrase":
        return _recipient_by_settings(name, ask=ask)
    passphrase = passphrases.read_file(path, output) if path else passphrases.from_environment(output)
    checked = passphrase is None
    iterations = table.get("iterations")
    return _passphrase_recipient(
        passphrase or passphrases.ask_new(output), output, label=name, iterations=iterations, checked=checked
    )


def _recipient_by_settings(name: str, *, ask: bool) -> Recipient:
    from strongroom.cli.shared.passphrases import asking
    from strongroom.config import load_settings
    from strongroom.wiring import keys

    return keys.recipient(name, load_settings(), asking() if ask else None)


def _configured_public_key(name: str, table: Mapping[str, Any], place: InstallationPlace) -> Recipient:
    if isinstance(text := table.get("public_key"), str):
        return _public_key(text, label=name)
    path = place.path(table.get("public_key_file"))
    if path is None:
        raise UsageError(f"keys.{name} has no public key.", hint="Run 'strongroom check config'.")
    return _public_key(path.read_text(encoding="ascii").strip(), label=name)


def _public_key(text: str, *, label: str = "") -> Recipient:
    from strongroom.keys.hpke import HpkeRecipient, PublicKey

    return HpkeRecipient(PublicKey.parse(text), label=label)


def _key_file(path: Path, *, label: str) -> Recipient:
    return KeyFileRecipient.load(path, label=label, passphrases=passphrases.for_key_file)


def _passphrase_recipient(
    passphrase: str, output: Output, *, label: str = "", iterations: int | None = None, checked: bool = False
) -> Recipient:
    if not checked:
        passphrases.warn_if_weak(passphrase, output)
    return PassphraseRecipient(passphrase, label=label, iterations=iterations)


# -- What an old key still opens: copies of a backup that a target has yet, and until when ------


def describe_remaining(copy: Mapping[str, Any]) -> str:
    """Say until when a backup that a key still opens is there, and what its target hides of it."""
    if not copy.get("reached", True):
        return "which was not reached: bring it and repeat; until then it opens as before"
    old = _old_versions(copy.get("old_versions", {}))
    if copy.get("deleted"):
        return f"where it is deleted, and hidden: {old}"
    return f"until {copy['until'] or 'it is deleted'}" + (f"; also {old}" if old else "")


def _old_versions(old: Mapping[str, Any]) -> str:
    """Say how many versions a target hides, and what ends them."""
    count = old.get("count", 0)
    if count < 0:
        return "old versions, of which this credential may not be told (docs/how-to/store-backups.md)"
    locked = old.get("locked_until", "")
    held = {"": "", "unknown": ", their locks unknown"}.get(locked, f", locked until {locked}")
    ends = {"": "until somebody removes them", "unknown": "until a day that it does not tell"}
    goes = ends.get(old.get("until", ""), f"until {old.get('until')}")
    return f"{plural(count, 'old version')}{held}, {goes}" if count else ""
