"""keys, key-health and diagnose-backup-encryption: which keys there are, what each opens, and whether it
works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from strongroom.cli.commands.keys.arguments import (
    AnswerChallenge,
    ChallengeKey,
    CheckKeys,
    ConfirmAnswer,
    ListKeys,
    LostBackups,
    RetireKey,
)
from strongroom.cli.commands.keys.signers import signer_document, signer_parts
from strongroom.cli.errors import UnsafeSetup
from strongroom.cli.shared import identities, recipients
from strongroom.cli.shared.installation_key import list_role_keys
from strongroom.cli.shared.passphrases import asking
from strongroom.cli.shared.services import Configured, configured_keys, open_services, try_key
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.cli.terminal.screen import counting
from strongroom.config import Settings, load_settings
from strongroom.errors import KeyServiceError, StrongroomError, UsageError, by_name
from strongroom.keys import Opener
from strongroom.keys.errors import KeyUnproven, PassphraseNeeded
from strongroom.keys.passphrase import BY_PASSPHRASE, PassphraseIdentity
from strongroom.operations.archive.inventory import lost_at, say_gone
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import KeyStillNeeded
from strongroom.operations.keys.health import (
    RETIRED,
    Health,
    KeyProof,
    ProofState,
    answer_challenge,
    check,
    confirm,
    make_challenge,
)
from strongroom.operations.keys.trial import Diagnosed, KeyProblem, Remark, Use, keys_on, remarks
from strongroom.operations.keys.usage import KeySurvey, KeyUse, survey
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.system.files import refuse_existing, write_whole
from strongroom.times import if_any, rfc3339
from strongroom.wiring import adapters

# -- keys: which keys there are, what each opens, and what would be lost without it -------------


SHOWN = 10


def show_keys(given: ListKeys, output: Output) -> Answer:
    settings = load_settings()
    services = open_services(settings)
    configured, broken = configured_keys(settings)
    entries = services.store.backups(policy=given.policy)
    with counting(output, "backups", len(entries)) as advance:
        looked = survey(services, entries, progress=advance)
    signs = list_role_keys(datetime.now(UTC))
    record = {
        **_document(configured, broken, looked),
        "signers": [signer_document(role_key) for role_key in signs],
    }
    parts = [*_parts(configured, broken, looked), *signer_parts(signs, "Keys that sign")]
    return Answer(record=record, sheet=Sheet(parts=parts))


def record_gone(given: LostBackups, output: Output) -> Answer:
    """Put on record that the files of backups are gone for good."""
    services = open_services()
    gone = [backup for word in given.backup for backup in lost_at(services, Path(word).absolute()) or [word]]
    for backup in gone:
        say_gone(services, backup)
    said = f"On record as gone for good: {', '.join(gone)}."
    return Answer(record={"gone": gone}, sheet=Sheet(verdict=said))


# -- retiring ------------------------------------------------------------------


def retire_key(given: RetireKey, output: Output) -> Answer:
    """Put on record that a key is used no longer, if nothing that is kept needs it."""
    settings = load_settings()
    services = open_services(settings)
    configured, _ = configured_keys(settings)
    entries = services.store.backups()
    with counting(output, "backups", len(entries)) as advance:
        looked = survey(services, entries, progress=advance)
    if given.key in settings.index.recipients:
        raise KeyStillNeeded(
            f"[index] names '{given.key}': the next index of names would be sealed to it.",
            hint="Nothing was changed. Take it out of the recipients there, rotate, then retire it.",
        )
    return _retire(given.key, configured, looked, services)


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


# -- Every key that a kept backup depends on, tried before it is needed -------------------------


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


def prove_keys(given: CheckKeys, output: Output) -> Answer:
    """Open a backup of each class with every key that is to be had here."""
    typed = tuple(identities.typed_identities(given.opening, output))
    services = identities.opening_with(open_services(), typed)
    with counting(output, "backups", len(services.store.backups())) as advance:
        health = check(services, progress=advance)
    return Answer(
        record={
            "tried": health.tried,
            "due": [_due(proof) for proof in health.due],
            "unread": health.unread,
        },
        sheet=Sheet(parts=list(_health_parts(health))),
        error=_unproven(health, typed),
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


def _health_parts(health: Health) -> Iterator[Part]:
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


def challenge_key(given: ChallengeKey, output: Output) -> Answer:
    refuse_existing(given.output, replace=False)
    recipient = recipients.recipient_of(given.key, output, place.find())
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = make_challenge(open_services(), recipient, name=given.key, created_at=created)
    write_whole(given.output, content)
    said = f"{given.output} is sealed to {recipient.describe()}. It contains no secret."
    lines = [
        f"Where the key is: strongroom keys prove answer {given.output.name} --identity FILE",
        f"Then here: strongroom keys prove confirm {given.key} CODE",
    ]
    record = {"file": given.output, "key": given.key}
    return Answer(record=record, sheet=Sheet(verdict=said, parts=[Lines(lines)]))


def show_answer(given: AnswerChallenge, output: Output) -> Answer:
    openers = identities.identities_of(given.opening, output, place.find())
    challenge, code = answer_challenge(given.file.read_bytes(), openers)
    spaced = " ".join(code[at : at + 5] for at in range(0, len(code), 5))
    said = f"'{challenge.name}' opens. The code: {spaced}"
    return Answer(record={"name": challenge.name, "code": code}, sheet=Sheet(verdict=said))


def confirm_answer(given: ConfirmAnswer, output: Output) -> Answer:
    key = confirm(open_services(), name=given.key, code=given.code)
    said = f"'{given.key}' is proven, and that is on record."
    return Answer(record={"key": key, "name": given.key}, sheet=Sheet(verdict=said))


# -- Try every configured key, and name what is wrong with it -----------------------------------


def diagnose(only: Sequence[str], *, whole: bool) -> Answer:
    """Try every key, or those named alone, and look where keys must not lie.

    Args:
        whole: each has to open here. Otherwise one whose passphrase is elsewhere, as a private half may be,
            is no worse: it proves itself there, in time.
    """
    settings = load_settings()
    ask = asking()
    keys = [try_key(name, settings, ask) for name in _names(only, settings)]
    uses = [Use(policy=name, recipients=policy.recipients) for name, policy in settings.policies.items()]
    judged = keys if whole else [_in_trust(key) for key in keys]
    said = [] if only else [*remarks(judged, uses), *_strays(settings)]
    wrong: list[StrongroomError] = [
        _error(key.name, key.problem) for key in judged if key.problem is not None
    ]
    wrong += [UnsafeSetup(f"{remark.about}: {remark.text}.") for remark in said if remark.wrong]
    return Answer(
        record={"keys": keys, "remarks": said},
        sheet=Sheet(parts=list(_diagnosis_parts(keys, said))),
        error=next(iter(wrong), None),
    )


def _in_trust(key: Diagnosed) -> Diagnosed:
    sealed = key.problem is not None and key.problem.code == PassphraseNeeded.__name__
    return replace(key, problem=None) if sealed else key


def _error(name: str, problem: KeyProblem) -> StrongroomError:
    kind = by_name(problem.code) or KeyServiceError
    return kind(f"keys.{name}: {problem.message}", hint=problem.hint or None)


def _names(wanted: Sequence[str], settings: Settings) -> list[str]:
    if unknown := [name for name in wanted if name not in settings.keys]:
        raise UsageError(
            f"There is no configured key '{unknown[0]}'.",
            hint=f"Configured: {', '.join(settings.keys) or 'none'}.",
        )
    return list(wanted or settings.keys)


def _strays(settings: Settings) -> list[Remark]:
    """Look for keys where backups lie: on every target at once, for one may be dead."""
    with ThreadPoolExecutor(max(1, len(settings.targets))) as threads:
        return [
            remark for some in threads.map(partial(_on_target, settings), settings.targets) for remark in some
        ]


def _on_target(settings: Settings, name: str) -> list[Remark]:
    about = f"targets.{name}"
    try:
        strays = keys_on(adapters.target(name, settings, prepare=False))
    except StrongroomError as error:
        return [Remark(about=about, text=f"was not looked through for keys: {error.message}")]
    text = "is a private key next to the backups: anyone who gets the target has both. Remove it"
    return [Remark(about=about, text=f"{in_line(stray)} {text}", wrong=True) for stray in strays]


def _diagnosis_parts(keys: Sequence[Diagnosed], said: Sequence[Remark]) -> Iterator[Part]:
    head = ("Key", "Kind", "Wrap", "Unwrap", "Quantum", "State")
    rows = [
        (
            key.name,
            key.kind,
            _time(key.wrap_ms),
            _time(key.unwrap_ms if key.opens_here else None),
            {None: "-", True: "withstands", False: "falls"}[key.post_quantum],
            _state(key),
        )
        for key in keys
    ]
    yield Table(head, rows, nothing="No key is configured.")
    yield Lines([f"{key.name}: {key.describes}" for key in keys if key.describes])
    for name, problem in ((key.name, key.problem) for key in keys if key.problem is not None):
        yield Lines([f"keys.{name}: {problem.message} ({problem.code})", f"  {problem.hint}"])
    told = (f"{'wrong' if remark.wrong else 'note'}: {remark.about}: {remark.text}" for remark in said)
    yield Lines(list(told) if keys else [])


def _time(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f} ms"


def _state(key: Diagnosed) -> str:
    if key.problem is not None:
        return key.problem.code
    return "seals and opens" if key.opens_here else "seals; opens elsewhere"


# -- check keys: each key tried by itself, then on a backup of each class that needs it ---------


def check_keys(given: CheckKeys, output: Output) -> Answer:
    alone = bool(given.key or given.no_backups)
    tried = diagnose(given.key, whole=alone)
    return tried if alone else tried.joined(prove_keys(given, output))
