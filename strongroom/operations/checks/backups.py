"""Whether what a recovery starts from, and what it writes into, is in reach."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import DAMAGE, MissingPiece, UntrustedSigner, VerificationFailed
from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import StrongroomError, TargetError
from strongroom.keys import Identity
from strongroom.keys.passphrase import TYPE as PASSPHRASE
from strongroom.keys.quorum import TYPE as QUORUM
from strongroom.operations.archive.coverage import ASIDE, Asked, BackupChoice, Passed, describe_skipped
from strongroom.operations.archive.envelopes import readers_now
from strongroom.operations.archive.open import Backup, Objects
from strongroom.operations.archive.quarantine import in_quarantine
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.checks.machine import disk
from strongroom.operations.engine.findings import Finding, good, remark, wrong
from strongroom.operations.errors import NothingOpens, RightMissing
from strongroom.sources import CredentialRights, Source
from strongroom.sources.local import LocalStore
from strongroom.state.records import CatalogEntry
from strongroom.words import plural

# -- Whether what a recovery starts from is in reach: the newest backups, and what opens them here ---


TARGET, BACKUP, WHOLE, OPENS, SIGNERS = "target", "backup", "whole", "opens", "signers"

LOOKED = 50
"""Believed manifests that are looked through on a target for the newest of each policy. A policy whose newest
backup is older than all of these is found by the record, if there is one. Those that are not believed do not
count: an attacker who may write there could hide every backup behind fifty names."""

BY_PEOPLE = frozenset({PASSPHRASE, QUORUM})
"""Kinds of keys that people bring, so that this host need not hold anything."""


class Want(Struct, frozen=True, kw_only=True):
    """A policy that something could be recovered from.

    ``targets`` are where its backups are to lie. ``required``: one has to be in reach, since it holds
    values and lies on no medium that is in a safe most of the time. ``within``: the policies that back up
    all of the same source, so that what this one would select comes back from theirs.
    """

    policy: str
    targets: tuple[str, ...]
    values: bool
    required: bool
    within: tuple[str, ...] = ()


class TargetBackups(Struct, frozen=True, kw_only=True):
    """What a target showed: of the backups that a restore would take those that it has, how many backups it
    shows in all, why others are not believed, and what is wrong with those that it has."""

    newest: Mapping[str, Manifest]
    backups: int
    refused: Mapping[str, str]
    damaged: Mapping[str, str] = {}


Looked = Mapping[str, TargetBackups | StrongroomError]


def choose_backups(found: Chooser, policies: Collection[str], *, recorded: Mapping[str, str]) -> Looked:
    """Choose the newest backup of each policy as a restore does, and say what each target has of them.

    Args:
        recorded: the newest backup of each policy on record here.
    """
    chosen = _chosen(found, frozenset(policies), recorded) if found.listings else {}
    seen = {name: _seen(name, len(listing), chosen, found) for name, listing in found.listings.items()}
    return {**seen, **found.away}


def _chosen(
    chooser: Chooser, policies: frozenset[str], recorded: Mapping[str, str]
) -> dict[str, BackupChoice]:
    chosen: dict[str, BackupChoice] = {}
    for choice in islice(chooser.choices(Asked(values=False, partial=True)), LOOKED):
        chosen.setdefault(choice.manifest.policy, choice)
        if policies and chosen.keys() >= policies:
            break
    for policy in policies - chosen.keys():
        with suppress(StrongroomError):  # it is said as not in reach
            if backup := recorded.get(policy):
                chosen[policy] = chooser.choose(Asked(values=False, partial=True, backup=backup))
    return chosen


def _seen(name: str, backups: int, chosen: Mapping[str, BackupChoice], chooser: Chooser) -> TargetBackups:
    listing = chooser.listings[name]
    newest = {
        policy: choice.manifest
        for policy, choice in chosen.items()
        if name in {replica.name for replica in choice.replicas}
    }
    ids = {manifest.backup_id for manifest in newest.values()}
    return TargetBackups(
        newest=newest,
        backups=backups,
        refused={
            passed.backup: passed.why
            for passed in chooser.passed
            if not passed.policy and passed.backup in listing
        },
        damaged={
            damaged_id: why
            for (on, damaged_id), why in chooser.damaged.items()
            if on == name and damaged_id in ids
        },
    )


def passed_over(found: Chooser, policies: Collection[str]) -> Iterator[Finding]:
    """Say which newer backups a restore would not take, and why."""
    for line in describe_skipped(passed for passed in found.passed if passed.policy in policies):
        yield remark(BACKUP, f"newer, but not used: {line}")
    for name, why in found.marks_aside.items():
        yield remark(BACKUP, f"not believed: {name}: {why}")


def default_backup(found: Chooser) -> Iterator[Finding]:
    """Say which backup a restore of everything would take without further words, if there is one."""
    if not found.listings:
        return
    try:
        manifest = found.choose(Asked()).manifest
    except StrongroomError as error:
        yield remark(WHOLE, f"{error.message} ({error.code})", error.hint)
        return
    words = f"a restore of everything takes backup {manifest.backup_id} of policy '{manifest.policy}'"
    yield good(WHOLE, f"{words}, made {manifest.created_at}").on(backup=manifest.backup_id)
    if (lost := found.lost(Asked(), manifest)) is not None and lost.denied:
        yield wrong(WHOLE, lost.error(manifest)).on(backup=lost.known.backup)


def newest_of(looked: Looked) -> dict[str, Manifest]:
    """Return the newest backup of each policy on any target that answered."""
    found: dict[str, Manifest] = {}
    for seen in _answered(looked).values():
        for policy, manifest in seen.newest.items():
            if policy not in found or found[policy].backup_id < manifest.backup_id:
                found[policy] = manifest
    return found


def _answered(looked: Looked) -> dict[str, TargetBackups]:
    return {name: seen for name, seen in looked.items() if isinstance(seen, TargetBackups)}


# -- targets, and what they show -----------------------------------------------------------


def targets(
    looked: Looked, wanted: Sequence[Want], recorded: Mapping[str, str], *, passed: Sequence[Passed] = ()
) -> Iterator[Finding]:
    """Say of each target whether it answers, and holds the newest backup of each policy.

    What one target lacks is a remark as long as another has it: from there it can be recovered.

    Args:
        recorded: the newest backup of each policy on record here, if there is a record.
        passed: what was not taken, and why.
    """
    newest = newest_of(looked)
    refused = {newer.backup: why for newer in passed if (why := _refusal(newer)) is not None}
    away = any(not isinstance(seen, TargetBackups) for seen in looked.values())
    needed = [
        want
        for want in wanted
        if want.required and want.policy not in newest and not _stand_in(want, newest, recorded)
    ]
    for name, seen in looked.items():
        if isinstance(seen, TargetBackups):
            yield from _of_target(name, seen, newest, wanted)
        elif any(name in want.targets for want in needed):
            yield wrong(TARGET, seen).on(target=name)
        else:
            yield remark(TARGET, f"{seen.message} ({seen.code})", seen.hint).on(target=name)
    for want in wanted:
        if other := _stand_in(want, newest, recorded):
            none = "no target that answers shows a backup of it" if away else "it has no backup yet"
            words = f"{none}; all of its source is in backup {newest[other].backup_id} of '{other}'"
            yield remark(BACKUP, words).on(policy=want.policy)
        else:
            known = recorded.get(want.policy, "")
            if want.required and (refusal := refused.get(known)) is not None:
                yield wrong(BACKUP, refusal).on(policy=want.policy, backup=known)
            else:
                yield from _of_policy(want, newest.get(want.policy), known, away=away)


def _refusal(passed: Passed) -> StrongroomError | None:
    """Return why a backup that is there is not believed, or not to be restored from."""
    if passed.why.startswith(ASIDE):
        return in_quarantine(passed.backup, passed.why.removeprefix(ASIDE).strip())
    return passed.broken if isinstance(passed.broken, UntrustedSigner) else None


def _stand_in(want: Want, newest: Mapping[str, Manifest], recorded: Mapping[str, str]) -> str:
    """Return the policy whose backup in reach holds the source of one that never had a backup."""
    if want.policy in newest or want.policy in recorded:
        return ""
    return next((policy for policy in want.within if policy in newest), "")


def _of_target(
    name: str, seen: TargetBackups, newest: Mapping[str, Manifest], requirements: Sequence[Want]
) -> Iterator[Finding]:
    lacking = [
        newest[want.policy].backup_id
        for want in requirements
        if name in want.targets
        and want.policy in newest
        and _id(seen.newest.get(want.policy)) != newest[want.policy].backup_id
    ]
    for backup in lacking:
        words = f"backup {backup}, which another target has, is missing here"
        yield remark(TARGET, words, f"'strongroom backups repair {backup}' copies it there.").on(
            target=name, backup=backup
        )
    if seen.refused:
        backup, why = next(iter(seen.refused.items()))
        words = f"{plural(len(seen.refused), 'newer backup')} there not believed, such as {backup}: {why}"
        yield remark(
            TARGET, words, "Compare its signer with the recovery kit: 'strongroom keys signers list'."
        ).on(target=name, backup=backup)
    for backup, why in seen.damaged.items():
        yield remark(TARGET, why, f"'strongroom backups repair {backup}' copies it from a good replica.").on(
            target=name, backup=backup
        )
    if not lacking and not seen.refused and not seen.damaged:
        yield good(TARGET, f"answers, and shows {plural(seen.backups, 'backup')}").on(target=name)


def _id(manifest: Manifest | None) -> str:
    return "" if manifest is None else manifest.backup_id


def _of_policy(want: Want, newest: Manifest | None, recorded: str, *, away: bool) -> Iterator[Finding]:
    if newest is None and want.required:
        hint = "Bring a target back that has one. A file can be asked about alone: --backup-file FILE."
        if not recorded:
            command = f"'strongroom backup --policy {want.policy}'"
            hint += f" If there never was one, and its source lost nothing: {command}."
        error = MissingPiece(f"no backup of it is in reach: {recorded or 'none is on record'}", hint=hint)
        yield wrong(BACKUP, error).on(policy=want.policy)
    elif newest is None:
        seen = "no target that answers shows a backup of it" if recorded or away else "it has no backup yet"
        words = f"{seen}; it would hold no values, so nothing could be restored"
        yield remark(BACKUP, words).on(policy=want.policy)
    elif recorded > newest.backup_id:
        words = f"the newest in reach is {newest.backup_id}; {recorded} is on record, and no target shows it"
        error = MissingPiece(
            words, hint="Suspect a rollback, or a target that does not answer. Find out before you restore."
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


_BRING = "Call the person who knows the passphrase or PIN, or the custodians with their papers."
_GIVE = "Bring one of these here: --identity FILE, or its setting under 'keys'. Then repeat."


# -- Whether what a recovery writes into can be written to, and what would rebuild this installation


DESTINATION, ESCROW = "destination", "escrow"
NAMED = 5


def destination(source: Source) -> Iterator[Finding]:
    """Look whether a source answers, and lets itself be written to, as far as it tells. Writes nothing.

    Raises:
        SourceError: it does not answer.
    """
    if isinstance(source, LocalStore):
        yield from _local(source)
        return
    next(iter(source.list()), None)
    if (told := source.write_rights()) is None:
        yield remark(DESTINATION, "it answers; its server does not tell whether it may be written to")
        return
    rights = list(told)
    needed = [right for right in rights if not right.beside]
    if lacking := [right for right in needed if right.missing]:
        said = f"it answers, and a restore lacks rights there: {_paths(lacking)}"
        hint = "Give this machine, for the recovery, a credential that may create and update secrets (ops/)."
        yield wrong(DESTINATION, RightMissing(said, hint=hint))
        return
    found = f"each of {plural(len(needed), 'path')} that secrets are written to may be written"
    yield good(DESTINATION, f"it answers, and {found}")
    if lacking := [right for right in rights if right.missing]:
        said = f"what is stored next to the secrets may not be written there: {_paths(lacking)}"
        yield remark(
            DESTINATION,
            said,
            "A restore leaves it out, and names it. 'strongroom cluster rules' prints what fits.",
        )


def _paths(lacking: Sequence[CredentialRights]) -> str:
    more = f"; and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return "; ".join(f"{', '.join(rights.missing)} {rights.path}" for rights in lacking[:NAMED]) + more


def _local(store: LocalStore) -> Iterator[Finding]:
    """A store that is there opens under its key; one that is not will be made."""
    if store.made:
        next(iter(store.list()), None)
    room = [finding for finding in disk(store.master_key_path.parent, 0) if finding.exit_code]
    yield from (replace(finding, check=DESTINATION) for finding in room)
    if not room:
        words = (
            "the local store opens, and can be written to" if store.made else "the local store will be made"
        )
        yield good(DESTINATION, words)


def read_only(kind: str) -> Finding:
    """Say that a source cannot be restored into by itself."""
    if kind == "raft":
        return remark(DESTINATION, "a server as a whole: 'strongroom restore snapshot' replaces all of it")
    what = "files are" if kind == "files" else f"a source of kind '{kind}' is"
    return remark(DESTINATION, f"{what} read, not written: restore into another source with --to")


def escrow(entries: Iterable[CatalogEntry]) -> Finding:
    """Say whether an escrow of this installation's own keys is on record."""
    newest = next((entry for entry in entries if entry.source == ESCROW), None)
    if newest is not None:
        return good(ESCROW, f"one was made at {newest.created_at}; print the recovery kit beside it")
    to_do = (
        "'strongroom emergency escrow FILE', and 'strongroom emergency kit': keep both away from this "
        "machine."
    )
    return remark(ESCROW, "no escrow of this installation's keys is on record here", to_do)


# -- What is on record of the newest backups: a replica that was found bad opens all the same, and brings
# nothing back


def having(policy: str, backup: str, looked: Looked) -> list[str]:
    """Return the targets that show a backup as a policy's newest."""
    return [
        name
        for name, seen in looked.items()
        if isinstance(seen, TargetBackups)
        and policy in seen.newest
        and seen.newest[policy].backup_id == backup
    ]


def damaged(looked: Looked, wanted: Sequence[Want], bad: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """Say which replicas of the newest backups are on record as bad. It is a remark as long as another
    target shows one that is not.

    Args:
        bad: by backup, the targets on which it was found damaged or incomplete.
    """
    newest = newest_of(looked)
    for want in wanted:
        if (manifest := newest.get(want.policy)) is None:
            continue
        backup = manifest.backup_id
        there = having(want.policy, backup, looked)
        if known := [name for name in there if name in bad.get(backup, ())]:
            finding = _known_bad(backup, known, alone=known == there and want.required)
            yield finding.on(policy=want.policy, backup=backup)


def _known_bad(backup: str, names: Sequence[str], *, alone: bool) -> Finding:
    words = f"it was found damaged or incomplete on {', '.join(names)}"
    if not alone:
        return remark(BACKUP, words, f"'strongroom backups repair {backup}' copies it from a good replica.")
    hint = (
        f"'strongroom backups repair {backup}' looks once more. If no replica is good, restore an older "
        "backup."
    )
    return wrong(BACKUP, VerificationFailed(f"{words}, and no other target shows it", hint=hint))
