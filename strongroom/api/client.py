"""``strongroom.Client``: asking a cluster for work from Python, by the record alone.

A run is put on record, and the cluster finds it within seconds. No broker is needed for that, no Celery, and
no key: who may write to the state database may ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from msgspec import Struct

from strongroom.api import opened_backup
from strongroom.api.opened_backup import Identities
from strongroom.config import Settings, load_settings
from strongroom.keys.roles import load_or_create_role
from strongroom.model import Depth, Role, Selection
from strongroom.operations.archive.quarantine import quarantined_on_record
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine import run_log
from strongroom.operations.engine.findings import AlertRecord
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.errors import NotYetSeen, RunDegraded
from strongroom.operations.notify.notify import gather_and_judge
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.plan import (
    TELLS,
    PlanEntry,
    RestorePlan,
    encode_entry,
    manifest_digest,
    name_destination,
)
from strongroom.operations.restore.plan_file import make_plan, sign_head
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.restore import chosen
from strongroom.operations.restore.staged import UndoOptions, named_or_tagged
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.operations.rotation.job import submit_rotation
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.records import Run, RunState
from strongroom.state.store import RunStore
from strongroom.system.files import placed, refuse_existing
from strongroom.system.process import who
from strongroom.times import if_any, rfc3339
from strongroom.wiring import adapters, watching
from strongroom.wiring.jobs import drill_options, restore_options
from strongroom.wiring.services import build_services

# -- What submitting returns: a run on record, and how to wait for its end ----------------------


LOOK_SECONDS: Final = 0.25
"""The database announces nothing, so whoever waits looks again and again."""

UNATTENDED_SECONDS: Final = 60.0
BEAT: Final = "beat"


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended.

    ``backup`` is the backup that it made, or was about; empty where it was about none, or about several.
    ``shortfall`` is what that lacks of those before it, without a name, after a restore or a drill.
    """

    run: str
    kind: str
    policy: str
    state: str
    backup: str
    shortfall: Shortfall | None = None


class Submission:
    """A request that has its run on record: it stands, whatever becomes of broker and workers.

    Args:
        id: the request's id; ``strongroom runs show ID`` finds the run by it.
        run: the run's id.
        store: where to look.
    """

    id: str
    run: str

    def __init__(self, *, id: str, run: str, store: RunStore) -> None:  # noqa: A002 - what Celery calls it, too
        self.id = id
        self.run = run
        self._store = store

    def __repr__(self) -> str:
        return f"<Submission {self.id} of run {self.run}>"

    @property
    def state(self) -> str:
        """``active``, ``done``, ``degraded``, ``failed`` or ``cancelled``, as the record has it now."""
        return self._store.load(self.run).state.value

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait for the run's end and return what came of it.

        Raises:
            StrongroomError: what the run failed of. If it restored a damaged backup, all else is restored,
                and this is of the class of the first loss, such as Tampered.
            RunDegraded: it made less than it was to make; its ``backup`` and ``shortfall`` are those of the
                outcome.
            NotYetSeen: no cluster takes it up. It stays on record.
            TimeoutError: it has not ended within ``timeout`` seconds. It goes on.
        """
        began = time.monotonic()
        while not (run := self._store.load(self.run)).state.final:
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise TimeoutError(f"run {self.run} has not ended within {timeout:g} s; it goes on")
            if waited > UNATTENDED_SECONDS:
                self._require_a_cluster()
            time.sleep(LOOK_SECONDS)
        return _outcome(run)

    get = wait

    def _require_a_cluster(self) -> None:
        age = self._store.heartbeats().get(BEAT)
        started = any(row.started_at is not None for row in self._store.rows(self.run))
        if not started and (age is None or age > UNATTENDED_SECONDS):
            raise NotYetSeen(
                f"run {self.run} is on record, and no cluster has taken it up",
                hint="Start one with 'strongroom up': it takes the run up. 'strongroom runs cancel' ends "
                "the run.",
            )


def _outcome(run: Run) -> Outcome:
    job = job_of(run.spec.kind)
    backup, shortfall = job.backup_of(run), job.shortfall_of(run)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        raise run_log.failure_of(run)
    if run.state is RunState.DEGRADED:
        happened, hint = run_log.apart(run.error)
        if (loss := run_log.loss_of(run)) is not None:
            raise loss
        said = f"run {run.id} is degraded: {happened}"
        raise RunDegraded(said, hint=hint or None, backup=backup, shortfall=shortfall)
    return Outcome(
        run=run.id,
        kind=run.spec.kind.value,
        policy=run.spec.policy,
        state=run.state.value,
        backup=backup,
        shortfall=shortfall,
    )


# -- What it shows without asking the cluster for anything ----------------------------------------


class ListedReplica(Struct, frozen=True, kw_only=True):
    """A backup on one target, by the record: ``depth`` says how deep it was read back, and ``verified_at``
    when; ``None`` if it never was."""

    target: str
    good: bool
    depth: str | None
    verified_at: str | None


class ListedBackup(Struct, frozen=True, kw_only=True):
    """A backup of the catalog. ``quarantine`` says since when none is restored from it, if somebody set it
    aside."""

    id: str
    policy: str
    source: str
    created_at: str
    values: bool
    secrets: int
    size: int
    replicas: tuple[ListedReplica, ...]
    quarantine: str | None


class ListedRun(Struct, frozen=True, kw_only=True):
    """A run on record. ``error`` is the class of what it failed of, and ``backup`` the one that it made or
    was about; empty where there is none."""

    id: str
    kind: str
    policy: str
    state: str
    began_at: str
    ended_at: str | None
    error: str
    backup: str


class PlannedRestore(Struct, frozen=True, kw_only=True):
    """What a restore would do, in numbers of secrets and with each of them; nothing was changed.

    ``left`` are those that differ and would not be overwritten, ``impossible`` those that the destination
    does not take, and ``missing`` those that the backup should have and lacks. ``digest`` is what people
    approve.
    """

    backup: str
    to: str
    created: int
    changed: int
    unchanged: int
    left: int
    impossible: int
    missing: int
    digest: str
    entries: tuple[PlanEntry, ...]


def _backups(store: RunStore, *, policy: str | None, limit: int) -> list[ListedBackup]:
    """Return the backups of the catalog, the newest first."""
    entries = store.backups(policy=policy, limit=limit)
    replicas = store.replicas_of([entry.backup for entry in entries])
    aside = quarantined_on_record(store)
    return [
        ListedBackup(
            id=entry.backup,
            policy=entry.policy,
            source=entry.source,
            created_at=entry.created_at,
            values=entry.values,
            secrets=entry.secrets,
            size=entry.size,
            replicas=tuple(
                ListedReplica(
                    target=replica.target,
                    good=replica.good,
                    depth=replica.verified.value if replica.verified else None,
                    verified_at=if_any(replica.verified_at),
                )
                for replica in replicas.get(entry.backup, ())
            ),
            quarantine=aside[entry.backup].why if entry.backup in aside else None,
        )
        for entry in entries
    ]


def _runs(store: RunStore, *, limit: int) -> list[ListedRun]:
    """Return the newest runs, the newest first."""
    return [
        ListedRun(
            id=run.id,
            kind=run.spec.kind.value,
            policy=run.spec.policy,
            state=run.state.value,
            began_at=rfc3339(run.created_at),
            ended_at=if_any(run.finished_at),
            error=run_log.class_in(run.error),
            backup=job_of(run.spec.kind).backup_of(run),
        )
        for run in store.runs(limit)
    ]


def _alerts(settings: Settings) -> list[AlertRecord]:
    """Look at the record and the targets, and return what is wrong, the worst first."""
    found = gather_and_judge(watching.watched(settings), watching.limits(settings))
    return [alert.record for alert in found.alerts]


def _restore_plan(
    settings: Settings,
    backup: str,
    *,
    to: str,
    names: Sequence[str],
    selection: Selection,
    overwrite: bool,
    relocate: str,
    identity: Identities,
    passphrase: str | None,
    plan_out: Path | None,
    config: str | Path | None,
) -> PlannedRestore:
    """Compare a backup with a destination; with a file, write down what is to be done."""
    if plan_out is not None:
        refuse_existing(plan_out, replace=False)
    options = restore_options(
        settings, to=to, names=names, selection=selection, overwrite=overwrite, relocate=relocate
    )
    destination = adapters.destination(to, settings)
    entries: list[PlanEntry] = []
    with opened_backup.open(
        backup=backup, partial=True, identity=identity, passphrase=passphrase, config=config
    ) as opened:
        salvaged, record = opened._backup, opened._record  # noqa: SLF001 - what programs are not promised
        asked = RestorePlan(
            id=str(uuid4()),
            made_at=rfc3339(time.time()),
            by=who(),
            backup=opened.id,
            manifest=manifest_digest(salvaged.manifest),
            destination=name_destination(destination, to),
            selection=selection,
            names=options.names,
            overwrite=overwrite,
            relocation=options.relocation,
        )
        head = make_plan(
            asked,
            lambda: record.of(chosen(salvaged, names=options.names, selection=selection)),
            destination,
            note=entries.append,
            first=options.first,
            origin=Restorable(opened.id, (), salvaged),
        )
    if plan_out is not None:
        with placed(plan_out) as file:
            file.writelines(map(encode_entry, entries))
            signer = load_or_create_role(settings.state_dir / "keys" / "roles", Role.RECOVER)
            file.write(sign_head(head, signer))
    return PlannedRestore(
        backup=head.backup,
        to=to,
        created=head.totals.created,
        changed=head.totals.changed,
        unchanged=head.totals.unchanged,
        left=head.totals.left,
        impossible=head.totals.not_done,
        missing=sum(entry.action in TELLS for entry in entries),
        digest=head.digest,
        entries=tuple(entries),
    )


# -- ``strongroom.Client`` ----------------------------------------------------------------------


class Client:
    """Submits work to the cluster of an installation, and shows how it stands. Options are named as on the
    command line.

    Each method that asks for something returns once the run is on record, and raises StateUnavailable if the
    record does not answer: nothing was submitted then.

    Args:
        config: the configuration file; the one that the command line finds if left out.
    """

    def __init__(self, config: str | Path | None = None) -> None:
        self._config = config
        self._settings = load_settings(path=config)
        self._services = build_services(self._settings, role=Role.SUBMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._services.store.close()

    def submit(self, policy: str) -> Submission:
        """Ask for a backup by a policy."""
        return self._submitted(partial(submit_backup, self._services, policy=policy))

    def verify(self, backup: str, *, depth: str = Depth.DIGEST.value) -> Submission:
        """Ask that a backup be read back from every target of its policy."""
        return self._submitted(partial(submit_verify, self._services, backup=backup, depth=Depth(depth)))

    def repair(self, backup: str) -> Submission:
        """Ask that a backup's bad replicas be brought up again."""
        return self._submitted(partial(submit_repair, self._services, backup=backup))

    def drill(self, policy: str, *, drill: str = "full", **options: Any) -> Submission:
        """Ask for a rehearsed recovery.

        Args:
            drill: single, category, full, failover or emergency.
            options: ``secret``, ``tags``, ``target``, ``into``, ``within_days``, ``objective_seconds``.
        """
        asked = drill_options(self._settings, drill, **options)
        return self._submitted(partial(submit_drill, self._services, policy=policy, options=asked))

    def restore(
        self,
        backup: str,
        *,
        to: str,
        include: Sequence[str] = (),
        filter_tag: Mapping[str, str] | None = None,
        overwrite_existing: bool = False,
        relocate: str = "",
    ) -> Submission:
        """Ask for a restore into a configured destination. The ``recover`` pool does it: normally stopped.

        Args:
            relocate: ``FROM=TO``: what is called ``FROM…`` in the backup, and nothing else, becomes ``TO…``.
        """
        selection = Selection(tags=dict(filter_tag or {}))
        options = restore_options(
            self._settings,
            to=to,
            names=include,
            selection=selection,
            overwrite=overwrite_existing,
            relocate=relocate,
            requester=who(),
        )
        submit = partial(submit_restore, self._services, backup=backup, options=options, selection=selection)
        return self._submitted(submit)

    def undo(
        self, run: str, *, include: Sequence[str] = (), filter_tag: Mapping[str, str] | None = None
    ) -> Submission:
        """Ask for the undoing of a restore run, by its id or that of its request: all, or named secrets."""
        options = UndoOptions(undoes=run, requester=who(), selection=named_or_tagged(include, filter_tag))
        return self._submitted(partial(submit_undo, self._services, options=options))

    def rotate(
        self,
        policy: str,
        *,
        re_encrypt: bool = False,
        renew: bool = False,
        backup: Sequence[str] = (),
        rate: float | None = None,
    ) -> Submission:
        """Ask that a policy's backups be rotated to the recipients that it names now."""
        options = RotateOptions(reencrypt=re_encrypt, renew=renew, backups=tuple(backup), rate=rate)
        return self._submitted(partial(submit_rotation, self._services, policy=policy, options=options))

    # -- looking: nothing is asked of the cluster ------------------------------------------

    def backups(self, *, policy: str | None = None, limit: int = 50) -> list[ListedBackup]:
        """Return the backups of the catalog, the newest first: of one policy, or of all."""
        return _backups(self._services.store, policy=policy, limit=limit)

    def runs(self, *, limit: int = 50) -> list[ListedRun]:
        """Return the newest runs, the newest first. What one failed of, ``find(run.id).wait()`` raises."""
        return _runs(self._services.store, limit=limit)

    def alerts(self) -> list[AlertRecord]:
        """Return what is wrong, the worst first, as 'strongroom alerts' does: it also looks at the targets.
        Nobody is notified."""
        return _alerts(self._settings)

    def restore_plan(
        self,
        backup: str,
        *,
        to: str,
        include: Sequence[str] = (),
        filter_tag: Mapping[str, str] | None = None,
        overwrite_existing: bool = False,
        relocate: str = "",
        identity: Identities = (),
        passphrase: str | None = None,
        plan_out: str | Path | None = None,
    ) -> PlannedRestore:
        """Return what ``restore`` with the same arguments would do, and change nothing.

        This program reads the backup for that, with ``identity`` and ``passphrase`` as ``strongroom.open``
        takes them, and the destination.

        Args:
            plan_out: write the plan into this new file (mode 0600), for 'strongroom restore --plan FILE'.
                It holds names.
        """
        return _restore_plan(
            self._settings,
            backup,
            to=to,
            names=include,
            selection=Selection(tags=dict(filter_tag or {})),
            overwrite=overwrite_existing,
            relocate=relocate,
            identity=identity,
            passphrase=passphrase,
            plan_out=None if plan_out is None else Path(plan_out),
            config=self._config,
        )

    def find(self, id: str) -> Submission:  # noqa: A002 - as in 'strongroom runs show ID'
        """Return a run by its id, or by that of its request. Raises RunNotFound."""
        run = self._services.store.find(id)
        return Submission(id=run.request_id or run.id, run=run.id, store=self._services.store)

    def _submitted(self, submit: Callable[..., Submitted]) -> Submission:
        request = str(uuid4())
        run, _ = submit(request_id=request)
        return Submission(id=request, run=run, store=self._services.store)
