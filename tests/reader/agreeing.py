"""Three readers on one backup. ``python -m tests.reader.agreeing SEED COUNT`` tries many."""

from __future__ import annotations

import io
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from strongroom.container.errors import FormatError
from strongroom.container.metadata import read_document
from strongroom.container.ranges import BytesReader
from strongroom.container.segment import encode_secrets
from strongroom.model import Secret
from strongroom.operations.archive.open import open_backup
from strongroom.targets.single_file import BundleReader
from tests.keys.software import EcIdentity
from tests.keys.together import with_all_of
from tests.reader import reader
from tests.reader.backups import KEYS, Made, Maker
from tests.recover.families import family
from tests.recover.test_recover import recover, recover_extra
from tests.vectors import material as m
from tests.vectors.bundling import bundle

Outcome = tuple[str, list[tuple[bytes, ...]]]
"""The class of failure or ``ok``, and each secret's row and values."""

PINS = frozenset({m.INSTALLATION.fingerprint})
PRIVATE = {
    "x25519": ("x25519", m.fixed("x25519 scalar")),
    "xwing": ("mlkem768-x25519", m.fixed("x-wing seed")),
}
ANY = Namespace(backup=None, get=None)
FILES = {"keyfile": m.KEY_FILE, "other": m.fixed("another key file")}


def expected(made: Made) -> Outcome:
    """Return what must come out of a backup that nobody changed."""
    return "ok", sorted(_flat(secret, sealed=made.sealed) for secret in made.secrets)


def _flat(secret: Secret, *, sealed: bool) -> tuple[bytes, ...]:
    if not sealed:
        return (secret.name.encode(),)
    return encode_secrets([secret]), *(v.value.reveal() for v in secret.versions if v.value is not None)


def by_product(made: Made, path: Path) -> Outcome:
    found: list[tuple[bytes, ...]] = []
    try:
        with BundleReader(path) as file:
            backup = open_backup(file, identities=with_all_of([KEYS[made.key]]), trusted=PINS)
            if backup.manifest.sealed:
                found = [_flat(secret, sealed=True) for secret in backup.secrets()]
            else:
                for entry in backup.manifest.containers:
                    data = b"".join(file.read(f"containers/{m.BACKUP}/{entry.sha256}"))
                    found += [_flat(s, sealed=False) for s in read_document(BytesReader(data))]
    except FormatError as error:
        return error.code, []
    return "ok", sorted(found)


def by_recover(made: Made, path: Path) -> Outcome:
    losses, found = recover.Losses(), []
    with redirect_stderr(io.StringIO()):
        try:
            backup = recover.Backup(recover_extra.store_of(path), _recover_keys(made), losses)
            found = [
                (secret.line, *secret.values) if made.sealed else (secret.row["name"].encode(),)
                for secret in backup.secrets(next(recover_extra.Choice(backup, ANY).manifests()))
            ]
        except recover.Failure as failure:
            losses.first = losses.first or failure
    return (losses.first.args[0], []) if losses.first else ("ok", sorted(found))


def _recover_keys(made: Made) -> Any:
    key = KEYS[made.key]
    held = {
        "keyfile": tuple(FILES[name] for name in FILES if name == made.key),
        "hpke": tuple(PRIVATE[name] for name in PRIVATE if name == made.key),
        "pkcs11-ec": (recover_extra.software(key._private),) if isinstance(key, EcIdentity) else (),
    }
    return recover.Keys(held, PINS)


def by_reader(made: Made, path: Path) -> Outcome:
    key = KEYS[made.key]
    keys = reader.Keys(
        keyfiles=[FILES[name] for name in FILES if name == made.key],
        private=[PRIVATE[name] for name in PRIVATE if name == made.key],
        hsm=[(key.version, key._private)] if isinstance(key, EcIdentity) else [],
        pins=PINS,
    )
    try:
        whole = reader.whole(reader.bundle(path.read_bytes()), keys)
    except reader.RefusedError as error:
        return error.kind, []
    if made.sealed:
        return "ok", sorted((s.line, *s.values) for s in whole.secrets)
    return "ok", sorted((reader.decode(s.line[:-1], reader.PLAIN)["name"].encode(),) for s in whole.secrets)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a place for one file, in memory where there is such."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "backup"


def difference(seed: int, path: Path) -> str:
    """Return in what the readers differ on the backup of a seed; empty if in nothing."""
    made = Maker(seed).make()
    path.write_bytes(bundle(sorted(made.objects.items())))
    outcomes = {read.__name__: read(made, path) for read in (by_product, by_recover, by_reader)}
    if not made.odd:
        outcomes["expected"] = expected(made)
    kinds = {name: kind for name, (kind, _) in outcomes.items()}
    if made.odd.startswith("containers/"):
        # A reader of a few secrets need not hash the whole container, so it may find damage in another way.
        kinds = {name: "ok" if kind == "ok" else "refused" for name, kind in kinds.items()}
    if not _agree(dict(kinds)):
        return f"seed {seed}: {made.odd or 'not changed'}: {kinds}"
    same = all(found == outcomes["by_reader"][1] for _, found in outcomes.values())
    return "" if same else f"seed {seed}: {made.odd or 'not changed'}: they give different secrets"


def _agree(kinds: dict[str, str]) -> bool:
    """Tell whether all readers name one class of failure, and recover.py its family."""
    by_recover = kinds.pop("by_recover")
    return len(set(kinds.values())) == 1 and by_recover == family(kinds["by_reader"])


def try_many(what: str, difference: Callable[[int, Path], str]) -> int:
    """Try as many seeds as the command line says; return the exit code."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    differences = 0
    with scratch() as path:
        for seed in range(first, first + count):
            if said := difference(seed, path):
                differences += 1
                print(said, flush=True)  # noqa: T201
    print(f"{count} {what} from seed {first} on: {differences} differences")  # noqa: T201
    return min(differences, 1)


if __name__ == "__main__":
    sys.exit(try_many("backups", difference))
