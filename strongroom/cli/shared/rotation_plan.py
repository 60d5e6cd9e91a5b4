"""What a rotation of secrets would do: shown, and asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, plural, table
from strongroom.operations.rotators.records import PlannedRotation, SecretRotationPlan


def plan_document(plan: SecretRotationPlan) -> dict[str, Any]:
    """Return a plan for machines."""
    document: dict[str, Any] = msgspec.to_builtins(plan)
    return document


def plan_lines(plan: SecretRotationPlan) -> Iterator[str]:
    """Yield a plan for people."""
    yield f"{plural(len(plan.to_rotate), 'secret')} of '{plan.source}' would get a new value:"
    rows = [(planned.name, planned.rotator or "-", _planned(planned)) for planned in plan.secrets]
    yield from (f"  {line}" for line in table(("SECRET", "ROTATOR", "WHAT IS DONE"), rows))


def _planned(planned: PlannedRotation) -> str:
    last = f" (last rotated {planned.last})" if planned.last else ""
    if planned.already:
        return f"nothing: it was rotated in this incident already{last}"
    return f"{planned.does}{last}" if planned.rotator else f"nothing: {planned.why}"


def confirm(plans: Sequence[SecretRotationPlan], output: Output, *, force: bool) -> None:
    """Show what gets a new value, and ask. Raises ConfirmationRequired."""
    if not force:
        for line in (line for plan in plans for line in plan_lines(plan)):
            output.note(line)
    counts = " and ".join(
        f"{plural(len(plan.to_rotate), 'secret')} of '{plan.source}'" for plan in plans if plan.to_rotate
    )
    prompts.confirm(f"This gives {counts} a new value", force=force)
