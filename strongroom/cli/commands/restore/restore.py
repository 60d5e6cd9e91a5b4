"""restore and restore: from a file or a target into the local store, or another source.

Needs no configuration and no broker, so that it works on the day when nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from strongroom.cli.commands.restore.arguments import Restore
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
from strongroom.cli.terminal.stopping import leaving
from strongroom.errors import UsageError
from strongroom.system.errors import WouldOverwrite
from strongroom.system.lazy import resolve

T = TypeVar("T")


def restore_secrets(given: Restore, output: Output) -> None:
    installation = place.find()
    with _requested(given, output, installation) as (meant, request):
        if meant.into.to_file is not None and not meant.dry_run:
            # what seals needs the run store, and a restore into anything else does not
            resolve("strongroom.cli.commands.restore.to_file:seal_chosen")(
                meant, output, installation, request
            )
            return
        _confirm(meant, request)
        _perform(meant, output, installation, request, tell=RestoreAnswer.answer)


def restore_for(given: Restore, output: Output, tell: Callable[[RestoreAnswer], T]) -> T:
    """Restore, or plan to, for whoever tells what came of it in another way."""
    installation = place.find()
    with _requested(given, output, installation) as (meant, request):
        return _perform(meant, output, installation, request, tell=tell)


def _perform(
    given: Restore,
    output: Output,
    installation: InstallationPlace,
    request: RestoreRequest,
    *,
    tell: Callable[[RestoreAnswer], T],
) -> T:
    with open_source(given, output, installation) as origin:
        restored = AttendedRestore(given, output, installation, origin, request)
        restored.do()
        answer = RestoreAnswer(restored)
        if restored.stopped is None and not restored.done.total and origin.loss() is None:
            raise request.nothing(answer.elsewhere)
        over = "the restore was over: 'strongroom restore undo --list' has it."
        with leaving(over if restored.done.written else "nothing half-written was left."):
            return tell(answer)


def _requested(
    given: Restore, output: Output, installation: InstallationPlace
) -> AbstractContextManager[tuple[Restore, RestoreRequest]]:
    if given.planning.plan is not None:
        return by_plan(given, output, installation)
    return nullcontext((given, by_options(given)))


def _confirm(given: Restore, request: RestoreRequest) -> None:
    """Ask before anything but the local store is written into."""
    to = given.into.to
    if to == options.LOCAL or given.dry_run or given.planning.plan_out is not None:
        return
    said = f"Secrets will be written into '{to}'"
    if request.plan is not None:
        head = request.plan.head
        said = (
            f"By the plan that {in_line(head.by)} made at {head.made_at}, "
            f"{plural(head.totals.created, 'secret')} will be created and {head.totals.changed:,} changed in "
            f"'{to}' ({in_line(head.destination.address)})"
        )
    prompts.confirm(said, force=given.force)


def restore_secret(given: Restore, output: Output) -> None:
    name, installation = given.secret_name, place.find()
    assert name is not None
    request = by_options(given)
    if not request.relocation.covers(name):
        raise UsageError(
            f"'{name}' does not begin with '{request.relocation.source}', which --relocate renames."
        )
    with open_source(given, output, installation) as origin:
        restored = AttendedRestore(given, output, installation, origin, request)
        origin.find(name, request.version)  # what no backup has has begun nothing
        if not (request.overwrite or restored.dry) and restored.differs():
            raise WouldOverwrite(
                f"'{given.into.to}' has another value or other metadata for "
                f"'{request.relocation.there(name)}'.",
                hint="Nothing was changed. With --overwrite-existing it is replaced, and kept as a version.",
            )
        restored.do()
        RestoreAnswer(restored).answer()
