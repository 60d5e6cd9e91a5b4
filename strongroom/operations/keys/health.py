"""Key health: every key that a kept backup depends on, tried before it is needed, and how its proof
stands."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from base64 import b32encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from strongroom.config import Settings
from strongroom.container.errors import Malformed, WrongKey
from strongroom.container.wrapping import (
    Identity,
    Recipient,
    Stanza,
    WrappingKey,
    WrappingKeyRecord,
    wrap_context,
)
from strongroom.errors import KeyServiceError, UsageError
from strongroom.keys import Opener
from strongroom.keys.allof import TYPE as ALL_OF
from strongroom.keys.allof import inner, recipient_key, stanza_key
from strongroom.keys.errors import PassphraseNeeded, WrongPassphrase
from strongroom.model import prepare
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.keys.usage import Opens, keys_of, look_all
from strongroom.state.records import Event
from strongroom.state.store import RunStore
from strongroom.times import rfc3339

# -- How the proof of each key stands: the one rule and the one text for health, alerts, metrics and the
# page
#
# A key is proven when somebody opened something with it: the scheduled trial, or its holder, who answered a
# challenge. From its first backup, or its last proof, on it has a quarter for the next one.


DAY = 86_400.0
QUARTER = 92 * DAY
WARNING = 14 * DAY
"""How long a proof holds, and how long before its end people are warned."""
PROVEN, FAILED, RETIRED = "key.proven", "key.failed", "key.retired"


class ProofState(StrEnum):
    """How the proof of a key stands."""

    PROVEN = "proven"
    NOT_YET = "not yet proven"
    DUE_AGAIN = "to be proven again"
    OVERDUE = "overdue"
    FAILED = "failed"


class KeyProof(Struct, frozen=True, kw_only=True):
    """A key (as ``stanza_key`` names it, and as people call it) and its proof; times in epoch seconds.

    ``last`` is when it was last proven, ``by`` until when it has to be (again). ``why`` is the code and the
    words of a failure.
    """

    key: str
    name: str
    proof: ProofState
    by: float
    last: float | None = None
    why: str = ""

    @property
    def wrong(self) -> bool:
        """Whether backups may depend on a key that opens nothing."""
        return self.proof in (ProofState.FAILED, ProofState.OVERDUE)

    @property
    def words(self) -> str:
        """How it stands, in words of our own: no name of a secret is in it."""
        day = rfc3339(self.by)[:10]
        last = f"it was last proven on {rfc3339(self.last)[:10]}" if self.last else "it never was"
        said = {
            ProofState.PROVEN: f"proven {rfc3339(self.last or 0.0)}",
            ProofState.NOT_YET: f"not yet proven; it has to be by {day}",
            ProofState.DUE_AGAIN: f"to be proven again by {day}; {last}",
            ProofState.OVERDUE: f"had to be proven by {day}; {last}",
            ProofState.FAILED: f"did not open when it was tried ({self.why.partition(':')[0]})",
        }
        return f"{self.name}: {said[self.proof]}"


class ProofsOnRecord(Struct, frozen=True, kw_only=True):
    """When each key was last proven and retired, and when and why it failed, if it was not proven since."""

    proven: Mapping[str, float]
    failed: Mapping[str, tuple[float, str]]
    retired: Mapping[str, float]

    def of(self, key: str, name: str, *, since: float, now: float) -> KeyProof:
        """Say how the proof of a key stands.

        Args:
            since: when the first backup was sealed to it.
        """
        last = self.proven.get(key)
        failed_at, why = self.failed.get(key, (None, ""))
        by = (last or since) + QUARTER
        return KeyProof(
            key=key,
            name=name,
            proof=_judged(last, failed_at, by, now),
            by=by,
            last=last,
            why=why,
        )


def _judged(last: float | None, failed_at: float | None, by: float, now: float) -> ProofState:
    if failed_at is not None and failed_at >= (last or 0.0):
        return ProofState.FAILED
    if now > by:
        return ProofState.OVERDUE
    if last is None:
        return ProofState.NOT_YET
    return ProofState.DUE_AGAIN if now > by - WARNING else ProofState.PROVEN


def read_proofs(store: RunStore, *, until: float = float("inf")) -> ProofsOnRecord:
    """Read what is on record up to a moment. A row that was edited counts for what it still says.

    Two events may have one moment: SQLite's clock has milliseconds. Which came last is told by their order.
    """
    proven: dict[str, float] = {}
    failed: dict[str, tuple[float, str]] = {}
    retired: dict[str, float] = {}
    for event in store.happened(PROVEN, FAILED, RETIRED, since=0.0):
        key = str(event.detail.get("key"))
        if event.at > until:
            continue
        if event.kind == PROVEN:
            proven[key] = event.at
            failed.pop(key, None)
        elif event.kind == FAILED:
            failed[key] = (event.at, str(event.detail.get("why")))
        else:
            retired[key] = event.at
    return ProofsOnRecord(proven=proven, failed=failed, retired=retired)


# -- Key health: every key that a kept backup depends on is tried, again and again, before it is needed
#
# A *class* of backups are those of one policy that the same keys open, in the same versions: a key service
# can lose an old version and keep the newest. Of each, the newest is taken
# and every recipient is tried that this host has the opening side of. Keys of custodians, and those
# that lie offline, answer a sealed challenge instead. Each proof is an event; a key without one for
# too long is an alarm.


CHALLENGE_HOLDS = 30 * DAY
FORMAT = "strongroom-challenge-1"
CHALLENGED = "key.challenged"
_CONTEXT = b"strongroom/v1/challenge/"
_ANSWER = b"strongroom/v1/challenge-answer/"
_PAGE = 1000


class KeyTrialResult(StrEnum):
    """The result of trying a key."""

    OPENED = "opened"
    FAILED = "failed"
    AWAY = "away"


class Tried(Struct, frozen=True, kw_only=True):
    """One key, tried on the newest of ``backups`` backups of a class.

    ``by`` names the identity that opened. ``why`` is the code and words of a failure.
    ``seconds`` is how long it took.
    """

    key: str
    label: str
    policy: str
    backup: str
    backups: int
    outcome: KeyTrialResult
    by: str = ""
    why: str = ""
    seconds: float = 0.0


def try_keys(found: Iterable[Opens], identities: Sequence[Identity]) -> list[Tried]:
    """Try every recipient of every class of backups with the identities at hand."""
    return [tried for newest, many in _classes(found) for tried in _class(newest, many, identities)]


def _classes(openings: Iterable[Opens]) -> Iterator[tuple[Opens, int]]:
    classes: dict[tuple[str, frozenset[str]], list[Opens]] = defaultdict(list)
    for opening in openings:
        keys = frozenset(_with_versions(stanza) for record in opening.records for stanza in record.stanzas)
        classes[opening.policy, keys].append(opening)
    for (_, _), members in sorted(classes.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
        yield max(members, key=lambda opening: (opening.created_at, opening.backup)), len(members)


def _with_versions(stanza: Stanza) -> str:
    """Return which key a stanza was wrapped for, and in which version; of a composed one, in those of its
    legs."""
    legs = inner(stanza) if stanza.type == ALL_OF else ((stanza,),)
    versions = [str(way_in.args.get("version", "")) for leg in legs for way_in in leg]
    return " ".join((stanza_key(stanza), *versions))


def _class(newest: Opens, many: int, identities: Sequence[Identity]) -> Iterator[Tried]:
    for record in newest.records[:1]:
        for stanza in record.stanzas:
            started = time.monotonic()
            outcome, by, why = _try(record, stanza, identities)
            yield Tried(
                key=stanza_key(stanza),
                label=stanza.label,
                policy=newest.policy,
                backup=newest.backup,
                backups=many,
                outcome=outcome,
                by=by,
                why=why,
                seconds=time.monotonic() - started,
            )


def _try(
    record: WrappingKeyRecord, stanza: Stanza, identities: Sequence[Identity]
) -> tuple[KeyTrialResult, str, str]:
    failure = away = ""
    for identity in identities:
        try:
            key = identity.unwrap(stanza, context=wrap_context(record.id))
        except (PassphraseNeeded, WrongPassphrase) as error:
            away = f"{error.code}: {error.message}"  # the key was not tried, so it did not fail
            continue
        except (KeyServiceError, Malformed) as error:
            failure = f"{error.code}: {error.message}"
            continue
        if key is None:
            continue
        if WrappingKey(key, record).vouches_for(record):
            return KeyTrialResult.OPENED, identity.describe(), ""
        failure = "Tampered: it opens to another key than the one that sealed the backup"
    return (KeyTrialResult.FAILED, "", failure) if failure else (KeyTrialResult.AWAY, "", away)


# -- proofs --------------------------------------------------------------------


def record_proofs(services: Services, tried: Iterable[Tried]) -> None:
    """Keep what was found out: a proof for each key that opened, a failure for each that did not.

    Failures last: a key that opens one class of backups and not another is not proven.
    """
    for trial in sorted(tried, key=lambda trial: trial.outcome is KeyTrialResult.FAILED):
        if trial.outcome is KeyTrialResult.OPENED:
            services.store.event(PROVEN, key=trial.key, how="opened", backup=trial.backup)
        elif trial.outcome is KeyTrialResult.FAILED:
            services.store.event(FAILED, key=trial.key, why=trial.why, backup=trial.backup)


def events(services: Services, kind: str) -> Iterator[Event]:
    """Yield every event of a kind, in order."""
    after = 0
    while page := services.store.events(kind=kind, after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


# -- challenges ----------------------------------------------------------------


class Challenge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sealed question: who can open the stanza can answer. Nothing in it is secret."""

    format: str
    name: str
    key: str
    nonce: str
    created_at: str
    stanza: Stanza


prepare(Challenge)


def make_challenge(services: Services, recipient: Recipient, *, name: str, created_at: str) -> bytes:
    """Seal a random number for a key, and return the file for whoever keeps it.

    The context is one of challenges alone: what opens backups cannot be passed off as one.
    """
    nonce, secret = os.urandom(16), os.urandom(32)
    challenge = Challenge(
        format=FORMAT,
        name=name,
        key=recipient_key(recipient),
        nonce=nonce.hex(),
        created_at=created_at,
        stanza=recipient.wrap(secret, context=_CONTEXT + nonce),
    )
    code = _code(secret, challenge.nonce)
    services.store.event(CHALLENGED, key=challenge.key, name=name, answer=_digest(code))
    return msgspec.json.format(msgspec.json.encode(challenge), indent=2) + b"\n"


def answer_challenge(content: bytes, identities: Sequence[Opener]) -> tuple[Challenge, str]:
    """Open a challenge and return it with the code that answers it.

    Raises:
        Malformed: that is no challenge.
        WrongKey: no key at hand is the one that is asked for.
    """
    try:
        challenge = msgspec.json.decode(content, type=Challenge)
        nonce = bytes.fromhex(challenge.nonce)
    except (msgspec.DecodeError, ValueError):
        raise Malformed(
            "This is not a challenge.", hint="Take the file that 'keys prove challenge' wrote."
        ) from None
    if challenge.format != FORMAT:
        raise Malformed("This is a challenge of another version.")
    for identity in identities:
        secret = identity.unwrap(challenge.stanza, context=_CONTEXT + nonce)
        if secret is not None:
            return challenge, _code(secret, challenge.nonce)
    tried = ", ".join(identity.describe() for identity in identities) or "nothing"
    raise WrongKey(f"The challenge is for '{challenge.name}'; tried {tried}.")


def confirm(services: Services, *, name: str, code: str, now: float | None = None) -> str:
    """Take an answer, and note that the key was proven; return the key.

    Raises:
        UsageError: there is no challenge of that name, it is too old, or the answer is wrong.
    """
    asked = [event for event in events(services, CHALLENGED) if event.detail["name"] == name]
    if not asked:
        raise UsageError(f"Nobody asked '{name}'.", hint="Make a challenge first.")
    newest = asked[-1]
    if (time.time() if now is None else now) - newest.at > CHALLENGE_HOLDS:
        raise UsageError(f"The challenge for '{name}' is too old.", hint="Make a new one.")
    if not hmac.compare_digest(_digest(_plain(code)), str(newest.detail["answer"])):
        raise UsageError(
            f"That is not the answer for '{name}'.", hint="Compare it with the screen it was read from."
        )
    key = str(newest.detail["key"])
    services.store.event(PROVEN, key=key, how="answered", backup="")
    return key


def _code(secret: bytes, nonce: str) -> str:
    """Return what is read out: 100 bits, in letters and digits that are hard to confuse."""
    digest = hashlib.sha256(_ANSWER + bytes.fromhex(nonce) + secret).digest()
    return b32encode(digest)[:20].decode()


def _plain(code: str) -> str:
    return code.replace(" ", "").replace("-", "").upper()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


# -- The trial of all keys, which the calendar asks for: quarterly, and daily while one fails or is overdue


CHECKED = "key.checked"


class KnownKey(Struct, frozen=True, kw_only=True):
    """A key that kept backups depend on, and when (epoch seconds) the first of them was made."""

    key: str
    name: str
    since: float


class Health(Struct, frozen=True, kw_only=True):
    """What a trial found: each key that was tried, those that need a proof sooner or later, and the backups
    that no target gave, with why."""

    tried: tuple[Tried, ...]
    due: tuple[KeyProof, ...]
    unread: dict[str, str]

    @property
    def bad(self) -> list[str]:
        """The keys that failed or are overdue, and the backups that could not be looked at."""
        failed = [trial.label or trial.key for trial in self.tried if trial.outcome is KeyTrialResult.FAILED]
        wrong = [proof.name for proof in self.due if proof.wrong]
        return list(dict.fromkeys((*failed, *wrong, *self.unread)))


def check(services: Services, *, progress: Callable[[int], object] | None = None) -> Health:
    """Try every key at hand on a backup of each class, and keep what was found out."""
    looked = look_all(services, services.store.backups(), progress=progress)
    tried = try_keys(looked.found, services.identities())
    record_proofs(services, tried)
    known = list(_known(looked.found, tried, services.store))
    proofs, now = read_proofs(services.store), time.time()
    judged = (
        proofs.of(known_key.key, known_key.name, since=known_key.since, now=now)
        for known_key in known
        if known_key.key not in proofs.retired
    )
    due = tuple(key_proof for key_proof in judged if key_proof.proof is not ProofState.PROVEN)
    health = Health(tried=tuple(tried), due=due, unread=looked.unread)
    services.store.event(CHECKED, bad=health.bad, unread=[*looked.unread], keys=known)
    return health


def _known(found: Iterable[Opens], tried: Iterable[Tried], store: RunStore) -> Iterator[KnownKey]:
    """Yield the keys that were tried, each with since when backups depend on it. That of the trial before
    counts, for the oldest backup may have been deleted since."""
    since = {known_key.key: known_key.since for known_key in keys_looked_at(newest_trial(store))}
    for opening in found:
        made = datetime.fromisoformat(opening.created_at).timestamp()
        for key in {key for record in opening.records for key in keys_of(record)}:
            since[key] = min(made, since.get(key, made))
    for key, name in sorted({trial.key: trial.label or trial.key for trial in tried}.items()):
        yield KnownKey(key=key, name=name, since=since[key])


def newest_trial(store: RunStore, *, until: float = float("inf")) -> Event | None:
    """Return the event of the newest trial up to a moment, if there was one."""
    trials = [event for event in store.happened(CHECKED, since=0.0) if event.at <= until]
    return trials[-1] if trials else None


def keys_looked_at(trial: Event | None) -> Iterator[KnownKey]:
    """Yield the keys that a trial looked at. What somebody edited is left out, and hides no other."""
    listed = trial.detail.get("keys") if trial else None
    for row in listed if isinstance(listed, list) else ():
        match row:
            case {"key": str(key), "name": str(name), "since": float(since)}:
                yield KnownKey(key=key, name=name, since=since)


def prove(services: Services, _settings: Settings) -> CheckResult:
    """Check, as the calendar asks for it."""
    do = "'strongroom check keys' says what each key needs."
    return CheckResult(bad=tuple(check(services).bad), do=do)
