"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Struct

from strongroom.cli.parameters import (
    Command,
    Nothing,
    Word,
    argument,
    duration,
    group,
    limit,
    one_of,
    option,
    version_number,
)
from strongroom.cli.shared import options
from strongroom.errors import UsageError
from strongroom.operations.restore.scratch import DrillScope

AllNames = Annotated[bool, option("name every secret, however many (--json always does)")]


# -- restore --------------------------------------------------------------------------


@group("where to")
class RestoreInto(Struct, frozen=True, kw_only=True):
    """What a restore writes into, and what secrets are called there."""

    to: Annotated[
        str,
        option(
            "where to restore into: 'local' (the default), or the name of a configured source",
            metavar="SOURCE",
        ),
    ] = options.LOCAL
    relocate: Annotated[str | None, option(options.RELOCATE, metavar="FROM=TO")] = None
    to_file: Annotated[
        Path | None,
        option("instead: seal what is chosen into a new single-file backup, for --recipient", metavar="FILE"),
    ] = None
    recipient: options.Recipient = ()


@group("plan first")
class PlanOptions(Struct, frozen=True, kw_only=True):
    """The plan that a restore only makes, or the one that it carries out."""

    plan_out: Annotated[
        Path | None,
        option(
            "only plan: write into FILE (mode 0600) what would be done, for --plan; it holds names",
            metavar="FILE",
        ),
    ] = None
    plan_recipient: Annotated[
        tuple[str, ...],
        option(
            "seal that file to this key: a configured one, a public key or a key file; repeatable",
            metavar="KEY",
        ),
    ] = ()
    plan: Annotated[
        Path | None,
        option("do just what this plan says; what changed since is left, and named", metavar="FILE"),
    ] = None


class Restore(Struct, frozen=True, kw_only=True):
    """Restore secrets into the local store, another source, or a file."""

    planning: PlanOptions = PlanOptions()
    secret_name: Annotated[str | None, option("restore this one secret", metavar="NAME")] = None
    version: Annotated[
        int | None,
        option(
            "with --secret-name: the version of it to restore, whose value becomes a new version "
            "(default: the newest)",
            metavar="N",
            read=version_number,
        ),
    ] = None
    full_restore: Annotated[bool, option("restore everything except what --exclude names")] = False
    fill_from_earlier: Annotated[
        bool,
        option("also restore what the newest backup lacks and earlier ones have, each with its newest value"),
    ] = False
    overwrite_existing: Annotated[
        bool,
        option(
            "also replace what differs (an undo file is written first)",
            name=("--overwrite-existing", "--confirm-overwrite"),
        ),
    ] = False
    verify_after_restore: Annotated[bool, option("compare everything once more at the end")] = False
    dry_run: Annotated[
        bool,
        option(
            "change nothing; say what would happen to each secret, which rights are missing, what would be "
            "lost and how long it takes"
        ),
    ] = False
    all_names: AllNames = False
    force: Annotated[
        bool,
        option(
            "do not ask before writing into another source than the local store, nor before a value that "
            "others know is restored; replace the FILE of --plan-out or --to-file"
        ),
    ] = False
    validate: Annotated[
        bool,
        option(
            "with --cluster: check the worker's host first, restore all, and check the secrets afterwards"
        ),
    ] = False
    way: options.ClusterOptions = options.ClusterOptions()
    into: RestoreInto = RestoreInto()
    selected: options.SelectionOptions = options.SelectionOptions()
    origin: options.RestoreFrom = options.RestoreFrom()


def _restore_work(given: Restore) -> str:
    """Choose, once the words go together: one secret, or many, here or by the cluster."""
    if given.secret_name is not None:
        options.refuse_beside(given, _OF_MANY, "--secret-name")
    elif given.version is not None:
        raise UsageError("--version is of one secret: it goes with --secret-name.")
    if given.way.cluster:
        return "on_cluster:restore_there"
    if given.validate:
        raise UsageError(
            "--validate goes with --cluster.",
            hint="Here: 'strongroom check secrets --production' afterwards.",
        )
    return "restore:restore_secrets" if given.secret_name is None else "restore:restore_secret"


_OF_MANY = (
    *("filter_tag", "include", "exclude", "full_restore", "fill_from_earlier", "to_file", "plan"),
    *("verify_after_restore", "all_names"),
)


class RestoreUndo(Struct, frozen=True, kw_only=True):
    """Undo a restore that is on record."""

    way: options.ClusterOptions = options.ClusterOptions()
    restored: Annotated[str | None, argument("its id, or that of its run", metavar="RESTORE")] = None
    list: Annotated[bool, option("list the restores on record")] = False
    selected: options.SelectionOptions = options.SelectionOptions()
    dry_run: Annotated[bool, option("change nothing; say what would happen to each secret")] = False
    all_names: AllNames = False
    force: Annotated[
        bool, option("do not ask before secrets are replaced and removed elsewhere than in the local store")
    ] = False
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.TrustOptions = options.TrustOptions()


def _undo_work(given: RestoreUndo) -> str:
    return "on_cluster:undo_there" if given.way.cluster else "undo:undo_restore"


# -- restore snapshot -----------------------------------------------------------------


@one_of(required=True)
class SnapshotPlace(Struct, frozen=True, kw_only=True):
    """Where a snapshot of a server lies: in files, or on targets."""

    backup_file: Annotated[
        tuple[Path, ...],
        option("a single-file backup, or all undo files of a restore", metavar="FILE", many=True),
    ] = ()
    from_target: options.FromTarget = ()


@group("which server to overwrite")
class ServerOptions(Struct, frozen=True, kw_only=True):
    """Which Vault server is replaced, and on what conditions."""

    vault: Annotated[str | None, option("one under [vaults] in the configuration", metavar="NAME")] = None
    address: Annotated[str | None, option("or its address", metavar="URL")] = None
    token_file: Annotated[Path | None, option("with --address: the token's file (0600)", metavar="FILE")] = (
        None
    )
    ca_file: Annotated[
        Path | None, option("with --address: the certificate authority's file", metavar="FILE")
    ] = None
    foreign_keys: Annotated[
        bool, option("the snapshot has other unseal keys than the server, which is sealed afterwards")
    ] = False
    confirm: Annotated[
        str | None, option("cluster and index, instead of typing them on a terminal", metavar="CLUSTER@INDEX")
    ] = None
    no_way_back: Annotated[bool, option("do not save what is there now")] = False
    check: Annotated[bool, option("only check the snapshot; needs no server")] = False


class ReplaceServer(Struct, frozen=True, kw_only=True):
    """Replace a whole Vault server by a snapshot of it."""

    where: Annotated[SnapshotPlace, group("what to restore from")]
    choice: Annotated[options.BackupOptions, group("what to restore from")] = options.BackupOptions()
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.ReaderTrustOptions = options.ReaderTrustOptions()
    server: ServerOptions = ServerOptions()


# -- drill ----------------------------------------------------------------------------


class RunDrill(Struct, frozen=True, kw_only=True):
    """Rehearse the recovery of everything."""

    scope: ClassVar[DrillScope] = DrillScope.FULL
    policy: Annotated[str | None, option("the policy to recover (default: drill.policy)", metavar="NAME")] = (
        None
    )
    target: Annotated[str | None, option("read from this target alone", metavar="NAME")] = None
    into: Annotated[
        str | None,
        option(
            "'local', or a configured Vault server on which a mount is made (default: drill.into)",
            metavar="PLACE",
        ),
    ] = None
    random_within: Annotated[
        int | None,
        option(
            "take a random backup of so many days (default: the newest backup)", metavar="DAYS", read=limit
        ),
    ] = None
    objective: Annotated[
        float | None,
        option(
            "how long the recovery may take, such as 15m or 2h (default: drill.objective_seconds)",
            metavar="TIME",
            read=duration,
        ),
    ] = None
    way: options.ClusterOptions = options.ClusterOptions()


class DrillSecret(RunDrill, frozen=True, kw_only=True):
    """Rehearse the recovery of one secret."""

    scope: ClassVar[DrillScope] = DrillScope.SINGLE
    secret: Annotated[str | None, option("which secret (default: a random one)", metavar="NAME")] = None


class DrillCategory(RunDrill, frozen=True, kw_only=True):
    """Rehearse the recovery of every secret with a tag."""

    scope: ClassVar[DrillScope] = DrillScope.CATEGORY
    tag: Annotated[
        tuple[str, ...],
        option("the tag; repeatable, all have to match (default: a random one)", metavar="KEY=VALUE"),
    ] = ()


class DrillFailover(RunDrill, frozen=True, kw_only=True):
    """Rehearse the recovery of everything without one of the regions."""

    scope: ClassVar[DrillScope] = DrillScope.FAILOVER
    target: Annotated[
        str | None,
        option(
            "cut off the region of this target (default: drill.cut_off, or the policy's first)",
            metavar="NAME",
        ),
    ] = None


class DrillEmergency(RunDrill, frozen=True, kw_only=True):
    """Rehearse the recovery of everything from the emergency medium."""

    scope: ClassVar[DrillScope] = DrillScope.EMERGENCY


_DRILLS: dict[type[RunDrill], str] = {
    DrillSecret: "rehearse the recovery of one secret",
    DrillCategory: "rehearse the recovery of every secret with a tag",
    RunDrill: "rehearse the recovery of everything",
    DrillFailover: "rehearse the recovery of everything without one of the regions",
    DrillEmergency: "rehearse the recovery of everything from the emergency medium",
}


class ListDrills(Struct, frozen=True, kw_only=True):
    """List the reports that lie on the targets."""

    trust: options.TrustOptions = options.TrustOptions()
    from_target: Annotated[tuple[str, ...], option("only this target; repeatable", metavar="NAME")] = ()


class ShowDrill(ListDrills, frozen=True, kw_only=True):
    """Show a report, and check its signature and its page."""

    drill: Annotated[str, argument("the run of the drill", metavar="RUN")]
    output: Annotated[Path | None, option("write it to a file: .html or .json", metavar="FILE")] = None
    force: Annotated[bool, option("replace the file if it exists")] = False


class RehearseRecovery(Struct, frozen=True, kw_only=True):
    """Rehearse a recovery on this machine, and time it."""

    origin: options.RestoreFrom = options.RestoreFrom()
    secret_name: Annotated[str | None, option("rehearse the recovery of one secret", metavar="NAME")] = None
    selected: options.SelectionOptions = options.SelectionOptions()
    dry_run: Annotated[
        bool, option("write nothing: open everything in memory, and say what a restore would change")
    ] = False
    to: Annotated[
        str,
        option(
            "what a recovery would restore into: 'local' (the default) or a configured source. Nothing is "
            "written there. --dry-run compares with it, and its rate limit counts",
            metavar="SOURCE",
        ),
    ] = options.LOCAL
    scratch: Annotated[
        Path | None, option("where to put the scratch store (default: in the state directory)", metavar="DIR")
    ] = None
    objective: Annotated[
        float | None,
        option(
            "how long the recovery may take, such as 90s, 15m or 2h (default: 15m for one secret, 30m for a "
            "category, 2h for everything)",
            metavar="TIME",
            read=duration,
        ),
    ] = None
    report: Annotated[Path | None, option("write the result into this file, as JSON", metavar="FILE")] = None
    force: Annotated[bool, option("replace the report if it exists")] = False


COMMANDS = {
    "restore": Command(
        Restore,
        _restore_work,
        "Only backups of a trusted signer are restored: of this installation, of one under trust.signers\n"
        "in the configuration, or of --signer. Every secret is read back and compared. What is overwritten\n"
        "is kept. If a secret cannot be restored, it is named at the end and the others are restored.",
    ),
    "restore undo": Command(RestoreUndo, _undo_work),
    "restore snapshot": Command(
        ReplaceServer,
        "snapshot:replace_server",
        "Only a backup of a trusted signer is used. The whole snapshot is checked before anything is sent.\n"
        "What the server holds now is saved in undo files. You have to type the cluster's name and the\n"
        "snapshot's index; no option replaces that.",
    ),
    "drill": Command(
        Nothing,
        words={
            **{kind.scope.value: Word(says, kind, "drill:run_drill") for kind, says in _DRILLS.items()},
            "list": Word("list the reports that lie on the targets", ListDrills, "drill:list_drills"),
            "show": Word(
                "show a report, and check its signature and its page", ShowDrill, "drill:show_drill"
            ),
        },
        details=(
            "Picks a backup, proves that this host could recover, restores into a place of its own,\n"
            "compares every value with what was backed up, removes the place again and compares with the\n"
            "source. The signed report and its page (HTML) are put on the policy's targets. A drill that\n"
            "could not be carried out has failed. 'reports check FILE' checks a report without a network."
        ),
    ),
    "drill local": Command(
        RehearseRecovery,
        "rehearsal:rehearse_recovery",
        "Restores into a scratch store that is sealed under a key of its own. Compares every version of\n"
        "every secret with the backup, which is read once more. Then removes the store. With --dry-run\n"
        "nothing is written. The recovery has to take no longer than the objective of its scope, or\n"
        "--objective.",
    ),
}
