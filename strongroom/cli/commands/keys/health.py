"""Every key that a kept backup depends on, tried before it is needed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import to_builtins

from strongroom.cli.shared import identities, identity_options, recipients
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, table
from strongroom.cli.terminal.progress import counting
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.keys.errors import KeyUnproven
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.keys.sealedfile import BY_PASSPHRASE
from strongroom.operations.key_management.health import Tried, answer_challenge, confirm, make_challenge
from strongroom.operations.key_management.proofs import KeyProof, Proof
from strongroom.operations.key_management.scheduled_check import Health, check
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.timestamps import if_any, rfc3339

_UNREAD = (
    "No key failed, but these backups could not be read (the reasons are above). Bring them back, or record "
    "that a file is gone for good ('strongroom backups gone BACKUP'). Then repeat."
)

_TYPED = "passphrase:"
"""The key of backups that are sealed to a typed passphrase, which no configuration names."""

_PROVE_TYPED = (
    "'passphrase:' is a typed passphrase: 'strongroom check keys --passphrase-file FILE' tries it. "
    "For other keys give the private half (--identity), or have their custodians answer a challenge."
)

_PROVE = (
    "Where its private half is, 'strongroom check keys --identity FILE' proves a key. Elsewhere its "
    "holder answers 'strongroom keys prove challenge KEY --output FILE'."
)


def prove_keys(
    arguments: Namespace, output: Output
) -> tuple[dict[str, Any], list[str], StrongroomError | None]:
    """Open a backup of each class with every key that is to be had here.

    Returns:
        What is said to machines, and to people, and what is wrong.
    """
    given = tuple(identity_options.typed_identities(arguments, output))
    services = identity_options.opening_with(open_services(), given)
    with counting(output, "backups", len(services.store.backups())) as advance:
        health = check(services, progress=advance)
    document = {
        "tried": [_document(one) for one in health.tried],
        "due": [_due(one) for one in health.due],
        "unread": health.unread,
    }
    return document, list(_lines(health)), _unproven(health, given)


def _unproven(health: Health, given: Sequence[Opener]) -> StrongroomError | None:
    tried, opened = bool(health.tried), {one.by for one in health.tried}
    if any(by.endswith(BY_PASSPHRASE) for by in opened):
        opened.add(PassphraseIdentity.words)
    if tried and (useless := [one.describe() for one in given if one.describe() not in opened]):
        return KeyUnproven(f"What you gave opens no backup that is kept: {', '.join(useless)}.")
    if health.bad:
        return KeyUnproven(f"Not proven: {', '.join(health.bad)}.", hint=_hint(health))
    return None


def _hint(health: Health) -> str | None:
    if set(health.bad) <= set(health.unread):
        return _UNREAD
    return _PROVE_TYPED if any(one.wrong and one.key == _TYPED for one in health.due) else None


def _document(one: Tried) -> dict[str, object]:
    made: dict[str, object] = to_builtins(one)
    return made


def _due(one: KeyProof) -> dict[str, object]:
    about = {"state": one.proof.value, "last": if_any(one.last), "by": rfc3339(one.by)}
    return {"key": one.key, "label": one.name, **about, "overdue": one.proof is Proof.OVERDUE}


def _lines(health: Health) -> Iterator[str]:
    if not health.tried and not health.unread:
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
        for one in health.tried
    ]
    yield from table(("KEY", "POLICY", "BACKUPS", "OUTCOME", "TOOK", "BY"), rows) if rows else ()
    yield from (one.words for one in health.due)
    if any(one.key == _TYPED and not one.wrong for one in health.due):
        yield _PROVE_TYPED
    elif any(not one.wrong for one in health.due):
        yield _PROVE
    yield from (f"{backup}: not looked at: {why}" for backup, why in health.unread.items())


def challenge_key(arguments: Namespace, output: Output) -> None:
    refuse_existing(arguments.output, replace=False)
    recipient = recipients.recipient_of(arguments.key, output, place.find())
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = make_challenge(open_services(), recipient, name=arguments.key, created_at=created)
    write_whole(arguments.output, content)
    words = [
        f"{arguments.output} is sealed to {recipient.describe()}. It contains no secret.",
        f"Where the key is: strongroom keys prove answer {arguments.output.name} --identity FILE",
        f"Then here: strongroom keys prove confirm {arguments.key} CODE",
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
