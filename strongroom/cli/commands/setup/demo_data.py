"""A thousand secrets as a company has them, all made up, the same ones every time."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion
from strongroom.timestamps import rfc3339

COUNT = 1_000
SEED = 20_260_101

_TEAMS = {
    "payments": ("ledger", "payouts", "cards", "fraud", "invoices"),
    "identity": ("login", "sessions", "directory", "mfa", "consent"),
    "platform": ("ingress", "registry", "builds", "metrics", "mesh"),
    "media": ("uploads", "transcode", "player", "captions", "thumbs"),
    "search": ("index", "ranking", "crawler", "suggest", "logs"),
}
_PLACES = ("production", "production", "staging", "development")
_BEGAN = datetime(2023, 1, 1, tzinfo=UTC)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def secrets(count: int = COUNT, *, seed: int = SEED) -> Iterator[Secret]:
    """Yield ``count`` different secrets; the same arguments give the same ones."""
    for number in range(count):
        yield _secret(random.Random(f"{seed}/{number}"), number)  # noqa: S311 - made up, and meant to repeat


def _secret(chance: random.Random, number: int) -> Secret:
    team = chance.choice(sorted(_TEAMS))
    service, place = chance.choice(_TEAMS[team]), chance.choice(_PLACES)
    kind = chance.choice(sorted(_KINDS))
    category, days, make = _KINDS[kind]
    history = chance.choice((1, 1, 1, 2, 3))
    created = _BEGAN + timedelta(hours=chance.randrange(20_000))
    versions = [_version(make(chance), at + 1, created + timedelta(days=90 * at)) for at in range(history)]
    return Secret(
        name=f"{place}/{team}/{service}/{kind.upper()}_{number:04}",
        versions=tuple(versions),
        type=kind,
        tags={
            "environment": place,
            "team": team,
            "category": category,
            "priority": "critical"
            if place == "production" and category in ("database", "signing")
            else "normal",
        },
        created_at=rfc3339(created),
        updated_at=versions[-1].created_at,
        expires_at=rfc3339(datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(700))),
        rotation=RotationSchedule(days=days),
        metadata={"owner": f"{team}-oncall@example.org"},
    )


def _version(value: bytes, number: int, at: datetime) -> SecretVersion:
    media = Media.JSON if value[:1] == b"{" else Media.TEXT
    return SecretVersion(number=number, value=SecretBytes(value), media=media, created_at=rfc3339(at))


def _password(chance: random.Random) -> bytes:
    return "".join(chance.choices(_LETTERS, k=32)).encode()


def _api_key(chance: random.Random) -> bytes:
    return f"key_live_{chance.randbytes(24).hex()}".encode()


def _random_key(chance: random.Random) -> bytes:
    return base64.b64encode(chance.randbytes(64))


def _pem(chance: random.Random, title: str, size: int) -> str:
    text = base64.b64encode(chance.randbytes(size)).decode()
    body = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {title}-----\n{body}\n-----END {title}-----\n"


def _certificate(chance: random.Random) -> bytes:
    chain = (_pem(chance, "CERTIFICATE", size) for size in (1_400, 1_300, 1_200))
    return (_pem(chance, "PRIVATE KEY", 1_190) + "".join(chain)).encode()


def _ssh_key(chance: random.Random) -> bytes:
    return _pem(chance, "OPENSSH PRIVATE KEY", 350).encode()


def _client(chance: random.Random) -> bytes:
    client = {
        "client_id": f"{chance.getrandbits(96):024x}.apps.example.org",
        "client_secret": _password(chance).decode(),
    }
    return json.dumps(client).encode()


def _service_account(chance: random.Random) -> bytes:
    account = {
        "type": "service_account",
        "private_key_id": f"{chance.getrandbits(160):040x}",
        "private_key": _pem(chance, "PRIVATE KEY", 1_190),
        "client_email": f"robot-{chance.randrange(1000):03}@example.org",
    }
    return json.dumps(account).encode()


_KINDS: dict[str, tuple[str, int, Callable[[random.Random], bytes]]] = {
    "database_password": ("database", 90, _password),
    "api_key": ("third-party", 180, _api_key),
    "jwt_signing_key": ("signing", 30, _random_key),
    "tls_certificate": ("network", 365, _certificate),
    "ssh_key": ("access", 180, _ssh_key),
    "oauth_client": ("third-party", 180, _client),
    "service_account": ("cloud", 90, _service_account),
    "webhook_secret": ("third-party", 365, _random_key),
}
