"""keys: which keys there are, what each opens, and what would be lost without it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from strongroom.cli.commands.keys.signers import signer_document, signer_parts
from strongroom.cli.shared.configured_keys import Configured, configured_keys
from strongroom.cli.shared.role_keys import list_role_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, verb
from strongroom.cli.terminal.progress import counting
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations.archive.file_backups import lost_at, say_gone
from strongroom.operations.errors import KeyStillNeeded
from strongroom.operations.key_management.proofs import RETIRED
from strongroom.operations.key_management.usage import KeySurvey, KeyUse, survey
from strongroom.operations.services import Services
from strongroom.sheet import Lines, Part, Sheet, Table

SHOWN = 10


def show_keys(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    services = open_services(settings)
    configured, broken = configured_keys(settings)
    entries = services.store.backups(policy=arguments.policy)
    with counting(output, "backups", len(entries)) as advance:
        looked = survey(services, entries, progress=advance)
    signs = list_role_keys(datetime.now(UTC))
    record = {
        **_document(configured, broken, looked),
        "signers": [signer_document(role_key) for role_key in signs],
    }
    parts = [*_parts(configured, broken, looked), *signer_parts(signs, "Keys that sign")]
    return Answer(record=record, sheet=Sheet(parts=parts))


def record_gone(arguments: Namespace, output: Output) -> Answer:
    """Put on record that the files of backups are gone for good."""
    services = open_services()
    gone = [
        backup for word in arguments.backup for backup in lost_at(services, Path(word).absolute()) or [word]
    ]
    for backup in gone:
        say_gone(services, backup)
    said = f"On record as gone for good: {', '.join(gone)}."
    return Answer(record={"gone": gone}, sheet=Sheet(verdict=said))


# -- retiring ------------------------------------------------------------------


def retire_key(arguments: Namespace, output: Output) -> Answer:
    """Put on record that a key is used no longer, if nothing that is kept needs it."""
    settings = load_settings()
    services = open_services(settings)
    configured, _ = configured_keys(settings)
    entries = services.store.backups()
    with counting(output, "backups", len(entries)) as advance:
        looked = survey(services, entries, progress=advance)
    if arguments.key in settings.index.recipients:
        raise KeyStillNeeded(
            f"[index] names '{arguments.key}': the next index of names would be sealed to it.",
            hint="Nothing was changed. Take it out of the recipients there, rotate, then retire it.",
        )
    return _retire(arguments.key, configured, looked, services)


def _retire(name: str, configured: Mapping[str, Configured], looked: KeySurvey, services: Services) -> Answer:
    if name not in configured:
        known = ", ".join(configured) or "none"
        raise UsageError(f"There is no usable key '{name}'.", hint=f"Configured: {known}.")
    key = configured[name]
    _require_unneeded(name, key, looked)
    use = looked.of(key.key)
    services.store.event(RETIRED, key=key.key, name=name)
    spare = len({*use.backups, *use.together}) if use else 0
    copies = len(use.by_copy) if use else 0
    lines = [f"'{name}' is retired: every backup that is kept opens without it. That is on record."]
    if spare:
        which = f"{plural(spare, 'backup')}, which {verb(spare, 'have')}"
        lines.append(f"It was a further way into {which} one way fewer now.")
    if copies:
        lines.append(
            f"Anyone who has it still opens {plural(copies, 'backup')} by the containers' own envelopes."
        )
    if looked.gone:
        lines.append(f"Copies of what is said to be gone may open with it: {', '.join(looked.gone)}.")
    lines.append(f"Take [keys.{name}] out of strongroom.toml, then destroy the key.")
    if use and use.indexes:
        count = plural(len(use.indexes), "backup")
        lines.append(
            f"It opens the indexes of names of {count}: without it, these backups are read themselves where "
            "a name is looked up. 'strongroom keys rotate' gives the indexes to another key."
        )
    record = {"retired": name, "key": key.key, "spare_of": spare, "still_opens_copies_of": copies}
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def _require_unneeded(name: str, key: Configured, looked: KeySurvey) -> None:
    if key.policies:
        raise KeyStillNeeded(
            f"Policy '{key.policies[0]}' seals to '{name}': its next backup would need it.",
            hint="Nothing was changed. Take it out of the policy's recipients, rotate, then retire it.",
        )
    if looked.unread:
        backup, why = next(iter(looked.unread.items()))
        raise KeyStillNeeded(
            f"{plural(len(looked.unread), 'backup')} could not be read and may need '{name}'; "
            f"{backup}: {why}",
            hint="Nothing was changed. Bring their targets back, or repair them; put back files that were "
            "moved, or say of each that it is gone for good ('strongroom backups gone BACKUP'). Then repeat.",
        )
    use = looked.of(key.key)
    if use and use.only:
        raise KeyStillNeeded(
            f"{plural(len(use.only), 'backup')} cannot be opened without '{name}': "
            f"{', '.join(use.only[:SHOWN])}{' and more' if len(use.only) > SHOWN else ''}.",
            hint="Nothing was changed. Rotate to another key first ('strongroom keys rotate'; what commands "
            "wrote "
            "into files: 'strongroom keys replace'), then retire this one.",
        )


# -- showing -------------------------------------------------------------------


def _document(
    configured: Mapping[str, Configured], broken: Mapping[str, str], looked: KeySurvey
) -> dict[str, Any]:
    names = {configured_key.key: name for name, configured_key in configured.items()}
    return {
        "backups": looked.backups,
        "keys": [{"name": names.get(use.key), **msgspec.to_builtins(use)} for use in looked.keys],
        "configured": {name: configured_key._asdict() for name, configured_key in configured.items()},
        "unusable": dict(broken),
        "unread": looked.unread,
        "said_to_be_gone": list(looked.gone),
    }


def _parts(
    configured: Mapping[str, Configured], broken: Mapping[str, str], looked: KeySurvey
) -> Iterator[Part]:
    head = (
        *("Key", "Kind", "File", "Version", "Policies", "Opens", "Together", "Needed by"),
        *("By copy", "Names of", "Oldest", "Newest"),
    )
    names = {configured_key.key: name for name, configured_key in configured.items()}
    rows = [_row(names.get(use.key), use, configured) for use in looked.keys]
    used = {use.key for use in looked.keys}
    rows += [
        (
            name,
            configured_key.key.partition(":")[0],
            _FILES[configured_key.sealed],
            "",
            ", ".join(configured_key.policies),
            *[0] * 5,
            "",
            "",
        )
        for name, configured_key in configured.items()
        if configured_key.key not in used
    ]
    yield Table(head, rows, nothing="There is no key: nothing is configured, nothing is sealed.")
    yield Lines(
        [
            *(f"keys.{name} cannot be used here: {why}" for name, why in broken.items()),
            *(_needed(names.get(use.key) or _unnamed(use), use) for use in looked.keys if use.only),
            *(f"{backup}: not looked at: {why}" for backup, why in looked.unread.items()),
            *(f"{backup}: somebody said that its file is gone" for backup in looked.gone),
        ]
    )


_FILES = {None: "", True: "sealed", False: "open"}
"""By whether a passphrase seals the file that a key opens with here."""


def _row(name: str | None, use: KeyUse, configured: Mapping[str, Configured]) -> tuple[object, ...]:
    policies = configured[name].policies if name else ()
    return (
        name or _unnamed(use),
        use.type,
        _FILES[configured[name].sealed if name else None],
        ", ".join(map(str, use.versions)),
        ", ".join(policies),
        len(use.backups),
        len(use.together),
        len(use.only),
        len(use.by_copy),
        len(use.indexes),
        use.oldest[:10],
        use.newest[:10],
    )


def _unnamed(use: KeyUse) -> str:
    """Call a key that is not configured by its label and its public name's beginning, or by its kind."""
    public = use.key.partition(":")[2][:12]
    words = [word for word in (*use.labels, public) if word]
    return f"({' '.join(words) or f'{use.type} without a name'})"


def _needed(name: str, use: KeyUse) -> str:
    some = ", ".join(use.only[:SHOWN]) + (" …" if len(use.only) > SHOWN else "")
    return f"Without {name}, {plural(len(use.only), 'backup')} could not be opened any more: {some}"
