"""What steps found beside a backup that does not count."""

from __future__ import annotations

from strongroom.operations.services import Services
from strongroom.state.records import Run, StepKind


def said_aside(run: Run, services: Services, kind: StepKind) -> str | None:
    """Say what lies beside the backup and does not count, by target."""
    found: dict[str, dict[str, None]] = {}
    for row in services.store.rows(run.id, kind):
        for one in (row.result or {}).get("aside", ()):
            found.setdefault(row.step.target, {})[one] = None
    if not found:
        return None
    where = "; ".join(
        f"{target or 'where it was read'}: {', '.join(names)}" for target, names in found.items()
    )
    return f"something beside it does not count ({where})"
