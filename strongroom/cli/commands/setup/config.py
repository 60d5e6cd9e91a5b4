"""config: check it, begin with one, or explain every key."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.cli.parser import Parser
from strongroom.cli.shared.settings import settings
from strongroom.cli.terminal import place
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, fields

if TYPE_CHECKING:
    from strongroom.config import ConfigProblems, Settings


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    actions.add_parser("check", help="report every problem at once, with file, key and what would be right")
    init = actions.add_parser("init", help="write a file with comments and the usual policies")
    init.add_argument("--output", metavar="FILE", type=Path, help="where (default: strongroom.toml here)")
    init.add_argument(
        "--public-key", metavar="KEY", help="seal for this public key (text or file, see keygen)"
    )
    init.add_argument("--force", action="store_true", help="replace the file if it exists")
    actions.add_parser("reference", help="print every key with its meaning, as Markdown")


def _config(arguments: Namespace, output: Output) -> int | None:
    action = {"check": _check, "init": _init, "reference": _reference}[arguments.action]
    return action(arguments, output)


def _check(arguments: Namespace, output: Output) -> int | None:
    import msgspec  # noqa: PLC0415

    from strongroom.config import ConfigProblems  # noqa: PLC0415
    from strongroom.config.remarks import remarks  # noqa: PLC0415

    try:
        found = settings()
    except ConfigProblems as error:
        if output.json:
            output.answer(_problems(error), [])
        raise
    file = place.find().file
    remarked = list(remarks(found))
    document: dict[str, Any] = {
        "file": file and str(file),
        "problems": [],
        "remarks": remarked,
        "settings": msgspec.to_builtins(found, enc_hook=str),
    }
    output.answer(document, [*_summary(found, file), *(f"  remark: {one}" for one in remarked)])
    return None


def _problems(error: ConfigProblems) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    return {
        "error": {"code": error.code, "family": error.family, "exit_code": error.exit_code},
        "problems": msgspec.to_builtins(error.problems),
    }


def _summary(found: Settings, file: Path | None) -> Iterator[str]:
    yield f"{file or 'No file: the defaults are in force'}. No problem found."
    policies = (
        f"{name} ({policy.kind}, {policy.schedule or 'when asked'})"
        for name, policy in found.policies.items()
    )
    pairs = (
        ("state", found.state_dir),
        ("sources", ", ".join(found.sources)),
        ("targets", ", ".join(f"{name} in {target.region}" for name, target in found.targets.items())),
        ("keys", ", ".join(found.keys) or "none, so only metadata can be backed up by a policy"),
        ("policies", ", ".join(policies)),
        ("broker", found.broker.url or "embedded"),
    )
    yield from (f"  {line}" for line in fields(pairs))


def _init(arguments: Namespace, output: Output) -> None:
    from strongroom.config.text import default_config_text  # noqa: PLC0415
    from strongroom.system.atomic_file import write_whole  # noqa: PLC0415

    path = arguments.output or Path(place.FILE_NAME).absolute()
    text = default_config_text(**_public_key(arguments.public_key))
    write_whole(path, text.encode(), replace=arguments.force)
    path.chmod(0o644)
    words = [
        f"{path} is written.",
        "One key opens all its backups: name a second one, or say under single_recipient_reason where the",
        "spare is. Look through the file, then run: strongroom config check",
    ]
    output.answer({"file": str(path)}, words)


def _public_key(word: str | None) -> dict[str, str]:
    """Return the key as text, or its file; either is read now, so that a wrong one is refused."""
    if word is None:
        return {}
    from strongroom.keys.hpke import PublicKey  # noqa: PLC0415

    if word.startswith("srpub"):
        return {"public_key": str(PublicKey.parse(word))}
    file = Path(word).absolute()
    PublicKey.parse(file.read_text(encoding="ascii"))
    return {"public_key_file": str(file)}


def _reference(arguments: Namespace, output: Output) -> None:
    from strongroom.config.reference import reference_markdown  # noqa: PLC0415

    text = reference_markdown()
    output.answer({"markdown": text}, text.rstrip("\n").split("\n"))


COMMANDS = {"config": Command(_arguments, _config)}
