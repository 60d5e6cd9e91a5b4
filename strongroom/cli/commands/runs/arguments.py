"""What the commands of this room take."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, Nothing, UnreadableWord, Word, argument, ending, limit, option
from strongroom.cli.shared import options

RunId = Annotated[str, argument("the run, or the id that --cluster printed", metavar="RUN")]
Here = Annotated[bool, option("run it in this process, even if a cluster runs")]
Follow = Annotated[bool, option("wait until it has ended, and show it live")]
EntryName = Annotated[str, argument("its name, as 'strongroom schedule' shows it", metavar="ENTRY")]


class StartCluster(Struct, frozen=True, kw_only=True):
    """Which processes of the cluster are started beside the usual ones."""

    flower: Annotated[bool, option("run the task monitor too; it asks for a login")] = False
    metrics: Annotated[bool, option("serve metrics for Prometheus too")] = False
    page: Annotated[bool, option("serve the page for a browser too; it asks for a login")] = False
    ephemeral: Annotated[bool, option("use an embedded broker that loses its queues at a restart")] = False
    with_recover: Annotated[
        bool, option("run the recover workers too, which restore and rotate with the private keys")
    ] = False


class ListRuns(Struct, frozen=True, kw_only=True):
    """How many runs are listed, or whether all is watched."""

    watch: Annotated[bool, option("show policies, runs, queues and alerts live; q ends it")] = False
    limit: Annotated[int, option("how many runs to list (default: 20)", metavar="N", read=limit)] = 20


def _list_work(given: ListRuns) -> str:
    return "status:watch_installation" if given.watch else "status:list_runs"


class ShowRun(Struct, frozen=True, kw_only=True):
    """Which run is shown."""

    id: RunId
    follow: Follow = False


class CancelRun(Struct, frozen=True, kw_only=True):
    """Which run is ended."""

    id: RunId


class RetryRun(Struct, frozen=True, kw_only=True):
    """Which run is taken up again, and where."""

    id: RunId
    here: Here = False


class RepairBackups(Struct, frozen=True, kw_only=True):
    """What is looked at, and repaired by whom."""

    backup: Annotated[
        str | None, argument("this backup (default: each with a bad or missing replica)", metavar="BACKUP")
    ] = None
    target: Annotated[
        tuple[str, ...], option("check everything on this target, and repair it; repeatable", metavar="NAME")
    ] = ()
    all: Annotated[bool, option("the same for every target")] = False
    where: options.ClusterOptions = options.ClusterOptions()

    def __post_init__(self) -> None:
        if self.where.cluster and (self.target or self.all):
            raise UnreadableWord("--target and --all are for this process: --cluster repairs one BACKUP")
        if self.where.cluster and self.backup is None:
            raise UnreadableWord("Which backup? --cluster repairs one: see 'strongroom backups replicas'")
        if self.backup and (self.target or self.all):
            raise UnreadableWord("BACKUP names one backup, --target and --all mean all there is: give one")


def _repair_work(given: RepairBackups) -> str:
    return "cluster:repair_there" if given.where.cluster else "cluster:repair_backups"


class RunEntry(Struct, frozen=True, kw_only=True):
    """Which entry of the calendar is run now, and where."""

    entry: EntryName
    here: Here = False
    follow: Follow = False


class PauseEntry(Struct, frozen=True, kw_only=True):
    """Which entry of the calendar rests, why and how long."""

    entry: EntryName
    until: Annotated[
        float | None,
        option(
            "when it ends by itself: 2026-12-01T08:00Z, or a length from now such as 3d "
            "(default: until it is resumed)",
            metavar="TIME",
            read=ending,
        ),
    ] = None
    reason: options.Reason


class ResumeEntry(Struct, frozen=True, kw_only=True):
    """Whose pause ends, and why."""

    entry: EntryName
    reason: Annotated[str, option("why; it goes on record", metavar="TEXT")] = ""


COMMANDS = {
    "up": Command(
        StartCluster,
        "cluster:start_cluster",
        "Runs the broker (embedded, unless the configuration names one), the worker pools and beat. A\n"
        "process that exits is started again. Ctrl-C stops in order: steps are finished or handed back.",
    ),
    "schedule": Command(
        Nothing,
        "cluster:show_calendar",
        "Without an action: every entry, the result of its last time, when it is due next, and what\n"
        "is overdue, paused or off, and why. Times are by the clock of each entry's time zone. If an entry\n"
        "is overdue, the exit code is that of a missing backup.\n"
        "'run' makes a run like any other: the cluster performs it, or without one this process. A\n"
        "pause ends by itself at its end; the newest slot that came meanwhile is made up for then.",
        words={
            "run": Word("run an entry now", RunEntry, "cluster:run_entry"),
            "pause": Word("let an entry rest", PauseEntry, "cluster:pause_entry"),
            "resume": Word("end a pause", ResumeEntry, "cluster:resume_entry"),
        },
    ),
    "runs show": Command(ShowRun, "status:show_run"),
    "runs": Command(
        ListRuns,
        _list_work,
        "--watch reads the record each second, and draws on the whole terminal what it says of each policy\n"
        "and target, of what runs, how fast and how long still, of the queues and of alerts. Into a pipe it\n"
        "writes a line for each change. q and Ctrl-C end it with exit code 0; the runs go on.",
    ),
    "runs cancel": Command(
        CancelRun,
        "status:cancel_run",
        "A step that is being performed stops when it next renews its lease, and leaves nothing half-made.\n"
        "If the run has ended already, it is shown and the exit code is 4. If a process still holds a step\n"
        "after a minute, it is named and the command fails: the run ends later.",
    ),
    "runs retry": Command(
        RetryRun,
        "status:retry_run",
        "A failed run starts over, because its report removed what it had staged. A run whose process was\n"
        "killed continues where it stopped.",
    ),
    "backups repair": Command(
        RepairBackups,
        _repair_work,
        "Without a name it lists the\n"
        "targets, records which replicas are missing, and repairs those and the ones on record as bad.\n"
        "--target and --all also compare manifests and the containers' names and sizes with the record.\n"
        "BACKUP reads the whole backup.",
    ),
}
