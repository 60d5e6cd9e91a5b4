"""Key health: every key that a kept backup depends on is tried, again and again, before it is needed.

A *class* of backups are those of one policy that the same keys open. Of each, the newest is taken
and every recipient is tried that this host has the opening side of. Keys of custodians, and those
that lie offline, answer a sealed challenge instead. Each proof is an event; a key without one for
too long is an alarm.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from base64 import b32encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from strongroom.container.errors import Malformed, WrongKey
from strongroom.container.stanza import Identity, Recipient, Stanza
from strongroom.container.wrapping import WrappingKey, WrappingKeyRecord, wrap_context
from strongroom.errors import KeyServiceError, UsageError
from strongroom.keys import Opener
from strongroom.keys.errors import PassphraseNeeded, WrongPassphrase
from strongroom.keys.key_names import recipient_key, stanza_key
from strongroom.model import prepare
from strongroom.operations.key_management.proofs import DAY, FAILED, PROVEN
from strongroom.operations.key_management.usage import Opens
from strongroom.operations.services import Services
from strongroom.state.records import Event

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
        keys = frozenset(stanza_key(stanza) for record in opening.records for stanza in record.stanzas)
        classes[opening.policy, keys].append(opening)
    for (_, _), members in sorted(classes.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
        yield max(members, key=lambda opening: (opening.created_at, opening.backup)), len(members)


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
    """Keep what was found out: a proof for each key that opened, a failure for each that did not."""
    for trial in tried:
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
