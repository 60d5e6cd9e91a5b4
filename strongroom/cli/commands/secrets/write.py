"""set, import and delete: changing the local store. A value never stands on a command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from datetime import date, datetime

from strongroom.cli.commands.secrets.arguments import DeleteSecrets, ImportSecrets, SetSecret
from strongroom.cli.shared import options, sources
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.screen import Advance, counting
from strongroom.container.errors import SecretTooLarge, VerificationFailed
from strongroom.container.writer import MAX_VALUES
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import RotationSchedule, Secret, SecretBytes, Selection
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.restore import plan_restore
from strongroom.sheet import Sheet
from strongroom.sources import Source
from strongroom.sources.errors import EmptySource, SecretNotFound

_EVERY = re.compile(r"([1-9][0-9]{0,4})([dwy])")
_DAYS = {"d": 1, "w": 7, "y": 365}


def set_secret(given: SetSecret, output: Output) -> Answer:
    tags = options.pairs(given.tag, "--tag")
    expires, rotation = _expiry(given.expires), _rotation(given.rotate_every)
    store = sources.changing_store(place.find())
    version = store.set(
        given.name,
        SecretBytes(_value(exact=given.exact)),
        type=given.type,
        tags=tags or None,
        expires_at=expires,
        rotation=rotation,
    )
    said = f"'{given.name}' is stored, version {version}."
    return Answer(record={"name": given.name, "version": version}, sheet=Sheet(verdict=said))


def _value(*, exact: bool) -> bytes:
    if sys.stdin.isatty():
        value = prompts.hidden_twice("Value").encode()
    else:
        value = sys.stdin.buffer.read(MAX_VALUES + len(b"\r\n") + 1)
        value = value if exact else value.removesuffix(b"\n").removesuffix(b"\r")
    if len(value) > MAX_VALUES:
        raise SecretTooLarge(
            f"The value has more than {MAX_VALUES >> 20} MiB.", hint="Nothing was stored. Split the secret."
        )
    if not value:
        raise UsageError(
            "There is no value: nothing was piped in or typed.",
            hint="For example: pass db | strongroom set DB",
        )
    return value


def _expiry(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        if len(text) == len("2027-01-31"):
            return f"{date.fromisoformat(text)}T00:00:00Z"
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise UsageError(
        "--expires needs a date.", hint="2027-01-31, or with time and zone: 2027-01-31T12:00:00Z"
    )


def _rotation(text: str | None) -> RotationSchedule | None:
    if text is None:
        return None
    match = _EVERY.fullmatch(text)
    if match is None:
        raise UsageError("--rotate-every needs a number of days, weeks or years.", hint="90d, 12w or 1y")
    return RotationSchedule(days=int(match[1]) * _DAYS[match[2]])


def import_secrets(given: ImportSecrets, output: Output) -> Answer:
    installation = place.find()
    source = sources.source_of(sources.FILES + given.file.removeprefix(sources.FILES), installation)
    selection = given.selected.selection()
    store = sources.changing_store(installation)
    with counting(output, "importing", None) as advance:
        counted = _counted(sources.everything(source, selection), advance)
        written = store.import_(counted, overwrite=given.overwrite_existing)
    if not written:
        raise _nothing(source, selection)
    same = plan_restore(lambda: sources.everything(source, selection), store, overwrite=False).unchanged
    if same != written:
        raise VerificationFailed(f"{plural(written - same, 'secret')} did not read back as imported.")
    said = f"{plural(written, 'secret')} imported, read back and compared."
    sheet = Sheet(verdict=said, about=f"{given.file} still holds them in plain text.")
    return Answer(record={"imported": written, "compared": same}, sheet=sheet)


def _counted(secrets: Iterable[Secret], advance: Advance) -> Iterator[Secret]:
    for secret in secrets:
        advance(1)
        yield secret


def _nothing(source: Source, selection: Selection) -> StrongroomError:
    if selection == Selection():
        return EmptySource(f"'{source.name}' holds no secret.", hint="Nothing was imported. Check the path.")
    return NothingSelected("The filter matches no secret; nothing was imported.", hint="Check the filter.")


def delete_secrets(given: DeleteSecrets, output: Output) -> Answer:
    store = sources.changing_store(place.find())
    names = list(dict.fromkeys(given.names))
    heads = store.heads(names)
    missing = [name for name in names if name not in heads]
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing)
        raise SecretNotFound(f"There is no secret {shown}; nothing was removed.")
    prompts.confirm(f"This removes {plural(len(names), 'secret')} with all versions", force=given.force)
    removed = store.delete(names)
    said = f"{plural(removed, 'secret')} removed. Backups still hold what they held."
    return Answer(record={"removed": removed}, sheet=Sheet(verdict=said))
