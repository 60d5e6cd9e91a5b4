"""upload: one container to one target, put only if absent, and read back.

The digest comes from the capture's signed receipt, never from the message, and the bytes
from whatever lies on the stage under it: a stage that lies is caught by the put itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress

from msgspec import Struct

from strongroom.container.errors import VerificationFailed
from strongroom.model import prepare
from strongroom.operations import run_integrity
from strongroom.operations.backup.capture import Captured
from strongroom.operations.layout import container_name, staged_name
from strongroom.operations.runs.job import read_result
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep, StepKind, StepState
from strongroom.system.errors import TargetReadOnly
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked
from strongroom.targets.repaired import put_beside
from strongroom.targets.resilient import Afresh


class Uploaded(Struct, frozen=True, kw_only=True):
    """A container on a target. ``created``: it was this step that created it."""

    created: bool


prepare(Uploaded)


def upload(run: Run, step: RunStep, services: Services) -> Uploaded:
    """Copy one staged container to one target."""
    target = run_integrity.check_target(run, step.target, services)
    captured = services.store.row(run.id, RunStep(StepKind.CAPTURE, step.piece)).result
    receipt = run_integrity.receipt_of(run, step.piece, captured, services).receipt
    staged = staged_name(run.id, step.piece, receipt.sha256)
    name = container_name(run.id, receipt.sha256)
    content = lambda: services.stage.read(staged)  # noqa: E731
    return Uploaded(created=place(target, name, content, size=receipt.size, sha256=receipt.sha256))


def place(
    target: Target, name: str, content: Callable[[], Iterable[bytes]], *, size: int, sha256: str
) -> bool:
    """Put an object and read it back; replace a damaged one that lay under its name.

    A damaged one that is locked, or that this credential may not remove, stays, and a whole
    copy is put beside it (:mod:`strongroom.targets.repaired`).

    Args:
        content: gives the chunks, anew each time.
        sha256: in hex.

    Returns:
        Whether it was this call that created what now lies there.

    Raises:
        VerificationFailed: what is read back is not what was put.
    """
    digest = bytes.fromhex(sha256)
    for _ in range(2):
        created = target.put(name, Afresh(content), size=size, sha256=digest)
        if digest_of(target, name, size=size) == sha256:
            return created
        try:
            target.delete(name)
        except (TargetLocked, TargetReadOnly):
            put_beside(target, name, content, size=size, sha256=digest)
            return True
    left = target.stat(name) is not None
    raise VerificationFailed(
        f"target '{target.name}' gave back other bytes than it was given; {_STRANGER if left else _REMOVED}",
        hint="Nothing on other targets is affected. Look at what answers under this target's address.",
    )


_REMOVED = "the copy was removed"
_STRANGER = (
    "it was asked to remove the copy, and still shows one: something else than the target may answer there, "
    "such as a proxy or a login page"
)


def digest_of(target: Target, name: str, *, size: int) -> str:
    """Read an object in a stream and return its SHA-256 in hex.

    One byte more than it is to have is read, and no further: whatever lies in its place, however long,
    then has another digest.
    """
    digest = hashlib.sha256()
    for chunk in target.read(name, length=size + 1):
        digest.update(chunk)
    return digest.hexdigest()


def clear_stage(run: Run, piece: int, services: Services) -> None:
    """Delete a piece from the stage once nothing will be uploaded from it any more.

    Best effort: whatever a crash leaves here, the run's report sweeps.
    """
    uploads = services.store.rows(run.id, StepKind.UPLOAD, piece=piece)
    if any(not row.state.settled for row in uploads):
        return
    captured = services.store.row(run.id, RunStep(StepKind.CAPTURE, piece))
    if captured.state is StepState.DONE:
        with suppress(RecordRefused):
            services.stage.delete(read_result(run, captured.step, captured.result, Captured).staged)
