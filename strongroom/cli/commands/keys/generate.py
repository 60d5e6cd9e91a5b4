"""keys new: making what opens backups."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from strongroom.cli.shared import key_separation, passphrases
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.errors import UsageError
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileRecipient, generate_key_file
from strongroom.system.atomic_file import refuse_existing, write_whole

_KEEP = (
    "Keep it away from the backups, in two places. If you lose it, you lose every backup that only it opens."
)


def generate_file(arguments: Namespace, output: Output) -> None:
    if arguments.again is not None:
        raise UsageError("--from writes a private key again, and AES256 has none.")
    key_separation.refuse_on_target(arguments.output, place.find())
    passphrase = passphrases.for_new_key(arguments, output)
    generate_key_file(arguments.output, algorithm=arguments.algorithm, passphrase=passphrase)
    fingerprint = KeyFileRecipient.load(arguments.output).fingerprint
    who = "Anyone who has it" if passphrase is None else "Anyone who has it and knows its passphrase"
    words = [f"{arguments.output} holds a new key ({fingerprint}). {who} can seal and open.", _KEEP]
    document = {
        "file": str(arguments.output),
        "algorithm": arguments.algorithm,
        "fingerprint": fingerprint,
        "sealed": passphrase is not None,
    }
    output.answer(document, words)


def generate_pair(arguments: Namespace, output: Output) -> None:
    if arguments.algorithm not in list(Kem):
        raise UsageError("There is no such algorithm.", hint=f"Choose one of: {', '.join(Kem)}, AES256.")
    private: Path = arguments.output
    public = private.with_name(private.name + ".pub")
    key_separation.refuse_on_target(private, place.find())
    refuse_existing(public, replace=False)
    refuse_existing(private, replace=False)
    identity = _identity(arguments)
    passphrase = passphrases.for_new_key(arguments, output)
    identity.save(private, passphrase=passphrase)
    write_whole(public, f"{identity.public}\n".encode())
    public.chmod(0o644)
    fingerprint = identity.recipient().fingerprint
    document = {
        "private": str(private),
        "public": str(public),
        "fingerprint": fingerprint,
        "public_key": str(identity.public),
        "post_quantum": identity.recipient().post_quantum,
        "sealed": passphrase is not None,
    }
    lines = _pair_lines(private, public, fingerprint, sealed=passphrase is not None)
    output.answer(document, lines if arguments.again is None else [*lines[:4], _again(arguments.again)])


def _again(old: Path) -> str:
    return f"It is the key of {old}. Remove that file once this one opens a backup."


def _identity(arguments: Namespace) -> HpkeIdentity:
    """Return a new private key, or the one of the file that is to be written again."""
    if arguments.again is None:
        return HpkeIdentity.generate(kem=Kem(arguments.algorithm))
    return HpkeIdentity.load(arguments.again, passphrases.for_key_file)


def _pair_lines(private: Path, public: Path, fingerprint: str, *, sealed: bool) -> list[str]:
    return [
        f"{private} opens{' with its passphrase' if sealed else ''}: the private half.",
        _KEEP,
        f"{public} seals: the public half, all that a backup host needs.",
        f"fingerprint: {fingerprint}",
        "",
        "On the host that makes backups, for a new strongroom.toml:",
        "",
        f"  strongroom init --public-key {shlex.quote(str(public))}",
        "",
        "or in one that is there, in place of a [keys.recovery] that it may have:",
        "",
        "  [keys.recovery]",
        '  kind = "hpke"',
        f'  public_key_file = "{public.absolute()}"',
    ]
