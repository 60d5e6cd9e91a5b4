"""From which targets and which backup a command reads: chosen by one rule, and said aloud."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from strongroom.cli.shared import access_log, admission, opening
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.shared.options import BackupOptions, BackupSource
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.manifest import Manifest, SignedManifest
from strongroom.errors import StrongroomError, TargetError, UsageError
from strongroom.keys import Identity
from strongroom.model import Selection
from strongroom.operations.archive.coverage import (
    ASIDE,
    PART,
    SHOWN,
    Asked,
    BackupChoice,
    BackupPlace,
    KnownBackup,
    describe_skipped,
    is_ahead,
    limits_of,
)
from strongroom.operations.archive.reading import Replicated, maker_of_backup
from strongroom.operations.archive.salvage import Before, Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.errors import LeftAside, LessThanKnown, NotCovered, TargetUnsound
from strongroom.system.attempts import run_all
from strongroom.targets.errors import TargetUnavailable
from strongroom.words import did_you_mean

if TYPE_CHECKING:
    from strongroom.container.signing import Signers
    from strongroom.operations.archive.open import Backup
    from strongroom.operations.archive.shortfall import Shortfall
    from strongroom.targets import Target


PATIENCE = 10.0
"""Seconds that a target is waited for which nobody asked for a backup: it only tells what is newer."""
LOOKED = 50
"""Newest backups of it that are looked at."""


def requested(
    choice: BackupOptions,
    *,
    values: bool,
    selection: Selection = Selection(),
    name: str = "",
    source: str = "",
) -> Asked:
    """Return what a command line asks for."""
    return Asked(
        values=values,
        selection=selection,
        name=name,
        policy=choice.policy or "",
        backup=choice.backup or "",
        until=choice.at,
        source=source,
        partial=choice.partial,
        use_quarantined=choice.use_quarantined,
    )


def make_chooser(
    from_target: Sequence[str],
    installation: InstallationPlace,
    known: frozenset[str],
    *,
    strangers: bool = False,
) -> Chooser:
    """Look at the targets that are named, or at all that are configured.

    Args:
        strangers: whether a stranger's backup will do.
    """
    record = admission.read_record(installation)
    holders = list(
        _named_holders(from_target, installation) if from_target else configured_holders(installation)
    )
    others = record.known
    if not others and from_target:
        others = _shown_elsewhere({holder.name for holder in holders}, installation, known)
    return record.chooser(
        holders,
        trusted=known,
        folder=installation.role_keys,
        strangers=strangers,
        known=others,
    )


def chooser_of(given: BackupSource, installation: InstallationPlace) -> Chooser:
    """Look at the targets that a command reads from, with the signers that it believes."""
    known = admission.trusted_signers(installation, given.trust.signer)
    return make_chooser(given.where.from_target, installation, known, strangers=given.trust.any_signer)


def _shown_elsewhere(
    asked: Collection[str], installation: InstallationPlace, trusted: frozenset[str]
) -> list[KnownBackup]:
    """Return what the configured targets show that are not asked, if they answer soon: one that is asked may
    have been put back, and without a record nothing else tells."""
    if not asked & installation.section("targets").keys():
        return []
    others = [holder for holder in configured_holders(installation) if holder.name not in asked]
    shown = run_all(
        PATIENCE, {other.name: partial(_newest_shown, other, trusted) for other in others}, late=_late
    )
    found = [
        known_backup
        for each in shown.values()
        if not isinstance(each, StrongroomError)
        for known_backup in each
    ]
    return sorted(found, key=lambda known_backup: known_backup.backup, reverse=True)


def _late(name: str) -> type[StrongroomError]:
    return TargetUnavailable


def _newest_shown(holder: BackupPlace, trusted: frozenset[str]) -> list[KnownBackup]:
    chooser = Chooser([holder], trusted=trusted)
    listed = islice(chooser.listed(Asked(values=False, partial=True)), LOOKED)
    manifests = [signed.manifest for signed, believed in listed if believed]
    return [
        KnownBackup(
            backup=manifest.backup_id,
            policy=manifest.policy,
            source=manifest.source,
            created_at=manifest.created_at,
            values=manifest.values,
            secrets=manifest.counts.secrets,
            places=frozenset(target.name for target in manifest.targets),
        )
        for manifest in manifests
    ]


def _named_holders(words: Sequence[str], installation: InstallationPlace) -> Iterator[BackupPlace]:
    for word in dict.fromkeys(words):
        target = opening.target_of(word, installation)  # a wrong word is told before anything is read
        configured_as = target.name if target.name in installation.section("targets") else word
        yield BackupPlace(configured_as, partial(_same, target))


def target_names(installation: InstallationPlace) -> list[str]:
    """Return the configured targets, or those that a fresh installation has made."""
    made = (name for name in opening.DEFAULTS if (installation.state_dir / "targets" / name).is_dir())
    return list(installation.section("targets")) or list(made)


def configured_holders(installation: InstallationPlace) -> Iterator[BackupPlace]:
    """Yield the targets that policies name, or all of them; those of a fresh installation, as far as made.

    Raises:
        UsageError: there is none.
    """
    if not (names := target_names(installation)):
        raise UsageError(
            "No target is configured here, so there is nothing to read from.",
            hint="Name a copy of a target, or a file: --from-target DIRECTORY, or --backup-file FILE.",
        )
    policies = installation.section("policies").values()
    used = {name: _is_online(policies, name) for policy in policies for name in _targets_of(policy)}
    for name in names:
        if not used or name in used:
            yield BackupPlace(name, partial(opening.target_of, name, installation), used.get(name, True))


def _targets_of(policy: Mapping[str, Any]) -> list[str]:
    found = policy.get("targets")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _is_online(policies: Any, name: str) -> bool:
    """Tell whether a target is used by a policy that is not offline: the media of those are mostly away."""
    return any(name in _targets_of(policy) and not policy.get("offline") for policy in policies)


def _same(target: Any) -> Any:
    return target


def choose_backup(chooser: Chooser, asked: Asked, output: Output) -> BackupChoice:
    """Choose a backup, and say which one and what was passed over.

    Raises:
        UntrustedSigner: says which fingerprint it is.
    """
    choice = chooser.choose(asked)
    report_choice(choice, chooser, asked, output)
    return choice


def report_choice(choice: BackupChoice, chooser: Chooser, asked: Asked, output: Output) -> None:
    """Say which backup is read, what newer ones were passed over, and what this one cannot bring."""
    manifest = choice.manifest
    where = ", ".join(f"'{replica.name}'" for replica in choice.replicas)
    output.note(
        f"from backup {manifest.backup_id} of policy '{manifest.policy}', made {manifest.created_at}: "
        f"{plural(manifest.counts.secrets, 'secret')}, on {where}"
    )
    if is_ahead(manifest, time.time()):
        output.warn(
            "this backup is dated ahead of this host's clock. One of the clocks was wrong, and backups made "
            "since may count as older: see 'strongroom backups list', and name one with --backup."
        )
    for line in describe_skipped(chooser.passed):
        output.note(f"  newer, skipped: {line}")
    if lost := unseen(chooser, asked, manifest):
        output.warn(f"{lost.message} {lost.hint}")
        output.end_with(lost)
    output.end_with(_ignored_manifests(chooser, manifest.backup_id))
    output.end_with(_newer_set_aside(chooser, manifest.backup_id))
    for name, error in chooser.away.items():
        output.note(f"  not read: '{name}': {error.message}")
    if asked.partial and limits_of(manifest):
        output.warn(f"this backup holds only secrets {limits_of(manifest)}: it brings back no others.")
    if choice.quarantine:
        output.warn(f"this backup is in quarantine {choice.quarantine}. It is used nonetheless.")


def unseen(
    chooser: Chooser, asked: Asked, instead: Manifest | None, *, named: bool = True
) -> StrongroomError | None:
    """Return what to say of a newer backup that is known and not to be seen, unless one was named.

    Args:
        named: the command can be told which backup it reads.
    """
    if asked.backup:
        return None
    lost = chooser.lost(asked, instead)
    return None if lost is None else lost.error(instead if named else None)


def report_shortfall(
    found: Shortfall, output: Output, *, filled: bool = False, fillable: bool = False
) -> None:
    """Say what a backup lacks of those before it, before anything is done with it, and end by that."""
    error = found.error(filled=filled)
    say = output.note if error is None else output.warn
    for line in found.lines():
        say(line if line.startswith(" ") else f"this backup: {line}")
    if filled:
        output.note("  what is missing is taken from those earlier backups.")
    elif found.missing and found.by_name and fillable:
        output.note(
            "  to restore it too, each with its newest value: the same command with --fill-from-earlier"
        )
    if error is not None and found.sound:
        output.note(f"  to take all as it was then: the same command with --backup {found.sound}")
    output.end_with(error)


def report_newer_parts(chooser: Chooser, output: Output) -> None:
    """Say how to bring newer values of some secrets, after everything is back from an older backup."""
    for policy in dict.fromkeys(
        passed_over.policy for passed_over in chooser.passed if passed_over.why.startswith(PART)
    ):
        output.note(
            f"  newer values of these: afterwards the same command with --policy {quote(policy)} --partial "
            "--overwrite-existing"
        )


def _ignored_manifests(chooser: Chooser, backup: str) -> LeftAside | None:
    """Return how to end if newer manifests did not count: anybody may have put them there (FORMAT.md 13)."""
    newer = [
        passed_over
        for passed_over in chooser.passed
        if not passed_over.policy and passed_over.backup > backup
    ]
    if not newer:
        return None
    told = "; ".join(
        f"{manifest_name(passed_over.backup)} ({passed_over.why})" for passed_over in newer[:SHOWN]
    )
    more = f"; and {len(newer) - SHOWN:,} more" if len(newer) > SHOWN else ""
    return LeftAside(f"{plural(len(newer), 'newer manifest')} did not count: {told}{more}")


def _newer_set_aside(chooser: Chooser, backup: str) -> LessThanKnown | None:
    """Return how to end if a newer backup is in quarantine: what is taken is older than what there is."""
    newer = [
        passed_over
        for passed_over in chooser.passed
        if passed_over.backup > backup and passed_over.why.startswith(ASIDE)
    ]
    if not newer:
        return None
    what = f"A newer backup, {newer[0].backup} made {newer[0].created_at}, is not taken"
    return LessThanKnown(f"{what}: {newer[0].why}.", hint=_SET_ASIDE)


_SET_ASIDE = (
    "What was read stands, and is older. 'strongroom incident reseal' seals what an incident set aside under "
    "new keys; then it can be restored."
)


def report_unlisted(
    choice: BackupChoice, known: Signers, output: Output, installation: InstallationPlace
) -> frozenset[str]:
    """Say what lies beside a backup and does not count; return whose containers and envelopes do."""
    pins = maker_of_backup(choice.signed, known).pins(known)
    for replica in choice.replicas:
        with suppress(TargetError):  # one that went away tells nothing: reading tells that it did
            opening.report_unlisted(
                replica.objects, choice.signed, known, output, newest=False
            )  # newer: say()
            _report_stale(cast("Target", replica.objects), choice.signed, pins, output, installation)
    return pins


def _report_stale(
    target: Target, signed: SignedManifest, pins: frozenset[str], output: Output, place: InstallationPlace
) -> None:
    """Say that a newer envelope is known of elsewhere. A restore goes on: its secrets are the same."""
    if error := opening.find_newer_envelope(target, signed.manifest, place, trusted=pins):
        output.warn(error.message)
        output.end_with(error)


@contextmanager
def telling_losses(read: Sequence[Salvaged], output: Output) -> Iterator[None]:
    """Say at the end what of the backups that were read is lost, and have the command end by that.

    Args:
        read: the backups, by then.
    """
    try:
        yield
    finally:
        for backup in read:
            if (lost := backup.lost) is not None:
                for line in lost.lines():
                    output.warn(line)
        losses = [error for backup in read if (error := backup.error()) is not None]
        output.end_with(next(iter(losses), None), first=True)


@contextmanager
def reporting_damage(
    chooser: Chooser, output: Output, installation: InstallationPlace, *, dry: bool = False
) -> Iterator[None]:
    """Have the command say at its end, and by its exit code, which target is damaged or away.

    What came of the command stands. If it fails, its own error is told, and these are notes before it.
    The record is told too, where there is one, so that what is damaged is repaired; not by a ``dry`` run.
    """
    try:
        yield
    except StrongroomError:
        _put_on_record(chooser, installation, dry=dry)
        for name, why in chooser.wrong().items():
            output.note(f"note: target '{name}': {why}")
        raise
    _put_on_record(chooser, installation, dry=dry)
    if (wrong := chooser.wrong()) and output.ending is not None:
        for name, why in wrong.items():
            output.note(f"note: target '{name}': {why}")
    if wrong:
        told = "; ".join(f"'{name}': {why}" for name, why in wrong.items())
        output.end_with(TargetUnsound(f"Not every target is as it should be: {told}."))


def _put_on_record(chooser: Chooser, installation: InstallationPlace, *, dry: bool) -> None:
    if dry or not chooser.damaged:
        return
    with suppress(StrongroomError):  # a recovery needs no record
        store = admission.find_run_store(installation)
        if store is not None:
            from strongroom.operations.archive.inventory import put_damaged_on_record

            put_damaged_on_record(store, chooser.damaged)


# -- The name of a backup that a mistyped one was meant for -------------------------------------


MOST_READ, MOST_COMPARED = 100_000, 5_000
"""Names of a backup that are read, and compared letter by letter: an error must not take a minute."""


def near_name(name: str, backup: Backup | Replicated | Salvaged | None) -> str:
    """Ask whether the nearest name in a backup was meant; empty if none is near or it cannot be read."""
    if backup is None or backup.manifest.counts.secrets > MOST_READ:
        return ""
    with suppress(StrongroomError):
        alike = _alike(name, (row.name for row in backup.rows()))
        return did_you_mean(name, islice(alike, MOST_COMPARED))
    return ""


def _alike(name: str, names: Iterable[str]) -> Iterator[str]:
    """Yield names of about this length that end alike, or lie in the same folder."""
    folder, _, last = name.rpartition("/")
    for other_name in names:
        place, _, end = other_name.rpartition("/")
        if abs(len(other_name) - len(name)) <= 2 and (place == folder or end == last):
            yield other_name


# -- Opening a backup on targets to look into it ------------------------------------------------


MOST = 21
"""Backups that are opened to find one secret: names are sealed, so looking takes the key."""

Opened = tuple[Salvaged, Callable[[], None]]
"""A backup, and what says that it is the one that is read."""


@contextmanager
def backup_on_targets(
    given: BackupSource, asked: Asked, output: Output, installation: InstallationPlace
) -> Iterator[Salvaged]:
    """Open the backup on targets that a command is to look into."""
    with backups_on_targets(given, asked, output, installation) as backups:
        backup, tell = next(backups)
        tell()
        yield backup


@contextmanager
def backups_on_targets(
    given: BackupSource, asked: Asked, output: Output, installation: InstallationPlace
) -> Iterator[Iterator[Opened]]:
    """Open backups on targets, the newest first, as long as one more is asked for: at least one."""
    chooser = chooser_of(given, installation)
    known = chooser.trusted
    identities = identities_of(given.opening, output, installation)
    read: list[Salvaged] = []

    def opened() -> Iterator[Opened]:
        for number, choice in enumerate(_choices(chooser, asked)):
            if number == MOST:
                output.warn(f"only the newest {MOST} that may hold it were opened; older: --at DATE")
                return
            admission.admit_maker(maker_of_backup(choice.signed, known), given.trust, output)
            access_log.record_opening(
                output,
                installation,
                choice.manifest.backup_id,
                where=given.where,
                quarantine=choice.quarantine,
            )
            pins = report_unlisted(choice, known, output, installation)
            before = _before(choice, chooser, asked, identities, pins)
            backup = Salvaged(Replicated(choice, identities, trusted=pins, told=chooser.note), before)
            read.append(backup)
            yield backup, partial(report_choice, choice, chooser, asked, output)
            if asked.name:
                chooser.pass_over(choice.manifest, f"it does not hold '{asked.name}'")

    with (
        reporting_damage(chooser, output, installation),
        telling_losses(read, output),
    ):
        yield opened()


def _before(
    choice: BackupChoice, chooser: Chooser, asked: Asked, identities: Sequence[Identity], pins: frozenset[str]
) -> Before:
    """Give the backups that tell of what is lost of one, as they are asked for."""
    earlier = chooser.before(choice.manifest, asked)
    return (
        Replicated(backup_choice, identities, trusted=pins, told=chooser.note) for backup_choice in earlier
    )


def _choices(chooser: Chooser, asked: Asked) -> Iterator[BackupChoice]:
    """Choose what to look into. Where none covers all that is asked for, what there is may be looked at."""
    found = chooser.choices(asked)
    try:
        first = next(found, None) or chooser.choose(asked)
    except NotCovered:
        if asked.partial or asked.backup:
            raise
        chooser.passed.clear()
        found = chooser.choices(replace(asked, partial=True))
        first = next(found, None) or chooser.choose(replace(asked, partial=True))
    yield first
    yield from found
