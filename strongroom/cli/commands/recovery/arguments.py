"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, group, moment, one_of, option
from strongroom.cli.shared import options


@one_of()
class WhichRecovery(Struct, frozen=True, kw_only=True):
    """Which recovery is gone on with, or begun; or that all are only shown."""

    resume: Annotated[str | None, option("go on with this recovery, also on another host", metavar="ID")] = (
        None
    )
    new: Annotated[bool, option("begin another one, even if one is open")] = False
    status: Annotated[bool, option("show the recoveries and how far each step is")] = False


@group("what to restore from")
class RecoverFrom(Struct, frozen=True, kw_only=True):
    """Which backups a recovery chooses from."""

    from_target: options.FromTargets = ()
    at: Annotated[
        float | None, option("backups made by then, such as 2026-07-20", metavar="DATE", read=moment)
    ] = None


class Recover(Struct, frozen=True, kw_only=True):
    """Lead through a recovery, or show how recoveries stand."""

    which: WhichRecovery = WhichRecovery()
    assess: Annotated[
        bool, option("answer the first questions again: what is lost or leaked, where to restore into")
    ] = False
    reason: Annotated[str | None, option("what is known so far; it goes on record", metavar="TEXT")] = None
    answer: Annotated[
        tuple[str, ...],
        option(
            "answer a question beforehand, such as leaked=none or restore=yes; repeatable",
            metavar="NAME=VALUE",
        ),
    ] = ()
    answers: Annotated[
        Path | None, option('a TOML file with answers, each as NAME = "VALUE"', metavar="FILE")
    ] = None
    no_mail: Annotated[bool, option("print the messages, and mail none of them")] = False
    cluster: Annotated[
        bool, option("have the cluster's recover workers restore; they go on without this terminal")
    ] = False
    ask_passphrase: Annotated[bool, option("ask for the passphrase once, instead of in each step")] = False
    origin: RecoverFrom = RecoverFrom()
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.TrustOptions = options.TrustOptions()


def _recover_work(given: Recover) -> str:
    return "recover:show_status" if given.which.status else "recover:recover"


COMMANDS = {
    "recover": Command(
        Recover,
        _recover_work,
        "The steps are: assess, secure, locate, restore, validate, rotate. Each prints what could be typed\n"
        "for it, and is done once its checks end well. Nothing is overwritten, rotated or quarantined\n"
        "without a yes. Enter always takes the safe answer. After Ctrl-C or a crash, type 'strongroom\n"
        "recover' again, here or on another host: it goes on with the step that is open.",
    ),
}
