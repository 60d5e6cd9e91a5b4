"""Finding secrets in many backups of many secrets, by the index of names beside them.

``python -m scripts.bench.find`` prints a row a line; with ``--make`` it makes the target that is searched.
Manifests and indexes are real; the containers that they name have the right size and no content, since
nothing that is measured opens one: many backups of a million secrets would fill the disk. From one
backup to the next one secret of a hundred changes, and some come and go.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from scripts.bench import gen, measure
from strongroom.container.manifest import (
    Counts,
    Manifest,
    ManifestRecipient,
    ManifestSelection,
    sign_manifest,
)
from strongroom.container.name_index import (
    INDEX,
    IndexHead,
    IndexLink,
    IndexReceipt,
    IndexRow,
    blocks,
    digest_of,
    encode_row,
    gone,
    quoted_name,
    write_name_index,
)
from strongroom.container.signing import CertifiedSigner, Receipt, Signer, sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient
from strongroom.operations.engine.layout import (
    container_entry,
    container_name,
    index_name,
    manifest_name,
    receipt_name,
)

SECRETS, BACKUPS, ROUNDS = 1_000_000, 30, 2
SMALL_SECRETS, SMALL_BACKUPS = 300, 4
PIECES = 16
CHANGED, CAME, WENT = 0.01, 0.0005, 0.0005
CONTAINER = 16 * 1024 * 1024
FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="seconds, to see that it works")
    parser.add_argument("--make", nargs=3, metavar="WORD", help="FOLDER SECRETS BACKUPS")
    arguments = parser.parse_args()
    if arguments.make:
        folder, secrets, backups = arguments.make
        return _make(Path(folder), int(secrets), int(backups), seed=arguments.seed)
    secrets, backups = (SMALL_SECRETS, SMALL_BACKUPS) if arguments.small else (SECRETS, BACKUPS)
    with tempfile.TemporaryDirectory(prefix="strongroom-find-") as folder:
        _search(Path(folder), secrets, backups, seed=arguments.seed)
    return 0


def _search(folder: Path, secrets: int, backups: int, *, seed: int) -> None:
    """Make the target, and look for secrets in it, in turns; the first round is not counted."""
    print(f"making {backups} backups of {secrets:,} names", file=sys.stderr)
    made = [sys.executable, "-m", "scripts.bench.find", "--seed", str(seed), "--make"]
    told = subprocess.run(
        [*made, str(folder), str(secrets), str(backups)], check=True, capture_output=True, text=True
    ).stdout.split()
    target = folder / "target"
    where = [f"--from-target={target}", f"--identity={folder / 'recovery.key'}", f"--signer={told[0]}"]
    env = {**os.environ, "STRONGROOM_STATE_DIR": str(folder / "state")}
    index = sum(file.stat().st_size for file in (target / "index").glob("*/*/*")) / 2**20
    for number in range(ROUNDS + 1):
        for what, words in _commands(told[1], seed).items():
            command = ["strongroom", "backups", *words, *where]
            found = measure.run(command, env=env, memory=number == 1)
            row = {"what": what, "secrets": secrets * backups, "seconds": found.seconds}
            row |= {"cpu_seconds": found.cpu_seconds, "peak_mib": found.peak_mib}
            row |= {"facts": {"backups": backups, "MiB of indexes": round(index, 1)}}
            if number:
                print(json.dumps(row), flush=True)


def _commands(name: str, seed: int) -> dict[str, list[str]]:
    number = name[-7:]
    tags = gen.record(seed, int(number))["tags"]
    tagged = (f"--filter-tag={key}={tags[key]}" for key in ("team", "cost-center"))
    return {
        "find by the end of a name": ["find", f"*{number[-4:]}"],
        "find by a pattern in a folder": ["find", f"{name[: name.index('/')]}/*_{number}"],
        "find by two tags": ["find", *tagged],
        "history of one secret": ["history", name],
    }


def _make(folder: Path, secrets: int, backups: int, *, seed: int) -> int:
    nights = Nights(folder, secrets, seed=seed)
    for number in range(backups):
        nights.next(number)
    print(nights.installation.fingerprint, nights.some_name())
    return 0


class Nights:
    """Makes one backup after another."""

    def __init__(self, folder: Path, secrets: int, *, seed: int) -> None:
        self._target = folder / "target"
        self._identity = HpkeIdentity.generate()
        self._identity.save(folder / "recovery.key")
        self.installation = Signer.generate()
        self._seal, self._control = (self._certified(role) for role in ("seal", "control"))
        self._chance = random.Random(seed)
        self._row = partial(_row, seed)
        with ProcessPoolExecutor(os.cpu_count()) as processes:
            rows = processes.map(self._row, range(secrets), chunksize=gen.CHUNK)
            self._rows = {row.name: row for row in rows}
        self._names = list(self._rows)
        self._made = secrets
        self._previous: IndexLink | None = None
        self._chain = ""
        self._put(".strongroom-target", b"")

    def _certified(self, role: str) -> CertifiedSigner:
        return CertifiedSigner.issued(
            Signer.generate(), installation=self.installation, role=role, issued_at=FIRST
        )

    def some_name(self) -> str:
        return next(iter(self._rows))

    def next(self, number: int) -> None:
        lines = list(map(encode_row, self._rows.values())) if number == 0 else list(self._differences())
        made_at = FIRST + timedelta(days=number)
        backup = f"{made_at:%Y%m%dT%H%M%S}000000Z-{number:08x}"
        manifest = self._manifest(backup, made_at)
        self._put(manifest_name(backup), sign_manifest(manifest, self._control))
        for entry in manifest.containers:
            self._put_empty(container_name(backup, entry.sha256), entry.size)
        self._put_index(backup, manifest, sorted(lines))

    def _differences(self) -> Iterator[bytes]:
        names = self._chance.sample(self._names, int(len(self._rows) * (CHANGED + WENT)))
        went = int(len(self._rows) * WENT)
        for name in names[:went]:
            yield gone(quoted_name(encode_row(self._rows.pop(name))))
        changed = [_renewed(self._rows[name]) for name in names[went:]]
        came = [self._row(self._made + number) for number in range(int(len(self._rows) * CAME))]
        self._made += len(came)
        for row in (*changed, *came):
            self._rows[row.name] = row
            yield encode_row(row)
        self._names = [*filter(self._rows.__contains__, self._names), *(row.name for row in came)]

    def _manifest(self, backup: str, made_at: datetime) -> Manifest:
        count = len(self._rows)
        edges = [f"{number * 2**128 // PIECES:032x}" for number in range(PIECES)]
        receipts = [
            Receipt(
                run=backup,
                piece=piece,
                sha256=os.urandom(32).hex(),
                size=CONTAINER,
                secrets=count // PIECES,
                versions=count // PIECES,
                first=edge,
                last=f"{int(edge, 16) + 1:032x}",
                wrapping_key="0" * 32,
                container_signature="0" * 128,
            )
            for piece, edge in enumerate(edges)
        ]
        return Manifest(
            backup_id=backup,
            policy="nightly",
            source="vault",
            created_at=made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            values=True,
            sealed=True,
            selection=ManifestSelection(include=(), exclude=(), tags={}),
            counts=Counts(
                secrets=count // PIECES * PIECES, versions=count // PIECES * PIECES, size=PIECES * CONTAINER
            ),
            recipients=(
                ManifestRecipient(
                    name="recovery", type="hpke", fingerprint="f", post_quantum=True, describes="made up"
                ),
            ),
            targets=(),
            quorum=1,
            regions=1,
            providers=1,
            not_contained=(),
            containers=tuple(
                container_entry(receipt, sign_receipt(receipt, self._seal), self._seal.public)
                for receipt in receipts
            ),
            previous=None,
            trust=0,
        )

    def _put_index(self, backup: str, manifest: Manifest, lines: Sequence[bytes]) -> None:
        made = list(blocks(lines))
        head = IndexHead(
            source="vault",
            containers=digest_of(entry.sha256 for entry in manifest.containers),
            previous=self._previous,
            blocks=tuple((block.first, block.rows) for block in made),
        )
        content = bytearray()
        sealed = write_name_index(
            content.extend,
            head,
            lambda number: made[number].content,
            backup_id=backup,
            policy="nightly",
            created_at=manifest.created_at,
            wrapping_key=WrappingKey.create([HpkeRecipient(self._identity.public, label="recovery")]),
            signer=self._seal,
        )
        self._chain = self._chain or backup
        name = index_name(self._chain, backup, sealed.hexdigest)
        receipt = IndexReceipt(
            backup_id=backup,
            sha256=sealed.hexdigest,
            container_signature=sealed.signature.hex(),
            containers=head.containers,
            chain=self._chain,
            previous=self._previous,
            made_at=manifest.created_at,
        )
        self._put(name, bytes(content))
        self._put(receipt_name(name), INDEX.sign(receipt, self._control))
        self._previous = IndexLink(backup_id=backup, sha256=sealed.hexdigest)

    def _put(self, name: str, content: bytes) -> None:
        path = self._target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _put_empty(self, name: str, size: int) -> None:
        self._put(name, b"")
        os.truncate(self._target / name, size)


def _row(seed: int, number: int) -> IndexRow:
    made = gen.record(seed, number)
    digest = hashlib.sha256(f"{number}".encode()).hexdigest()[:32]
    return IndexRow(
        made["name"],
        made["version"],
        written_at=made["updated_at"],
        tags=made["tags"],
        expires_at=made["expires_at"],
        digest=digest,
    )


def _renewed(row: IndexRow) -> IndexRow:
    return IndexRow(
        row.name,
        row.version + 1,
        row.state,
        row.written_at,
        row.tags,
        row.expires_at,
        os.urandom(16).hex(),
    )


if __name__ == "__main__":
    sys.exit(main())
