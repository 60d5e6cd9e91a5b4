"""What recover.py shows: whoever wrote what it reads neither drives the screen nor deceives its reader."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from msgspec.structs import replace

from strongroom.container.manifest import sign_manifest
from strongroom.container.signing import sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.engine.layout import container_entry, container_name, sealed_receipt
from tests.forgeries.genuine import (
    BACKUP,
    THEIRS,
    genuine,
)
from tests.forgeries.voices import write_directory, write_keys
from tests.patience import PATIENCE
from tests.reader.reader import BAD
from tests.recover.test_recover import PROGRAM, run
from tests.vectors import good
from tests.vectors import material as m
from tests.vectors.forge import Parts, rows_plain
from tests.vectors.targets import with_entries

EVIL = "CANARY-\x1b[31m\x1b]0;x\x07\r\x9b2J\u202e\u200b\n\x7f\U000e0041"
"""Colours, a window's title, the line's beginning, an erased screen, text turned round, an own line."""
UNPRINTABLE = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in BAD) + "]")
TRUST = ("--signer", m.INSTALLATION.fingerprint)


def unprintable(text: bytes) -> list[str]:
    return UNPRINTABLE.findall(text.decode().replace("\n", ""))


def strangers_target(folder: Path) -> None:
    """Write a backup whose texts are all hostile, of a stranger who has our public key."""
    random = m.stream("screen")
    wrapping = WrappingKey.create([m.X25519.recipient()], _random=random)
    told = replace(m.about(), policy=EVIL, source=EVIL, created_at=EVIL)
    row = replace(
        m.secret(EVIL, EVIL.encode()),
        type=EVIL, tags={EVIL: EVIL}, metadata={"note": EVIL}, updated_at=EVIL,
    )  # fmt: skip
    data, sealed = m.piece(random, [row], told, wrapping, signer=THEIRS["seal"])
    receipt = sealed_receipt(told, sealed)
    entry = container_entry(receipt, sign_receipt(receipt, THEIRS["seal"]), THEIRS["seal"].public)
    record = replace(good.manifest_record(), policy=EVIL, source=EVIL, created_at=EVIL)
    objects = {container_name(BACKUP, sealed.hexdigest): data}
    objects[f"manifests/{BACKUP}.json"] = sign_manifest(with_entries(record, entry), THEIRS["control"])
    write_directory(folder, objects, {})


@pytest.mark.parametrize("what", [("--list",), ("--jsonl",), ("--policy", "x", "--list"), ("--get", EVIL)])
def test_a_strangers_texts_are_spelled_out(what: tuple[str, ...], tmp_path: Path) -> None:
    strangers_target(tmp_path / "target")
    write_keys(tmp_path)
    done = run(tmp_path / "target", "--private-key", tmp_path / "new.key", *what)
    shown = done.stderr + (b"" if "--get" in what else done.stdout)
    assert b"CANARY-" in shown or "--policy" in what
    assert unprintable(shown) == []
    assert b"\\u001b[31m" in shown or "--policy" in what
    assert done.stderr.count(b"\n") <= 5, "it wrote lines of its own"


@pytest.mark.parametrize("pins", [(), TRUST])
@pytest.mark.parametrize(
    "name",
    [
        "manifests/{}.json",
        "manifests/20991231T000000Z-{}.json",
        "manifests/20991231T000000Z-{}.json.r1",
        f"quarantine/{BACKUP}/{{}}.json",
        "keys/{}",
        f"keys/{genuine().wrapping.id}/{{}}",
        f"containers/{BACKUP}/{{}}",
    ],
)
def test_names_of_junk_are_spelled_out(name: str, pins: tuple[str, ...], tmp_path: Path) -> None:
    """Also names that are no UTF-8, which were a fault of the program."""
    write_directory(tmp_path / "target", genuine().objects, {})
    write_keys(tmp_path)
    for odd in (EVIL.replace("/", ""), "\udcff\udc80"):
        path = tmp_path / "target" / name.format(odd)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"junk")
    done = run(tmp_path / "target", "--private-key", tmp_path / "new.key", *pins, "--list")
    assert unprintable(done.stderr) == []
    assert (done.returncode, len(done.stdout.splitlines())) in {(0, 8), (70, 8)}, done.stderr


def test_texts_of_a_signer_whom_nobody_trusts_are_spelled_out_in_errors(tmp_path: Path) -> None:
    strangers_target(tmp_path / "target")
    write_keys(tmp_path)
    [container] = (tmp_path / "target" / "containers" / BACKUP).iterdir()
    container.write_bytes(b"")
    done = run(tmp_path / "target", "--private-key", tmp_path / "new.key", "--list")
    assert done.returncode == 11
    assert unprintable(done.stdout + done.stderr) == []
    missing = run(tmp_path / f"{EVIL}", "--private-key", tmp_path / "new.key", "--list")
    assert missing.returncode == 1
    assert unprintable(missing.stderr) == []


def test_a_value_is_written_as_it_is_but_to_a_terminal(tmp_path: Path) -> None:
    strangers_target(tmp_path / "target")
    write_keys(tmp_path)
    words = (tmp_path / "target", "--private-key", tmp_path / "new.key", "--get", EVIL)
    assert run(*words).stdout == EVIL.encode()
    primary, secondary = pty.openpty()
    with os.fdopen(primary, "rb", 0) as screen:
        done = subprocess.run(
            [sys.executable, PROGRAM, *words],
            stdout=secondary,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
        )
        os.close(secondary)
        shown = screen.read(4096).replace(b"\r\n", b"\n")
    assert done.returncode == 0
    assert unprintable(shown) == []
    assert b"CANARY-" in shown
    assert b"write it to a file" in done.stderr


def test_half_a_surrogate_in_a_name_costs_a_word_and_no_other_secret(tmp_path: Path) -> None:
    """Whoever has the key of the role that seals can write it; it was a fault of the program."""
    made = genuine()
    parts = Parts.of(made.objects[made.pieces[0]], KeyFileIdentity(m.KEY_FILE))
    write_keys(tmp_path)
    odd = parts.change(segments=tuple((values, _renamed(rows)) for values, rows in parts.segments))
    (tmp_path / "lone").write_bytes(odd.build("surrogate"))
    words = (tmp_path / "lone", "--key-file", tmp_path / "old.key")
    done = run(*words, "--list")
    assert b"fault" not in done.stderr
    assert done.returncode == 11, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert b"\\ud800" in done.stdout
    out = run(*words, "--out", tmp_path / "out")
    assert b"fault" not in out.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4


def _renamed(rows: bytes) -> bytes:
    """Return a rows message whose last name is half of a surrogate pair."""
    count, digests, _, size = struct.unpack(">IIII", rows[:16])
    columns = zstandard.ZstdDecompressor().decompress(rows[16 : 16 + size]).split(b"\n")
    columns[count - 1] = b'"\\ud800"'
    return rows_plain(b"\n".join(columns), rows=count, digests=digests)
