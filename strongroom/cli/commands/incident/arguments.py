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
    beginning,
    duration,
    group,
    option,
)
from strongroom.cli.shared import options

STEPS = ("isolate", "readers", "reseal", "rotate", "report")
HOURS = 3600.0

NamedIncident = Annotated[
    str, argument("its id; may be left out while one alone is open", metavar="INCIDENT")
]
NamesFile = Annotated[
    Path | None, option("also write which secrets to change, by name, mode 0600", metavar="FILE")
]
ReportFile = Annotated[
    Path | None, option("the signed report (JSON); the page is written beside it", metavar="FILE")
]
NoQuestion = Annotated[bool, option("do not ask first, and replace the file of --secrets")]


@group("what is suspected to be in wrong hands")
class SuspectedOptions(Struct, frozen=True, kw_only=True):
    """What is suspected to be in wrong hands."""

    key: Annotated[
        tuple[str, ...],
        option("a configured key, or what 'keys --json' calls its key; repeatable", metavar="KEY"),
    ] = ()
    key_version: Annotated[
        int | None, option("with --key: only what opens with this version of it", metavar="N")
    ] = None
    backup: Annotated[tuple[str, ...], option("a backup; repeatable", metavar="ID")] = ()
    secret: Annotated[
        tuple[str, ...], option("a secret whose value is known; repeatable", metavar="NAME")
    ] = ()
    secret_list: Annotated[
        Path | None, option("a file with such names, one on each line", metavar="FILE")
    ] = None
    host: Annotated[
        str | None,
        option("a host: what was captured on it; with --key for each key that was there", metavar="HOST"),
    ] = None
    target: Annotated[
        str | None, option("a target: others could read and change what is on it", metavar="NAME")
    ] = None


class OpenIncident(Struct, frozen=True, kw_only=True):
    """Begin an incident, and do its first steps."""

    suspected: SuspectedOptions = SuspectedOptions()
    reason: Annotated[str, option("what is known; it goes on record", metavar="TEXT")]
    since: Annotated[
        float | None,
        option("from when on to look for readers (default: ever)", metavar="TIME", read=beginning),
    ] = None
    due: Annotated[
        float,
        option("when it should be closed, such as 72h; later is an alarm", metavar="TIME", read=duration),
    ] = 72 * HOURS
    output: ReportFile = None
    secrets: NamesFile = None
    quarantine_only: Annotated[bool, option("re-encrypt nothing yet")] = False
    force: NoQuestion = False
    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()


class WhichIncident(Struct, frozen=True, kw_only=True):
    """Which incident is meant."""

    incident: NamedIncident = ""


class FindReaders(WhichIncident, frozen=True, kw_only=True):
    """Find who opened what is affected by an incident, or what a key opens."""

    key: Annotated[
        tuple[str, ...],
        option("ask about what this key opens, and open no incident; repeatable", metavar="KEY"),
    ] = ()


class ResealBackups(WhichIncident, frozen=True, kw_only=True):
    """Seal again what the suspected key opens."""

    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()


class RotateExposed(WhichIncident, frozen=True, kw_only=True):
    """Change every secret that others may know."""

    dry_run: Annotated[
        bool, option("show which secrets would get a new value, and by which rotator, and stop")
    ] = False
    force: NoQuestion = False
    secrets: NamesFile = None
    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()


class WaiveStep(Struct, frozen=True, kw_only=True):
    """Leave a step as it is, for a reason."""

    incident: NamedIncident
    step: Annotated[str, argument(", ".join(STEPS), metavar="STEP", choices=STEPS)]
    reason: options.Reason


class ReportIncident(WhichIncident, frozen=True, kw_only=True):
    """Write the signed report, and its page."""

    output: ReportFile = None
    replace: Annotated[bool, option("with --output: replace files that are there")] = False


class CloseIncident(WhichIncident, frozen=True, kw_only=True):
    """Close it, once every step is done or waived."""

    reason: Annotated[str, option("the outcome; it goes on record", metavar="TEXT")] = ""
    output: ReportFile = None
    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()


class ReleaseBackups(Struct, frozen=True, kw_only=True):
    """Allow backups to be restored from again."""

    backup: Annotated[tuple[str, ...], argument("its id", metavar="BACKUP")]
    reason: options.Reason


COMMANDS = {
    "incident": Command(
        Nothing,
        words={
            "open": Word(
                "quarantine and re-encrypt what others may read, and find who read it",
                OpenIncident,
                "incident:respond_to_leak",
            ),
            "status": Word("show how the open incidents stand, or one", WhichIncident, "steps:show_status"),
            "list": Word(
                "show what is in quarantine, and every incident", Nothing, "incident:list_quarantined"
            ),
            "isolate": Word("quarantine and hold what is not yet", WhichIncident, "steps:isolate_backups"),
            "readers": Word(
                "find who opened what is affected, and since when", FindReaders, "steps:find_readers"
            ),
            "reseal": Word("seal again what the suspected key opens", ResealBackups, "steps:reseal_backups"),
            "rotate": Word("change every secret that others may know", RotateExposed, "steps:rotate_secrets"),
            "waive": Word("leave a step as it is, for a reason", WaiveStep, "steps:waive_step"),
            "report": Word("write the signed report, and its page", ReportIncident, "steps:make_report"),
            "close": Word(
                "close it, once every step is done or waived", CloseIncident, "steps:close_incident"
            ),
            "release": Word(
                "allow a backup to be restored from again", ReleaseBackups, "incident:release_backups"
            ),
        },
        details=(
            "'open' begins an incident and does its first steps. 'status' says what comes next. Each step\n"
            "may be repeated, also on another host: the incident lies signed on each target.\n"
            "Take a leaked key out of the policies first: a policy that still seals to it is refused.\n"
            "A backup in quarantine has a signed mark beside it on each target. No command on any host\n"
            "takes it by default: to use it, give --use-quarantined."
        ),
    ),
}
