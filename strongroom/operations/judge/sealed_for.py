"""Whom backups open for, held to what their policies name now, and how those keys stand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from msgspec.structs import replace

from strongroom.container.manifest import Manifest
from strongroom.container.wrapping import Stanza
from strongroom.keys import passphrase
from strongroom.keys.allof import stanza_key
from strongroom.operations.archive.cases import incidents_on_record
from strongroom.operations.engine.findings import Finding, FindingState, good, remark, unknown, wrong
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.errors import KeysOutOfPolicy
from strongroom.operations.judge.backups import aging, proven
from strongroom.operations.judge.fact_records import AlertLimits, Dated
from strongroom.operations.judge.replicas import ENCRYPTION
from strongroom.operations.keys.health import ProofsOnRecord, events, read_proofs
from strongroom.operations.keys.usage import Opens, keys_of, opens_with, pinned_key

LEAKED = "incident.opened"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A key that an incident is about; one version of it, if it has versions and one was named."""

    key: str
    incident: str
    version: int | None


@dataclass(frozen=True, kw_only=True)
class History:
    """What is on record of keys, each as ``keys.key_names.stanza_key`` names it.

    ``used`` is since when it has been sealed to, as far as the record goes, or since when it was
    renewed; ``proofs`` when it last opened, when and why it last did not, and when it was retired.
    """

    used: Mapping[str, float]
    leaked: tuple[Leak, ...]
    proofs: ProofsOnRecord


def history(services: Services, used: Iterable[Dated] = ()) -> History:
    """Read what is on record of keys.

    Args:
        used: the keys that policies seal for, each with since when they do, as facts have them.
    """
    return History(
        used={dated.key: dated.at for dated in sorted(used, key=attrgetter("at"), reverse=True)},
        leaked=tuple(dict.fromkeys(_leaks(services))),
        proofs=read_proofs(services.store),
    )


def _leaks(services: Services) -> Iterator[Leak]:
    for event in events(services, LEAKED):
        if key := str(event.detail["key"]):  # else backups alone are suspected
            yield Leak(key=key, incident=str(event.detail["incident"]), version=event.detail["version"])
    known = incidents_on_record(services.store, trusted=services.signer_fingerprints)
    for incident in known.values():  # another host may have opened it
        suspicion = incident.suspicion
        yield from (Leak(key=key, incident=incident.id, version=suspicion.version) for key in suspicion.keys)


# -- one replica ---------------------------------------------------------------


def judge(
    manifest: Manifest, opened: Opens | None, policy: ConfiguredPolicy | None, known: History
) -> Iterator[Finding]:
    """Say whom a replica opens for, and for whom it should not.

    Args:
        manifest: its recipients are those of its newest envelopes.
        opened: ``None`` if it is not sealed.
    """
    if opened is None:
        yield from _plain(manifest, policy)
        return
    findings = [*_drift(manifest, opened, policy), *_withdrawn(manifest, opened, known)]
    yield from findings or [good(ENCRYPTION, f"sealed (AES-256-GCM), opens for {_readers(manifest)}")]
    yield from _by_copy(manifest, opened, known)
    yield from _weak(manifest, opened)


def _readers(manifest: Manifest) -> str:
    return "; or ".join(recipient.describes for recipient in manifest.recipients)


def _plain(manifest: Manifest, policy: ConfiguredPolicy | None) -> Iterator[Finding]:
    if manifest.values or (policy is not None and policy.spec.sealed):
        words = "it is not sealed, and its policy says that it should be"
        hint = f"Make a new one: 'strongroom backup --policy {manifest.policy}'."
        yield wrong(ENCRYPTION, KeysOutOfPolicy(words, hint=hint))
    else:
        yield good(
            ENCRYPTION, "no value is in it; names, types, dates and tags are plain, as the policy says"
        )


def _drift(manifest: Manifest, opened: Opens, policy: ConfiguredPolicy | None) -> Iterator[Finding]:
    """Hold the envelopes to the policy. A key whose service is away may be any that is not accounted for."""
    if policy is None or not policy.spec.sealed:
        return
    named = {pinned_key(pin): pin.name for pin in policy.spec.recipients}
    labels = _labels(opened)
    lacking = sorted({named[key] for record in opened.records for key in named.keys() - keys_of(record)})
    others = sorted(
        {labels[key] for record in opened.records for key in keys_of(record) - named.keys()}
        - {*policy.unpinned}
    )
    if lacking:
        yield _rotate(manifest, f"it does not open for {', '.join(lacking)}, which its policy names")
    if others:
        yield _rotate(manifest, f"it opens for {', '.join(others)}, which its policy does not name")
    yield from (unknown(ENCRYPTION, error) for error in policy.unpinned.values())


def _rotate(manifest: Manifest, what: str) -> Finding:
    hint = (
        f"'strongroom keys rotate {manifest.policy}' brings its backups to the keys that the policy "
        "names now."
    )
    return wrong(ENCRYPTION, KeysOutOfPolicy(what, hint=hint))


def _labels(opened: Opens) -> dict[str, str]:
    stanzas = [stanza for record in opened.records for stanza in record.stanzas]
    return {stanza_key(stanza): stanza.label or stanza_key(stanza)[:24] for stanza in stanzas}


def _withdrawn(manifest: Manifest, opened: Opens, known: History) -> Iterator[Finding]:
    labels = _labels(opened)
    for leak in known.leaked:
        if any(opens_with(record, leak.key, leak.version) for record in opened.records):
            who = labels[leak.key]
            yield _leaked(f"it opens for {who}, which incident {leak.incident} is about", manifest)
    for key in sorted(known.proofs.retired.keys() & labels.keys()):
        yield _rotate(manifest, f"it opens for {labels[key]}, which was retired")


def _leaked(what: str, manifest: Manifest) -> Finding:
    hint = f"Seal it again, to other keys: 'strongroom keys rotate {manifest.policy} --re-encrypt'."
    return wrong(ENCRYPTION, KeysOutOfPolicy(what, hint=hint))


def _by_copy(manifest: Manifest, opened: Opens, known: History) -> Iterator[Finding]:
    """Say what only the containers' own envelopes open for: rotation takes nothing back."""
    left = opened.first - {key for record in opened.records for key in keys_of(record)}
    for key in sorted(left):
        words = f"anyone who kept {_short(key)} still opens it by its containers' own envelopes"
        leak = next((leaked_backup for leaked_backup in known.leaked if leaked_backup.key == key), None)
        if leak is not None:
            yield _leaked(f"{words}, and incident {leak.incident} is about that key", manifest)
        else:
            yield remark(ENCRYPTION, words, "See docs/how-to/rotate-keys.md: only re-encryption ends that.")


def _short(key: str) -> str:
    return key if len(key) <= 28 else f"{key[:28]}..."


def _weak(manifest: Manifest, opened: Opens) -> Iterator[Finding]:
    classic = [
        recipient.name or recipient.type for recipient in manifest.recipients if not recipient.post_quantum
    ]
    if classic and manifest.values:
        words = f"a copy that is kept would fall to a quantum computer, by {', '.join(classic)}"
        yield remark(
            ENCRYPTION, words, "Put a hybrid key into the policy ('strongroom keys new'), then rotate."
        )
    rounds = [_rounds(stanza) for record in opened.records for stanza in record.stanzas]
    if weak := [many for many in rounds if 0 < many < passphrase.ENOUGH_ITERATIONS]:
        words = (
            f"a passphrase opens it after {min(weak):,} rounds of PBKDF2; new ones cost memory too (scrypt)"
        )
        hint = "Leave out 'iterations' of the key, then 'strongroom keys rotate POLICY --renew'."
        yield remark(ENCRYPTION, words, hint)


def _rounds(stanza: Stanza) -> int:
    return int(stanza.args.get("iterations", 0)) if stanza.type == passphrase.TYPE else 0


# -- one key -------------------------------------------------------------------


def judge_ages(
    check: str, labels: Mapping[str, str], known: History, limits: AlertLimits, *, now: float | None = None
) -> Iterator[Finding]:
    """Hold keys to being tried each quarter and rotated in time.

    Args:
        labels: the keys to judge, each with what it is called.
        limits: from when on a key is too old, and how long before that is said.
    """
    moment = time.time() if now is None else now
    for key, label in sorted(labels.items(), key=lambda item: item[1]):
        used = known.used.get(key)
        if used is None and key in known.proofs.retired:
            yield good(check, f"{label}: retired, so nobody has to prove it")
            continue
        proof = known.proofs.of(key, label, since=moment if used is None else used, now=moment)
        findings = [proven(proof, now=moment)]
        if used is not None:
            findings.append(aging(Dated(name=label, at=used), limits, now=moment))
        bad = [finding for finding in findings if finding.state is not FindingState.GOOD]
        yield from (replace(finding, check=check) for finding in bad or findings[:1])


def labels_of(pins: Iterable[ConfiguredPolicy], opened: Sequence[Opens] = ()) -> dict[str, str]:
    """Return the keys that policies name and that backups open for, each with what it is called."""
    found: dict[str, str] = {}
    for opening in opened:
        found |= _labels(opening)
    for policy in pins:
        found |= {pinned_key(pin): pin.name for pin in policy.spec.recipients}
    return found
