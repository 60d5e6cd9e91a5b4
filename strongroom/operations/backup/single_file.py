"""backup to a single file: sealed, by the same steps with one target; or of metadata alone, in plain JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from strongroom.container.manifest import Manifest
from strongroom.container.wrapping import WrappingKey
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Recipient
from strongroom.model import COMMAND, Depth, Selection
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import GONE, Watch, drive, ended_if_interrupted, take_up
from strongroom.operations.engine.integrity import pin_recipient, pin_target
from strongroom.operations.engine.layout import InProcessListing, Lister, SecretListing
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import submit
from strongroom.operations.errors import RunCancelled
from strongroom.sources import Source
from strongroom.state.records import Run, RunKind, RunState, Spec, StepKind, StepState
from strongroom.system.files import is_being_written, provisional_files
from strongroom.targets.single_file import BundleWriter
from strongroom.words import spelled_out

TARGET = "file"


def backup_to_file(
    path: Path,
    *,
    source: Source,
    recipients: Sequence[Recipient],
    services: Services,
    selection: Selection = Selection(),
    values: bool = True,
    replace_existing: bool = False,
    ahead: SecretListing | None = None,
    sealed: Callable[[], object] | None = None,
    watch: Watch | None = None,
) -> Manifest:
    """Seal a source into one file and return its manifest.

    Args:
        values: false for a sealed metadata-only backup.
        replace_existing: whether a file at ``path`` may be replaced, atomically.
        ahead: a listing of just this source and selection that is being made already.
        sealed: waits until the passphrases' keys are derived, which somebody began already.
        watch: is told of each step that is over.

    Raises:
        StrongroomError: what stopped the run, typed; nothing was left at ``path``.
    """
    _refuse_unrecordable(path)
    sweep_abandoned(services)
    with BundleWriter(path, replace=replace_existing) as bundle:
        spec = Spec(
            kind=RunKind.BACKUP,
            policy=COMMAND,
            source=source.name,
            values=values,
            selection=selection,
            targets=(pin_target(TARGET, bundle),),
            recipients=tuple(pin_recipient(recipient.label, recipient) for recipient in recipients),
            depth=Depth.DIGEST,
        )
        pinned = Pinned(spec=spec, recipients=tuple(recipients))
        own = replace(
            services,
            targets={TARGET: bundle},
            sources={source.name: source},
            pinned=lambda policy: pinned,
            listing=_list_ahead(ahead),
        )
        if sealed is not None:
            sealed()
        # What a key takes long for, or asks a person for: once, here, and not in each forked process.
        WrappingKey.create(recipients)
        run = _drive_run(own, spec, watch)
        manifest = read_manifest(bundle, run.id, trusted=services.signer_fingerprints)
        bundle.close(commit=True)
    return manifest


def _refuse_unrecordable(path: Path) -> None:
    """Refuse a path that the record, which is text, could not lead back to."""
    try:
        os.fspath(path.absolute()).encode()
    except UnicodeEncodeError:
        message = (
            f"The path '{spelled_out(str(path.absolute()))}' is no UTF-8, so it cannot be put on record."
        )
        raise UsageError(message, hint="Write the backup under another path, then move it there.") from None


def _list_ahead(ahead: SecretListing | None) -> Lister:
    """Return how to list: the listing made ahead serves the first plan. Another attempt lists anew."""
    ready = [ahead] if ahead is not None else []
    return lambda source, selection: ready.pop() if ready else InProcessListing(source, selection)


def _drive_run(services: Services, spec: Spec, watch: Watch | None) -> Run:
    with ended_if_interrupted(services):
        # The file is open in this process only, and written by one at a time.
        run = drive(*submit(services, spec), services, watch=watch, apart=frozenset({StepKind.CAPTURE}))
    if run.state is RunState.FAILED and (refused := _upload_error(run, services)):
        raise refused
    return require_done(run)


def sweep_abandoned(services: Services) -> None:
    """End the runs of file backups whose process was killed, and remove what they left.

    A step that somebody else took up of it has to lose its lease first: then the next backup does it.
    """
    for run in services.store.runs():
        if run.spec.policy == COMMAND and not run.state.final and not _is_being_written(run):
            services.store.cancel(run.id, error=GONE)
            for ticket in take_up(run.id, services):
                perform(ticket, services)


def _is_being_written(run: Run) -> bool:
    """Tell whether a run's file is still being written; remove what dead writers left."""
    files = [file for pin in run.spec.targets for file in provisional_files(Path(pin.address))]
    living = [is_being_written(file) for file in files]
    for file, lives in zip(files, living, strict=True):
        if not lives:
            file.unlink(missing_ok=True)
    return any(living)


def _upload_error(run: Run, services: Services) -> StrongroomError | None:
    """Return why the file could not be written. With one file, a missing quorum says nothing."""
    rows = services.store.rows(run.id, StepKind.UPLOAD)
    return next((run_log.parse_error(row.error) for row in rows if row.state is StepState.MISSED), None)


def require_done(run: Run) -> Run:
    """Return a run that made a good backup; raise what stopped it otherwise."""
    match run.state:
        case RunState.DONE | RunState.DEGRADED:
            return run
        case RunState.CANCELLED:
            raise RunCancelled(f"run {run.id} was cancelled: {run.error}")
        case _:
            raise run_log.failure_of(run)
