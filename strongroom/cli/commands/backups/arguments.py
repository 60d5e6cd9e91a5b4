"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import (
    Command,
    Nothing,
    Word,
    argument,
    ending,
    group,
    limit,
    moment,
    one_of,
    option,
    version_number,
)
from strongroom.cli.shared import options
from strongroom.model import Depth

# -- which backups there are


class ListBackups(Struct, frozen=True, kw_only=True):
    """Which backups are listed, of the catalog or of targets."""

    policy: Annotated[str | None, option("only of this policy", metavar="NAME")] = None
    from_target: Annotated[
        tuple[str, ...],
        option(
            "a target: its directory, or its configured name; repeatable "
            "(default: the catalog of this installation)",
            metavar="TARGET",
        ),
    ] = ()
    trust: options.TrustOptions = options.TrustOptions()
    limit: Annotated[int, option("how many (default: 50)", metavar="N", read=limit)] = 50


def _list_work(given: ListBackups) -> str:
    """Choose: a target is read directly, and needs no catalog."""
    return "catalog:list_there" if given.from_target else "catalog:list_backups"


class RebuildCatalog(Struct, frozen=True, kw_only=True):
    """Which target the catalog is rebuilt from."""

    target: Annotated[str, option("its directory or configured name", name="--from", metavar="TARGET")]
    trust: options.TrustOptions = options.TrustOptions()


class ShowReplicas(Struct, frozen=True, kw_only=True):
    """Of which backups the replicas are shown."""

    backup: Annotated[str | None, argument("only of this backup", metavar="BACKUP")] = None


# -- a look at one backup


File = Annotated[
    Path,
    argument(
        "a backup file, a directory that is a target, or the name of a configured target", metavar="FILE"
    ),
]


@one_of()
class WhichBackup(Struct, frozen=True, kw_only=True):
    """Which backup of a target is looked at."""

    backup: Annotated[str | None, option("which backup of a target (default: the newest)", metavar="ID")] = (
        None
    )
    policy: Annotated[str | None, option("the newest backup of this policy", metavar="NAME")] = None


class ShowBackup(Struct, frozen=True, kw_only=True):
    """What is shown of a backup."""

    file: File
    which: WhichBackup = WhichBackup()

    @property
    def source(self) -> options.BackupSource:
        """The backup, which nobody has to believe, and nothing opens."""
        choice = options.BackupOptions(backup=self.which.backup, policy=self.which.policy)
        return options.BackupSource(choice=choice)


@one_of()
class VerifyHow(Struct, frozen=True, kw_only=True):
    """How deep a backup is verified, and whether that goes on record."""

    depth: Annotated[
        Depth | None,
        option(
            "present (there, right size), digest (checksums and signatures; no key), opened "
            "(decrypted), compared (each value with its digest at capture), live (with the source, too); "
            "default: opened if a key is available, else digest",
            metavar="DEPTH",
        ),
    ] = None
    opens: Annotated[bool, option("say which key opens all of it; nothing goes on record")] = False
    structure: Annotated[bool, option("check its structure alone, without any key")] = False


class VerifyBackup(Struct, frozen=True, kw_only=True):
    """Which backup is read back, how deep, and with what it is opened."""

    how: VerifyHow = VerifyHow()
    by: options.ClusterOptions = options.ClusterOptions()
    file: File
    which: WhichBackup = WhichBackup()
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.ReaderTrustOptions = options.ReaderTrustOptions()
    use_quarantined: options.Quarantined = False
    legacy: options.Legacy = False

    @property
    def source(self) -> options.BackupSource:
        """The backup, and with what it is read."""
        return options.BackupSource(
            choice=options.BackupOptions(
                backup=self.which.backup,
                policy=self.which.policy,
                use_quarantined=self.use_quarantined,
            ),
            opening=self.opening,
            trust=self.trust,
            legacy=self.legacy,
        )


def _verify_work(given: VerifyBackup) -> str:
    """Choose: the cluster reads a backup by its id, from every target."""
    if given.by.cluster:
        return "verify:verify_there"
    if given.how.structure:
        return "verify:check_format"
    return "verify:test_decrypt" if given.how.opens else "verify:verify_backup"


# -- looking into backups


class ReadFromTargets(Struct, frozen=True, kw_only=True):
    """The targets that backups are read from, and with what."""

    from_target: options.FromTargets = ()
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.ReaderTrustOptions = options.ReaderTrustOptions()

    @property
    def source(self) -> options.BackupSource:
        """The same, as what a backup is read from."""
        return options.BackupSource(
            where=options.FileOrTargets(from_target=self.from_target), opening=self.opening, trust=self.trust
        )


@group("in which backups")
class WhichBackups(Struct, frozen=True, kw_only=True):
    """In which backups a secret is looked for."""

    policy: Annotated[str | None, option("only those of this policy", metavar="NAME")] = None
    at: Annotated[
        float | None, option("only those made by then, such as 2026-07-20", metavar="DATE", read=moment)
    ] = None
    no_index: Annotated[bool, option("believe no index of names: read every backup itself")] = False


class FindSecrets(Struct, frozen=True, kw_only=True):
    """Which secrets are looked for, and in which backups."""

    pattern: Annotated[str, argument("a secret's name, or a pattern like 'prod/*'", metavar="NAME")] = "*"
    filter_tag: options.FilterTag = ()
    version: Annotated[
        int | None, option("only where this version of it is", metavar="N", read=version_number)
    ] = None
    within: WhichBackups = WhichBackups()
    read: ReadFromTargets = ReadFromTargets()


class ShowHistory(Struct, frozen=True, kw_only=True):
    """Of which secret the history is shown, and by which backups."""

    name: Annotated[str, argument("the secret", metavar="NAME")]
    within: WhichBackups = WhichBackups()
    read: ReadFromTargets = ReadFromTargets()


class ShowDifferences(Struct, frozen=True, kw_only=True):
    """Which two sides are compared."""

    backups: Annotated[
        tuple[str, ...],
        argument(
            "the earlier backup, and a later one or 'live', its source now (default: the newest, and live)",
            metavar="BACKUP",
        ),
    ] = ()
    policy: Annotated[
        str | None, option("where no backup is named: the newest of this policy", metavar="NAME")
    ] = None
    at: Annotated[
        float | None,
        option(
            "where no backup is named: the newest made by then, such as 2026-07-20",
            metavar="DATE",
            read=moment,
        ),
    ] = None
    source: Annotated[
        str | None, option("what 'live' means (default: the backup's own source)", metavar="SPEC")
    ] = None
    use_quarantined: options.Quarantined = False
    read: ReadFromTargets = ReadFromTargets()


# -- what goes, and what stays


class PruneBackups(Struct, frozen=True, kw_only=True):
    """Which backups a prune is about."""

    policy: Annotated[str | None, option("only the backups of this policy", metavar="NAME")] = None
    dry_run: Annotated[bool, option("show which rule keeps or drops each, and stop")] = False


class UndeleteBackup(Struct, frozen=True, kw_only=True):
    """Which backup is not deleted after all, and why."""

    backup: Annotated[str, argument("the backup that is marked", metavar="BACKUP")]
    reason: options.Reason


@one_of(required=True)
class SubjectOptions(Struct, frozen=True, kw_only=True):
    """What a hold is about."""

    backup: Annotated[str | None, option("this backup, and what a rotation makes of it", metavar="ID")] = None
    tag: Annotated[str | None, option("every backup that may hold a secret with this tag", metavar="K=V")] = (
        None
    )
    policy: Annotated[str | None, option("every backup of this policy", metavar="NAME")] = None


class AddHold(Struct, frozen=True, kw_only=True):
    """What is held, why and how long."""

    subject: SubjectOptions
    reason: options.Reason
    until: Annotated[
        float | None,
        option(
            "when it ends by itself: 2027-11-26, to the end of that day in UTC, 2027-11-26T08:00Z, or a "
            "length from now such as 90d (default: until it is lifted)",
            metavar="TIME",
            read=ending,
        ),
    ] = None


class ReleaseHold(Struct, frozen=True, kw_only=True):
    """Which hold is lifted, and why."""

    subject: SubjectOptions
    reason: options.Reason


COMMANDS = {
    "backups list": Command(
        ListBackups,
        _list_work,
    ),
    "backups replicas": Command(
        ShowReplicas,
        "catalog:show_replicas",
        "A cell says how deep a replica was last read back, and when. BAD: missing or damaged. no answer:\n"
        "its target did not answer, so nothing is known of it. NOT LOCKED: whole, but could be removed too\n"
        "early. 'strongroom backups repair' corrects all three.",
    ),
    "backups show": Command(
        ShowBackup,
        "verify:show_info",
    ),
    "backups verify": Command(
        VerifyBackup,
        _verify_work,
        "The answer names the depth, and promises nothing beyond it. For a configured target the catalog\n"
        "records the result, as after a verification on the cluster ('strongroom backups replicas').\n"
        "With --cluster, FILE is the id of a backup, which is read back from every target.",
    ),
    "backups rebuild": Command(
        RebuildCatalog,
        "catalog:rebuild_catalog",
        "The targets are the truth. The catalog can be rebuilt from any of them.",
    ),
    "backups find": Command(
        FindSecrets,
        "find:find_secrets",
        "Names lie sealed, so looking takes a key that opens the index of names beside the backups, or else\n"
        "the backups; no value is decrypted. Without an index, one name costs a few reads in each backup,\n"
        "and a pattern or a tag all the names of each.",
    ),
    "backups history": Command(
        ShowHistory,
        "history:show_history",
        "Names lie sealed, so looking takes a key that opens the backups. No value is shown.",
    ),
    "backups diff": Command(
        ShowDifferences,
        "history:show_differences",
        "Two backups are compared by the keyed digests in them, and no value is decrypted. With 'live', and\n"
        "where the digests are of two keys, values are compared within this process. None is ever shown.",
    ),
    "backups prune": Command(
        PruneBackups,
        "retention:prune_backups",
        "What no rule keeps is marked on every target, and deleted prune.grace_days later: until\n"
        "then 'strongroom backups undelete' keeps it. 'strongroom schedule run prune' has the prune workers "
        "do it.\n"
        "A policy's keep, minimum_retention_days and minimum_retention_count say what stays. The newest\n"
        "verified backup of a policy always stays, and whatever no newer verified backup covers.",
    ),
    "backups undelete": Command(
        UndeleteBackup,
        "retention:undelete_backup",
        "It takes the mark back on every target, and holds the backup: else it would be marked again.",
    ),
    "backups hold": Command(
        Nothing,
        words={
            "add": Word(
                "let nothing remove a backup, or those of a tag or policy", AddHold, "retention:add_hold"
            ),
            "release": Word("lift a hold", ReleaseHold, "retention:release_hold"),
            "list": Word("show the holds that stand, and why", Nothing, "retention:list_holds"),
        },
        details=(
            "A hold is a signed mark on each target: every host respects it, and it outlives the database.\n"
            "Nothing that is held is pruned, shredded, or removed after a rotation."
        ),
    ),
}
