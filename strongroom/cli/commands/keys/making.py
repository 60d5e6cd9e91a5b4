"""Keys of a token, and of custodians: made, listed, tried and replaced."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from strongroom.cli.commands.keys.arguments import (
    CombineShares,
    CreateQuorum,
    CreateTokenKey,
    ListTokenKeys,
    ShowQuorum,
)
from strongroom.cli.shared import installation_key
from strongroom.cli.shared.passphrases import asking
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line
from strongroom.config import Pkcs11Key, load_settings
from strongroom.errors import UsageError
from strongroom.keys.pkcs11.session import PinPrompt, Token
from strongroom.keys.pkcs11.token_keys import generate_aes, generate_ec, next_version, versions
from strongroom.keys.quorum import record as quorum_file
from strongroom.keys.quorum.ceremony import Ceremony, Gathering
from strongroom.keys.quorum.record import Quorum, ShareForeign, ShareMistyped, ShareRepeated, SharesWrong
from strongroom.sheet import Lines, Pairs, Sheet, Table
from strongroom.system.files import read_private, refuse_existing, write_whole
from strongroom.times import rfc3339
from strongroom.wiring.hsm import token

# -- hsm: make the keys that the configuration names in their token, and list them ---


def create_key(given: CreateTokenKey, output: Output) -> Answer:
    """Make the key; it is believed only after it opened what was sealed for it."""
    name, key = given.key, _configured(given.key)
    token = _token(name, key)
    made = (
        f"{token.describe()} holds a new key `{key.label}` v{key.version}, tried with a wrap and an unwrap."
    )
    lost = "It cannot be read out. If the token and its copy are lost, so is every backup that only it opens."
    record: dict[str, object] = {"key": name, "version": key.version}
    if key.mechanism == "aes":
        record["id"] = generate_aes(token, key=key.label, version=key.version)
        parts = [Lines([f'key_id = "{record["id"]}"'], f"Add to [keys.{name}]", style="code")]
    else:
        if key.public_key_file is not None:
            refuse_existing(key.public_key_file, replace=False)
        public = str(generate_ec(token, key=key.label, version=key.version))
        record["public_key"] = public
        parts = [_kept(key, public)]
    return Answer(record=record, sheet=Sheet(verdict=made, about=lost, parts=parts))


def _kept(key: Pkcs11Key, public: str) -> Lines:
    """Write the public half where the configuration looks for it, or say where it belongs."""
    if key.public_key_file is None:
        where = "Its public half, all that a backup host needs (public_key_file)"
        return Lines([public], where, style="code")
    write_whole(key.public_key_file, f"{public}\n".encode())
    key.public_key_file.chmod(0o644)
    return Lines([f"{key.public_key_file} holds its public half, all that a backup host needs."])


def list_keys(given: ListTokenKeys, output: Output) -> Answer:
    """List the keys. With a typed PIN a person logs in, who is told how the counter stands; a PIN's file is
    not looked at."""
    key = _configured(given.key)
    pin = PinPrompt(lambda words: prompts.hidden(f"{words}: ")) if given.ask_pin else None
    token = _token(given.key, key, pin)
    kinds = {"ec": "PRIVATE_KEY", "aes": "SECRET_KEY"}
    rows = [(label, version, kind) for kind, of in kinds.items() for label, version in versions(token, of)]
    keys = [{"label": label, "version": version, "mechanism": kind} for label, version, kind in rows]
    table = Table(("Label", "Version", "Mechanism"), rows, nothing=f"{token.describe()} holds no key.")
    free = next_version(token)
    return Answer(
        record={"token": key.token, "keys": keys, "next_version": free},
        sheet=Sheet(parts=[table, Pairs([("next free version", free)])]),
    )


def _configured(name: str) -> Pkcs11Key:
    key = load_settings().keys.get(name)
    if not isinstance(key, Pkcs11Key):
        raise UsageError(f"There is no configured key '{name}' of kind pkcs11.")
    return key


def _token(name: str, key: Pkcs11Key, pin: Any = None) -> Token:
    if pin is None or key.module is None:
        return token(name, key, asking())
    return Token(module=key.module, label=key.token, pin=pin)


# -- quorum: make one in a ceremony, try its shares, look at its file, replace its custodians ---


def create_quorum(given: CreateQuorum, output: Output) -> Answer:
    if given.replaces is not None:
        return _replace_quorum(given.replaces, given, output)
    name = given.name or given.file.stem
    made = _held(given.file, name, given.custodian, given.threshold or 0, output)
    return Answer(record=_document(made, given.file), sheet=_made_sheet(made, given.file))


def _replace_quorum(path: Path, given: CreateQuorum, output: Output) -> Answer:
    """Make a new quorum: a share cannot be taken back from whoever leaves, so the key is a new one."""
    old = quorum_file.load(path)
    names = (*_remaining(old, given.without), *given.custodian)
    threshold = given.threshold or old.threshold
    made = _held(given.file, old.name, names, threshold, output, replaces=old.id)
    sheet = _made_sheet(made, given.file)
    words = (
        f"The old quorum ({old.id}) still opens what was sealed to it. Name the new file in the "
        "configuration, run 'strongroom keys rotate', and burn the old papers only when "
        "'strongroom keys list' says that no backup needs them."
    )
    record = _document(made, given.file)
    return Answer(record=record, sheet=replace(sheet, parts=(Lines([words]), *sheet.parts)))


def _remaining(old: Quorum, leaving: Sequence[str]) -> list[str]:
    names = [custodian.name for custodian in old.custodians]
    if unknown := [name for name in leaving if name not in names]:
        raise UsageError(
            f"{', '.join(map(in_line, unknown))} has no share of this quorum.",
            hint=f"Its custodians: {', '.join(names)}.",
        )
    return [name for name in names if name not in leaving]


def _held(
    path: Path,
    name: str,
    custodians: Sequence[str],
    threshold: int,
    output: Output,
    *,
    replaces: str | None = None,
) -> Quorum:
    installation_key.require_terminal()
    refuse_existing(path, replace=False)
    if not os.access(path.absolute().parent, os.W_OK):
        # Found out now, and not when everybody has written a share down.
        raise UsageError(f"'{path}' cannot be written: its folder is not there, or closed to us.")
    installation_key.warn_of_swapping(output)
    held = Ceremony(
        name=name,
        custodians=list(custodians),
        threshold=threshold,
        created_at=rfc3339(time.time()),
        replaces=replaces,
    )
    installation_key.hold(held)
    made = held.finish()
    write_whole(path, made.encode())
    path.chmod(0o644)
    return made


def combine_shares(given: CombineShares, output: Output) -> Answer:
    """Rehearse an opening. The key that the shares give is forgotten, and written nowhere."""
    gathering = Gathering(quorum_file.load(given.file))
    names = [gathering.add(read_private(path)).name for path in given.share]
    while gathering.missing > 0 and prompts.somebody_there():
        names += _asked(gathering, output)
    quorum = gathering.open().quorum
    document = _document(quorum, given.file) | {"opened_by": names}
    said = f"The shares of {', '.join(names)} open what is sealed to `{quorum.name}`."
    return Answer(record=document, sheet=Sheet(verdict=said))


def _asked(gathering: Gathering, output: Output) -> list[str]:
    try:
        name = gathering.add(prompts.hidden(f"A custodian's share ({gathering.missing} more): ")).name
    except (ShareForeign, ShareMistyped, ShareRepeated, SharesWrong) as error:
        output.warn(f"{error.message}. {error.hint}")
        return []
    output.note(f"Right: {name}'s share.")
    return [name]


def show_quorum(given: ShowQuorum, output: Output) -> Answer:
    quorum = quorum_file.load(given.file)
    return Answer(record=_document(quorum, given.file), sheet=Sheet(parts=[_pairs(quorum)]))


def _document(quorum: Quorum, path: Path) -> dict[str, Any]:
    return {
        "file": str(path),
        "name": quorum.name,
        "id": quorum.id,
        "created_at": quorum.created_at,
        "threshold": quorum.threshold,
        "custodians": [custodian.name for custodian in quorum.custodians],
        "fingerprint": f"quorum:{quorum.public.id.hex()}",
        "post_quantum": True,
        "replaces": quorum.replaces,
    }


def _pairs(quorum: Quorum) -> Pairs:
    return Pairs(
        [
            ("quorum", f"{quorum.name} ({quorum.id})"),
            ("opens with", quorum.describe()),
            ("made", quorum.created_at),
            ("in place of", quorum.replaces),
            ("fingerprint", f"quorum:{quorum.public.id.hex()}"),
            ("post-quantum", "yes, hybrid"),
        ]
    )


def _made_sheet(quorum: Quorum, path: Path) -> Sheet:
    name = path.stem if path.stem.isidentifier() else "board"
    settings = [f"[keys.{name}]", 'kind = "quorum"', f'file = "{path.absolute()}"']
    keep = "Keep copies of the file: it is public, and tells a wrong share from a wrong file."
    where = "On the host that makes backups, in strongroom.toml"
    return Sheet(parts=[_pairs(quorum), Lines([keep]), Lines(settings, where, style="code")])
