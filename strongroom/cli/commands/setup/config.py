"""config: check it, begin with one, or explain every key."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Container, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import ConfigProblems, Settings, load_settings
from strongroom.config.own_places import OwnKey, OwnMail, with_locks
from strongroom.config.reference import reference_markdown
from strongroom.config.remarks import remarks
from strongroom.config.text import default_config_text
from strongroom.errors import UsageError
from strongroom.keys import rolelist
from strongroom.keys.hpke import PublicKey
from strongroom.sheet import Lines, Pairs, Sheet
from strongroom.system.atomic_file import write_whole
from strongroom.wiring.approvals import keyless
from strongroom.wiring.calendar import calendar
from strongroom.wiring.hooks import absent_programs
from strongroom.wiring.keys import absent_files, without_passphrase
from strongroom.wiring.signers import remarks_on_signers


def check_config(arguments: Namespace, output: Output) -> Answer:
    try:
        settings = load_settings()
    except ConfigProblems as error:
        return Answer(record={"problems": error.problems}, sheet=Sheet(), error=error)
    rolelist.require_certificates(settings.state_dir)
    file = place.find().file
    remarked = [
        *remarks(settings),
        *keyless(settings),
        *absent_programs(settings),
        *without_passphrase(settings),
        *absent_files(settings),
        *remarks_on_signers(settings),
    ]
    off = {entry.name: entry.needs for entry in calendar(settings) if entry.needs}
    record = {
        "file": file,
        "problems": [],
        "remarks": remarked,
        "off": off,
        "settings": settings,
    }
    said = [
        *(f"remark: {remark}" for remark in remarked),
        *(f"off: {name}: {why}" for name, why in off.items()),
    ]
    found = f"{file or 'No file: the defaults are in force'}. No problem found."
    sheet = Sheet(parts=[Pairs(list(_summary(settings)), found), Lines(said)])
    return Answer(record=record, sheet=sheet)


def _summary(settings: Settings) -> Iterator[tuple[str, object]]:
    policies = (
        f"{name} ({policy.kind}, {policy.schedule or 'when asked'})"
        for name, policy in settings.policies.items()
    )
    yield "state", settings.state_dir
    yield "sources", ", ".join(settings.sources)
    yield "targets", ", ".join(f"{name} in {target.region}" for name, target in settings.targets.items())
    yield "keys", ", ".join(settings.keys) or "none, so only metadata can be backed up by a policy"
    yield "policies", ", ".join(policies)
    yield "broker", settings.broker.url or "embedded"


def write_config(arguments: Namespace, output: Output) -> Answer:
    path = arguments.output.absolute()
    text = text_of(arguments)
    write_whole(path, text.encode(), replace=arguments.force)
    path.chmod(0o644)
    look = "Look through the file, then run: strongroom check config"
    lines = [f"{path} is written.", *custody(arguments), look]
    return Answer(record={"file": path}, sheet=Sheet(parts=[Lines(lines)]))


def text_of(arguments: Namespace, *, locked: Container[str] = ()) -> str:
    """Return the file that the options ask for. ``locked``: the targets whose buckets have Object Lock."""
    text = default_config_text(
        keys=[_public_key(word) for word in arguments.public_key],
        source=arguments.source,
        targets=with_locks(arguments.target, locked),
        mail=_mail(arguments),
        alone=arguments.single_recipient_reason,
        state_dir=place.find().state_dir,
    )
    _check(text)
    return text


def custody(arguments: Namespace) -> Iterator[str]:
    """Say what a single key means, of which nobody has said where its spare is."""
    if arguments.single_recipient_reason or len(arguments.public_key) > 1:
        return
    what = "One key" if arguments.public_key else "One passphrase"
    yield f"{what} opens all these backups. Lost, it closes them for good, and nobody has said where"
    yield (
        "  its spare is: write that into single_recipient_reason, or name a second key ('strongroom keys new'"
    )
    yield "  makes one, and --public-key may be given several times)."


def _check(text: str) -> None:
    """Refuse what the options make of the file before it is anywhere."""
    with TemporaryDirectory(prefix="strongroom-") as folder:
        file = Path(folder, place.FILE_NAME)
        file.write_text(text)
        try:
            load_settings({"STRONGROOM_STATE_DIR": str(place.find().state_dir)}, path=file)
        except ConfigProblems as error:
            first = error.problems[0]
            raise UsageError(f"{first.key}: {first.what}. Nothing was written.", hint=first.right) from None


def _mail(arguments: Namespace) -> OwnMail | None:
    if bool(arguments.mail) != bool(arguments.mail_host):
        raise UsageError(
            "--mail says who gets mail, and --mail-host which server takes it: neither works alone",
            hint="Give both, or leave both out. Without them the file has an example.",
        )
    return OwnMail(arguments.mail, arguments.mail_host) if arguments.mail else None


def _public_key(word: str) -> OwnKey:
    """Return the key as text, or its file; either is read now, so that a wrong one is refused."""
    if word.startswith("srpub"):
        return {"public_key": str(PublicKey.parse(word))}
    file = Path(word).absolute()
    PublicKey.parse(file.read_text(encoding="ascii"))
    return {"public_key_file": str(file)}


def print_reference(arguments: Namespace, output: Output) -> Answer | None:
    text = reference_markdown()
    if not output.json:
        output.raw(text.encode())
        return None
    return Answer(record={"markdown": text}, sheet=Sheet())
