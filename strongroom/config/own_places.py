"""A source and targets as somebody names each in one word, and what the configuration file says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from strongroom.config.schema import toml_value

SOURCES = "local, files:/DIR, vault:https://HOST:8200 or aws:REGION"
TARGETS = "REGION=/DIR, REGION=s3://BUCKET or REGION=https://ACCOUNT.blob.core.windows.net/CONTAINER"

_POLICIES_OF_VAULT = "# docs/how-to/back-up-vault.md has the policies that the token needs\n"


class OwnSource(NamedTuple):
    """A source's name, and its tables."""

    name: str
    text: str


class OwnTarget(NamedTuple):
    """A target's region, and its settings but for that."""

    region: str
    settings: dict[str, str]


def parse_source(word: str) -> OwnSource:
    """Read a source. Raises ValueError, with what would be right."""
    kind, _, place = word.partition(":")
    match kind:
        case "local" if not place:
            return OwnSource("local", _table("sources.local", {"kind": "local"}))
        case "files" if place.startswith("/"):
            return OwnSource("files", _table("sources.files", {"kind": "files", "path": place}))
        case "vault" if _is_url(place):
            server = _table("vaults.main", {"address": place, "token_file": "/etc/strongroom/vault-token"})
            source = _table("sources.vault", {"kind": "vault", "vault": "main"})
            return OwnSource("vault", f"{_POLICIES_OF_VAULT}{server}\n{source}")
        case "aws" if place:
            return OwnSource("aws", _table("sources.aws", {"kind": "aws", "region": place}))
    raise ValueError(f"has to be one of {SOURCES}")


def parse_target(word: str) -> OwnTarget:
    """Read a target. Raises ValueError, with what would be right."""
    region, _, place = word.partition("=")
    url = urlsplit(place)
    if region and place.startswith("/"):
        return OwnTarget(region, {"kind": "directory", "path": place})
    if region and url.scheme == "s3" and url.netloc and url.path in ("", "/"):
        return OwnTarget(region, {"kind": "s3", "bucket": url.netloc})
    container = url.path.strip("/")
    if region and url.scheme == "https" and url.netloc and container and "/" not in container:
        account = {"account_url": f"https://{url.netloc}", "container": container}
        return OwnTarget(region, {"kind": "azure", **account})
    raise ValueError(f"has to be one of {TARGETS}")


def named(targets: Iterable[OwnTarget]) -> dict[str, OwnTarget]:
    """Give each target a name, after its region."""
    names: dict[str, OwnTarget] = {}
    for target in targets:
        base = re.sub(r"[^a-z0-9]+", "-", target.region.lower()).strip("-") or "target"
        names[next(name for name in _numbered(base) if name not in names)] = target
    return names


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}-{number}" for number in range(2, 1000))


def target_tables(targets: dict[str, OwnTarget]) -> str:
    """Return the tables of targets."""
    return "\n".join(
        _table(f"targets.{name}", {**target.settings, "region": target.region})
        for name, target in targets.items()
    )


def _table(name: str, settings: dict[str, str]) -> str:
    lines = "".join(f"{key} = {toml_value(value)}\n" for key, value in settings.items())
    return f"[{name}]\n{lines}"


def _is_url(place: str) -> bool:
    url = urlsplit(place)
    return url.scheme in ("http", "https") and bool(url.netloc)
