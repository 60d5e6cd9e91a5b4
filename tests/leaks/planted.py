"""Secrets whose values, free-form metadata and names are unmistakable."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from tests.leaks.search import MARK, NAME_MARK

COUNT = 200


def planted() -> Iterator[Secret]:
    """Yield secrets of every shape: short, long, several versions, text, JSON and bytes."""
    for number in range(COUNT):
        yield Secret(
            name=f"app/{number % 7}/{NAME_MARK.decode()}{number:03}",
            type="api_key",
            tags={"team": f"team-{number % 5}"},
            versions=tuple(_version(number, version) for version in range(1, 2 + number % 3)),
            metadata={"note": _token(number, "metadata"), "nested": {"list": [_token(number, "deep")]}},
        )


def _version(number: int, version: int) -> SecretVersion:
    token = _token(number, f"v{version}")
    media, value = (
        (Media.TEXT, token.encode()),
        (Media.TEXT, (token * 120).encode()),
        (Media.JSON, f'{{"password": "{token}", "again": "{token}"}}'.encode()),
        (Media.BINARY, b"\0\xff" + token.encode() + b"\x80"),
    )[number % 4]
    return SecretVersion(number=version, value=SecretBytes(value), media=media)


def _token(number: int, what: str) -> str:
    # Characters that URLs, JSON and shells spell in their own ways stand beside the mark.
    return f"{MARK.decode()}{number:04}-{what}-é&/+= \"'\\%\n"


def count_in(secrets: Iterator[Secret]) -> int:
    """Count the secrets that hold the mark in each version and in their metadata."""
    return sum(_is_planted(secret) for secret in secrets)


def _is_planted(secret: Secret) -> bool:
    values = [version.value.reveal() for version in secret.versions if version.value is not None]
    return bool(values) and all(MARK in value for value in values) and MARK.decode() in str(secret.metadata)
