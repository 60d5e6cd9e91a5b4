"""A secret as it is shown: never its value, unless asked for in so many words."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from strongroom.cli.terminal.output import fields, in_line, plural
from strongroom.model import Secret, SecretBytes


def as_document(secret: Secret, *, value: bool) -> dict[str, Any]:
    """Return a secret for machines. Free-form metadata can be a secret too, so it goes with the value."""
    rotation = secret.rotation
    document: dict[str, Any] = {
        "name": secret.name,
        "type": secret.type,
        "tags": secret.tags,
        "version": secret.current.number,
        "versions": [
            {"number": v.number, "state": v.state, "created_at": v.created_at} for v in secret.versions
        ],
        "created_at": secret.created_at,
        "updated_at": secret.updated_at,
        "expires_at": secret.expires_at,
        "rotation": None if rotation is None else {"days": rotation.days, "enabled": rotation.enabled},
    }
    if value and secret.current.value is not None:
        document |= {"metadata": secret.metadata, **encoded(secret.current.value)}
    return document


def encoded(value: SecretBytes) -> dict[str, str]:
    """Return a value as JSON can hold it."""
    try:
        return {"value": value.reveal().decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(value.reveal()).decode(), "encoding": "base64"}


def lines_of(secret: Secret) -> Iterator[str]:
    """Yield a secret's metadata as lines for people."""
    yield in_line(secret.name)
    yield from (f"  {line}" for line in fields(_pairs(secret)))


def _pairs(secret: Secret) -> Iterator[tuple[str, object]]:
    current, rotation = secret.current, secret.rotation
    yield "type", secret.type
    yield "tags", ", ".join(f"{key}={value}" for key, value in sorted(secret.tags.items()))
    yield "version", f"{current.number}, {current.state}"
    if len(secret.versions) > 1:
        yield "history", plural(len(secret.versions), "version")
    yield "created", secret.created_at
    yield "updated", secret.updated_at
    yield "expires", secret.expires_at
    if rotation is not None:
        yield "rotation", f"every {plural(rotation.days, 'day')}" + ("" if rotation.enabled else " (off)")
    yield (
        "value",
        "there is none in a metadata-only backup" if current.value is None else "(give --show-value)",
    )
