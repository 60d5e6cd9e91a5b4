"""Who a backup is not sealed for, by its containers' own envelopes: these are signed, a row is not.

A key that is lost or out of reach when something is sealed is left out, and the backup is degraded. Whoever
writes to the state database could edit what a row says of that: to keep a reader off the manifest, or
to promise one that cannot open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from strongroom.container.manifest import ContainerEntry
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.operations import run_integrity
from strongroom.operations.archive.envelopes import by_wrapping_key
from strongroom.operations.archive.first_answer import first_answer
from strongroom.operations.archive.open import carried_record
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RecipientPin, Run


def left_out(run: Run, containers: Iterable[ContainerEntry], services: Services) -> list[str]:
    """Return the names of the recipients that some container of a run was not sealed for.

    Raises:
        RecordRefused: one was sealed for somebody whom the run does not name: a row hides a reader.
        StrongroomError: no target gave the envelope of some container.
    """
    if not run.spec.sealed:
        return []
    records = [_record(run, entry, services) for entry in by_wrapping_key(containers).values()]
    return sorted({name for record in records for name in _lacking(record, run.spec.recipients)})


def _record(run: Run, entry: ContainerEntry, services: Services) -> WrappingKeyRecord:
    return first_answer(
        run.spec.targets,
        lambda pin: carried_record(run_integrity.check_target(run, pin.name, services), run.id, entry),
        of=f"a container of {run.id}",
    )


def _lacking(record: WrappingKeyRecord, wanted: Sequence[RecipientPin]) -> list[str]:
    """Compare by label, which is a recipient's name; what has no label may be any that is not named."""
    labels = [stanza.label for stanza in record.stanzas]
    if strangers := sorted({label for label in labels if label} - {pin.name for pin in wanted}):
        raise RecordRefused(f"a container is also sealed to {strangers[0]!r}, which its run does not name")
    unnamed = [pin.name for pin in wanted if pin.name not in labels]
    return unnamed if labels.count("") < len(unnamed) else []
