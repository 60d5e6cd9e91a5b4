"""The trial of all keys, which the calendar asks for: quarterly, and daily while one fails or is overdue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from strongroom.config import Settings
from strongroom.operations.key_management.health import KeyTrialResult, Tried, record_proofs, try_keys
from strongroom.operations.key_management.proofs import KeyProof, ProofState, read_proofs
from strongroom.operations.key_management.usage import Opens, keys_of, look_all
from strongroom.operations.services import CheckResult, Services
from strongroom.state.records import Event
from strongroom.state.store import RunStore

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
