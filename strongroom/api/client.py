"""``strongroom.Client``: asking a cluster for work from Python, by the record alone.

A run is put on record, and the cluster finds it within seconds. No broker is needed for that, no Celery, and
no key: who may write to the state database may ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from strongroom.api.submission import Submission
from strongroom.config import load_settings
from strongroom.model import Depth, Selection
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair_job import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.restore.facts import UndoOptions, named_or_tagged
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.submit import submit_rotation
from strongroom.operations.runs.submit import Submitted
from strongroom.system.person import who
from strongroom.wiring.drills import drill_options
from strongroom.wiring.restores import restore_options
from strongroom.wiring.services import SUBMIT, build_services


class Client:
    """Submits work to the cluster of an installation. Options are named as on the command line.

    Each method returns once the run is on record, and raises StateUnavailable if the record does not
    answer: nothing was submitted then.

    Args:
        config: the configuration file; the one that the command line finds if left out.
    """

    def __init__(self, config: str | Path | None = None) -> None:
        self._settings = load_settings(path=config)
        self._services = build_services(self._settings, role=SUBMIT)

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
        request = str(uuid4())
        return self._on_record(request, submit_backup(self._services, policy=policy, request_id=request))

    def verify(self, backup: str, *, depth: str = Depth.DIGEST.value) -> Submission:
        """Ask that a backup be read back from every target of its policy."""
        request = str(uuid4())
        submitted = submit_verify(self._services, backup=backup, depth=Depth(depth), request_id=request)
        return self._on_record(request, submitted)

    def repair(self, backup: str) -> Submission:
        """Ask that a backup's bad replicas be brought up again."""
        request = str(uuid4())
        return self._on_record(request, submit_repair(self._services, backup=backup, request_id=request))

    def drill(self, policy: str, *, drill: str = "full", **options: Any) -> Submission:
        """Ask for a rehearsed recovery.

        Args:
            drill: single, category, full, failover or emergency.
            options: ``secret``, ``tags``, ``target``, ``into``, ``within_days``, ``objective_seconds``.
        """
        request = str(uuid4())
        asked = drill_options(self._settings, drill, **options)
        submitted = submit_drill(self._services, policy=policy, options=asked, request_id=request)
        return self._on_record(request, submitted)

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
        request, selection = str(uuid4()), Selection(tags=dict(filter_tag or {}))
        options = restore_options(
            self._settings,
            to=to,
            names=include,
            selection=selection,
            overwrite=overwrite_existing,
            relocate=relocate,
            requester=who(),
        )
        submitted = submit_restore(
            self._services, backup=backup, options=options, selection=selection, request_id=request
        )
        return self._on_record(request, submitted)

    def undo(
        self, run: str, *, include: Sequence[str] = (), filter_tag: Mapping[str, str] | None = None
    ) -> Submission:
        """Ask for the undoing of a restore run, by its id or that of its request: all, or named secrets."""
        request = str(uuid4())
        options = UndoOptions(undoes=run, requester=who(), selection=named_or_tagged(include, filter_tag))
        submitted = submit_undo(self._services, options=options, request_id=request)
        return self._on_record(request, submitted)

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
        request = str(uuid4())
        options = RotateOptions(reencrypt=re_encrypt, renew=renew, backups=tuple(backup), rate=rate)
        submitted = submit_rotation(self._services, policy=policy, options=options, request_id=request)
        return self._on_record(request, submitted)

    def find(self, id: str) -> Submission:  # noqa: A002 - as in 'strongroom runs show ID'
        """Return a run by its id, or by that of its request. Raises RunNotFound."""
        run = self._services.store.find(id)
        return Submission(id=run.request_id or run.id, run=run.id, store=self._services.store)

    def _on_record(self, request: str, submitted: Submitted) -> Submission:
        return Submission(id=request, run=submitted[0], store=self._services.store)
