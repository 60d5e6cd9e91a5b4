"""key-health: every key that a kept backup depends on, tried before it is needed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from msgspec import to_builtins

from strongroom.cli.shared import identities, identity_options, recipients
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, table
from strongroom.cli.terminal.progress import counting
from strongroom.keys.errors import KeyUnproven
from strongroom.operations.key_management.health import Due, Tried, answer_challenge, confirm, make_challenge
from strongroom.operations.key_management.scheduled_check import Health, check
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.timestamps import for_people, if_any

_UNREAD = (
    "No key failed, but these backups could not be read (the reasons are above). Bring them back, or record "
    "that a file is gone for good ('strongroom keys --gone BACKUP'). Then repeat."
)

_TYPED = "passphrase:"
"""The key of backups that are sealed to a typed passphrase, which no configuration names."""

_PROVE_TYPED = (
    "'passphrase:' is a typed passphrase: 'strongroom key-health check --passphrase-file FILE' tries it. "
    "For other keys give the private half (--identity), or have their custodians answer a challenge."
)


def check_keys(arguments: Namespace, output: Output) -> None:
    services = identity_options.with_identities(open_services(), arguments, output)
    with counting(output, "backups", len(services.store.backups())) as advance:
        health = check(services, progress=advance)
    document = {
        "tried": [_document(one) for one in health.tried],
        "due": [
            {"key": d.key, "label": d.label, "last": if_any(d.last), "overdue": d.overdue}
            for d in health.late
        ],
        "unread": health.unread,
    }
    output.answer(document, _lines(health.tried, health.late, health.unread))
    if health.bad:
        raise KeyUnproven(f"Not proven: {', '.join(health.bad)}.", hint=_hint(health))


def _hint(health: Health) -> str | None:
    if set(health.bad) <= set(health.unread):
        return _UNREAD
    if any(one.overdue and one.key == _TYPED for one in health.late):
        return _PROVE_TYPED
    return None


def _document(one: Tried) -> dict[str, object]:
    made: dict[str, object] = to_builtins(one)
    return made


def _lines(tried: Sequence[Tried], late: Sequence[Due], unread: dict[str, str]) -> Iterator[str]:
    if not tried and not unread:
        yield "No sealed backup is kept, so no key is needed yet."
    rows = [
        (
            one.label or one.key,
            one.policy,
            one.backups,
            one.outcome.value,
            f"{one.seconds:.3f} s",
            one.by or one.why,
        )
        for one in tried
    ]
    yield from table(("KEY", "POLICY", "BACKUPS", "OUTCOME", "TOOK", "BY"), rows) if rows else ()
    for one in late:
        last = f"last proven {for_people(one.last)}" if one.last else "never proven"
        yield f"{one.label or one.key}: {'overdue' if one.overdue else 'due soon'}, {last}"
    yield from (f"{backup}: not looked at: {why}" for backup, why in unread.items())


def challenge_key(arguments: Namespace, output: Output) -> None:
    refuse_existing(arguments.output, replace=False)
    recipient = recipients.recipient_of(arguments.key, output, place.find())
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = make_challenge(open_services(), recipient, name=arguments.key, created_at=created)
    write_whole(arguments.output, content)
    words = [
        f"{arguments.output} is sealed to {recipient.describe()}. It contains no secret.",
        f"Where the key is: strongroom key-health answer {arguments.output.name} --identity FILE",
        f"Then here: strongroom key-health confirm {arguments.key} CODE",
    ]
    output.answer({"file": str(arguments.output), "key": arguments.key}, words)


def show_answer(arguments: Namespace, output: Output) -> None:
    openers = identities.identities_of(arguments, output, place.find())
    challenge, code = answer_challenge(arguments.file.read_bytes(), openers)
    spaced = " ".join(code[at : at + 5] for at in range(0, len(code), 5))
    output.answer({"name": challenge.name, "code": code}, [f"'{challenge.name}' opens. The code: {spaced}"])


def confirm_answer(arguments: Namespace, output: Output) -> None:
    key = confirm(open_services(), name=arguments.key, code=arguments.code)
    output.answer(
        {"key": key, "name": arguments.key}, [f"'{arguments.key}' is proven, and that is on record."]
    )
