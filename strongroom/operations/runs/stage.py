"""The stage: what a run keeps there between its steps goes with the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from strongroom.container import cobblestone
from strongroom.errors import StrongroomError
from strongroom.operations.layout import staged_prefix
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run
from strongroom.targets import Target


def put_sealed(
    stage: Target, content: bytes, *, place: Callable[[str], str], work_key: bytes, context: bytes
) -> str:
    """Seal something under the cluster work key, put it where its digest says, and return that digest."""
    sealed = cobblestone.seal(work_key, content, context=context)
    digest = hashlib.sha256(sealed)
    stage.put(place(digest.hexdigest()), [sealed], size=len(sealed), sha256=digest.digest())
    return digest.hexdigest()


def get_sealed(stage: Target, name: str, *, sha256: str, work_key: bytes, context: bytes) -> bytes:
    """Return what was sealed, refusing anything but the bytes of this digest."""
    sealed = b"".join(stage.read(name))
    if hashlib.sha256(sealed).hexdigest() != sha256:
        raise RecordRefused("a staged list of names is not the one that was planned")
    return cobblestone.open_(work_key, sealed, context=context)


def sweep_stage(run: Run, services: Services) -> bool:
    """Remove all that a run staged; tell whether the stage was reached."""
    prefix = staged_prefix(run.id)
    try:
        services.stage.abort_incomplete(prefix)
        for name in [info.name for info in services.stage.list(prefix)]:
            services.stage.delete(name)
    except StrongroomError:
        return False
    return True
