"""quorum: make one in a ceremony, try its shares, look at its file, replace its custodians."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.cli.commands.keys import ceremony
from strongroom.cli.parser import Parser
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, fields, in_line
from strongroom.errors import UsageError
from strongroom.keys.quorum.errors import ShareForeign, ShareMistyped, ShareRepeated, SharesWrong

if TYPE_CHECKING:
    from strongroom.keys.quorum.gathering import Gathering
    from strongroom.keys.quorum.record import Quorum

_NEXT = [
    "",
    "Keep copies of the file: it is public, and tells a wrong share from a wrong file.",
    "On the host that makes backups, in strongroom.toml:",
    "",
]


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", help="hold the ceremony: split a new key among custodians")
    create.add_argument("file", metavar="FILE", type=Path, help="where to write the quorum's public file")
    create.add_argument("--name", metavar="NAME", help="what it is called (default: the file's name)")
    create.add_argument(
        "--custodian", metavar="NAME", action="append", required=True, help="who gets a share; repeat it"
    )
    _threshold(create, required=True)
    combine = actions.add_parser("combine", help="bring shares together, and say whether they open")
    combine.add_argument("file", metavar="FILE", type=Path, help="the quorum's file")
    combine.add_argument(
        "--share",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file with one share's words",
    )
    show = actions.add_parser("show", help="say who the custodians are, and how many are needed")
    show.add_argument("file", metavar="FILE", type=Path, help="the quorum's file")
    _replace_arguments(actions.add_parser("replace", help="hold a ceremony for a quorum in another's place"))


def _replace_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", type=Path, help="the file of the quorum that is replaced")
    parser.add_argument("file", metavar="FILE", type=Path, help="where to write the new quorum's file")
    parser.add_argument(
        "--without", metavar="NAME", action="append", default=[], help="a custodian who leaves; repeatable"
    )
    parser.add_argument(
        "--custodian", metavar="NAME", action="append", default=[], help="a custodian who joins; repeatable"
    )
    _threshold(parser, required=False)


def _threshold(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--threshold", metavar="K", type=int, required=required, help="how many of them are needed to open"
    )


def _quorum(arguments: Namespace, output: Output) -> None:
    {"create": _create, "combine": _combine, "show": _show, "replace": _replace}[arguments.action](
        arguments, output
    )


def _create(arguments: Namespace, output: Output) -> None:
    name = arguments.name or arguments.file.stem
    made = _held(arguments.file, name, arguments.custodian, arguments.threshold, output)
    output.answer(_document(made, arguments.file), _made_lines(made, arguments.file))


def _replace(arguments: Namespace, output: Output) -> None:
    """Make a new quorum: a share cannot be taken back from whoever leaves, so the key is a new one."""
    old = _load(arguments.old)
    names = _remaining(old, arguments.without) + arguments.custodian
    threshold = arguments.threshold or old.threshold
    made = _held(arguments.file, old.name, names, threshold, output, replaces=old.id)
    lines = [
        *_made_lines(made, arguments.file),
        "",
        f"The old quorum ({old.id}) still opens what was sealed for it. Name the new file in the",
        "configuration, run 'strongroom rotate', and burn the old papers only when 'strongroom keys' says",
        "that no backup needs them.",
    ]
    output.answer(_document(made, arguments.file), lines)


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
    import time  # noqa: PLC0415 - as below

    from strongroom.keys.quorum.ceremony import Ceremony  # noqa: PLC0415 - cryptography
    from strongroom.system.atomic_file import refuse_existing, write_whole  # noqa: PLC0415
    from strongroom.timestamps import rfc3339  # noqa: PLC0415

    ceremony.require_terminal()
    refuse_existing(path, replace=False)
    if not os.access(path.absolute().parent, os.W_OK):
        # Found out now, and not when everybody has written a share down.
        raise UsageError(f"'{path}' cannot be written: its folder is not there, or closed to us.")
    ceremony.keep_in_memory(output)
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


def _combine(arguments: Namespace, output: Output) -> None:
    """Rehearse an opening. The key that the shares give is forgotten, and written nowhere."""
    from strongroom.keys.quorum.gathering import Gathering  # noqa: PLC0415
    from strongroom.system.private_file import read_private  # noqa: PLC0415 - as above

    gathering = Gathering(_load(arguments.file))
    names = [gathering.add(read_private(path)).name for path in arguments.share]
    while gathering.missing > 0 and prompts.somebody_there():
        names += _asked(gathering, output)
    quorum = gathering.open().quorum
    document = _document(quorum, arguments.file) | {"opened_by": names}
    output.answer(document, [f"The shares of {', '.join(names)} open what is sealed for `{quorum.name}`."])


def _asked(gathering: Gathering, output: Output) -> list[str]:
    try:
        name = gathering.add(prompts.hidden(f"A custodian's share ({gathering.missing} more): ")).name
    except (ShareForeign, ShareMistyped, ShareRepeated, SharesWrong) as error:
        output.warn(f"{error.message}. {error.hint}")
        return []
    output.note(f"Right: {name}'s share.")
    return [name]


def _show(arguments: Namespace, output: Output) -> None:
    quorum = _load(arguments.file)
    output.answer(_document(quorum, arguments.file), _lines(quorum))


def _load(path: Path) -> Quorum:
    from strongroom.keys.quorum import record  # noqa: PLC0415 - as above

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


def _lines(quorum: Quorum) -> list[str]:
    return fields(
        [
            ("quorum", f"{quorum.name} ({quorum.id})"),
            ("opens with", quorum.describe()),
            ("made", quorum.created_at),
            ("in place of", quorum.replaces),
            ("fingerprint", f"quorum:{quorum.public.id.hex()}"),
            ("post-quantum", "yes, hybrid"),
        ]
    )


def _made_lines(quorum: Quorum, path: Path) -> list[str]:
    return [
        *_lines(quorum),
        *_NEXT,
        f"  [keys.{path.stem if path.stem.isidentifier() else 'board'}]",
        '  kind = "quorum"',
        f'  file = "{path.absolute()}"',
    ]


COMMANDS = {
    "quorum": Command(
        _arguments,
        _quorum,
        "The ceremony shows each custodian a share once, to be written on paper, and has it typed back\n"
        "before anything can be sealed for the quorum. Strongroom writes no share anywhere.",
    )
}
