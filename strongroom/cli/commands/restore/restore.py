"""restore and restore: from a file or a target into the local store, or another source.

Needs no configuration and no broker, so that it works on the day when nothing else does.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from strongroom.cli.commands.restore.attended_restore import (
    AttendedRestore,
    RestoreRequest,
    by_options,
    by_plan,
    open_source,
)
from strongroom.cli.commands.restore.perform import RestoreAnswer
from strongroom.cli.shared import options
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import UsageError
from strongroom.system.errors import WouldOverwrite
from strongroom.system.lazy import resolve

T = TypeVar("T")


def restore_secrets(arguments: Namespace, output: Output) -> None:
    installation = place.find()
    with _requested(arguments, output, installation) as request:
        if arguments.to_file is not None and not arguments.dry_run:
            # what seals needs the run store, and a restore into anything else does not
            resolve("strongroom.cli.commands.restore.to_file:seal_chosen")(
                arguments, output, installation, request
            )
            return
        _confirm(arguments, request)
        _perform(arguments, output, installation, request, tell=RestoreAnswer.answer)


def restore_for(arguments: Namespace, output: Output, tell: Callable[[RestoreAnswer], T]) -> T:
    """Restore, or plan to, for whoever tells what came of it in another way."""
    installation = place.find()
    with _requested(arguments, output, installation) as request:
        return _perform(arguments, output, installation, request, tell=tell)


def _perform(
    arguments: Namespace,
    output: Output,
    installation: InstallationPlace,
    request: RestoreRequest,
    *,
    tell: Callable[[RestoreAnswer], T],
) -> T:
    with open_source(arguments, output, installation, request) as origin:
        restored = AttendedRestore(arguments, output, installation, origin, request)
        restored.do()
        answer = RestoreAnswer(restored)
        if restored.stopped is None and not restored.done.total and origin.loss() is None:
            raise request.nothing(answer.elsewhere)
        return tell(answer)


def _requested(
    arguments: Namespace, output: Output, installation: InstallationPlace
) -> AbstractContextManager[RestoreRequest]:
    if arguments.plan is not None:
        return by_plan(arguments, output, installation)
    return nullcontext(by_options(arguments))


def _confirm(arguments: Namespace, request: RestoreRequest) -> None:
    """Ask before anything but the local store is written into."""
    if arguments.to == options.LOCAL or arguments.dry_run or arguments.plan_out is not None:
        return
    said = f"Secrets will be written into '{arguments.to}'"
    if request.plan is not None:
        head = request.plan.head
        said = (
            f"By the plan that {in_line(head.by)} made at {head.made_at}, "
            f"{plural(head.totals.created, 'secret')} will be created and {head.totals.changed:,} changed in "
            f"'{arguments.to}' ({in_line(head.destination.address)})"
        )
    prompts.confirm(said, force=arguments.force)


def restore_secret(arguments: Namespace, output: Output) -> None:
    installation = place.find()
    request = by_options(arguments)
    if not request.relocation.covers(arguments.secret_name):
        raise UsageError(
            f"'{arguments.secret_name}' does not begin with '{request.relocation.source}', which --relocate "
            "renames."
        )
    with open_source(arguments, output, installation, request) as origin:
        restored = AttendedRestore(arguments, output, installation, origin, request)
        origin.find(arguments.secret_name, request.version)  # what no backup has has begun nothing
        if not (request.overwrite or restored.dry) and restored.differs():
            raise WouldOverwrite(
                f"'{arguments.to}' has another value or other metadata for "
                f"'{request.relocation.there(arguments.secret_name)}'.",
                hint="Nothing was changed. With --overwrite-existing it is replaced, and kept as a version.",
            )
        restored.do()
        RestoreAnswer(restored).answer()
