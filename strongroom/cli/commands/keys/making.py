"""quorum: make one in a ceremony, try its shares, look at its file, replace its custodians."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from strongroom.cli.shared import ceremony
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line
from strongroom.errors import UsageError
from strongroom.keys.quorum import record
from strongroom.keys.quorum.ceremony import Ceremony
from strongroom.keys.quorum.errors import ShareForeign, ShareMistyped, ShareRepeated, SharesWrong
from strongroom.keys.quorum.gathering import Gathering
from strongroom.keys.quorum.record import Quorum
from strongroom.sheet import Lines, Pairs, Sheet
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.system.private_file import read_private
from strongroom.timestamps import rfc3339


def create_quorum(arguments: Namespace, output: Output) -> Answer:
    name = arguments.name or arguments.file.stem
    made = _held(arguments.file, name, arguments.custodian, arguments.threshold, output)
    return Answer(record=_document(made, arguments.file), sheet=_made_sheet(made, arguments.file))


def replace_quorum(arguments: Namespace, output: Output) -> Answer:
    """Make a new quorum: a share cannot be taken back from whoever leaves, so the key is a new one."""
    old = _load(arguments.old)
    names = _remaining(old, arguments.without) + arguments.custodian
    threshold = arguments.threshold or old.threshold
    made = _held(arguments.file, old.name, names, threshold, output, replaces=old.id)
    sheet = _made_sheet(made, arguments.file)
    words = (
        f"The old quorum ({old.id}) still opens what was sealed to it. Name the new file in the "
        "configuration, run 'strongroom keys rotate', and burn the old papers only when "
        "'strongroom keys list' says that no backup needs them."
    )
    record = _document(made, arguments.file)
    return Answer(record=record, sheet=replace(sheet, parts=(Lines([words]), *sheet.parts)))


def _remaining(old: Quorum, leaving: list[str]) -> list[str]:
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
    custodians: list[str],
    threshold: int,
    output: Output,
    *,
    replaces: str | None = None,
) -> Quorum:
    ceremony.require_terminal()
    refuse_existing(path, replace=False)
    if not os.access(path.absolute().parent, os.W_OK):
        # Found out now, and not when everybody has written a share down.
        raise UsageError(f"'{path}' cannot be written: its folder is not there, or closed to us.")
    ceremony.warn_of_swapping(output)
    held = Ceremony(
        name=name,
        custodians=custodians,
        threshold=threshold,
        created_at=rfc3339(time.time()),
        replaces=replaces,
    )
    ceremony.hold(held)
    made = held.finish()
    write_whole(path, made.encode())
    path.chmod(0o644)
    return made


def combine_shares(arguments: Namespace, output: Output) -> Answer:
    """Rehearse an opening. The key that the shares give is forgotten, and written nowhere."""
    gathering = Gathering(_load(arguments.file))
    names = [gathering.add(read_private(path)).name for path in arguments.share]
    while gathering.missing > 0 and prompts.somebody_there():
        names += _asked(gathering, output)
    quorum = gathering.open().quorum
    document = _document(quorum, arguments.file) | {"opened_by": names}
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


def show_quorum(arguments: Namespace, output: Output) -> Answer:
    quorum = _load(arguments.file)
    return Answer(record=_document(quorum, arguments.file), sheet=Sheet(parts=[_pairs(quorum)]))


def _load(path: Path) -> Quorum:
    return record.load(path)


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
