"""keys new: making what opens backups."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from strongroom.cli.commands.keys.arguments import NewKey
from strongroom.cli.shared import passphrases, recipients
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.errors import UsageError
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileRecipient, generate_key_file
from strongroom.sheet import Lines, Sheet
from strongroom.system.files import refuse_existing, write_whole

_KEEP = (
    "Keep it away from the backups, in two places. If you lose it, you lose every backup that only it opens."
)


def generate_file(given: NewKey, output: Output) -> Answer:
    if given.again is not None:
        raise UsageError("--from writes a private key again, and AES256 has none.")
    recipients.refuse_on_target(given.output, place.find())
    passphrase = passphrases.for_new_key(given.sealing.passphrase_file, output, ask=given.sealing.passphrase)
    generate_key_file(given.output, algorithm=given.algorithm, passphrase=passphrase)
    fingerprint = KeyFileRecipient.load(given.output).fingerprint
    who = "Anyone who has it" if passphrase is None else "Anyone who has it and knows its passphrase"
    record = {
        "file": given.output,
        "algorithm": given.algorithm,
        "fingerprint": fingerprint,
        "sealed": passphrase is not None,
    }
    said = f"{given.output} holds a new key ({fingerprint}). {who} can seal and open."
    return Answer(record=record, sheet=Sheet(verdict=said, about=_KEEP))


def generate_pair(given: NewKey, output: Output) -> Answer:
    if given.algorithm not in list(Kem):
        raise UsageError("There is no such algorithm.", hint=f"Choose one of: {', '.join(Kem)}, AES256.")
    private: Path = given.output
    public = private.with_name(private.name + ".pub")
    recipients.refuse_on_target(private, place.find())
    refuse_existing(public, replace=False)
    refuse_existing(private, replace=False)
    identity = _identity(given)
    passphrase = passphrases.for_new_key(given.sealing.passphrase_file, output, ask=given.sealing.passphrase)
    identity.save(private, passphrase=passphrase)
    write_whole(public, f"{identity.public}\n".encode())
    public.chmod(0o644)
    fingerprint = identity.recipient().fingerprint
    record = {
        "private": private,
        "public": public,
        "fingerprint": fingerprint,
        "public_key": str(identity.public),
        "post_quantum": identity.recipient().post_quantum,
        "sealed": passphrase is not None,
    }
    sealed = " with its passphrase" if passphrase is not None else ""
    lines = [
        f"{private} opens{sealed}: the private half.",
        _KEEP,
        f"{public} seals: the public half, all that a backup host needs.",
        f"fingerprint: {fingerprint}",
    ]
    again = Lines([f"It is the key of {given.again}. Remove that file once this one opens a backup."])
    parts = [Lines(lines), *(_next(public) if given.again is None else [again])]
    return Answer(record=record, sheet=Sheet(parts=parts))


def _identity(given: NewKey) -> HpkeIdentity:
    """Return a new private key, or the one of the file that is to be written again."""
    if given.again is None:
        return HpkeIdentity.generate(kem=Kem(given.algorithm))
    return HpkeIdentity.load(given.again, passphrases.for_key_file)


def _next(public: Path) -> Iterator[Lines]:
    """Say what the host that makes backups needs of a key pair."""
    command = f"strongroom init --public-key {shlex.quote(str(public))}"
    yield Lines([command], "On the host that makes backups, for a new strongroom.toml", style="code")
    file = ["[keys.recovery]", 'kind = "hpke"', f'public_key_file = "{public.absolute()}"']
    where = "Or in one that is there, in place of a [keys.recovery] that it may have"
    yield Lines(file, where, style="code")
