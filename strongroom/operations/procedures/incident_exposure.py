"""Which secrets others may know, and which are changed already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from msgspec import Struct

from strongroom.container.cobblestone import value_digester
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Identity
from strongroom.model import COMMAND, ListedSecret, Secret
from strongroom.operations.archive.cases import Affected, Incident, IncidentStep, StepOutcome
from strongroom.operations.archive.coverage import made_at
from strongroom.operations.archive.envelopes import first_answer
from strongroom.operations.archive.live_comparison import batches, read_each
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.checks.drift import check_digest_key
from strongroom.operations.engine.drive import Watch
from strongroom.operations.engine.layout import base_of
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import StepsOpen
from strongroom.operations.procedures.incident import record_outcome, sealed_anew
from strongroom.operations.procedures.incident_opening import Named, unseal, unsealed
from strongroom.operations.rotation.secret_plan import (
    MOST,
    Rotated,
    SecretRotationPlan,
    SecretRotationResult,
    plan_rotation,
)
from strongroom.operations.rotation.secrets_job import rotate_secrets
from strongroom.sources import is_setting
from strongroom.system.lazy import batched
from strongroom.targets.single_file import BundleReader
from strongroom.words import plural, told_alike, verb

# -- Which secrets have to be changed, and which are changed already: by their keyed digests, unseen
#
# A secret is known to others as long as the current value at its source is one that an affected backup holds,
# or that a named secret had when the incident was opened.
# So nobody has to take anybody's word for it that a secret was changed, by hand or by a rotator.


T = TypeVar("T")
_Held = tuple[tuple[int, bytes], ...]
"""The keyed digests of a secret's values in all backups, each with its version's number."""


class Compromised(Struct, frozen=True, kw_only=True):
    """The names of the secrets that others may know, each with the backups that hold it; and why those of
    some backups could not be listed, which hold further ones."""

    names: Mapping[str, Sequence[str]]
    unlisted: Mapping[str, str]


class Unchanged(Struct, frozen=True, kw_only=True):
    """The names, by source, of secrets whose current value others may know, out of so many ``looked_at``.

    ``gone`` are not at their source any more. ``settings`` are a server's own, which hold no value to change;
    they are not among those looked at. ``unknown`` says of what nobody can tell, and why: a backup, a
    source, or a number of secrets.
    """

    names: Mapping[str, tuple[str, ...]]
    looked_at: int
    gone: int
    unknown: Mapping[str, str]
    settings: int = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.names.values()))


def compromised_names(services: Services, incident: Incident) -> Compromised:
    """Return what has to be changed. Names can be sensitive: they go to a file of its owner alone."""
    found: dict[str, list[str]] = {name: [] for name in unseal(services, incident.suspicion).names}
    unlisted: dict[str, str] = {}
    for affected_backup in _held(services, incident):
        try:
            listed = _opened(services, incident, affected_backup, partial(_changeable, services))
        except StrongroomError as error:
            unlisted[affected_backup.backup] = _why(incident, affected_backup, error)
            continue
        for name in listed:
            if incident.suspicion.is_about_backups or name in found:
                found.setdefault(name, []).append(affected_backup.backup)
    return Compromised(names=dict(sorted(found.items())), unlisted=unlisted)


def _changeable(services: Services, backup: Backup) -> list[str]:
    """Return the names of what has a value that can be changed."""
    place = services.destinations.get(backup.manifest.source)
    return [row.name for row in backup.rows() if place is None or not is_setting(row.type, place)]


def _why(incident: Incident, affected_backup: Affected, error: StrongroomError) -> str:
    return incident.opening.unread.get(affected_backup.backup, f"{error.code}: {error.message}")


def _held(services: Services, incident: Incident) -> Iterator[Affected]:
    """Yield the backups that hold what others know: of named secrets, each policy's newest from before."""
    if incident.suspicion.is_about_backups:
        yield from incident.affected
        return
    newest: dict[str, Affected] = {}
    for entry in sorted(services.store.backups(), key=lambda entry: entry.created_at):
        if entry.values and entry.policy != COMMAND and entry.created_at <= incident.opened_at:
            newest[entry.policy] = Affected(
                backup=entry.backup,
                policy=entry.policy,
                created_at=entry.created_at,
                opens_now=False,
                targets=0,
            )
    yield from newest.values()


def _opened(
    services: Services, incident: Incident, affected_backup: Affected, work: Callable[[Backup], T]
) -> T:
    """Do something with a backup, from the first place that gives it whole: or with what it is sealed as now,
    where the suspected key is not at hand any more."""
    trusted, identities = services.signer_fingerprints, services.identities()
    if affected_backup.file:
        with BundleReader(affected_backup.file) as file:
            return work(open_backup(file, affected_backup.backup, identities=identities, trusted=trusted))
    now = sealed_anew(incident).get(affected_backup.backup)
    places = [
        (name, backup) for backup in filter(None, (now, affected_backup.backup)) for name in services.targets
    ]
    return first_answer(
        places,
        lambda place: work(
            open_backup(services.target(place[0]), place[1], identities=identities, trusted=trusted)
        ),
        of=f"backup {affected_backup.backup}",
    )


# -- what is changed already -------------------------------------------------------


def find_unchanged(services: Services, incident: Incident) -> Unchanged:
    """Compare the sources with every affected backup, and with what a named secret was when the incident was
    opened; values are seen by nobody."""
    walk = _SourceWalk(services, incident)
    for affected_backup in _held(services, incident):
        try:
            _opened(services, incident, affected_backup, walk.see)
        except StrongroomError as error:
            walk.unknown[f"backup {affected_backup.backup}"] = _why(incident, affected_backup, error)
    return walk.result()


_ALL_GONE = (
    "it has none of the secrets: it is lost, or another one than the backups are of, as the local store of "
    "another host is. Repeat the step on the host that has it, or once it is back"
)


class _SourceWalk:
    """What all affected backups hold, and then one walk over the sources: each secret is read once."""

    def __init__(self, services: Services, incident: Incident) -> None:
        self._services = services
        self._named = unseal(services, incident.suspicion)
        self._meant = None if incident.suspicion.is_about_backups else frozenset(self._named.names)
        self._held: dict[str, dict[str, _Held]] = {source: {} for source in self._named.values}
        told = {name for values in self._named.values.values() for name in values}
        self._untold_then = frozenset(self._named.names) - told
        self._looked_at = self._unread = self._gone = self._appeared = self._settings = 0
        self.unknown: dict[str, str] = {}

    def see(self, backup: Backup) -> None:
        """Take in what a backup has of its secrets' values.

        Raises:
            ConfigError: the digests were made with another key.
        """
        if not backup.manifest.values:
            return
        source = backup.manifest.source
        check_digest_key(backup, value_digester(self._services.digest_key, source))
        held = self._held.setdefault(source, {})
        for name, digests in backup.digested():
            if self._meant is None or name in self._meant:
                held[name] = tuple(dict.fromkeys((*held.get(name, ()), *digests.items())))

    def result(self) -> Unchanged:
        """Return what is still as it was, and of what nobody can tell."""
        found: dict[str, tuple[str, ...]] = {}
        for source in self._held:
            try:
                found[source] = tuple(sorted(self._unchanged(source)))
            except StrongroomError as error:  # the other sources go on
                self.unknown[f"source {source}"] = f"{error.code}: {error.message}"
        return Unchanged(
            names={source: names for source, names in found.items() if names},
            looked_at=self._looked_at,
            gone=self._gone,
            unknown={**self.unknown, **dict(self._untold())},
            settings=self._settings,
        )

    def _unchanged(self, source: str) -> Iterator[str]:
        """Yield the secrets of a source whose current value others may know. Raises as the source does."""
        place, digest = self._services.source(source), value_digester(self._services.digest_key, source)
        held, gone = self._held[source], 0
        names = {**held, **self._named.values.get(source, {})}
        for batch in batches(names):
            for name, live in zip(
                batch, read_each(place, [ListedSecret(batch_name, 0) for batch_name in batch]), strict=True
            ):
                if isinstance(live, Secret) and is_setting(live.type, place):
                    self._settings += 1
                    continue
                self._looked_at += 1
                gone += live is None
                self._unread += live is not None and not isinstance(live, Secret)
                value = live.current.value if isinstance(live, Secret) else None
                if value is None:
                    continue
                # Under another number, as a restore writes it, a value is as well known.
                known = any(digest(name, number, value.reveal()) == was for number, was in held.get(name, ()))
                if known or self._named.was(source, name, value.reveal()):
                    yield name
                else:
                    self._appeared += name in self._untold_then and source not in self._named.unread
        self._gone += gone
        whole = self._meant is None  # a few named ones may all have been deleted, and the source not be empty
        if names and gone == len(names) and (whole or next(iter(place.list()), None) is None):
            self.unknown[f"source {source}"] = _ALL_GONE

    def _untold(self) -> Iterator[tuple[str, str]]:
        """Yield of what nobody can tell whether it is changed."""
        if self._unread:
            yield f"{self._unread:,} secrets", "their source lists them, and does not give them"
        for source in self._named.unread:
            said = (
                "it did not answer when the incident was opened, so nobody can tell which values the named "
                "secrets had then: give each another one there, then waive the step"
            )
            yield f"source {source} at the beginning", said
        if self._appeared:
            said = (
                "no source that was asked had them when the incident was opened, so nobody can tell: give "
                "each another value, then waive the step"
            )
            yield f"{self._appeared:,} of the named secrets at the beginning", said
        seen = {name for held in (*self._held.values(), *self._named.values.values()) for name in held}
        if lacking := set(self._named.names) - seen:
            said = "no backup and no source has them, so nothing can be compared"
            yield f"{len(lacking):,} of the named secrets", said


# -- Which values in a backup an incident has as known to others: said before anybody brings them back
#
# That stays so when the incident is closed: it was closed because they had been changed.


NAMED = 5
"""Secrets that are named in text."""

Find = Callable[[str], tuple[Secret, Manifest] | None]
"""Gives a secret as it would be restored, and the backup that it is from."""


class Leaked(Struct, frozen=True, kw_only=True):
    """What an incident has as known to others, of what is to be restored.

    ``names`` is empty where the incident is about all that a backup holds, and where the ``secrets`` that it
    names cannot be opened here: then any of them may be among what is restored.
    """

    incident: str
    opened_at: str
    names: tuple[str, ...] = ()
    backup: str = ""
    sealed: int = 0

    @property
    def words(self) -> str:
        """Say it, for people."""
        since = f"incident {self.incident}, opened at {self.opened_at},"
        if self.backup:
            return f"{since} has all values of backup {self.backup} as known to others"
        if self.sealed:
            of = plural(self.sealed, "secret")
            return f"{since} has the values of {of} as known to others, and no key here tells of which"
        shown = ", ".join(f"'{name}'" for name in self.names[:NAMED])
        more = len(self.names) - NAMED
        named = shown + (f" and {more:,} more" if more > 0 else "")
        return f"{since} has {plural(len(self.names), 'value')} of this restore as known to others: {named}"


def leaked_values(
    incidents: Mapping[str, Incident],
    manifests: Sequence[Manifest],
    find: Find,
    *,
    identities: Sequence[Identity],
    asked: Callable[[str], bool],
) -> list[Leaked]:
    """Return what incidents have as known to others of what is restored from some backups.

    Args:
        asked: tells whether a secret of this name is restored.
    """
    return [
        leak
        for incident in incidents.values()
        for leak in _of(incident, manifests, find, identities=identities, asked=asked)
    ]


def _of(
    incident: Incident,
    manifests: Sequence[Manifest],
    find: Find,
    *,
    identities: Sequence[Identity],
    asked: Callable[[str], bool],
) -> Iterator[Leaked]:
    about = partial(Leaked, incident=incident.id, opened_at=incident.opened_at)
    affected = {base_of(affected_backup.backup) for affected_backup in incident.affected}
    if incident.suspicion.is_about_backups:
        for manifest in manifests:
            if base_of(manifest.backup_id) in affected:
                yield about(backup=manifest.backup_id)
        return
    if not incident.suspicion.names:
        return
    try:
        named = unsealed(incident.suspicion, identities)
    except StrongroomError:
        yield about(sealed=incident.suspicion.secrets)
        return
    opened = datetime.fromisoformat(incident.opened_at).timestamp()
    known = [name for name in filter(asked, named.names) if _is_known(find(name), named, opened)]
    if known:
        yield about(names=tuple(known))


def _is_known(restored: tuple[Secret, Manifest] | None, named: Named, opened: float) -> bool:
    """Tell whether others know what would be restored of a secret: it was made before the incident was
    opened, or has the value that it had then."""
    if restored is None:
        return False
    secret, manifest = restored
    value = secret.current.value
    was = value is not None and named.was(manifest.source, secret.name, value.reveal())
    return made_at(manifest) <= opened or was


# -- rotate: every secret that others may know gets another value, and its source is asked whether it has
# one
#
# What has a rotator is rotated; the rest a person changes at its source. Either way the source tells
# whether a value that an affected backup holds is still the current one. So the step may be repeated until
# none is.


class RotationStep(Struct, frozen=True, kw_only=True):
    """What came of the step. ``outcome`` names no secret; ``unchanged`` and ``to_do``, for the person at the
    terminal alone, do."""

    outcome: StepOutcome
    unchanged: Unchanged
    to_do: Sequence[str] = ()


def plan(
    services: Services, incident: Incident, exposed: Unchanged
) -> tuple[list[SecretRotationPlan], dict[str, str]]:
    """Return which secrets of each source :func:`rotate` would give another value, and by which rotator; and
    of which sources nobody can tell, as of one that cannot be written. Reads only."""
    plans, failed = list[SecretRotationPlan](), dict(exposed.unknown)
    for source, names in exposed.names.items():
        try:
            for some in batched(names, MOST):
                plans.append(plan_rotation(services, some, source=source, incident=incident.id))
        except StrongroomError as error:  # the other sources go on
            failed[f"source {source}"] = f"{error.code}: {error.message}"
    return plans, failed


def rotate(
    services: Services,
    incident: Incident,
    *,
    by: str,
    exposed: Unchanged | None = None,
    progress: Watch | None = None,
) -> RotationStep:
    """Give every secret that others may know another value, as far as it has a rotator.

    Args:
        exposed: which these are, if that was just found out.
    """
    before = find_unchanged(services, incident) if exposed is None else exposed
    failed: dict[str, str] = {}
    rotated: list[Rotated] = []
    for source, names in before.names.items():
        try:
            rotated.extend(
                rotate_secrets(
                    services,
                    some,
                    source=source,
                    reason=f"incident {incident.id}: {incident.reason}",
                    incident=incident.id,
                    by=by,
                    progress=progress,
                )
                for some in batched(names, MOST)
            )
        except StrongroomError as error:  # the other sources go on
            failed[f"source {source}"] = f"{error.code}: {error.message} {error.hint}".rstrip()
    left = find_unchanged(services, incident) if rotated else before
    to_do = tuple(line for rotated_backup in rotated for line in _to_do(rotated_backup))
    outcome = _outcome(incident, left, rotated, {**failed, **dict(_waiting(rotated))})
    return RotationStep(outcome=outcome, unchanged=left, to_do=to_do)


def look_again(services: Services, incident: Incident, *, by: str) -> None:
    """Ask the sources once more before an incident is closed: a restore may have brought a value back.

    Returns if none has a value that others may know, or if a person waived the step.

    Raises:
        StepsOpen: one has, or could not be asked. The step is open again then, and on record as such.
    """
    step = incident.last(IncidentStep.ROTATE)
    if step is None or step.state != "done":
        return
    left = find_unchanged(services, incident)
    outcome = _outcome(incident, left, (), {})
    if not outcome.missing:
        return
    if left.count:
        record_outcome(services, incident, IncidentStep.ROTATE, outcome, by=by)
    why = "; ".join(f"{what}: {why}" for what, why in outcome.missing.items())
    raise StepsOpen(
        f"Incident {incident.id} cannot be closed. The sources were asked again: {why}",
        hint=_AGAIN.format(incident.id) if left.count else _UNASKED.format(incident.id),
    )


_AGAIN = (
    "Nothing was closed, and step 'rotate' is open again: a restore or a person brought former values back. "
    "Which: 'strongroom incident rotate {0} --dry-run'. Then 'strongroom incident rotate {0}', and close it."
)
_UNASKED = (
    "Nothing was closed: a value that others know may be back, and nobody looked. Give what opens the "
    "backups (--identity, --passphrase-file), or bring the source back. If neither can be: 'strongroom "
    "incident waive {0} rotate --reason WHY'."
)


def _outcome(
    incident: Incident, left: Unchanged, rotated: Sequence[Rotated], failed: Mapping[str, str]
) -> StepOutcome:
    entry = incident.last(IncidentStep.ROTATE)
    before = entry.outcome.counts.get("rotated", 0) if entry is not None and entry.outcome is not None else 0
    done = sum(secret.result is SecretRotationResult.DONE for each in rotated for secret in each.secrets)
    counts = {
        "secrets looked at": left.looked_at,
        "rotated": before + done,
        "not changed yet": left.count,
        "gone from the source": left.gone,
    }
    missing = {**failed, **left.unknown}
    if left.count:
        missing[plural(left.count, "secret")] = (
            "their source still has the value: change each there, or give it a rotator, then repeat"
        )
    return StepOutcome(counts=counts, missing=missing, left=tuple(_left(left)))


def _left(unchanged: Unchanged) -> Iterator[str]:
    if unchanged.gone:
        gone = f"{plural(unchanged.gone, 'secret')} {verb(unchanged.gone, 'are')} gone from the source"
        yield f"{gone}: see that nothing takes the former values any more."
    if unchanged.settings:
        what = plural(unchanged.settings, "setting")
        yield f"{what} of a server (mounts, policies, roles) hold no value, and were left as they are."


def _to_do(rotated: Rotated) -> Iterator[str]:
    """Yield what failed, and what a rotated secret still needs; for the rest the source is asked again."""
    failed = [
        rotated_secret
        for rotated_secret in rotated.secrets
        if rotated_secret.result is SecretRotationResult.FAILED
    ]
    yield from told_alike((rotated_secret.name, rotated_secret.why) for rotated_secret in failed)
    yield from told_alike(
        (rotated_secret.name, line) for rotated_secret in failed for line in rotated_secret.to_do
    )
    for secret in rotated.secrets:
        if secret not in failed and secret.name not in rotated.no_rotator:
            yield from (f"{secret.name}: {line}" for line in secret.to_do)


def _waiting(rotated: Sequence[Rotated]) -> Iterator[tuple[str, str]]:
    """Yield the runs that have not ended, such as those that people have to approve."""
    for this_rotated in rotated:
        if waits := sum(secret.result is SecretRotationResult.WAITS for secret in this_rotated.secrets):
            said = f"{plural(waits, 'secret')} not rotated yet: see 'strongroom runs show {this_rotated.run}'"
            yield f"run {this_rotated.run}", said
