"""The recovery program, a second reader of the formats, against every published vector."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from strongroom.keys.hpke import HpkeIdentity
from strongroom.operations.backup.single_file import backup_to_file
from tests.operations.world import made_up, make_world
from tests.patience import PATIENCE
from tests.recover.families import family
from tests.vectors.vector import Vector, parse, stored

PROGRAM = Path(__file__).parents[2] / "ops" / "recover" / "recover.py"
ELSEWHERE = ("head", "index", "deletion", "hold", "trust", "target")
STORED = {name: data for name, data in stored().items() if parse(data).one("kind") not in ELSEWHERE}
"""A ledger head is no part of a backup: recovering one reads none. For targets see test_targets.py."""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROGRAM.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


recover: Any = load("recover")
recover_extra: Any = recover.extra("the tests")


def keys_of(vector: Vector) -> Any:
    private = tuple(text.split(" ") for text in vector.all("hpke"))
    shares = vector.all("share")
    made = list(sealed_keys(vector))
    held = {
        "passphrase": tuple(vector.all("passphrase")),
        "keyfile": (
            *(bytes.fromhex(text) for text in vector.all("keyfile")),
            *(key for kind, key in made if kind == "AES256"),
        ),
        "hpke": (
            *((kind, bytes.fromhex(seed)) for kind, seed in private),
            *(pair for pair in made if pair[0] != "AES256"),
        ),
        "quorum": (recover_extra.join_shares(shares),) if shares else (),
        "pkcs11-ec": tuple(hsm(text) for text in vector.all("ec")),
    }
    return recover.Keys(held, frozenset(vector.all("trusted")))


def sealed_keys(vector: Vector) -> Iterator[tuple[str, bytes]]:
    for text in vector.all("line"):
        kind = text.split(" ")[0].replace("sealed-", "")
        with tempfile.NamedTemporaryFile("w") as file, suppress(recover.Failure):
            file.write(text)
            file.flush()
            yield recover.key_line(Path(file.name), kind, vector.all("passphrase"))


def hsm(text: str) -> Any:
    """Return an HSM's key, which is held to the version that it is under in the token."""
    _, own, scalar = text.split()
    soft = recover_extra.software(derive_private_key(int(scalar, 16), SECP256R1()))
    return recover_extra.Hsm(
        lambda name, version, enc: soft.agree(name, version, enc) if version == int(own) else None
    )


class AtOnce(recover.Losses):  # type: ignore[misc]
    """Losses of which the first ends the reading."""

    def add(self, failure: Exception, *_: object, **__: object) -> None:
        raise failure


def contents(vector: Vector, part: Any) -> Iterator[bytes]:
    """Yield what the vectors' README says that ``plaintext`` is over, for each kind."""
    keys, kind = keys_of(vector), vector.one("kind")
    if kind == "container":
        field = vector.one("newer")
        newer = [recover.read_envelope(base64.b64decode(field), keys)] if field else []
        newest = (lambda own: recover_extra.newest_of(newer, own)) if newer else None
        for secret in recover.open_container(part, keys, newer=newest).secrets(AtOnce()):
            yield secret.line + b"".join(secret.values)
    elif kind == "bundle":
        for found in recover_extra.open_file(part).values():
            yield found.whole()
    elif kind == "metadata":
        yield from (secret.line for secret in recover_extra.read_names(vector.body)[1])
    elif kind == "legacy":
        yield recover_extra.open_legacy(vector.body, vector.all("passphrase"))
    else:
        reader = recover.read_manifest if kind == "manifest" else recover.read_envelope
        reader(vector.body, keys)
        yield recover.signed_body(vector.body, kind, keys)[0]


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_published_vector_gives_what_it_says(name: str, tmp_path: Path) -> None:
    vector = parse(STORED[name])
    (tmp_path / "file").write_bytes(vector.body)
    part = recover.Part.of(tmp_path / "file")
    if vector.one("expect") == "ok":
        parts = list(contents(vector, part))
        assert hashlib.sha256(b"".join(parts)).hexdigest() == vector.one("plaintext")
        assert vector.one("secrets") in (None, str(len(parts)))
        return
    with pytest.raises(recover.Failure) as caught:
        list(contents(vector, part))
    assert caught.value.args[0] == family(str(vector.one("expect")))


@pytest.mark.parametrize("name", ["container-bounds", "container-bounds-long", "container-several-segments"])
def test_a_name_is_looked_for_in_its_own_segment_alone(name: str, tmp_path: Path) -> None:
    vector = parse(STORED[name])
    (tmp_path / "file").write_bytes(vector.body)
    part = recover.Part.of(tmp_path / "file")
    container = recover.open_container(part, keys_of(vector))
    every = {secret.row["name"]: secret for secret in container.secrets(AtOnce())}
    for number, (each, secret) in enumerate(every.items()):  # one fills a segment
        assert list(container.secrets(AtOnce(), each)) == [secret]
        assert container.place(each) == number
    assert [one.row["name"] for one in container.secrets(AtOnce(), "zz")] != ["zz"]


GUARDED = """
import runpy, sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"strongroom", "msgspec", "sqlalchemy", "celery", "pydantic"}:
            raise ImportError(f"{name} must not be needed")

sys.meta_path.insert(0, Guard())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a process where nothing of Strongroom can be imported."""
    command = [sys.executable, "-I", "-c", GUARDED, PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)


@pytest.fixture
def backup(tmp_path: Path) -> tuple[Path, Path]:
    """A backup file that the product made, and the private key's file."""
    world = make_world(tmp_path, secrets=made_up(20))
    identity = HpkeIdentity.generate()
    identity.save(tmp_path / "recovery.key")
    backup_to_file(
        tmp_path / "weekly.strongroom",
        source=world.source,
        recipients=[identity.recipient()],
        services=world.services(),
    )
    return tmp_path / "weekly.strongroom", tmp_path / "recovery.key"


def test_one_value_comes_out_of_a_backup_file_without_anything_of_ours(backup: tuple[Path, Path]) -> None:
    path, key = backup
    done = run(path, "--private-key", key, "--get", "app/0007")
    assert (done.returncode, done.stdout) == (0, b"CANARY-0007-" + b"x" * 40)
    assert b"20 secrets" in done.stderr


def test_all_values_come_out_as_files_of_their_own(backup: tuple[Path, Path], tmp_path: Path) -> None:
    path, key = backup
    assert run(path, "--private-key", key, "--out", tmp_path / "out").returncode == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"app%2F{n:04}" for n in range(20)]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_another_key_opens_nothing_and_says_which_class_of_failure_that_is(
    backup: tuple[Path, Path], tmp_path: Path
) -> None:
    HpkeIdentity.generate().save(tmp_path / "other.key")
    done = run(backup[0], "--private-key", tmp_path / "other.key", "--list")
    assert done.returncode == 10
    assert b"CannotOpen" in done.stderr
    assert done.stdout == b""
