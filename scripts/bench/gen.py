"""Made-up secrets of the size and shape that companies keep: about 620 bytes of JSON each.

    python -m scripts.bench.gen OUTDIR COUNT [--seed N] [--layout both|jsonl]

writes ``OUTDIR/secrets.jsonl`` and ``OUTDIR/tree/<hh>/<name>.json`` (256 folders by the hash
of the name). The same seed gives the same bytes on every machine; no two records share
a name. Nothing here is a real credential.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

ENVIRONMENTS = ("production", "staging", "development", "dr")
TEAMS = ("platform", "payments", "identity", "data", "search", "media", "billing", "edge")
CATEGORIES = ("database", "cache", "queue", "storage", "auth", "third-party", "network", "ml")
PRIORITIES = ("critical", "high", "normal", "low")
CHUNK = 5_000
TYPES = (
    "database_password",
    "api_key",
    "jwt_signing_key",
    "tls_private_key",
    "oauth_client_secret",
    "ssh_key",
    "encryption_key",
    "webhook_secret",
)
PASSWORD_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789!#%+-_="


def _text(rng: random.Random, size: int) -> str:
    return base64.b64encode(rng.randbytes(size)).decode()


def _pem(rng: random.Random) -> str:
    body = _text(rng, 138)
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])


def _value(rng: random.Random, kind: str) -> str:
    match kind:
        case "database_password":
            return "".join(rng.choices(PASSWORD_ALPHABET, k=32))
        case "tls_private_key" | "ssh_key":
            return _pem(rng)
        case "jwt_signing_key":
            return _text(rng, 64)
        case "oauth_client_secret":
            client = f"{rng.getrandbits(96):024x}.apps.example.com"
            return json.dumps({"client_id": client, "client_secret": _text(rng, 48)})
        case "api_key":
            return "sk_live_" + rng.randbytes(24).hex()
    return _text(rng, 32)


def _moment(rng: random.Random, year: int) -> str:
    moment = datetime(year, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(365 * 86400))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _tags(rng: random.Random, environment: str, team: str, category: str) -> dict[str, str]:
    return {
        "environment": environment,
        "team": team,
        "category": category,
        "priority": rng.choice(PRIORITIES),
        "owner": f"{team}-oncall@example.com",
        "cost-center": f"CC-{rng.randrange(100, 999)}",
    }


def record(seed: int, number: int) -> dict[str, Any]:
    """Return secret ``number`` of the set that ``seed`` names; each stands by itself."""
    rng = random.Random(f"strongroom-bench/1/{seed}/{number}")
    kind = rng.choice(TYPES)
    environment, team, category = rng.choice(ENVIRONMENTS), rng.choice(TEAMS), rng.choice(CATEGORIES)
    service = f"SVC_{rng.randrange(10000):04d}_{kind.upper()}_{number:07d}"
    words = kind.replace("_", " ").capitalize()
    return {
        "name": f"{environment}/{team}/{category}/{service}",
        "type": kind,
        "version": rng.randrange(1, 40),
        "description": f"{words} for the {team} {category} service in {environment}, kept by {team}-oncall",
        "tags": _tags(rng, environment, team, category),
        "created_at": _moment(rng, 2022),
        "updated_at": _moment(rng, 2023),
        "expires_at": _moment(rng, 2026),
        "rotation": {"enabled": rng.random() < 0.7, "days": rng.choice((30, 60, 90, 180, 365))},
        "value": _value(rng, kind),
    }


def lines(seed: int, numbers: range) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the JSON line of each secret."""
    for number in numbers:
        made = record(seed, number)
        yield made["name"], json.dumps(made, separators=(",", ":")).encode() + b"\n"


def _write_chunk(out: Path, seed: int, numbers: range, layout: str) -> bytes:
    """Write these secrets as files, if the layout has files; return them as lines."""
    made = list(lines(seed, numbers))
    if layout != "jsonl":
        for name, line in made:
            folder = hashlib.sha256(name.encode()).hexdigest()[:2]
            (out / "tree" / folder / (name.replace("/", "__") + ".json")).write_bytes(line)
    return b"".join(line for _, line in made)


def write(out: Path, count: int, *, seed: int, layout: str) -> None:
    """Write the set under ``out`` in one or both layouts, on all cores."""
    out.mkdir(parents=True, exist_ok=True)
    if layout != "jsonl":
        for folder in range(256):
            (out / "tree" / f"{folder:02x}").mkdir(parents=True, exist_ok=True)
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    work = partial(_write_chunk, out, seed, layout=layout)
    with (out / "secrets.jsonl").open("wb") as jsonl, ProcessPoolExecutor(os.cpu_count()) as processes:
        jsonl.writelines(processes.map(work, chunks))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write made-up secrets to measure with.")
    parser.add_argument("outdir", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layout", choices=("both", "jsonl"), default="both")
    arguments = parser.parse_args()
    write(arguments.outdir, arguments.count, seed=arguments.seed, layout=arguments.layout)


if __name__ == "__main__":
    main()
