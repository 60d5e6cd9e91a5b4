"""A rotation of secrets, planned or done, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from strongroom.cli.terminal.output import in_line, plural, table
from strongroom.operations.rotators.records import Rotated, SecretRotationResult
from strongroom.words import told_alike

_WORDS = {
    SecretRotationResult.DONE: "new value",
    SecretRotationResult.ALREADY: "done before",
    SecretRotationResult.FAILED: "FAILED",
    SecretRotationResult.NO_ROTATOR: "no rotator",
    SecretRotationResult.MISSING: "not there",
    SecretRotationResult.WAITS: "not yet",
}


def rotated_document(rotated: Rotated) -> dict[str, Any]:
    """Return what a rotation did for machines."""
    document: dict[str, Any] = msgspec.to_builtins(rotated)
    kinds = ("done", "failed", "no_rotator", "missing")
    return {**document, **{kind: getattr(rotated, kind) for kind in kinds}}


def rotated_lines(rotated: Rotated) -> Iterator[str]:
    """Yield what a rotation did for people."""
    if not rotated.secrets:
        yield "Nothing to rotate: no secret has a value any more that others may know."
        return
    of = plural(len(rotated.secrets), "secret")
    began = f"rotation {rotated.run}" if rotated.run else "nothing to rotate"
    yield f"{began}: {len(rotated.done):,} of {of} of '{rotated.source}' done"
    rows = [
        (secret.name, _WORDS[secret.result], secret.rotator or "-", secret.version or "-")
        for secret in rotated.secrets
    ]
    yield from (f"  {line}" for line in table(("SECRET", "RESULT", "ROTATOR", "VERSION"), rows))
    failed = [
        secret
        for secret in rotated.secrets
        if secret.result in (SecretRotationResult.FAILED, SecretRotationResult.WAITS)
    ]
    yield from (
        f"  {line}" for line in told_alike((in_line(secret.name), in_line(secret.why)) for secret in failed)
    )
    if rotated.to_do:
        yield "What a person must still do:"
        yield from (f"  - {in_line(line)}" for line in rotated.to_do)
