"""Every key that a kept backup depends on, tried before it is needed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from strongroom.cli.shared import identities, identity_options, recipients
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.progress import counting
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.keys.errors import KeyUnproven
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.keys.sealedfile import BY_PASSPHRASE
from strongroom.operations.key_management.health import answer_challenge, confirm, make_challenge
from strongroom.operations.key_management.proofs import KeyProof, ProofState
from strongroom.operations.key_management.scheduled_check import Health, check
from strongroom.sheet import Lines, Part, Sheet, Table
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


def prove_keys(arguments: Namespace, output: Output) -> Answer:
    """Open a backup of each class with every key that is to be had here."""
    given = tuple(identity_options.typed_identities(arguments, output))
    services = identity_options.opening_with(open_services(), given)
    with counting(output, "backups", len(services.store.backups())) as advance:
        health = check(services, progress=advance)
    return Answer(
        record={
            "tried": health.tried,
            "due": [_due(proof) for proof in health.due],
            "unread": health.unread,
        },
        sheet=Sheet(parts=list(_parts(health))),
        error=_unproven(health, given),
    )


def _unproven(health: Health, given: Sequence[Opener]) -> StrongroomError | None:
    tried, opened = bool(health.tried), {trial.by for trial in health.tried}
    if any(by.endswith(BY_PASSPHRASE) for by in opened):
        opened.add(PassphraseIdentity.words)
    if tried and (useless := [opener.describe() for opener in given if opener.describe() not in opened]):
        return KeyUnproven(f"What you gave opens no backup that is kept: {', '.join(useless)}.")
    if health.bad:
        return KeyUnproven(f"Not proven: {', '.join(health.bad)}.", hint=_hint(health))
    return None


def _hint(health: Health) -> str | None:
    if set(health.bad) <= set(health.unread):
        return _UNREAD
    return _PROVE_TYPED if any(proof.wrong and proof.key == _TYPED for proof in health.due) else None


def _due(key_proof: KeyProof) -> dict[str, object]:
    about = {"state": key_proof.proof.value, "last": if_any(key_proof.last), "by": rfc3339(key_proof.by)}
    return {
        "key": key_proof.key,
        "label": key_proof.name,
        **about,
        "overdue": key_proof.proof is ProofState.OVERDUE,
    }


def _parts(health: Health) -> Iterator[Part]:
    rows = [
        (
            trial.label or trial.key,
            trial.policy,
            trial.backups,
            trial.outcome.value,
            f"{trial.seconds:.3f} s",
            trial.by or trial.why,
        )
        for trial in health.tried
    ]
    nothing = "" if health.unread else "No sealed backup is kept, so no key is needed yet."
    yield Table(("Key", "Policy", "Backups", "Outcome", "Took", "By"), rows, nothing=nothing)
    to_prove = [proof for proof in health.due if not proof.wrong]
    typed = any(proof.key == _TYPED for proof in to_prove)
    how = [_PROVE_TYPED if typed else _PROVE] if to_prove else []
    unread = (f"{backup}: not looked at: {why}" for backup, why in health.unread.items())
    yield Lines([*(proof.words for proof in health.due), *how, *unread])


def challenge_key(arguments: Namespace, output: Output) -> Answer:
    refuse_existing(arguments.output, replace=False)
    recipient = recipients.recipient_of(arguments.key, output, place.find())
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = make_challenge(open_services(), recipient, name=arguments.key, created_at=created)
    write_whole(arguments.output, content)
    said = f"{arguments.output} is sealed to {recipient.describe()}. It contains no secret."
    lines = [
        f"Where the key is: strongroom keys prove answer {arguments.output.name} --identity FILE",
        f"Then here: strongroom keys prove confirm {arguments.key} CODE",
    ]
    record = {"file": arguments.output, "key": arguments.key}
    return Answer(record=record, sheet=Sheet(verdict=said, parts=[Lines(lines)]))


def show_answer(arguments: Namespace, output: Output) -> Answer:
    openers = identities.identities_of(arguments, output, place.find())
    challenge, code = answer_challenge(arguments.file.read_bytes(), openers)
    spaced = " ".join(code[at : at + 5] for at in range(0, len(code), 5))
    said = f"'{challenge.name}' opens. The code: {spaced}"
    return Answer(record={"name": challenge.name, "code": code}, sheet=Sheet(verdict=said))


def confirm_answer(arguments: Namespace, output: Output) -> Answer:
    key = confirm(open_services(), name=arguments.key, code=arguments.code)
    said = f"'{arguments.key}' is proven, and that is on record."
    return Answer(record={"key": key, "name": arguments.key}, sheet=Sheet(verdict=said))
