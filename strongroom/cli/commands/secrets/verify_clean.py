"""list --verify-clean: whether the place that a recovery would write to is clean. Looking makes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from strongroom.cli.commands.secrets.arguments import ListSecrets
from strongroom.cli.shared import admission, options, sources
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import StrongroomError
from strongroom.operations.checks.machine import UNDO, Leftover, in_runs, on_disk, ways_back
from strongroom.sheet import Lines, Sheet
from strongroom.sources.batches import matches
from strongroom.system.errors import WouldOverwrite


def verify_clean(given: ListSecrets, output: Output) -> Answer:
    """Answer whether a source holds no secret, and nothing half-made lies about.

    Raises:
        WouldOverwrite: it does, or something does.
        StateError: whether a run is unfinished could not be told, and nothing else was found.
    """
    installation, spec = place.find(), given.source
    selection = given.selected.selection()
    entries = sources.destination_of(spec, installation).list(with_tags=bool(selection.tags))
    secrets = sum(1 for entry in entries if matches(selection, entry))
    runs, active, unread = _in_runs(installation)
    left = [*runs, *on_disk(installation.state_dir, active=active)]
    clean = not (secrets or left)
    if unread is not None and clean:
        raise unread
    note = "" if unread is None else f"note: whether a run is unfinished could not be told: {unread.message}"
    return Answer(
        record={"source": spec, "clean": clean, "secrets": secrets, "left": left},
        sheet=_clean(spec, installation) if clean else _unclean(spec, secrets, left),
        notes=(note,) if note else (),
        error=None if clean else _error(spec, secrets, left),
    )


def _in_runs(installation: InstallationPlace) -> tuple[list[Leftover], list[str], StrongroomError | None]:
    """Return what runs left, which still go on, and why the record could not tell, if it could not."""
    try:
        store = admission.find_run_store(installation)
        if store is None:
            return [], [], None
        return list(in_runs(store, installation.state_dir)), [run.id for run in store.active()], None
    except StrongroomError as error:
        return [], [], error


def _clean(spec: str, installation: InstallationPlace) -> Sheet:
    said = f"{_name(spec)} is clean: it holds no secret, and no earlier recovery left anything half-made."
    many = ways_back(installation.state_dir)
    kept = (
        f"What {plural(many, 'earlier restore')} overwrote is kept in {installation.state_dir / UNDO}, "
        "sealed; a recovery leaves it alone."
    )
    return Sheet(verdict=said, about=kept if many else "")


def _unclean(spec: str, secrets: int, left: Sequence[Leftover]) -> Sheet:
    holds = f"{_name(spec)} holds {plural(secrets, 'secret')}." if secrets else ""
    return Sheet(
        verdict=holds,
        parts=[Lines([f"{leftover.where}: {leftover.what}; {leftover.to_do}" for leftover in left])],
    )


def _error(spec: str, secrets: int, left: Sequence[Leftover]) -> WouldOverwrite:
    holds = f"it holds {plural(secrets, 'secret')}" if secrets else ""
    lies = f"an earlier recovery left {plural(len(left), 'thing')} half-made" if left else ""
    found = ", and ".join(filter(None, (holds, lies)))
    hint = _keep(spec) if secrets else "Do what each line above says, then repeat."
    return WouldOverwrite(f"{_name(spec)} is not clean: {found}.", hint=hint)


def _keep(spec: str) -> str:
    of = "" if spec == options.LOCAL else f" --source {quote(spec)}"
    return (
        f"Keep what is there first: 'strongroom backup pre_recovery.strongroom --include-values{of}'. A "
        "restore leaves what differs as it is, unless it is given --overwrite-existing."
    )


def _name(spec: str) -> str:
    return "The store" if spec == options.LOCAL else f"'{spec}'"
