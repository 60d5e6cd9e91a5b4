"""list --verify-clean: whether the place that a recovery would write to is clean. Looking makes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import TYPE_CHECKING

from strongroom.cli.shared import shred_guard, sources
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import Place
from strongroom.errors import StrongroomError
from strongroom.system.errors import WouldOverwrite

if TYPE_CHECKING:
    from strongroom.operations.readiness.leftovers import Left


def verify(spec: str, secrets: int, here: Place, output: Output) -> None:
    """Answer whether a source holds no secret, and nothing half-made lies about.

    Args:
        secrets: how many it holds.

    Raises:
        WouldOverwrite: it does, or something does.
        StateError: whether a run is unfinished could not be told, and nothing else was found.
    """
    from strongroom.operations.readiness.leftovers import on_disk  # noqa: PLC0415 - a plain list needs it not

    runs, active, unread = _in_runs(here)
    left = [*runs, *on_disk(here.state_dir, active=active)]
    clean = not (secrets or left or unread)
    document = {"source": spec, "clean": clean, "secrets": secrets, "left": left}
    if secrets or left:
        if unread is not None:
            output.note(f"note: whether a run is unfinished could not be told: {unread.message}")
        output.answer(document, _unclean(spec, secrets, left))
        raise _error(spec, secrets, left)
    if unread is not None:
        raise unread
    output.answer(document, _clean(spec, here))


def _in_runs(here: Place) -> tuple[list[Left], list[str], StrongroomError | None]:
    """Return what runs left, which still go on, and why the record could not tell, if it could not."""
    from strongroom.operations.readiness.leftovers import in_runs  # noqa: PLC0415 - a plain list needs it not

    try:
        store = shred_guard.store_of(here)
        if store is None:
            return [], [], None
        return list(in_runs(store, here.state_dir)), [run.id for run in store.active()], None
    except StrongroomError as error:
        return [], [], error


def _clean(spec: str, here: Place) -> Iterator[str]:
    from strongroom.operations.readiness.leftovers import UNDO, ways_back  # noqa: PLC0415 - as above

    yield f"{_name(spec)} is clean: it holds no secret, and nothing half-made lies about."
    if many := ways_back(here.state_dir):
        yield (
            f"What {plural(many, 'earlier restore')} overwrote is kept in {here.state_dir / UNDO}, sealed; "
            "a recovery leaves it alone."
        )


def _unclean(spec: str, secrets: int, left: Sequence[Left]) -> Iterator[str]:
    if secrets:
        yield f"{_name(spec)} holds {plural(secrets, 'secret')}."
    for one in left:
        yield f"{one.where}: {one.what}; {one.to_do}"


def _error(spec: str, secrets: int, left: Sequence[Left]) -> WouldOverwrite:
    holds = f"it holds {plural(secrets, 'secret')}" if secrets else ""
    lies = f"an earlier recovery left {plural(len(left), 'thing')} half-made" if left else ""
    found = ", and ".join(filter(None, (holds, lies)))
    hint = _keep(spec) if secrets else "Do what each line above says, then repeat."
    return WouldOverwrite(f"{_name(spec)} is not clean: {found}.", hint=hint)


def _keep(spec: str) -> str:
    of = "" if spec == sources.LOCAL else f" --source {quote(spec)}"
    return (
        f"Keep what is there first: 'strongroom backup pre_recovery.strongroom --include-values{of}'. A "
        "restore leaves what differs as it is, unless it is given --overwrite-existing."
    )


def _name(spec: str) -> str:
    return "The store" if spec == sources.LOCAL else f"'{spec}'"
