"""Which backup is read: the newest that is trusted, whole, in no quarantine, and covers what is asked for.

One function for every command. What is passed over on the way is kept, so that it can be said: a newer
backup that is not taken is either of no use for what is asked, or somebody's attempt.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path, PurePath
from typing import NamedTuple

from msgspec.structs import replace

from strongroom.container.errors import FormatError, MissingPiece, TrustListMissing, UntrustedSigner
from strongroom.container.manifest import Manifest, SignedManifest
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.operations.archive.coverage import (
    AHEAD_OF_HERE,
    ASIDE,
    SHOWN,
    Asked,
    BackupChoice,
    BackupPlace,
    KnownBackup,
    Passed,
    ShownReplica,
    VanishedBackup,
    _seconds,
    all_away,
    describe_skipped,
    is_ahead,
    lacking_on,
    lacks,
    limits_of,
    made_at,
)
from strongroom.operations.archive.deletions import counting, marks_on, may_be_gone
from strongroom.operations.archive.envelopes import most_telling
from strongroom.operations.archive.heads import HeadKnowledge, known_on, merged
from strongroom.operations.archive.open import (
    nothing_there,
)
from strongroom.operations.archive.quarantine import Quarantine, RecordedQuarantine, in_quarantine
from strongroom.operations.archive.reading import anybodys, maker_of_backup
from strongroom.operations.engine.statements import AT_ONCE
from strongroom.operations.engine.trust_lists import believed_on
from strongroom.operations.errors import BackupQuarantined, NotCovered
from strongroom.targets.reading import ManifestListing
from strongroom.times import rfc3339
from strongroom.words import plural, verb

_WINDOW = 64
"""Manifests that are read ahead, several at once: a far target takes long for each."""
OTHERS = 200
"""Further manifests that are looked through for a backup of the preferred source."""


class _Read(NamedTuple):
    """What came of reading one backup's manifest.

    ``foreign``: a place that has it as somebody signed it who does not count.
    """

    backup: str
    signed: SignedManifest | None
    foreign: ManifestListing | None
    refusal: StrongroomError | None

    def stranger(self, known: Signers) -> SignedManifest | None:
        """Read the manifest that does not count; it may be as large as the format allows."""
        if self.foreign is None:
            return None
        try:
            return anybodys(partial(self.foreign.read, self.backup), known)
        except StrongroomError:
            return None


class Chooser:
    """Chooses backups on several places.

    Args:
        trusted: whose manifests are believed, but for what the trust lists on the places say.
        folder: where this host keeps the lists that it finds.
        strict: whether nothing is read where a trust list is missing. Who takes strangers goes on.
        strangers: a backup of an unknown signer will do too; who calls says so.
        quarantined: what is in quarantine by a record here, and why. Marks on the places count besides.
        gone: backups that are not to be brought back, and are never chosen.
        known: what the record here has as good, newest first: a place that was rolled back looks as sound as
            any. What the signed heads on the places know counts besides.
        ledger: the ledger that is kept here, if one is: its heads are found at once.
        now: the time of this host, in seconds since the epoch.

    ``passed``: what was not taken. ``troubles``: what is wrong with a place. ``damaged``: the same by
    place and backup, as far as that replica is not as it should be. ``marks_aside``: by folder and place,
    what is wrong with the marks of the backups that were looked at.
    """

    def __init__(
        self,
        holders: Sequence[BackupPlace],
        *,
        trusted: frozenset[str],
        folder: Path | None = None,
        strict: bool = True,
        strangers: bool = False,
        quarantined: Mapping[str, RecordedQuarantine] | None = None,
        gone: frozenset[str] = frozenset(),
        known: Sequence[KnownBackup] = (),
        ledger: str = "",
        now: float | None = None,
    ) -> None:
        self._known = known
        self._ledger = ledger
        self._heads: dict[frozenset[str], Mapping[str, HeadKnowledge]] = {}
        self.now = time.time() if now is None else now
        self._strangers = strangers
        self._gone = gone
        self._needed = {holder.name for holder in holders if holder.needed}
        self.passed: list[Passed] = []
        self.troubles: dict[str, str] = {}
        self.damaged: dict[tuple[str, str], str] = {}
        self.marks_aside: dict[str, str] = {}
        self._odd_marks: dict[str, list[str]] = {}
        self.away: dict[str, StrongroomError] = {}
        self._listings = self._opened(holders)
        strict = strict and not strangers
        self._trusted = self._by_lists(Signers() | trusted, folder=folder, strict=strict)
        self._standing = Quarantine(
            {name: listing.objects for name, listing in self._listings.items()},
            pins=self._pins,
            shows=lambda name, backup: backup in self._listings[name],
            due=lambda backup: merged(self._heads_on(self._pins(backup)).values()).marks.get(backup, 0),
            recorded=dict(quarantined or {}),
            on_record=frozenset(known_backup.backup for known_backup in known),
            told=self._note_marks,
        )

    def _opened(self, holders: Sequence[BackupPlace]) -> dict[str, ManifestListing]:
        """List the places, all at once: one that is away must not delay the others."""
        listings: dict[str, ManifestListing] = {}
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for holder, outcome in zip(holders, threads.map(_list_manifests, holders), strict=True):
                if isinstance(outcome, ManifestListing):
                    listings[holder.name] = outcome
                else:
                    self.away[holder.name] = outcome
        return listings

    def _by_lists(self, pins: Signers, *, folder: Path | None, strict: bool) -> Signers:
        if pins.lists:  # whoever calls asked the places already
            return pins
        places = list(self._listings.values())
        return believed_on(pins, places, folder=folder, strict=strict, strangers=self._strangers)

    @property
    def trusted(self) -> Signers:
        """Who counts on these places."""
        return self._trusted

    def _pins(self, backup: str) -> frozenset[str]:
        """Return whose marks and heads count: if nobody is pinned, the installation that made the backup."""
        if self._trusted:
            return self._trusted
        read = self._read(backup)
        stranger = read.stranger(self._trusted)
        return frozenset({stranger.fingerprint}) if stranger is not None else frozenset()

    def _heads_on(self, pins: frozenset[str]) -> Mapping[str, HeadKnowledge]:
        if pins not in self._heads:
            names = list(self._listings)
            with ThreadPoolExecutor(AT_ONCE) as threads:
                found = list(threads.map(lambda name: self._read_heads(name, pins), names))
            self._heads[pins] = dict(zip(names, found, strict=True))
        return self._heads[pins]

    def _read_heads(self, name: str, pins: frozenset[str]) -> HeadKnowledge:
        try:
            return known_on(self._listings[name].objects, pins, ledger=self._ledger)
        except TrustListMissing:
            raise
        except StrongroomError as error:
            self.note(name, f"{error.code}: {error.message}")
            return HeadKnowledge()

    @property
    def listings(self) -> Mapping[str, ManifestListing]:
        """The places that answered, and what they show."""
        return self._listings

    def choose(self, asked: Asked) -> BackupChoice:
        """Return the newest backup that covers what is asked for, or the one that is named.

        Raises:
            TargetError: no place answered.
            NotABackup: no place shows a backup.
            MissingPiece: the one that is named is not there.
            UntrustedSigner: nobody who is believed signed one that would do.
            BackupQuarantined: the one that is named is in quarantine.
            NotCovered: none covers what is asked for.
        """
        return next(self.choices(asked), None) or self._none(asked)

    def choices(self, asked: Asked) -> Iterator[BackupChoice]:
        """Yield every backup that covers what is asked for, newest first, or the one that is named.

        What is newer and does not cover it is noted on the way.
        """
        if self.away and not self._listings:
            raise all_away(self.away)
        if asked.backup:
            yield self._named(asked)
            return
        ahead: list[BackupChoice] = []
        yield from self._preferred_first(asked, ahead)
        for choice in ahead:
            self.passed = [
                passed_over for passed_over in self.passed if passed_over.backup != choice.manifest.backup_id
            ]
            yield choice

    def _preferred_first(self, asked: Asked, ahead: list[BackupChoice]) -> Iterator[BackupChoice]:
        """Yield those of the preferred source, then the others; those dated ahead of this host are kept."""
        others: list[BackupChoice] = []
        looked = 0
        reads = iter(self._manifests(asked))
        for read in reads:
            choice = self._judged(read, asked, ahead)
            if choice is None:
                looked += 1
            elif not asked.source or choice.manifest.source == asked.source:
                yield choice
            elif len(others) < OTHERS:
                looked = looked if others else 0
                others.append(choice)
            if others and looked >= OTHERS:
                break
        yield from others
        if looked >= OTHERS:
            yield from filter(None, (self._judged(read, asked, ahead) for read in reads))

    def listed(self, asked: Asked) -> Iterator[tuple[SignedManifest, bool]]:
        """Yield each backup's manifest, newest first, and whether its signer is believed; note the others."""
        for read in self._manifests(asked):
            signed = read.signed or read.stranger(self._trusted)
            if signed is not None:
                yield signed, read.signed is not None
            else:
                self._refused(read)

    def earlier(self, than: Manifest, *, values: bool = True) -> Iterator[BackupChoice]:
        """Yield the backups of the same source that were made before one, newest first.

        Those in quarantine too, which say so: they tell what was there.

        Args:
            values: only those that hold values.
        """
        asked = Asked(partial=True, values=values)
        for read in self._manifests(asked, before=than.backup_id):
            signed = read.signed
            if signed is None or signed.manifest.source != than.source or lacks(signed.manifest, asked):
                continue
            why = self.why_quarantined(read.backup)
            yield BackupChoice(signed=signed, replicas=self._replicas(signed), quarantine=why)

    def before(self, than: Manifest, asked: Asked) -> Iterator[BackupChoice]:
        """Yield the backups that tell of the lost parts of one, newest first: those made before it of the
        same source and selection, and with values if it has some."""
        for choice in self.earlier(than, values=than.values):
            same = (choice.manifest.selection, choice.manifest.values) == (than.selection, than.values)
            if same and (asked.use_quarantined or not choice.quarantine):
                yield choice

    def lost(self, asked: Asked, than: Manifest | None) -> VanishedBackup | None:
        """Return the newest known backup that may cover what is asked for and that no place here shows.

        Args:
            than: the backup that is taken instead: what is older is of no matter.
        """
        newer = (
            known_backup
            for known_backup in self._all_known(than)
            if than is None or _is_newer(known_backup, than, asked)
        )
        return next(
            (self._as_lost(known_backup) for known_backup in newer if self._misses(known_backup, asked)), None
        )

    def _all_known(self, than: Manifest | None) -> list[KnownBackup]:
        """Return what is known from the record or another place, and from the heads, newest first."""
        pins = self._pins(than.backup_id) if than is not None else self._trusted
        places: dict[tuple[str, str], set[str]] = {}
        for name, heads in self._heads_on(pins).items():
            for named in heads.backups.items():
                places.setdefault(named, set()).add(name)
        recorded = {known_backup.backup for known_backup in self._known}
        told = [_known_by_head(*place, names) for place, names in places.items() if place[1] not in recorded]
        return sorted((*self._known, *told), key=lambda known_backup: known_backup.backup, reverse=True)

    def _as_lost(self, known: KnownBackup) -> VanishedBackup:
        refusal = self._read(known.backup).refusal
        return VanishedBackup(
            broken="" if refusal is None else refusal.code,
            known=known,
            denied=tuple(sorted(known.places & self._listings.keys())),
            away=tuple(sorted(known.places & self.away.keys())),
            elsewhere=tuple(sorted(known.places - self._listings.keys() - self.away.keys())),
        )

    def _misses(self, known: KnownBackup, asked: Asked) -> bool:
        """Tell whether a backup would be looked at here if the places were as they are known."""
        if not known.places & (self._listings.keys() | self.away.keys()):
            return False  # a copy or a medium that it was never to lie on
        if (asked.policy and known.policy != asked.policy) or (asked.values and not known.values):
            return False
        if asked.until is not None and _seconds(known.created_at) > asked.until:
            return False
        verdict = self._standing.of(known.backup)
        if known.backup in self._gone or (verdict.why and not verdict.unseen):
            return False
        read = self._read(known.backup)
        if read.signed is not None or isinstance(read.refusal, UntrustedSigner):
            return False
        return not self._is_less(known, asked) and not self._deleted(known.backup)

    def _deleted(self, backup: str) -> bool:
        """Tell whether a backup is missing on purpose, by the marks on the places."""
        try:
            marks = [
                marks_on(listing.objects, trusted=self._trusted, backup=backup)
                for listing in self._listings.values()
            ]
            return may_be_gone(counting(marks, backup), now=self.now)
        except StrongroomError:
            return False

    def _is_less(self, known: KnownBackup, asked: Asked) -> bool:
        """Tell whether the newest backup of a policy that is seen does not hold what is asked for.

        Of a backup that is gone nobody knows what it held; its policy's others tell.
        """
        of_policy = islice(self._manifests(replace(asked, policy=known.policy)), 1)
        return any(read.signed and lacks(read.signed.manifest, asked) for read in of_policy)

    def showing(self, backup: str) -> list[str]:
        """Return the places that show a backup, whatever it is worth there."""
        return [name for name, listing in self._listings.items() if backup in listing]

    def why_quarantined(self, backup: str) -> str:
        """Say why a backup is in quarantine, or that nobody can tell; nothing if it is not."""
        verdict = self._standing.of(backup)
        return f"{_UNSEEN} {verdict.why}" if verdict.unseen else verdict.why

    def nobody_can_tell(self, backup: str) -> bool:
        """Tell whether nothing that is seen here says whether a backup is in quarantine."""
        return self._standing.of(backup).unseen

    def pass_over(self, manifest: Manifest, why: str) -> None:
        """Note that a backup is not taken after all."""
        self.passed.append(
            Passed(backup=manifest.backup_id, policy=manifest.policy, created_at=manifest.created_at, why=why)
        )

    def refusal(self, backup: str) -> BackupQuarantined:
        """Return how a backup is refused that is in quarantine."""
        verdict = self._standing.of(backup)
        if verdict.unseen:
            said = f"Nobody can tell whether backup {backup} is in quarantine: {verdict.why}."
            return BackupQuarantined(said, hint=_TELL)
        return in_quarantine(backup, verdict.why)

    # -- one that is named -------------------------------------------------------

    def _named(self, asked: Asked) -> BackupChoice:
        read = self._taken(self._read(asked.backup))
        signed = read.signed
        if signed is None:
            raise self._unread(read, asked.backup)
        replicas = self._replicas(signed)
        why = self.why_quarantined(asked.backup)
        if why and not asked.use_quarantined:
            raise self.refusal(asked.backup)
        if lacking := lacks(signed.manifest, asked):
            raise self._not_covered(signed.manifest, lacking, asked)
        return BackupChoice(signed=signed, replicas=replicas, quarantine=why)

    def _unread(self, read: _Read, backup: str) -> StrongroomError:
        if read.refusal is not None:
            return read.refusal
        if not any(len(listing) for listing in self._listings.values()):
            return nothing_there(self._listings)
        return MissingPiece(f"there is no backup '{backup}' here{self._unseen()}", hint=_LIST)

    def _not_covered(self, manifest: Manifest, lacking: str, asked: Asked) -> NotCovered:
        better = next(self.choices(replace(asked, backup="")), None)
        said = f"Backup {manifest.backup_id} of policy '{manifest.policy}' does not cover {asked.words}: "
        if better is not None:
            found = better.manifest
            hint = f"One that does is {found.backup_id} of policy '{found.policy}', made {found.created_at}."
        else:
            hint = "No other backup there does."
        if limits_of(manifest) and manifest.values:
            hint += " To restore what this one holds, add: --partial"
        return NotCovered(f"{said}{lacking}.", hint=hint)

    # -- all of them -------------------------------------------------------------

    def _manifests(self, asked: Asked, *, before: str = "") -> Iterator[_Read]:
        """Read manifests newest first: the newest alone, then more and more of them at once."""
        names: set[str] = set().union(*(listing.backups for listing in self._listings.values()))
        older = (name for name in names - self._gone if not before or name < before)
        ordered = iter(sorted(older, reverse=True))
        size = 1
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while window := list(islice(ordered, size)):
                reads = map(self._read, window) if size == 1 else threads.map(self._read, window)
                yield from (read for read in reads if _is_meant(read, asked))
                size = min(_WINDOW, size * 8)

    def _read(self, backup: str) -> _Read:
        """Read a backup's manifest from the first place that has it as somebody believed signed it."""
        foreign: ManifestListing | None = None
        failures: list[StrongroomError] = []
        for listing in [manifests for manifests in self._listings.values() if backup in manifests]:
            try:
                return _Read(backup, listing.read(backup, trusted=self._trusted), None, None)
            except StrongroomError as error:
                failures.append(error)
                if isinstance(error, UntrustedSigner | TrustListMissing):
                    foreign = foreign or listing
        return _Read(backup, None, foreign, most_telling(failures) if failures else None)

    def _taken(self, read: _Read) -> _Read:
        """Return what was read, with a stranger's manifest if that will do: never one of a distrusted key."""
        stranger = read.stranger(self._trusted) if self._strangers and read.signed is None else None
        if stranger is None:
            return read
        maker = maker_of_backup(stranger, self._trusted)
        return read._replace(signed=stranger) if maker.may_be_taken else read._replace(refusal=maker.refusal)

    def _judged(self, read: _Read, asked: Asked, ahead: list[BackupChoice]) -> BackupChoice | None:
        """Return what is to be taken, or note why it is not.

        One that is dated ahead of this host is no newer for that: a clock was wrong. It comes last.
        """
        read = self._taken(read)
        signed = read.signed
        if signed is None:
            self._refused(read)
            return None
        manifest = signed.manifest
        if lacking := lacks(manifest, asked):
            self.pass_over(manifest, lacking)
            return None
        replicas = self._replicas(signed)
        why = self.why_quarantined(read.backup)
        if self.nobody_can_tell(read.backup) and not asked.use_quarantined:
            raise self.refusal(read.backup)  # an older one would be what somebody wants who put junk there
        if why and not asked.use_quarantined:
            self.pass_over(manifest, f"{ASIDE} {why}")
        else:
            choice = BackupChoice(signed=signed, replicas=replicas, quarantine=why)
            if not is_ahead(manifest, self.now):
                return choice
            ahead.append(choice)
            self.pass_over(manifest, AHEAD_OF_HERE)
        return None

    def _refused(self, read: _Read) -> None:
        error = read.refusal
        why = f"{error.code}: {error.message}" if error else "it is gone"
        self.passed.append(Passed(backup=read.backup, why=why, broken=error))

    def _replicas(self, signed: SignedManifest) -> tuple[ShownReplica, ...]:
        """Return the places that have this manifest, those that lack nothing of it first."""
        whole, lacking = self.replicas(signed)
        return (*whole, *lacking)

    def replicas(self, signed: SignedManifest) -> tuple[list[ShownReplica], list[ShownReplica]]:
        """Return the places that have this manifest: those that show all of it, and those that lack some.

        What a place lacks that was to hold the backup is noted as that place's trouble.
        """
        whole: list[ShownReplica] = []
        lacking: list[ShownReplica] = []
        for name, listing in self._listings.items():
            try:
                if (damage := self._damage(name, listing, signed)) is None:
                    continue
                many = 0 if damage else len(lacking_on(listing.objects, signed.manifest))
            except StrongroomError as error:
                self.note(name, f"{error.code}: {error.message}")
                continue
            if many:
                of = plural(len(signed.manifest.containers), "container")
                damage = f"{many:,} of {of} of backup {signed.manifest.backup_id} {verb(many, 'are')} missing"
                lacking.append(ShownReplica(name, listing.objects))
            elif not damage:
                whole.append(ShownReplica(name, listing.objects))
            if damage:
                self.note(name, damage, signed.manifest.backup_id)
        return whole, lacking

    def _damage(self, name: str, listing: ManifestListing, signed: SignedManifest) -> str | None:
        """Say what is wrong with a place's manifest of a backup; ``None`` if it was never to have one.

        Raises:
            TargetError: it does not answer.
        """
        manifest = signed.manifest
        if manifest.backup_id not in listing:
            meant = {target.name for target in manifest.targets}
            is_meant = name in meant or PurePath(name).name in meant
            return f"it does not show backup {manifest.backup_id}, which it was to hold" if is_meant else None
        trusted = self._trusted if signed.fingerprint in self._trusted else None
        try:
            # One that is the same has the same receipts, and those were checked.
            same = listing.read(manifest.backup_id, trusted=trusted, receipts=False).manifest == manifest
        except FormatError as error:
            return f"its manifest of {manifest.backup_id}: {error.code}: {error.message}"
        return "" if same else f"its manifest of {manifest.backup_id} is another one"

    def note(self, name: str, what: str, backup: str = "") -> None:
        """Note what is wrong with a place, and with which backup there; the first thing counts."""
        self.troubles.setdefault(name, what)
        if backup:
            self.damaged.setdefault((name, backup), what)

    def _note_marks(self, name: str, folder: str, why: str) -> None:
        self.marks_aside[f"{folder} on '{name}'"] = why
        self._odd_marks.setdefault(name, []).append(f"{folder}: {why}")

    # -- none of them ------------------------------------------------------------

    def _none(self, asked: Asked) -> BackupChoice:
        if (lost := self.lost(asked, None)) is not None and lost.denied:
            raise lost.error(None)
        if not any(len(listing) for listing in self._listings.values()):
            raise nothing_there(self._listings)
        believed = [passed_over for passed_over in self.passed if passed_over.policy]
        if not believed and (refusal := self._stranger()) is not None:
            raise refusal
        if not believed and not asked.policy and asked.until is None and self.passed:
            raise self.why_none()
        there = "; ".join(describe_skipped(believed)) or f"no backup of that policy or time{self._unseen()}"
        broken = next(
            (passed_over.broken for passed_over in believed if passed_over.broken is not None), None
        )
        if broken is not None:
            raise type(broken)(
                f"No backup there that covers {asked.words} is whole. "
                f"There is: {'; '.join(describe_skipped(believed))}",
                hint=_hint(believed, asked),
            )
        if believed and all(passed_over.why.startswith(ASIDE) for passed_over in believed):
            said = f"No backup there is to be restored from. There is: {there}"
            raise BackupQuarantined(said, hint=_hint(believed, asked))
        raise NotCovered(
            f"No backup there covers {asked.words}{self._unseen()}. There is: {there}{self._uncounted()}",
            hint=_hint(believed, asked),
        )

    def _uncounted(self) -> str:
        """Say how many do not count, and why the newest of them does not: one of them may cover it."""
        left = [passed_over for passed_over in self.passed if not passed_over.policy]
        if not left:
            return ""
        told = f"{left[0].backup}: {left[0].why}"
        return f". {len(left):,} more {verb(len(left), 'do')} not count; the newest, {told}"

    def why_none(self) -> StrongroomError:
        """Return what is said where no backup at all can be read: why the newest cannot."""
        newest = self.passed[0].backup if self.passed else ""
        return (newest and self._read(newest).refusal) or nothing_there(self._listings)

    def _stranger(self) -> StrongroomError | None:
        """Return why the newest backup is not believed that might do if it were."""
        reads = (self._taken(self._read(passed_over.backup)) for passed_over in self.passed[:_WINDOW])
        return next((read.refusal for read in reads if read.foreign is not None), None)

    def _unseen(self) -> str:
        return f" ({', '.join(sorted(self.away))} did not answer)" if self.away else ""

    def wrong(self) -> dict[str, str]:
        """Return what is wrong with the places: damaged ones, and those that are away and should not be."""
        away = {n: f"{e.code}: {e.message.rstrip('.')}" for n, e in self.away.items() if n in self._needed}
        odd = self.odd_marks
        both = {name: f"{self.troubles[name]}; {odd[name]}" for name in odd if name in self.troubles}
        return {**away, **self.troubles, **odd, **both}

    @property
    def odd_marks(self) -> dict[str, str]:
        """What is wrong with the marks of places: once for each folder, however much is in it."""
        return {name: "; ".join(_first_few(told)) for name, told in self._odd_marks.items()}


def _first_few(told: Sequence[str]) -> list[str]:
    more = [f"and {len(told) - SHOWN:,} more folders of marks"] if len(told) > SHOWN else []
    return [*told[:SHOWN], *more]


def _hint(passed: Sequence[Passed], asked: Asked) -> str:
    if not passed:
        return _LIST
    usable = next(
        (passed_over for passed_over in passed if passed_over.why.startswith("it holds only")), None
    )
    if usable is None:
        return _SET_ASIDE if all(passed_over.why.startswith(ASIDE) for passed_over in passed) else _LIST
    return f"To restore what the newest of these holds: --backup {usable.backup} --partial"


def _is_meant(read: _Read, asked: Asked) -> bool:
    """Tell whether a backup is of the policy and time that are asked for; junk is of none."""
    if not asked.policy and asked.until is None:
        return True
    signed = read.signed or read.stranger(Signers())
    if signed is None:
        return False
    manifest = signed.manifest
    if asked.policy and manifest.policy != asked.policy:
        return False
    return asked.until is None or made_at(manifest) <= asked.until


_UNSEEN = "as far as anybody can tell, for its marks cannot be read:"


def _known_by_head(policy: str, backup: str, places: Iterable[str]) -> KnownBackup:
    """Return what a head tells of a backup: of which source it is, and what it holds, is not known."""
    return KnownBackup(
        backup=backup,
        policy=policy,
        source="",
        created_at=_made_by_id(backup),
        values=True,
        secrets=0,
        places=frozenset(places),
    )


def _made_by_id(backup: str) -> str:
    """Return the time with which a backup's id begins (FORMAT.md, section 13)."""
    try:
        return rfc3339(datetime.strptime(backup.partition("-")[0], "%Y%m%dT%H%M%S%f%z").timestamp())
    except (ValueError, OverflowError):
        return ""


def _is_newer(known: KnownBackup, than: Manifest, asked: Asked) -> bool:
    """Tell whether a backup might have been taken instead: not one of another source than is preferred."""
    preferred = asked.source == than.source != known.source != ""
    return known.backup > than.backup_id and not preferred


def _list_manifests(holder: BackupPlace) -> ManifestListing | StrongroomError:
    try:
        return ManifestListing(holder.objects())
    except StrongroomError as error:
        return error


_LIST = "See what there is: 'strongroom backups list --from-target TARGET'."
_SET_ASIDE = (
    "'strongroom incident reseal' seals what an incident set aside under new keys; then it can be restored. "
    "If one of these is really meant, restore it with: --backup ID --use-quarantined"
)
_TELL = (
    "Ask a target that can be looked through, with --from-target. Or see who wrote there, and if this backup "
    "is meant, add: --use-quarantined. It goes on record."
)
