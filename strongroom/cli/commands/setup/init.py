"""init: set a machine up, or write a configuration for another."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from strongroom.cli.commands.setup.arguments import NewInstallation
from strongroom.cli.shared.installation_key import keep, spare_lines
from strongroom.cli.shared.options import PaperOptions
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line
from strongroom.config import ConfigProblems, Settings, load_settings
from strongroom.config.keys import PassphraseKey
from strongroom.config.text import OwnKey, OwnMail, default_config_text, with_locks
from strongroom.container.signing import Signer
from strongroom.errors import TargetError, UsageError
from strongroom.keys import keywrap, rolelist, roles
from strongroom.keys.hpke import PublicKey
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.judge.calendar import EntryStatus, planned
from strongroom.schedule import by_the_clock_of
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.system.files import write_whole
from strongroom.targets import ProbeCheck, ProbeResult
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.probing import OBJECT_LOCK, UNUSED_LOCK
from strongroom.wiring import adapters
from strongroom.wiring.calendar import calendar

# -- The configuration that the options ask for -------------------------------------------------


def write_config(given: NewInstallation, output: Output) -> Answer:
    assert given.output is not None  # as the parameters choose
    path = given.output.absolute()
    text = text_of(given)
    write_whole(path, text.encode(), replace=given.force)
    path.chmod(0o644)
    look = "Look through the file, then run: strongroom check config"
    lines = [f"{path} is written.", *custody(given), look]
    return Answer(record={"file": path}, sheet=Sheet(parts=[Lines(lines)]))


def text_of(given: NewInstallation, *, locked: Container[str] = ()) -> str:
    """Return the file that the options ask for. ``locked``: the targets whose buckets have Object Lock."""
    text = default_config_text(
        keys=[_public_key(word) for word in given.public_key],
        source=given.source,
        targets=with_locks(given.target, locked),
        mail=OwnMail(list(given.mail), given.mail_host) if given.mail and given.mail_host else None,
        alone=given.single_recipient_reason,
        state_dir=place.find().state_dir,
    )
    _check(text)
    return text


def custody(given: NewInstallation) -> Iterator[str]:
    """Say what a single key means, of which nobody has said where its spare is."""
    if given.single_recipient_reason or len(given.public_key) > 1:
        return
    what = "One key" if given.public_key else "One passphrase"
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


def _public_key(word: str) -> OwnKey:
    """Return the key as text, or its file; either is read now, so that a wrong one is refused."""
    if word.startswith("srpub"):
        return {"public_key": str(PublicKey.parse(word))}
    file = Path(word).absolute()
    PublicKey.parse(file.read_text(encoding="ascii"))
    return {"public_key_file": str(file)}


# -- init: set a machine up: the configuration at its place, what the calendar does, and what to type next


def set_up(given: NewInstallation, output: Output) -> Answer:
    rolelist.require_certificates(place.find().state_dir)
    found = place.find().file
    written = found is None or not found.exists()
    file = _write(found, given) if found is None or written else found
    settings = load_settings(path=file)
    checks = _object_locks(settings) if written else {}
    locked = [name for name, check in checks.items() if check.detail == UNUSED_LOCK]
    if locked:
        write_whole(file, text_of(given, locked=locked).encode(), replace=True)
        file.chmod(0o644)
        settings = load_settings(path=file)
    made = list(_mark_directories(settings)) if written else []
    marks = made if given.target else []  # nobody named the default ones
    apart = list(_keys_apart(file, given, output, written=written))
    entries = planned(calendar(settings), now=time.time())
    said = (
        "is written. It says what each setting is for."
        if written
        else "is there already, and stays as it is."
    )
    lines = [
        *marks,
        *(line for name, check in checks.items() for line in _lock(name, check)),
        *(custody(given) if written else ()),
        *apart,
    ]
    return Answer(
        record={"file": file, "written": written, "entries": [entry.record for entry in entries]},
        sheet=Sheet(
            verdict=f"{file} {said}", parts=[Lines(lines), *_calendar(entries), _next(file, settings)]
        ),
    )


def _write(named: Path | None, given: NewInstallation) -> Path:
    """Write the configuration where every command finds it: where the environment says, or in the state
    directory."""
    file = named or place.find().state_dir / place.FILE_NAME
    text = text_of(given)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(file, text.encode())
    file.chmod(0o644)
    return file


def _mark_directories(settings: Settings) -> Iterator[str]:
    """Make and mark the directories that a person named just now, or the default ones; later, a directory
    without the mark is a disk that is not mounted."""
    for name in settings.targets:
        target = adapters.target(name, settings, prepare=False)
        if isinstance(target, DirectoryTarget):
            try:
                target.prepare()
                yield f"{target.address} is marked as the directory of target '{name}'."
            except TargetError as error:
                yield f"{in_line(error.message)}: target '{name}' takes no backup until that is mended."


def _keys_apart(file: Path, given: NewInstallation, output: Output, *, written: bool) -> Iterator[str]:
    """Take the installation key off this machine, and pin a spare, as far as somebody wants that."""
    folder = place.find().role_keys
    if given.installation_key_to or (
        written and _wanted("The private installation key goes onto paper now, and off this machine")
    ):
        where = keep(roles.make_all(folder), PaperOptions(to=given.installation_key_to), output)
        roles.remove_installation_key(folder)
        for name in ("work", "digest"):  # copied to where the roles work, before any of them begins
            keywrap.load_or_create(folder.parent, name)
        yield f"The private installation key is kept {where}, and not on this machine."
    if given.spare_key_to or (
        written and _wanted("A spare installation key goes onto another paper, for the day the first is lost")
    ):
        key = Signer.generate()
        yield from spare_lines(key, keep(key, PaperOptions(to=given.spare_key_to), output))
        if written:
            text = f'{file.read_text()}\n[trust]\nsigners = ["{key.fingerprint}"]  # the spare\n'
            write_whole(file, text.encode(), replace=True)
            file.chmod(0o644)
            yield f"{file} has that line already."


def _wanted(what: str) -> bool:
    """Ask a person, if one is there."""
    if not prompts.somebody_there():
        return False
    with suppress(ConfirmationRequired):
        prompts.confirm(what, force=False)
        return True
    return False


def _calendar(entries: Sequence[EntryStatus]) -> Iterator[Part]:
    rows = [_row(entry) for entry in entries if not entry.why]
    yield Table(("Entry", "Next time", "What it does"), rows)
    first = "At its first start 'strongroom up' does all but the drills once; then each comes at these times."
    yield Lines([first])
    yield Lines(
        [f"{entry.entry.name}: {entry.why}" for entry in entries if entry.why], "Off, and what is missing"
    )


def _row(found: EntryStatus) -> tuple[str, str, str]:
    moment = by_the_clock_of(found.entry.time_zone, found.next_due) if found.next_due else "never"
    return found.entry.name, moment, found.entry.reason


def _object_locks(settings: Settings) -> dict[str, ProbeCheck]:
    """Ask each bucket that nobody asked to lock anything whether it could."""
    return {
        name: check
        for name, target in settings.targets.items()
        if target.could_lock
        for check in adapters.target(name, settings, prepare=False).settings()
        if check.what == OBJECT_LOCK
    }


def _lock(name: str, check: ProbeCheck) -> Iterator[str]:
    """Say whether what lies in a bucket can be deleted before its time."""
    bucket = f"The bucket of target '{name}'"
    if check.detail == UNUSED_LOCK:
        yield f"{bucket} has Object Lock: its backups are locked for as long as they are kept"
        yield '  (lock = "governance").'
    elif check.outcome is ProbeResult.ADVICE:
        yield f"{bucket} has no Object Lock: anyone who may delete there can delete its backups."
    else:
        yield f"{bucket} did not say whether it has Object Lock ({in_line(check.detail).rstrip('.')})."
        yield "  If it has, take the '#' from 'lock' in its table: without it, its backups can be deleted."
        yield f"  'strongroom check storage {name}' says so once the bucket answers."


def _next(file: Path, settings: Settings) -> Lines:
    """Say which commands come next, each on a line that can be taken as it is."""
    steps = [
        step
        for source in settings.sources.values()
        for step in source.filling(settings.vaults, settings.policies)
    ]
    steps += dict.fromkeys(target.RIGHTS for target in settings.targets.values() if target.RIGHTS)
    if any(isinstance(key, PassphraseKey) and key.file is None for key in settings.keys.values()):
        words = "name a file, mode 0600, with the passphrase that seals and opens"
        steps.append(("export STRONGROOM_PASSPHRASE_FILE=FILE", words))
    steps.append(("strongroom check config", "after each change of the configuration"))
    folder = place.find().role_keys
    if roles.can_certify(folder) or not roles.installation_fingerprint(folder):
        steps.append(
            ("strongroom keys signers offline", "the private installation key onto paper, and off here")
        )
    if any(source.GRANTED for source in (*settings.sources.values(), *settings.targets.values())):
        steps += [
            ("strongroom check rights", "ask for each right, and for those that are too many"),
            ("strongroom check storage", "write to each target, and read back"),
        ]
    if not settings.tells:
        steps.append(
            (f"edit {file}", "[mail] and [alerts]: who is notified when something is wrong; nobody is now")
        )
    steps += [
        ("strongroom up", "run the workers and the calendar"),
        ("strongroom schedule", "see what is due, what was done and what is overdue"),
    ]
    lines = [line for command, why in steps for line in (f"{why[:1].upper()}{why[1:]}:", f"  {command}")]
    return Lines(lines, "Next")
