"""Whether what a recovery starts from is in reach: the newest backups, and what opens them here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import (
    DAMAGE,
    FormatError,
    MissingPiece,
    NothingOpens,
    StrongroomError,
    TargetError,
    UntrustedSigner,
)
from strongroom.keys import Identity
from strongroom.keys.passphrase import TYPE as PASSPHRASE
from strongroom.keys.quorum import TYPE as QUORUM
from strongroom.operations import quarantine_marks
from strongroom.operations.health import Finding, good, remark, wrong
from strongroom.operations.open import Backup, Objects
from strongroom.operations.readers_now import readers_now
from strongroom.targets import Target
from strongroom.targets.shelf import Shelf
from strongroom.words import plural

TARGET, BACKUP, OPENS, SIGNERS = "target", "backup", "opens", "signers"

LOOKED = 50
"""Believed manifests that are looked through on a target for the newest of each policy. A policy whose newest
backup is older than all of these is found by the record, if there is one. Those that are not believed do not
count: whoever may write there could hide every backup behind fifty names."""

BY_PEOPLE = frozenset({PASSPHRASE, QUORUM})
"""Kinds of keys that people bring, so that this host need not hold anything."""


class Want(Struct, frozen=True, kw_only=True):
    """A policy that something could be recovered from.

    ``targets`` are where its backups are to lie. ``required``: one has to be in reach, since it holds
    values and lies on no medium that is in a safe most of the time.
    """

    policy: str
    targets: tuple[str, ...]
    values: bool
    required: bool


class Seen(Struct, frozen=True, kw_only=True):
    """What a target showed: the newest believed backup of each policy, how many there are in all, and why
    others were not believed."""

    newest: Mapping[str, Manifest]
    backups: int
    refused: Mapping[str, str]


def look(
    target: Target, policies: Collection[str], *, trusted: frozenset[str], recorded: Mapping[str, str]
) -> Seen:
    """Look for the newest backup of each policy on a target.

    Args:
        recorded: the newest backup of each policy on record here.

    Raises:
        TargetError: it does not answer.
    """
    shelf = Shelf(target)
    marks = quarantine_marks.MarksThere(target, trusted=trusted)
    known = shelf.backups
    newest: dict[str, Manifest] = {}
    refused: dict[str, str] = {}
    believed = 0
    wanted = frozenset(policies)
    on_record = frozenset(recorded.values())
    for backup in reversed(known):
        if newest.keys() >= wanted:
            break
        if believed >= LOOKED and backup not in on_record:
            continue
        try:
            manifest = shelf.read(backup, trusted=trusted).manifest
        except FormatError as error:
            refused[backup] = f"{error.code}: {error.message}"
        else:
            believed += 1
            mark = marks.newest(backup)
            if mark is not None and mark.state == quarantine_marks.QUARANTINED:
                refused[backup] = f"BackupQuarantined: it is in quarantine {quarantine_marks.words(mark)}"
                continue
            newest.setdefault(manifest.policy, manifest)
    return Seen(newest=newest, backups=len(known), refused=refused)


Looked = Mapping[str, Seen | StrongroomError]


def newest_of(looked: Looked) -> dict[str, Manifest]:
    """Return the newest backup of each policy on any target that answered."""
    found: dict[str, Manifest] = {}
    for seen in _answered(looked).values():
        for policy, manifest in seen.newest.items():
            if policy not in found or found[policy].backup_id < manifest.backup_id:
                found[policy] = manifest
    return found


def _answered(looked: Looked) -> dict[str, Seen]:
    return {name: seen for name, seen in looked.items() if isinstance(seen, Seen)}


# -- targets, and what they show -----------------------------------------------------------


def targets(looked: Looked, wanted: Sequence[Want], recorded: Mapping[str, str]) -> Iterator[Finding]:
    """Say of each target whether it answers, and holds the newest backup of each policy.

    What one target lacks is a remark as long as another has it: from there it can be recovered.

    Args:
        recorded: the newest backup of each policy on record here, if there is a record.
    """
    newest = newest_of(looked)
    needed = [want for want in wanted if want.required and want.policy not in newest]
    for name, seen in looked.items():
        if isinstance(seen, Seen):
            yield from _of_target(name, seen, newest, wanted)
        elif any(name in want.targets for want in needed):
            yield wrong(TARGET, seen).on(target=name)
        else:
            yield remark(TARGET, f"{seen.message} ({seen.code})", seen.hint).on(target=name)
    for want in wanted:
        yield from _of_policy(want, newest.get(want.policy), recorded.get(want.policy, ""))


def _of_target(
    name: str, seen: Seen, newest: Mapping[str, Manifest], wanted: Sequence[Want]
) -> Iterator[Finding]:
    lacking = [
        newest[want.policy].backup_id
        for want in wanted
        if name in want.targets
        and want.policy in newest
        and _id(seen.newest.get(want.policy)) != newest[want.policy].backup_id
    ]
    for backup in lacking:
        words = f"it lacks backup {backup}, which another target has"
        yield remark(TARGET, words, f"'strongroom repair {backup}' brings it there.").on(
            target=name, backup=backup
        )
    if seen.refused:
        backup, why = next(iter(seen.refused.items()))
        words = f"{plural(len(seen.refused), 'newer backup')} there not believed, such as {backup}: {why}"
        yield remark(
            TARGET, words, "Compare its signer with the recovery kit: 'strongroom signers list'."
        ).on(target=name, backup=backup)
    if not lacking and not seen.refused:
        yield good(TARGET, f"answers, and shows {plural(seen.backups, 'backup')}").on(target=name)


def _id(manifest: Manifest | None) -> str:
    return "" if manifest is None else manifest.backup_id


def _of_policy(want: Want, newest: Manifest | None, recorded: str) -> Iterator[Finding]:
    if newest is None and want.required:
        hint = "Bring a target back that has one. A file can be asked about alone: --backup-file FILE."
        if not recorded:
            hint += f" If there never was one: 'strongroom backup --policy {want.policy}'."
        error = MissingPiece(f"no backup of it is in reach: {recorded or 'none is on record'}", hint=hint)
        yield wrong(BACKUP, error).on(policy=want.policy)
    elif newest is None:
        yield remark(
            BACKUP, "it has no backup yet; it would hold no values, so nothing could be restored"
        ).on(policy=want.policy)
    elif recorded > newest.backup_id:
        words = f"the newest in reach is {newest.backup_id}; {recorded} is on record, and no target shows it"
        error = MissingPiece(
            words, hint="Suspect a rollback, or a target that is away. Look before restoring."
        )
        yield wrong(BACKUP, error).on(policy=want.policy, backup=newest.backup_id)
    else:
        words = f"of {newest.created_at}, {plural(newest.counts.secrets, 'secret')}"
        words += "" if newest.values else "; it holds no values, so nothing can be restored from it"
        yield good(BACKUP, words).on(policy=want.policy, backup=newest.backup_id)


def signers(believed: int, looked: Looked) -> Iterator[Finding]:
    """Say whether somebody's signature is believed here."""
    refused = sum(len(seen.refused) for seen in _answered(looked).values())
    hint = "Give --signer with the fingerprint on the recovery kit, or name it under 'trust.signers'."
    if believed:
        yield good(SIGNERS, f"{plural(believed, 'signer')} believed here")
    elif refused:
        words = "nobody's signature is believed here, and backups are there"
        yield wrong(SIGNERS, UntrustedSigner(words, hint=hint))
    else:
        yield remark(SIGNERS, "nobody's signature is believed here yet", hint)


# -- what opens them -------------------------------------------------------------------------


def opens(
    place: Objects,
    manifest: Manifest,
    identities: Sequence[Identity],
    *,
    trusted: frozenset[str] | None,
    asked: Collection[str] = (),
) -> Finding:
    """Open each wrapping key of a backup, for real, and say with what; or who else could.

    Args:
        asked: names of keys that would open here once somebody types a PIN.

    Raises:
        TargetError: the place does not answer.
        FormatError, VerificationFailed: what is to be opened is damaged here, or not all there.
    """
    if not manifest.sealed:
        return good(OPENS, "it is not sealed")
    readers = readers_now(place, manifest, trusted=trusted).recipients
    who = "; or ".join(reader.describes for reader in readers)
    failures: list[str] = []
    damage: StrongroomError | None = None
    for identity in identities:
        try:
            Backup(place, manifest, [identity], trusted=trusted).unlock()
        except TargetError:
            raise
        except DAMAGE as error:
            damage = error
        except StrongroomError as error:
            failures.append(f"{identity.describe()}: {error.message}")
        else:
            return good(OPENS, f"opens here with {identity.describe()}; it opens for {who}")
    if damage is not None:  # no key can help, and to ask for one would mislead
        raise damage
    return _not_here(readers, who, asked, failures)


def _not_here(
    readers: Sequence[ManifestRecipient], who: str, asked: Collection[str], failures: Sequence[str]
) -> Finding:
    if any(reader.type in BY_PEOPLE or reader.name in asked for reader in readers):
        return remark(OPENS, f"opens here once somebody is asked; it opens for {who}", _BRING)
    tried = f" (tried {plural(len(failures), 'key')})" if failures else ""
    return wrong(OPENS, NothingOpens(f"nothing here opens it{tried}; it opens for {who}", hint=_GIVE))


_BRING = "Have who knows the passphrase or PIN, or the custodians with their papers, at hand."
_GIVE = "Bring one of these here: --identity FILE, or its setting under 'keys'. Then repeat."
